"""The work: what is prepared once, what is measured each round, and which rows come of it."""

import hashlib
import os
import time

from link import Link
from servers import KINDS, DOCKER_REGISTRY
from table import Row
from trickle import SlowReaders, Trickle

MIB = 1024 * 1024
GIB = 1024 * MIB
MB = 1_000_000

LARGE = 512 * MIB
MEDIUM = 256 * MIB
SMALL = 4096

# How long small requests are repeated in each round.
SECONDS = 3

# A fill that is not stored after this long has failed.
STORED_WITHIN_SECONDS = 120

SPEED = ("speed", "MB/s", True)
PROCESSOR = ("server's processor", "s/GiB", False)
RATE = ("rate", "requests/s", True)
PROCESSOR_EACH = ("server's processor", "µs each", False)


def rows(work, *columns):
    return [Row(work, *column) for column in columns]


def push(server, size, seed, way="whole", repository="bench/app"):
    return server.load("push", repository=repository, size=size, seed=seed, way=way)


def pushed_and_verified(server, size, seed):
    """Pushes a blob and reads it back whole once, so that what is measured later is known to be right."""
    digest = push(server, size, seed)["digest"]
    content = server.get(f"/v2/bench/app/blobs/{digest}").content
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        raise RuntimeError(f"{server.kind} gave back other bytes than were pushed")
    return digest


def transfer(found, size_rows):
    """Speed and processor time of a transfer."""
    speed, processor = size_rows
    yield speed, found["bytes"] / MB / found["seconds"]
    yield processor, found["processor_seconds"] / (found["bytes"] / GIB)


class Pair:
    """A group of work on one long-lived server of each kind."""

    def __init__(self, bench):
        self.servers = {kind: bench.start(kind, type(self).__name__.lower()) for kind in KINDS}

    def finish(self):
        for server in self.servers.values():
            server.stop()


class Pull(Pair):
    """One large blob, read over and over."""

    REQUESTS = {1: 8, 8: 16, 64: 64}

    def __init__(self, bench):
        super().__init__(bench)
        self.digests = {kind: pushed_and_verified(server, LARGE, 1) for kind, server in self.servers.items()}
        self.rows = {count: rows(f"pull of 512 MiB, {count} at once", SPEED, PROCESSOR) for count in self.REQUESTS}
        self.memory = Row("most memory, 64 at once", "resident", "MiB", False)

    def measure(self, kind, _round):
        server, path = self.servers[kind], f"/v2/bench/app/blobs/{self.digests[kind]}"
        for connections, requests in self.REQUESTS.items():
            found = server.load("pull", path=path, size=LARGE, connections=connections, requests=requests)
            yield from transfer(found, self.rows[connections])
        yield self.memory, server.memory_mib("VmHWM")


class Small(Pair):
    """Small answers on 32 connections."""

    CONNECTIONS = 32

    def __init__(self, bench):
        super().__init__(bench)
        works = {"blob": "GET of a 4 KiB blob", "manifest": "GET of a manifest by tag", "head": "HEAD of a blob"}
        latency = ("99th of 100", "ms", False)
        self.rows = {key: rows(f"{work}, 32 at once", RATE, latency, PROCESSOR_EACH) for key, work in works.items()}
        self.paths = {}
        for kind, server in self.servers.items():
            blob = f"/v2/bench/app/blobs/{pushed_and_verified(server, SMALL, 2)}"
            server.load("tags", repository="bench/app", count=1, connections=1)
            self.paths[kind] = {"blob": blob, "manifest": "/v2/bench/app/manifests/latest", "head": blob}

    def measure(self, kind, _round):
        for key, path in self.paths[kind].items():
            method = "HEAD" if key == "head" else "GET"
            found = self.servers[kind].load(
                "pull", path=path, connections=self.CONNECTIONS, seconds=SECONDS, method=method
            )
            rate, latency, processor = self.rows[key]
            yield rate, found["requests"] / found["seconds"]
            yield latency, found["whole_ms"]["p99"]
            yield processor, found["processor_seconds"] / found["requests"] * 1e6


