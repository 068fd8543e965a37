"""Large blobs that nobody has. What a server left to the kernel is synced on its account."""

import os

import kinds
from clients import load
from groups.common import Group, seconds_of, transfer
from samples import CLIENT, PROCESSOR, SPEED, rows
from scale import size

PARALLEL = 8


class Push(Group):
    """Every measurement has fresh folders: no push finds the disk fuller than another."""

    kinds = kinds.REGISTRIES

    def __init__(self, bench):
        super().__init__(bench)
        one, each = self.scale.pushed_blob, self.scale.parallel_blob
        columns = (SPEED, PROCESSOR, CLIENT)
        self.work = [
            (rows("push-whole", f"push of {size(one)}, POST and PUT", *columns), one, "whole", 1),
            (rows("push-chunked", f"push of {size(one)}, as the Docker engine does", *columns), one, "chunked", 1),
            (
                rows(
                    "push-parallel",
                    f"push of {PARALLEL} x {size(each)} at once, as the Docker engine does",
                    *columns,
                ),
                each,
                "chunked",
                PARALLEL,
            ),
        ]

    def measure(self, kind, number):
        for place, (these, count, way, parallel) in enumerate(self.work):
            server = self.bench.start(kind, "push")
            os.sync()
            seed = 1000 + 10 * number + place
            found = load(server, "push", repository="bench/app", size=count, seed=seed, way=way, parallel=parallel)
            found["seconds"] += seconds_of(os.sync)
            yield from transfer(found, these)
            server.remove()
