"""Large blobs that nobody has. What a server left to the kernel is synced on its account."""

import hashlib
import os
import time

import kinds
from clients import load
from groups.common import Group, seconds_of, transfer
from samples import CLIENT, PROCESSOR, SPEED, Column, rows
from scale import GIB, size

PARALLEL = 8

# What a push cannot cost less than on this machine.
HASHED_BYTES = 256 * 1024 * 1024


HASH = Column("processor", "processor", "s/GiB")


class Push(Group):
    """Every measurement has fresh folders: no push finds the disk fuller than another."""

    kinds = kinds.REGISTRIES

    def __init__(self, bench):
        super().__init__(bench)
        one, each = self.scale.pushed_blob, self.scale.parallel_blob
        columns = (SPEED, PROCESSOR, CLIENT)
        (self.hash,) = rows("hash", "sha256 alone, of what is in memory, by OpenSSL", HASH)
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
        if kind == kinds.ENTREPOT:
            yield self.hash, hashed()
        for place, (these, count, way, parallel) in enumerate(self.work):
            server = self.bench.start(kind, "push")
            os.sync()
            seed = 1000 + 10 * number + place
            found = load(server, "push", repository="bench/app", size=count, seed=seed, way=way, parallel=parallel)
            found["seconds"] += seconds_of(os.sync)
            yield from transfer(found, these)
            server.remove()


def hashed():
    """The processor time of a hash of a GiB."""
    content = b"." * HASHED_BYTES
    begun = time.process_time()
    hashlib.sha256(content).digest()
    return (time.process_time() - begun) * GIB / HASHED_BYTES
