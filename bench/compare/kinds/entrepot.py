"""This registry."""

import os

import stores

NAME = "entrepot"
UPSTREAM = "upstream"

FOLDERS = """\
registry_storage = "registry"
temporary_registry_storage = "temporary"
proxy_storage = "proxy"
"""

CONFIGURATION = """
[server]
listen = "{address}"

[telemetry]
log_level = "error"
metrics_listen = "{metrics}"
"""

BUCKET = """\
registry_storage = "s3://{shared.bucket}/registry"
proxy_storage = "s3://{shared.bucket}/proxy"
"""

STORES = """
[storage.s3]
endpoint = "http://{shared.address}"
region = "{region}"
access_key_id = "{key_id}"
secret_access_key = "{key_secret}"

[storage.redirect]
mode = "{redirect}"

[metadata]
url = "{shared.database}?sslmode=disable"
"""

CACHE = """
[storage.read_cache]
folder = "cache"
size_max = "10GiB"
"""

TLS = """
[server.tls]
certificate = "{certificate}"
key = "{key}"
"""

MIRROR = """
[[proxy.upstream]]
name = "{upstream_name}"
url = "http://{upstream}"
"""


def command(folder, fields):
    """Writes the configuration and returns what starts the server."""
    shared = fields["shared"]
    text = (BUCKET if shared else FOLDERS) + CONFIGURATION
    text += (TLS if fields["certificate"] else "") + (MIRROR if fields["upstream"] else "")
    if shared:
        text += STORES + (CACHE if shared.cache else "")
        fields |= {"redirect": "always" if shared.redirect else "never"}
        fields |= {"region": stores.REGION, "key_id": stores.KEY_ID, "key_secret": stores.KEY_SECRET}
    file = folder / "configuration.toml"
    file.write_text(text.format(upstream_name=UPSTREAM, **fields))
    return [os.environ["ENTREPOT"], "--config", file]


def version():
    return "this tree"
