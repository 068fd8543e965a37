"""What several groups need: servers that stay, content that is known to be right, and figures of a run of the load
program."""

import hashlib
import os
import time

import kinds
from clients import load
from scale import GIB, MB


class Group:
    """Work that is measured on each of `kinds`, over so many rounds as there are, but not over more than
    `rounds_most`."""

    kinds = kinds.ALL
    rounds_most = None
    # Whether thousands of files are made, which a file system does more slowly while it remembers that others were removed.
    makes_many_files = False
    # Programs besides the servers.
    needs = []
    # What else has a version that the table should name.
    versions = []

    def __init__(self, bench):
        self.bench, self.scale = bench, bench.scale

    def measure(self, kind, number):
        """Yields rows and values."""
        raise NotImplementedError

    def finish(self):
        pass


class Standing(Group):
    """A group on one long-lived server of each kind, which has the same large blob, small blob and manifest everywhere.
    nginx serves the very files of our storage, by links: same bytes, same place on the disk and in the page cache."""

    certificate = None

    def __init__(self, bench):
        super().__init__(bench)
        name = type(self).__name__.lower()
        self.servers = {kind: bench.start(kind, name) for kind in self.kinds}
        self.paths = {}
        for kind in (kind for kind in kinds.REGISTRIES if kind in self.kinds):
            self.paths[kind] = self._fill(self.servers[kind])
        if kinds.NGINX in self.kinds:
            ours, files = self.servers[kinds.ENTREPOT], self.servers[kinds.NGINX].folder / "files"
            self.paths[kinds.NGINX] = self.paths[kinds.ENTREPOT]
            link_files(ours, files, self.paths[kinds.ENTREPOT])

    def _fill(self, server):
        image = load(server, "tags", repository="bench/app", count=1, connections=1)
        verify(server, f"/v2/bench/app/blobs/{image['layer']}")
        paths = {
            "tag": "/v2/bench/app/manifests/latest",
            "digest": f"/v2/bench/app/manifests/{image['digest']}",
            "small": f"/v2/bench/app/blobs/{image['layer']}",
        }
        if self.large_bytes():
            paths["large"] = f"/v2/bench/app/blobs/{pushed(server, self.large_bytes(), seed=1)}"
            verify(server, paths["large"])
        return paths

    def large_bytes(self):
        """How large the large blob is; none when this is nothing."""
        return self.scale.large_blob

    def finish(self):
        for server in self.servers.values():
            server.remove()


def link_files(ours, files, paths):
    """Lays what our server has where nginx looks for it."""
    for name, path in paths.items():
        place = files / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if name in ("tag", "digest"):
            place.write_bytes(ours.get(path).content)
        else:
            os.link(ours.blob_file(path.rsplit("/", 1)[1]), place)


def pushed(server, size, seed, way="whole"):
    """Pushes a blob and returns its digest."""
    return load(server, "push", repository="bench/app", size=size, seed=seed, way=way)["digests"][0]


def verify(server, path):
    """Reads a blob whole once, so that what is measured later, and discarded unread, is known to be right."""
    content = server.get(path).content
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != path.rsplit("/", 1)[1]:
        raise RuntimeError(f"{server.kind} gave back other bytes than were pushed")


def transfer(found, rows):
    """Speed, the server's processor time and the client's share of a transfer."""
    speed, processor, client = rows
    yield speed, found["bytes"] / MB / found["seconds"]
    yield processor, found["server_seconds"] / (found["bytes"] / GIB)
    yield client, client_share(found)


def small(found, rows):
    """Rate, latencies, processor time and the client's share of many small requests."""
    rate, middle, slowest, processor, client = rows
    yield rate, found["requests"] / found["seconds"]
    yield middle, found["whole_ms"]["p50"]
    yield slowest, found["whole_ms"]["p99"]
    yield processor, found["server_seconds"] / found["requests"] * 1e6
    yield client, client_share(found)


def client_share(found):
    """In percent of one core."""
    return found["client_seconds"] / found["seconds"] * 100


def seconds_of(action):
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun
