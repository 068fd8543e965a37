"""Many tags of one manifest: pushed, and listed by pages of two sizes."""

import os

import kinds
from clients import load
from groups.common import Group, client_share, seconds_of
from samples import CLIENT, SLOWEST, Column, rows

AT_ONCE = 16
PAGES = (100, 1000)
LISTED_TIMES = 20


class Tags(Group):
    """docker-registry 2.8 does not know pages: it sends all tags at once, whatever is asked for."""

    kinds = kinds.REGISTRIES

    def __init__(self, bench):
        super().__init__(bench)
        count = f"{self.scale.tags:,} tags"
        rate = Column("rate", "rate", "tags/s", True)
        processor = Column("processor", "server's processor", "µs each")
        self.pushed = rows(
            "tags", f"push of {count} of one manifest, {AT_ONCE} at once", rate, SLOWEST, processor, CLIENT
        )
        columns = (Column("total", "all pages", "ms"), Column("processor", "server's processor", "ms"), CLIENT)
        self.listed = {page: rows(f"list-{page}", f"list of {count}, by {page}", *columns) for page in PAGES}
        self.servers = {kind: bench.start(kind, "tags") for kind in self.kinds}

    def measure(self, kind, number):
        server, repository = self.servers[kind], f"tags/round-{number}"
        os.sync()
        found = load(server, "tags", repository=repository, count=self.scale.tags, connections=AT_ONCE)
        found["seconds"] += seconds_of(os.sync)
        rate, slowest, processor, client = self.pushed
        yield rate, found["tags"] / found["seconds"]
        yield slowest, found["tag_ms"]["p99"]
        yield processor, found["server_seconds"] / found["tags"] * 1e6
        yield client, client_share(found)
        for page, (total, processor, client) in self.listed.items():
            # The image itself came as `latest`.
            count = self.scale.tags + 1
            found = load(server, "list", repository=repository, page=page, count=count, times=LISTED_TIMES)
            yield total, found["list_ms"]["p50"]
            yield processor, found["server_seconds"] / LISTED_TIMES * 1e3
            yield client, client_share(found)

    def finish(self):
        for server in self.servers.values():
            server.remove()
