"""Many small images that share nothing: for each, two blobs that are asked for and pushed, and a manifest."""

import os

import kinds
from clients import load
from groups.common import Group, client_share, seconds_of
from samples import CLIENT, MIDDLE, SLOWEST, Column, rows

AT_ONCE = 16
LAYER_BYTES = 4096


class Images(Group):
    kinds = kinds.REGISTRIES
    makes_many_files = True

    def __init__(self, bench):
        super().__init__(bench)
        rate = Column("rate", "rate", "images/s", True)
        processor = Column("processor", "server's processor", "ms each")
        work = f"push of {self.scale.images:,} small images, {AT_ONCE} at once"
        self.rows = rows("images", work, rate, MIDDLE, SLOWEST, processor, CLIENT)
        self.servers = {kind: bench.start(kind, "images") for kind in self.kinds}

    def measure(self, kind, number):
        os.sync()
        found = load(
            self.servers[kind],
            "images",
            prefix=f"small/round-{number}",
            count=self.scale.images,
            connections=AT_ONCE,
            layer_size=LAYER_BYTES,
            seed=1 + number,
        )
        found["seconds"] += seconds_of(os.sync)
        rate, middle, slowest, processor, client = self.rows
        yield rate, found["images"] / found["seconds"]
        yield middle, found["image_ms"]["p50"]
        yield slowest, found["image_ms"]["p99"]
        yield processor, found["server_seconds"] / found["images"] * 1000
        yield client, client_share(found)

    def finish(self):
        for server in self.servers.values():
            server.remove()
