"""Fifty fills of a GiB each, slow at both ends: what is on its way must lie on the disk, not in memory."""

import time

import kinds
import process
from groups.common import Group
from samples import Column, rows
from trickle import SlowReaders, Trickle

UPSTREAM_BYTES_PER_SECOND = 2_000_000
CLIENT_BYTES_PER_SECOND = 400_000


class Slow(Group):
    kinds = kinds.REGISTRIES
    # The readers' pace decides how long it takes, and memory hardly varies.
    rounds_most = 2

    def __init__(self, bench):
        super().__init__(bench)
        self.upstream = Trickle(self.scale.slow_fills, UPSTREAM_BYTES_PER_SECOND)
        self.times = self.scale.slow_seconds
        columns = [Column(f"memory-{at}", f"resident after {at} s", "MiB") for at in self.times]
        self.rows = rows("slow", f"{self.scale.slow_fills} fills of 1 GiB, 2 MB/s in and 0.4 MB/s out each", *columns)

    def measure(self, kind, _number):
        server = self.bench.start(kind, "slow", self.upstream)
        server.get(server.path("slow/app", "manifests/latest"))
        paths = [server.path("slow/app", f"blobs/{digest}") for digest in self.upstream.digests]
        readers = SlowReaders(server.address, paths, CLIENT_BYTES_PER_SECOND)
        begun = time.monotonic()
        for at, row in zip(self.times, self.rows):
            time.sleep(max(0, begun + at - time.monotonic()))
            yield row, process.memory_mib(server.pids(), "VmRSS")
        readers.stop()
        server.remove()

    def finish(self):
        self.upstream.stop()
