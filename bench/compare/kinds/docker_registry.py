"""Debian's docker-registry, which is distribution 2.8."""

import subprocess

import stores

NAME = "docker-registry"

# Debian's own configuration, without passwords, without a line for each request.
CONFIGURATION = """\
version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  cache:
    blobdescriptor: inmemory
{storage}  delete:
    enabled: true
http:
  addr: {address}
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""

FOLDER = """\
  filesystem:
    rootdirectory: {folder}/registry
"""

BUCKET = """\
  s3:
    regionendpoint: http://{shared.address}
    region: {region}
    bucket: {shared.bucket}
    accesskey: {key_id}
    secretkey: {key_secret}
    secure: false
    v4auth: true
  redirect:
    disable: {disable}
"""

MIRROR = """\
proxy:
  remoteurl: http://{upstream}
"""


def command(folder, fields):
    """Writes the configuration and returns what starts the server."""
    file = folder / "config.yml"
    shared = fields["shared"]
    if shared:
        fields |= {"disable": "false" if shared.redirect else "true"}
        fields |= {"region": stores.REGION, "key_id": stores.KEY_ID, "key_secret": stores.KEY_SECRET}
    storage = (BUCKET if shared else FOLDER).format(folder=folder, **fields)
    text = CONFIGURATION + (MIRROR if fields["upstream"] else "")
    file.write_text(text.format(storage=storage, folder=folder, **fields))
    # With this variable set, its driver for S3 panics.
    return ["env", "--unset=AWS_CA_BUNDLE", "docker-registry", "serve", file]


def version():
    done = subprocess.run(["docker-registry", "--version"], stdout=subprocess.PIPE, check=True, text=True)
    return f"docker-registry {done.stdout.split()[-1]}"
