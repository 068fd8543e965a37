"""This registry."""

import os

NAME = "entrepot"
UPSTREAM = "upstream"

CONFIGURATION = """\
registry_storage = "registry"
temporary_registry_storage = "temporary"
proxy_storage = "proxy"

[server]
listen = "{address}"

[telemetry]
log_level = "error"
metrics_listen = "off"
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
    text = CONFIGURATION + (TLS if fields["certificate"] else "") + (MIRROR if fields["upstream"] else "")
    file = folder / "configuration.toml"
    file.write_text(text.format(upstream_name=UPSTREAM, **fields))
    return [os.environ["ENTREPOT"], "--config", file]


def version():
    return "this tree"
