"""What replicas share in the place of folders: one bucket of one Garage, and PostgreSQL. docker-registry's driver for S3 has a bucket of
the same Garage beside it."""

import http.client
import os
import statistics
import time

import counting
import kinds
import process
from clients import load
from groups.common import Group, client_share, verify
from samples import CLIENT, MIDDLE, PROCESSOR, PROCESSOR_EACH, RATE, SLOWEST, SPEED, Column, rows
from scale import GIB, MB, size
from stores import Garage, Postgres, Shared

PARALLEL = 8
PULLED_AT_ONCE = (1, 8)
SMALL_AT_ONCE = 16
LAYER_BYTES = 4096
LISTED_TIMES = 10
COUNTED_TIMES = 5
WARMED_TIMES_MAX = 20

MEMORY = Column("memory", "most memory", "MiB")


def beside(unit, factor):
    """Figures of the stores for one piece of work, in so many units of it."""
    what = [("statements", "statements to PostgreSQL"), ("objects", "requests to the bucket")]
    counts = [Column(key, label, unit) for key, label in what]
    return [
        *counts,
        Column("postgres", "PostgreSQL's processor", factor),
        Column("garage", "Garage's processor", factor),
    ]


EACH, FOR_GIB = beside("each", "µs each"), beside("for a blob", "s/GiB")


