"""A thousand clients that read one large blob, others that push, and one that asks for something small: does everybody
get a share?"""

import kinds
import process
from clients import begin, finish
from groups.common import Standing
from samples import CLIENT, MIDDLE, PROCESSOR, SLOWEST, SPEED, Column, rows
from scale import GIB, MB


class Crowd(Standing):
    """Nobody can push to nginx: there it is the thousand and the one alone."""

    def __init__(self, bench):
        super().__init__(bench)
        readers, writers = self.scale.crowd, self.scale.crowd_pushes
        work = f"{readers:,} clients pull a large blob, {writers} push"
        self.rows = rows(
            "crowd",
            work,
            SPEED,
            PROCESSOR,
            Column("share", "read by the slowest client", "% of the middle one's", True),
            Column("pushed", "pushed meanwhile", "MB/s", True),
            Column("memory", "most memory", "MiB"),
            CLIENT,
        )
        self.small = rows("crowd-small", f"{work}: GET of a manifest by tag meanwhile, 1 at once", MIDDLE, SLOWEST)

    def measure(self, kind, number):
        server, paths, seconds = self.servers[kind], self.paths[kind], 1.5 * self.scale.large_seconds
        process.forget_peak(server.pids())
        pushing = None
        if kind in kinds.REGISTRIES:
            pushing = begin(
                server,
                "push",
                repository="bench/pushed",
                size=self.scale.crowd_blob,
                seed=5000 + number,
                way="chunked",
                parallel=self.scale.crowd_pushes,
                seconds=seconds,
            )
        reading = begin(server, "pull", path=paths["large"], connections=self.scale.crowd, seconds=seconds)
        asking = begin(server, "pull", path=paths["tag"], connections=1, seconds=seconds)
        asked, read = finish(server, asking), finish(server, reading)
        pushed = finish(server, pushing) if pushing else None
        speed, processor, share, push_speed, memory, client = self.rows
        yield speed, read["bytes"] / MB / read["seconds"]
        moved = read["bytes"] + (pushed["bytes"] if pushed else 0)
        yield processor, read["server_seconds"] / (moved / GIB)
        yield share, read["connection_bytes"]["least"] / max(read["connection_bytes"]["middle"], 1) * 100
        if pushed:
            yield push_speed, pushed["bytes"] / MB / pushed["seconds"]
        yield memory, process.memory_mib(server.pids(), "VmHWM")
        used = sum(one["client_seconds"] for one in (asked, read, pushed) if one)
        yield client, used / read["seconds"] * 100
        middle, slowest = self.small
        yield middle, asked["whole_ms"]["p50"]
        yield slowest, asked["whole_ms"]["p99"]
