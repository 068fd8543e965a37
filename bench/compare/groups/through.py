"""A blob pulled through from a docker-registry: over a link, and with nothing between that slows it down. Every cold
pull finds an empty cache."""

import os
import time

import kinds
import process
from clients import load
from groups.common import Group, client_share, seconds_of, transfer, verify
from link import Link
from samples import CLIENT, PROCESSOR, SPEED, Column, rows
from scale import GIB

# A fill that is not stored after this long has failed.
STORED_WITHIN_SECONDS = 120

REPOSITORY = "cold/app-0"

DONE = Column("done", "last client done", "s")
FIRST_BYTE = Column("first-byte", "first byte, middle", "ms")
COLD = (
    DONE,
    Column("stored", "in the cache", "s"),
    FIRST_BYTE,
    PROCESSOR,
    Column("fetched", "read by the upstream", "times the blob"),
    CLIENT,
)


class Through(Group):
    kinds = kinds.REGISTRIES
    # docker-registry needs most of a minute for 16 clients on the link.
    rounds_most = 3

    def __init__(self, bench):
        super().__init__(bench)
        size = self.scale.through_blob
        self.upstream = bench.start(kinds.DOCKER_REGISTRY, "upstream")
        pushed = load(self.upstream, "images", prefix="cold/app", count=1, connections=1, layer_size=size, seed=3)
        self.digest = pushed["layers"][0]
        verify(self.upstream, self._blob(self.upstream))
        self.link = Link(self.upstream, self.scale.link_bytes_per_second)
        mib, link = f"{size >> 20} MiB", f", over {self.scale.link_bytes_per_second // 1_000_000} MB/s"
        ways = (("link", self.link, link), ("fast", self.upstream, ""))
        self.direct = {
            key: (
                source,
                rows(f"direct-{key}", f"{mib} read from the upstream itself, 1 at once{where}", DONE, FIRST_BYTE),
            )
            for key, source, where in ways
        }
        self.cold = [
            (count, source, rows(f"cold-{count}-{key}", f"cold pull through of {mib}, {count} at once{where}", *COLD))
            for key, source, where in ways
            for count in (1, 16)
        ]
        warm, own = f"warm pull through of {mib}, 16 at once", f"pull of an own blob of {mib}, 16 at once"
        self.warm = rows("warm", warm, SPEED, PROCESSOR, CLIENT)
        self.own = rows("own", own, SPEED, PROCESSOR, CLIENT)

    def measure(self, kind, _number):
        for source, these in self.direct.values():
            yield from self._read_direct(source, these)
        for count, source, these in self.cold:
            server = self.bench.start(kind, "through", source)
            yield from self._pull_cold(server, count, these)
            if (count, source) == (16, self.upstream):
                yield from self._repeat(server, self._blob(server), self.warm)
                verify(server, self._blob(server))
            server.remove()
        server = self.bench.start(kind, "own")
        load(server, "images", prefix="cold/app", count=1, connections=1, layer_size=self.scale.through_blob, seed=3)
        yield from self._repeat(server, self._blob(server), self.own)
        server.remove()

    def _blob(self, server):
        return server.path(REPOSITORY, f"blobs/{self.digest}")

    def _read_direct(self, source, these):
        """What a cold pull cannot beat, measured in the same round."""
        size = self.scale.through_blob
        path = self._blob(self.upstream)
        found = load(self.upstream, "pull", over=source, path=path, size=size, connections=1, requests=1)
        done, first_byte = these
        yield done, found["seconds"]
        yield first_byte, found["first_byte_ms"]["p50"]

    def _repeat(self, server, path, these):
        found = load(server, "pull", path=path, connections=16, seconds=self.scale.small_seconds)
        yield from transfer(found, these)

    def _pull_cold(self, server, count, these):
        # Every client asks for the manifest first.
        load(server, "pull", path=server.path(REPOSITORY, "manifests/latest"), connections=1, requests=1)
        size, path = self.scale.through_blob, self._blob(server)
        os.sync()
        used, read = process.processor_seconds(server.pids()), process.bytes_read(self.upstream.pids())
        found = load(server, "pull", path=path, size=size, connections=count, requests=count)
        # It may go on storing when the clients are served; that is part of this work, and must not disturb the next.
        more = seconds_of(lambda: wait_until_stored(server, self.digest))
        done, stored, first_byte, processor, fetched, client = these
        yield done, found["seconds"]
        yield stored, found["seconds"] + more
        yield first_byte, found["first_byte_ms"]["p50"]
        yield processor, (process.processor_seconds(server.pids()) - used) / (found["bytes"] / GIB)
        yield fetched, (process.bytes_read(self.upstream.pids()) - read) / size
        yield client, client_share(found)

    def finish(self):
        self.link.stop()
        self.upstream.remove()


def wait_until_stored(server, digest):
    deadline = time.monotonic() + STORED_WITHIN_SECONDS
    while not server.blob_file(digest).exists():
        server.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"{server.kind} did not store what it fetched")
        time.sleep(0.002)