class Scale(Group):
    """Three replicas of ours in one bucket and one database, which differ in how blobs leave: through the process, from its read cache, by
    a redirect. Of docker-registry two, likewise; it has no cache of bytes."""

    kinds = kinds.REGISTRIES
    rounds_most = 3

    def __init__(self, bench):
        super().__init__(bench)
        folder = bench.folder / "stores"
        self.garage = Garage(bench.running, folder / "garage")
        self.postgres = Postgres(bench.running, folder / "postgres")
        self.versions = [self.garage.version(), self.postgres.version()]
        self._make_rows()
        self._start()

    def _make_rows(self):
        scale = self.scale
        transfer, small = (SPEED, PROCESSOR, *FOR_GIB, CLIENT), (RATE, MIDDLE, SLOWEST, PROCESSOR_EACH, *EACH, CLIENT)
        self.pushes = [
            (rows("shared-push", f"push of {size(scale.shared_push)}, POST and PUT", *transfer), scale.shared_push, "whole", 1),
            (
                rows(
                    "shared-parallel",
                    f"push of {PARALLEL} x {size(scale.shared_parallel)} at once, as the Docker engine does",
                    *transfer,
                ),
                scale.shared_parallel,
                "chunked",
                PARALLEL,
            ),
        ]
        work = f"push of {scale.shared_images} small images, {SMALL_AT_ONCE} at once"
        columns = (Column("rate", "rate", "images/s", True), MIDDLE, SLOWEST, PROCESSOR_EACH, *EACH, CLIENT)
        self.images = rows("shared-images", work, *columns)
        self.log = rows(
            "shared-log",
            "PostgreSQL under those small images",
            Column("rows", "rows changed", "for an image"),
            Column("bytes", "log for a row, without full pages", "bytes"),
            Column("flush", "a flush of the log", "ms"),
            Column("trip", "SELECT 1 on a connection, afterwards", "ms"),
        )
        blob, ways = size(scale.shared_pull), {
            "plain": "through the registry",
            "cached": "through the registry, from its read cache",
            "redirect": "redirected to the bucket",
        }
        self.pulls = {
            (way, count): rows(f"shared-{way}-{count}", f"pull of {blob}, {count} at once, {how}", *transfer)
            for way, how in ways.items()
            for count in PULLED_AT_ONCE
        }
        self.asked = rows("shared-asked", "the redirect itself, 1 at once", MIDDLE, PROCESSOR_EACH, *EACH)
        self.first = rows("shared-4k", "GET of a 4 KiB blob through the registry, 1 at once", MIDDLE, PROCESSOR_EACH, *EACH)
        works = {
            "tag": ("GET of a manifest by tag", "GET", "tag"),
            "digest": ("GET of a manifest by digest", "GET", "digest"),
            "head": ("HEAD of a blob", "HEAD", "large"),
        }
        self.small = {
            key: (rows(f"shared-{key}", f"{work}, {SMALL_AT_ONCE} at once", *small), method, what)
            for key, (work, method, what) in works.items()
        }
        columns = (Column("rate", "rate", "tags/s", True), SLOWEST, PROCESSOR_EACH, *EACH, CLIENT)
        self.tags = rows("shared-tags", f"push of {scale.shared_tags:,} tags of one manifest, {SMALL_AT_ONCE} at once", *columns)
        columns = (Column("total", "all of them", "ms"), PROCESSOR_EACH, *EACH, CLIENT)
        self.listed = rows("shared-list", f"list of {scale.shared_tags:,} tags, by 1000", *columns)
        (self.memory,) = rows("shared-memory", "all of the pushes and pulls through the registry", MEMORY)

    def _start(self):
        self.servers, self.paths = {}, {}
        for kind in self.kinds:
            place = Shared(self.garage.address, self.garage.bucket(kind), "")
            if kind == kinds.ENTREPOT:
                place = Shared(place.address, place.bucket, self.postgres.database("entrepot"))
            ways = {"plain": {}, "redirect": {"redirect": True}} | ({"cached": {"cache": True}} if kind == kinds.ENTREPOT else {})
            for way, options in ways.items():
                shared = Shared(place.address, place.bucket, place.database, **options)
                self.servers[kind, way] = self.bench.start(kind, f"shared-{way}", shared=shared)
            self.paths[kind] = self._fill(kind)

    def _fill(self, kind):
        server = self.servers[kind, "plain"]
        image = load(server, "tags", repository="bench/app", count=1, connections=1)
        # Garage keeps equal blocks once: nobody's bytes may be there already from the other.
        seed = self._seed(kind, 0, 9)
        pushed = load(server, "push", repository="bench/app", size=self.scale.shared_pull, seed=seed, way="whole")
        paths = {
            "tag": "/v2/bench/app/manifests/latest",
            "digest": f"/v2/bench/app/manifests/{image['digest']}",
            "small": f"/v2/bench/app/blobs/{image['layer']}",
            "large": f"/v2/bench/app/blobs/{pushed['digests'][0]}",
        }
        for way in ("plain", "cached"):
            if (kind, way) in self.servers:
                verify(self.servers[kind, way], paths["large"])
        if (kind, "cached") in self.servers:
            warm(self.servers[kind, "cached"], paths["large"])
        return paths

    def _seed(self, kind, number, place):
        return 100_000 * (1 + self.kinds.index(kind)) + 10 * number + place

    def measure(self, kind, number):
        server = self.servers[kind, "plain"]
        process.forget_peak(server.pids())
        for place, (these, count, way, parallel) in enumerate(self.pushes):
            os.sync()
            options = {"size": count, "seed": self._seed(kind, number, place), "way": way, "parallel": parallel}
            found = self._watched(server, lambda: load(server, "push", repository="bench/pushed", **options))
            yield from transferred(found, these, parallel)
        yield from self._push_images(kind, number)
        for (way, count), these in self.pulls.items():
            if (kind, way) in self.servers:
                pull = self._pull_redirected if way == "redirect" else self._pull
                yield from transferred(pull(kind, way, count), these, times_pulled(count))
        yield self.memory, process.memory_mib(server.pids(), "VmHWM")
        yield from self._ask(kind)
        path, seconds = self.paths[kind]["small"], min(1, self.scale.small_seconds)
        found = self._watched(server, lambda: load(server, "pull", path=path, connections=1, seconds=seconds))
        yield from answered(found, self.first, found["requests"], {"p50": found["whole_ms"]["p50"]})
        for these, method, what in self.small.values():
            options = {"path": self.paths[kind][what], "connections": SMALL_AT_ONCE, "method": method, "seconds": seconds}
            found = self._watched(server, lambda: load(server, "pull", **options))
            yield from answered(found, these, found["requests"], latencies(found, "whole_ms", "requests"))
        yield from self._tags(kind, number)
        if kind == kinds.ENTREPOT:
            yield from self._count(server, number)

    def _count(self, server, number):
        """What single requests ask of the stores. Whatever a replica does besides may add to one of them, so the least of a few counts."""
        least = {}
        for turn in range(COUNTED_TIMES):
            for name, found in counting.requests(server, f"{number}-{turn}", self.paths[kinds.ENTREPOT]["large"]):
                for key in ("statements", "objects"):
                    least[name, key] = min(found[key], least.get((name, key), found[key]))
        for name in dict.fromkeys(name for name, _ in least):
            these = rows(f"shared-counted-{name}", f"{name}, one request", *EACH[:2])
            yield from zip(these, (least[name, "statements"], least[name, "objects"]))

    def _push_images(self, kind, number):
        server, count = self.servers[kind, "plain"], self.scale.shared_images
        os.sync()
        place, (flushed, took) = self.postgres.log_place(), self.postgres.flushes()
        options = {"prefix": f"small/round-{number}", "count": count, "connections": SMALL_AT_ONCE, "layer_size": LAYER_BYTES}
        options["seed"] = self._seed(kind, number, 5)
        found = self._watched(server, lambda: load(server, "images", **options))
        yield from answered(found, self.images, found["images"], latencies(found, "image_ms", "images"))
        if kind == kinds.ENTREPOT:
            changed, records = self.postgres.log_since(place)
            flushes, taken = self.postgres.flushes()
            # Sessions say what they flushed a moment later.
            values = [changed / count, records / changed]
            values.append((taken - took) / max(1, flushes - flushed))
            yield from zip(self.log, [*values, self.postgres.round_trip()])

    def _tags(self, kind, number):
        server, count, repository = self.servers[kind, "plain"], self.scale.shared_tags, f"tags/round-{number}"
        os.sync()
        options = {"repository": repository, "count": count, "connections": SMALL_AT_ONCE}
        found = self._watched(server, lambda: load(server, "tags", **options))
        yield from answered(found, self.tags, count, latencies(found, "tag_ms", "tags"))
        # The image itself came as `latest`; a page that is one short of all would be followed by another.
        options = {"repository": repository, "page": 1000, "count": count + 1, "times": LISTED_TIMES}
        found = self._watched(server, lambda: load(server, "list", **options))
        yield from answered(found, self.listed, LISTED_TIMES, {"total": found["list_ms"]["p50"]})

    def _pull(self, kind, way, count):
        server = self.servers[kind, way]
        return self._watched(server, lambda: self._load(server, self.paths[kind]["large"], count))

    def _load(self, server, path, count, over=None):
        options = {"path": path, "size": self.scale.shared_pull, "connections": count, "threads": min(count, 2)}
        return load(server, "pull", over, requests=times_pulled(count), **options)

    def _pull_redirected(self, kind, way, count):
        """The bytes come from Garage itself; each pull has asked the registry before where they are."""
        server = self.servers[kind, way]

        def action():
            used = process.processor_seconds(server.pids())
            places, took = ask(server, self.paths[kind]["large"], times_pulled(count))
            host, _, path = places[0].removeprefix("http://").partition("/")
            if host != self.garage.address:
                raise RuntimeError(f"{kind} sends clients to {host}, and not to the bucket")
            found = self._load(server, f"/{path}", count, self.garage)
            found["seconds"] += sum(took)
            found["server_seconds"] = process.processor_seconds(server.pids()) - used
            return found

        return self._watched(server, action)

    def _ask(self, kind):
        server, count = self.servers[kind, "redirect"], self.scale.shared_asks
        used = process.processor_seconds(server.pids())

        def action():
            return {"took": ask(server, self.paths[kind]["large"], count)[1]}

        found = self._watched(server, action)
        found["server_seconds"] = process.processor_seconds(server.pids()) - used
        yield from answered(found, self.asked, count, {"p50": statistics.median(found["took"]) * 1000})

    def _watched(self, server, action):
        """What an action found, and what it took of the stores."""
        before = counting.counters(server)
        used = [store.processor_seconds() for store in (self.postgres, self.garage)]
        found = action()
        for key, store, begun in zip(("postgres", "garage"), (self.postgres, self.garage), used):
            found[key] = store.processor_seconds() - begun
        after = counting.counters(server)
        for key, count in before.items():
            found[key] = None if count is None else after[key] - count
        if server.kind != kinds.ENTREPOT:
            # It has nothing to do with it.
            found["postgres"] = None
        return found

    def finish(self):
        for one in (*self.servers.values(), self.postgres, self.garage):
            one.stop()


