"""What a connection costs in memory: one that is kept open without a request, and one whose client is slow."""

import time

import process
from connections import Held
from groups.common import Standing
from samples import Column, rows

BLOB_BYTES = 64 * 1024 * 1024
RECEIVE_BUFFER = 64 * 1024
PIECE, PAUSE, READ_SECONDS = 4096, 0.1, 2


class Connections(Standing):
    """Resident memory of the server's processes; what the kernel holds for sockets is not in it."""

    def __init__(self, bench):
        super().__init__(bench)
        each = Column("memory", "resident memory", "KiB each")
        self.idle = rows("connection-idle", f"{self.scale.idle_connections:,} idle connections", each)
        self.busy = rows("connection-busy", f"{self.scale.slow_readers} slow readers of a large blob", each)

    def large_bytes(self):
        return BLOB_BYTES

    def measure(self, kind, _number):
        count = self.scale.idle_connections
        before, held = self._begin(kind, "/v2/", count, None)
        held.read_first()
        time.sleep(0.5)
        yield self.idle[0], self._each(kind, before, count)
        held.close()
        count = self.scale.slow_readers
        before, held = self._begin(kind, self.paths[kind]["large"], count, RECEIVE_BUFFER)
        held.read_first()
        held.read_slowly(READ_SECONDS, PIECE, PAUSE)
        yield self.busy[0], self._each(kind, before, count)
        held.close()

    def _begin(self, kind, path, count, receive_buffer):
        """A server that has just been started: memory that was used before and is kept would hide what is used now."""
        self.servers[kind].stop()
        server = self.servers[kind] = self.bench.start(kind, type(self).__name__.lower(), fresh=False)
        time.sleep(0.5)
        before = process.memory_mib(server.pids(), "VmRSS")
        return before, Held(server.address, path, count, receive_buffer)

    def _each(self, kind, before, count):
        return (process.memory_mib(self.servers[kind].pids(), "VmRSS") - before) * 1024 / count
