"""Servers: each in a folder of its own, started, waited for, and stopped."""

import http.client
import re
import shutil
import socket
import subprocess
import time

import kinds
import process

STARTS_WITHIN_SECONDS = 20
STARTS_WRAPPED_WITHIN_SECONDS = 120
STOPS_WITHIN_SECONDS = 30


class Bench:
    """Starts servers in folders of their own and stops those that are left at the end."""

    def __init__(self, folder, scale):
        self.folder, self.scale = folder.resolve(), scale
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        # What uses others was started after them.
        for server in self.running[::-1]:
            server.stop()

    def start(self, kind, name, upstream=None, fresh=True, certificate=None, wrapper=(), shared=None):
        """A server on fresh folders, or on those of its last run; with `upstream`, one that pulls through from there;
        with `certificate`, one that speaks TLS; below `wrapper`, a program that runs it; with `shared`, one that keeps
        everything in stores that others share."""
        folder = self.folder / kind / name
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        return Server(kind, folder, upstream, certificate, wrapper, self.running, shared)


class Server:
    """One running server."""

    def __init__(self, kind, folder, upstream, certificate, wrapper, running, shared=None):
        self.kind, self.folder, self.running = kind, folder, running
        self.address = f"127.0.0.1:{process.free_port()}"
        self.is_mirror = upstream is not None
        self.is_tls = certificate is not None
        fields = {
            "address": self.address,
            "upstream": upstream.address if upstream else None,
            "certificate": certificate.certificate if certificate else None,
            "key": certificate.key if certificate else None,
            "shared": shared,
            "metrics": f"127.0.0.1:{process.free_port()}" if shared else "off",
        }
        self.metrics = fields["metrics"]
        command = [*wrapper, *kinds.MODULES[kind].command(folder, fields)]
        begun = time.perf_counter()
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
        running.append(self)
        self._wait_for_first_answer(begun + (STARTS_WRAPPED_WITHIN_SECONDS if wrapper else STARTS_WITHIN_SECONDS))
        self.seconds_to_start = time.perf_counter() - begun

    def _wait_for_first_answer(self, deadline):
        while True:
            try:
                if self._answers():
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.perf_counter() > deadline:
                self.stop()
                raise RuntimeError(f"{self.kind} did not start: {self.log()}")
            time.sleep(0.0005)

    def _answers(self):
        if self.is_tls:
            socket.create_connection(self.address.split(":")).close()
            return True
        return self.get("/v2/").status == 200

    def get(self, path):
        host, port = self.address.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.content = answer.read()
        connection.close()
        return answer

    def counted(self, name):
        """The sum of all series of a counter of ours, or nothing for others."""
        if self.kind != kinds.ENTREPOT:
            return None
        host, port = self.metrics.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[{{ ]", line))

    def path(self, repository, rest):
        """A path of the API, below the upstream's name where the server wants one."""
        prefix = f"proxy/{kinds.UPSTREAM}/" if self.is_mirror and self.kind == kinds.ENTREPOT else ""
        return f"/v2/{prefix}{repository}/{rest}"

    def blob_file(self, digest):
        """Where a blob lies in this server's storage. Both registries use the same layout."""
        hexadecimal = digest.removeprefix("sha256:")
        storage = "proxy" if self.is_mirror and self.kind == kinds.ENTREPOT else "registry"
        blobs = self.folder / storage / "docker/registry/v2/blobs/sha256"
        return blobs / hexadecimal[:2] / hexadecimal / "data"

    def pids(self):
        self.check()
        return process.tree(self.process.pid)

    def log(self):
        """The end of what it has said."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def check(self):
        """Fails when the server has ended by itself, with what it said last."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.kind} ended with status {self.process.returncode}: {self.log()}")

    def stop(self):
        if self in self.running:
            self.running.remove(self)
        self.process.terminate()
        try:
            self.process.wait(STOPS_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def remove(self):
        """Stops it and removes what it stored."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