class Push(Pair):
    """A large blob that nobody has. What the server left to the kernel is synced on its account."""

    WAYS = {"whole": "push of 256 MiB, POST and PUT", "chunked": "push of 256 MiB, as the Docker engine does"}

    def __init__(self, bench):
        super().__init__(bench)
        self.rows = {way: rows(work, SPEED, PROCESSOR) for way, work in self.WAYS.items()}

    def measure(self, kind, number):
        for place, way in enumerate(self.WAYS):
            os.sync()
            found = push(self.servers[kind], MEDIUM, 1000 + 10 * number + place, way)
            found["seconds"] += seconds_of(os.sync)
            yield from transfer(found, self.rows[way])


class Images(Pair):
    """Many small images."""

    COUNT = 300

    def __init__(self, bench):
        super().__init__(bench)
        self.rows = rows(
            "push of 300 small images, 8 at once",
            ("rate", "images/s", True),
            ("99th of 100", "ms", False),
            ("server's processor", "ms each", False),
        )

    def measure(self, kind, number):
        os.sync()
        found = self.servers[kind].load(
            "images",
            prefix=f"small/round-{number}",
            count=self.COUNT,
            connections=8,
            layer_size=SMALL,
            seed=1 + number,
        )
        seconds = found["seconds"] + seconds_of(os.sync)
        rate, latency, processor = self.rows
        yield rate, found["images"] / seconds
        yield latency, found["image_ms"]["p99"]
        yield processor, found["processor_seconds"] / found["images"] * 1000


class Tags(Pair):
    """A list of 1,000 tags, in one page."""

    def __init__(self, bench):
        super().__init__(bench)
        for server in self.servers.values():
            server.load("tags", repository="bench/app", count=1000, connections=8)
        self.rows = rows("list of 1,000 tags", ("middle of 100", "ms", False), PROCESSOR_EACH)

    def measure(self, kind, _round):
        path = "/v2/bench/app/tags/list?n=1001"
        found = self.servers[kind].load("pull", path=path, connections=1, requests=100)
        latency, processor = self.rows
        yield latency, found["whole_ms"]["p50"]
        yield processor, found["processor_seconds"] / found["requests"] * 1e6


class Through:
    """A blob pulled through from a docker-registry, first over a link of 100 MB/s, then with nothing between that slows it
    down. Every cold pull finds an empty cache."""

    LINK_BYTES_PER_SECOND = 100_000_000

    def __init__(self, bench):
        self.bench = bench
        self.upstream = bench.start(DOCKER_REGISTRY, "upstream")
        pushed = self.upstream.load("images", prefix="cold/app", count=1, connections=1, layer_size=MEDIUM, seed=3)
        self.digest = pushed["layers"][0]
        self.link = Link(self.upstream, self.LINK_BYTES_PER_SECOND)
        self.cold = {
            (count, source): rows(
                f"cold pull through of 256 MiB, {count} at once{where}",
                ("last client done", "s", False),
                ("in the cache", "s", False),
                ("first byte, middle", "ms", False),
                ("server's processor", "s/GiB", False),
                ("read by the upstream", "times the blob", False),
            )
            for count, source, where in (
                (1, self.link, ", over 100 MB/s"),
                (16, self.link, ", over 100 MB/s"),
                (1, self.upstream, ""),
                (16, self.upstream, ""),
            )
        }
        self.direct = rows(
            "the same blob read from the upstream itself, 1 at once, over 100 MB/s",
            ("last client done", "s", False),
            ("first byte, middle", "ms", False),
        )
        self.warm = rows("warm pull through of 256 MiB, 16 at once", SPEED, PROCESSOR)

    def measure(self, kind, _round):
        yield from self._read_direct()
        for (count, source), cold in self.cold.items():
            server = self.bench.start(kind, "through", source)
            yield from self._pull_cold(server, count, cold)
            if (count, source) == (16, self.upstream):
                path = server.path("cold/app-0", f"blobs/{self.digest}")
                found = server.load("pull", path=path, size=MEDIUM, connections=16, requests=32)
                yield from transfer(found, self.warm)
            server.stop()

    def _read_direct(self):
        """What a cold pull cannot beat, measured in the same round."""
        path = self.upstream.path("cold/app-0", f"blobs/{self.digest}")
        found = self.upstream.load("pull", over=self.link, path=path, size=MEDIUM, connections=1, requests=1)
        done, first_byte = self.direct
        yield done, found["seconds"]
        yield first_byte, found["first_byte_ms"]["p50"]

    def _pull_cold(self, server, count, cold):
        # Every client asks for the manifest first.
        server.load("pull", path=server.path("cold/app-0", "manifests/latest"), connections=1, requests=1)
        path = server.path("cold/app-0", f"blobs/{self.digest}")
        os.sync()
        processor, read = server.processor_seconds(), self.upstream.bytes_read()
        found = server.load("pull", path=path, size=MEDIUM, connections=count, requests=count)
        # It may go on storing when the clients are served; that is part of this work, and must not disturb the next.
        more = seconds_of(lambda: wait_until_stored(server, self.digest))
        done, stored, first_byte, used, fetched = cold
        yield done, found["seconds"]
        yield stored, found["seconds"] + more
        yield first_byte, found["first_byte_ms"]["p50"]
        yield used, (server.processor_seconds() - processor) / (found["bytes"] / GIB)
        yield fetched, (self.upstream.bytes_read() - read) / MEDIUM

    def finish(self):
        self.link.stop()
        self.upstream.stop()


