"""The two registries: how each is configured, started and stopped, and what the kernel says of their processes."""

import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

ENTREPOT = "entrepot"
DOCKER_REGISTRY = "docker-registry"
KINDS = [ENTREPOT, DOCKER_REGISTRY]

# What pulled-through paths begin with, and the upstream's name in ours.
UPSTREAM = "upstream"

STARTS_WITHIN_SECONDS = 10
STOPS_WITHIN_SECONDS = 30

ENTREPOT_CONFIGURATION = """\
registry_storage = "registry"
temporary_registry_storage = "temporary"
proxy_storage = "proxy"

[server]
listen = "{address}"

[telemetry]
log_level = "error"
metrics_listen = "off"
"""

ENTREPOT_UPSTREAM = """
[[proxy.upstream]]
name = "{name}"
url = "http://{upstream}"
"""

# Debian's own configuration, without passwords, without a line for each request.
DOCKER_REGISTRY_CONFIGURATION = """\
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

DOCKER_REGISTRY_UPSTREAM = """\
proxy:
  remoteurl: http://{upstream}
"""


class Bench:
    """Starts servers in folders of their own and stops those that are left at the end."""

    def __init__(self, folder):
        self.folder = folder.resolve()
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        for server in list(self.running):
            server.stop()

    def start(self, kind, name, upstream=None, fresh=True):
        """A server on fresh folders, or on those of its last run; with `upstream`, one that pulls through from there."""
        folder = self.folder / kind / name
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        server = Server(kind, folder, upstream, self.running)
        self.running.append(server)
        return server


class Server:
    """One running registry."""

    def __init__(self, kind, folder, upstream, running):
        self.kind, self.folder, self.running = kind, folder, running
        self.address = f"127.0.0.1:{free_port()}"
        self.is_mirror = upstream is not None
        command = self._configure(upstream)
        log = open(folder / "log", "wb")
        begun = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
        log.close()
        self._wait_for_first_answer(begun + STARTS_WITHIN_SECONDS)
        self.seconds_to_start = time.perf_counter() - begun

    def _configure(self, upstream):
        address = upstream.address if upstream else None
        if self.kind == ENTREPOT:
            text = ENTREPOT_CONFIGURATION + (ENTREPOT_UPSTREAM if upstream else "")
            file = self.folder / "configuration.toml"
            command = [os.environ["ENTREPOT"], "--config", file]
        else:
            text = DOCKER_REGISTRY_CONFIGURATION + (DOCKER_REGISTRY_UPSTREAM if upstream else "")
            file = self.folder / "config.yml"
            command = ["docker-registry", "serve", file]
        file.write_text(text.format(address=self.address, folder=self.folder, upstream=address, name=UPSTREAM))
        return command

    def _wait_for_first_answer(self, deadline):
        while True:
            try:
                if self.get("/v2/").status == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.perf_counter() > deadline:
                self.process.kill()
                raise RuntimeError(f"{self.kind} did not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.0005)

    def get(self, path):
        host, port = self.address.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.content = answer.read()
        connection.close()
        return answer

    def path(self, repository, rest):
        """A path of the API, below the upstream's name where the server wants one."""
        prefix = f"proxy/{UPSTREAM}/" if self.is_mirror and self.kind == ENTREPOT else ""
        return f"/v2/{prefix}{repository}/{rest}"

    def load(self, command, over=None, **options):
        """Runs the load program against this server, over a link where one is given, and returns what it found."""
        words = [os.environ["LOAD"], command, "--address", (over or self).address, "--pid", str(self.process.pid)]
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        done = subprocess.run(words, stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)

    def has_stored(self, digest):
        """Whether a blob lies complete in this server's storage. Both use the same layout."""
        hexadecimal = digest.removeprefix("sha256:")
        storage = "proxy" if self.is_mirror and self.kind == ENTREPOT else "registry"
        blobs = self.folder / storage / "docker/registry/v2/blobs/sha256"
        return (blobs / hexadecimal[:2] / hexadecimal / "data").exists()

    def processor_seconds(self):
        fields = (self._proc() / "stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def bytes_read(self):
        """What the process has read by system calls, from files and sockets; `sendfile` counts."""
        return int(self._line("io", "rchar:"))

    def memory_mib(self, which):
        """`VmRSS`, the resident memory now, or `VmHWM`, the most that it ever was."""
        return int(self._line("status", f"{which}:")) / 1024

    def _line(self, file, start):
        lines = (self._proc() / file).read_text().splitlines()
        return next(line for line in lines if line.startswith(start)).split()[1]

    def _proc(self):
        return pathlib.Path("/proc") / str(self.process.pid)

    def stop(self):
        self.running.remove(self)
        self.process.terminate()
        try:
            self.process.wait(STOPS_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
