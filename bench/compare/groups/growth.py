"""What reading and pushing cost when there is more and more in the store: as many tags, manifests and blobs, in one
repository."""

import time

import kinds
from clients import load
from fill import fill
from groups.common import Group
from samples import Column, rows

REPOSITORY = "growth/app"
CONNECTIONS = 16
# Small enough that even the smallest store has a whole page behind its middle.
PAGE = 50

MICROSECONDS = Column("processor", "server's processor", "µs each")
WHOLE = Column("p50", "middle", "ms")


class Growth(Group):
    """One server for each size, all of them ours: what differs between the columns is the size alone."""

    kinds = [kinds.ENTREPOT]
    makes_many_files = True

    def __init__(self, bench):
        super().__init__(bench)
        self.kinds = [str(count) for count in self.scale.growth]
        self.servers = {str(count): self._filled(count) for count in self.scale.growth}
        columns = (WHOLE, MICROSECONDS)
        self.any = rows("growth-any", f"GET of any of the manifests by tag, {CONNECTIONS} at once", *columns)
        self.same = rows("growth-same", f"GET of one manifest by tag, {CONNECTIONS} at once", *columns)
        self.page = rows("growth-page", f"a page of {PAGE} tags from the middle", *columns)
        self.images = rows(
            "growth-images", f"push of {self.scale.growth_images:,} small images, {CONNECTIONS} at once", *columns
        )
        self.tags = rows("growth-tags", f"push of {self.scale.growth_tags:,} tags, {CONNECTIONS} at once", *columns)

    def _filled(self, count):
        name = f"growth-{count}"
        server = self.bench.start(kinds.ENTREPOT, name)
        load(server, "tags", repository=REPOSITORY, count=0, connections=1)
        server.stop()
        begun = time.monotonic()
        fill(server.folder / "registry/entrepot.sqlite", REPOSITORY, count)
        print(f"growth: filled with {count:,} images in {time.monotonic() - begun:.0f} s", flush=True)
        return self.bench.start(kinds.ENTREPOT, name, fresh=False)

    def measure(self, kind, number):
        server, count = self.servers[kind], int(kind)
        path, seconds = f"/v2/{REPOSITORY}/manifests/tag-", self.scale.small_seconds
        for these, tag in ((self.any, "{}"), (self.same, "0000042")):
            found = load(server, "pull", path=path + tag, spread=count, connections=CONNECTIONS, seconds=seconds)
            yield from both(these, found["whole_ms"], found, found["requests"])
        last = f"tag-{count // 2 - PAGE // 2:07}"
        lists = self.scale.growth_lists
        options = {"page": PAGE, "pages": 1, "last": last, "times": lists}
        found = load(server, "list", repository=REPOSITORY, count=PAGE, **options)
        yield from both(self.page, found["list_ms"], found, lists)
        options = {
            "count": self.scale.growth_images,
            "connections": CONNECTIONS,
            "layer_size": 4096,
            "seed": 100 + number,
        }
        found = load(server, "images", prefix=f"growth/round-{number}", **options)
        yield from both(self.images, found["image_ms"], found, found["images"])
        # New tags of a new manifest, behind all others.
        tags = self.scale.growth_tags
        options = {"count": tags, "connections": CONNECTIONS, "seed": 100 + number, "from": count + number * tags}
        found = load(server, "tags", repository=REPOSITORY, **options)
        yield from both(self.tags, found["tag_ms"], found, found["tags"])

    def finish(self):
        for server in self.servers.values():
            server.remove()


def both(these, latencies, found, count):
    middle, processor = these
    yield middle, latencies["p50"]
    yield processor, found["server_seconds"] / count * 1e6