def warm(server, path):
    """Reads a blob until nobody asks the bucket for it any more: it is in the cache a while after it was read."""
    for _ in range(WARMED_TIMES_MAX):
        before = counting.counters(server)["objects"]
        server.get(path)
        if counting.counters(server)["objects"] == before:
            return
        time.sleep(0.2)
    raise RuntimeError(f"{server.kind} does not keep in its read cache what was read {WARMED_TIMES_MAX} times")


def ask(server, path, times):
    """Asks where a blob is, and returns what was answered and how long each took, in seconds."""
    host, port = server.address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    places, took = [], []
    for _ in range(times):
        begun = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        took.append(time.perf_counter() - begun)
        if answer.status != 307:
            raise RuntimeError(f"{server.kind} answered {answer.status} where it was to redirect")
        places.append(answer.headers["Location"])
    connection.close()
    return places, took


def latencies(found, name, count):
    return {"rate": found[count] / found["seconds"], "p50": found[name]["p50"], "p99": found[name]["p99"]}


def times_pulled(count):
    """How often a blob is pulled on so many connections: one pull alone would be over too soon to be measured."""
    return max(count, 4)


def transferred(found, these, blobs):
    """The lines of a transfer."""
    share = found["bytes"] / GIB
    values = {key: found[key] and found[key] / share for key in ("postgres", "garage")}
    values |= {key: found[key] and found[key] / blobs for key in ("statements", "objects")}
    values |= {"speed": found["bytes"] / MB / found["seconds"], "processor": found["server_seconds"] / share}
    yield from known(these, values | {"client": client_share(found)})


def answered(found, these, count, values):
    """The lines of many small requests."""
    factors = {"statements": 1, "objects": 1, "postgres": 1e6, "garage": 1e6}
    values |= {key: found[key] and found[key] / count * factor for key, factor in factors.items()}
    values["processor"] = found["server_seconds"] / count * 1e6
    if "client_seconds" in found:
        values["client"] = client_share(found)
    yield from known(these, values)


def known(these, values):
    for row in these:
        value = values[row.key.rsplit(".", 1)[1]]
        if value is not None:
            yield row, value