class Slow:
    """Fifty fills of a GiB each, slow at both ends: what is on its way must lie on the disk, not in memory."""

    FILLS = 50
    UPSTREAM_BYTES_PER_SECOND = 2_000_000
    CLIENT_BYTES_PER_SECOND = 400_000
    EARLY_SECONDS, LATE_SECONDS = 15, 45

    def __init__(self, bench):
        self.bench = bench
        self.upstream = Trickle(self.FILLS, self.UPSTREAM_BYTES_PER_SECOND)
        work = "50 fills of 1 GiB, 2 MB/s in and 0.4 MB/s out each"
        self.early = Row(work, f"resident after {self.EARLY_SECONDS} s", "MiB", False)
        self.late = Row(work, f"resident after {self.LATE_SECONDS} s", "MiB", False)

    def measure(self, kind, _round):
        server = self.bench.start(kind, "slow", self.upstream)
        server.get(server.path("slow/app", "manifests/latest"))
        paths = [server.path("slow/app", f"blobs/{digest}") for digest in self.upstream.digests]
        readers = SlowReaders(server.address, paths, self.CLIENT_BYTES_PER_SECOND)
        time.sleep(self.EARLY_SECONDS)
        yield self.early, server.memory_mib("VmRSS")
        time.sleep(self.LATE_SECONDS - self.EARLY_SECONDS)
        yield self.late, server.memory_mib("VmRSS")
        readers.stop()
        server.stop()

    def finish(self):
        self.upstream.stop()


class Footprint:
    """A server that has just been started and has nothing to do."""

    STARTS = 5

    def __init__(self, bench):
        self.bench = bench
        self.first, self.again = (
            Row(f"start to first answer, {storage}", "time", "ms", False)
            for storage in ("new storage", "storage that is there")
        )
        self.memory = Row("idle after the start", "resident memory", "MiB", False)

    def measure(self, kind, _round):
        first = self._start(kind, fresh=True)
        again = sorted(self._start(kind, fresh=False) for _ in range(self.STARTS))
        yield self.first, first * 1000
        yield self.again, again[self.STARTS // 2] * 1000
        server = self.bench.start(kind, "footprint")
        time.sleep(1)
        yield self.memory, server.memory_mib("VmRSS")
        server.stop()

    def _start(self, kind, fresh):
        server = self.bench.start(kind, "footprint", fresh=fresh)
        server.stop()
        return server.seconds_to_start

    def finish(self):
        pass


GROUPS = {
    "pull": Pull,
    "small": Small,
    "push": Push,
    "images": Images,
    "tags": Tags,
    "through": Through,
    "slow": Slow,
    "footprint": Footprint,
}


def seconds_of(action):
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def wait_until_stored(server, digest):
    deadline = time.monotonic() + STORED_WITHIN_SECONDS
    while not server.has_stored(digest):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{server.kind} did not store what it fetched")
        time.sleep(0.002)
