"""A server that has just been started and has nothing to do."""

import time

import process
from groups.common import Group
from samples import Column, rows

STARTS = 5


class Footprint(Group):
    def __init__(self, bench):
        super().__init__(bench)
        time_column = Column("time", "time", "ms")
        self.first = rows("start-new", "start to first answer, new storage", time_column)
        self.again = rows("start", "start to first answer, storage that is there", time_column)
        self.memory = rows("idle", "idle after the start", Column("memory", "resident memory", "MiB"))

    def measure(self, kind, _number):
        yield self.first[0], self._start(kind, fresh=True) * 1000
        again = sorted(self._start(kind, fresh=False) for _ in range(STARTS))
        yield self.again[0], again[STARTS // 2] * 1000
        server = self.bench.start(kind, "footprint")
        time.sleep(1)
        yield self.memory[0], process.memory_mib(server.pids(), "VmRSS")
        server.remove()

    def _start(self, kind, fresh):
        server = self.bench.start(kind, "footprint", fresh=fresh)
        server.stop()
        return server.seconds_to_start
