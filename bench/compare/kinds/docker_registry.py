"""Debian's docker-registry, which is distribution 2.8."""

import subprocess

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
  filesystem:
    rootdirectory: {folder}/registry
  delete:
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

MIRROR = """\
proxy:
  remoteurl: http://{upstream}
"""


def command(folder, fields):
    """Writes the configuration and returns what starts the server."""
    file = folder / "config.yml"
    file.write_text((CONFIGURATION + (MIRROR if fields["upstream"] else "")).format(folder=folder, **fields))
    return ["docker-registry", "serve", file]


def version():
    done = subprocess.run(["docker-registry", "--version"], stdout=subprocess.PIPE, check=True, text=True)
    return f"docker-registry {done.stdout.split()[-1]}"
