"""One large blob, read over and over."""

import process
from clients import load
from groups.common import Standing, transfer
from samples import CLIENT, PROCESSOR, SPEED, Column, rows
from scale import size

CONNECTIONS = (1, 8, 64)


class Pull(Standing):
    """What the connections have read when the time is over counts, whether a blob was complete or not."""

    def __init__(self, bench):
        super().__init__(bench)
        large = size(self.scale.large_blob)
        columns = (SPEED, PROCESSOR, CLIENT)
        self.rows = {one: rows(f"pull-{one}", f"pull of {large}, {one} at once", *columns) for one in CONNECTIONS}
        (self.memory,) = rows("pull-64", f"pull of {large}, 64 at once", Column("memory", "most memory", "MiB"))

    def measure(self, kind, _number):
        server = self.servers[kind]
        for connections in CONNECTIONS:
            process.forget_peak(server.pids())
            found = load(
                server,
                "pull",
                path=self.paths[kind]["large"],
                connections=connections,
                seconds=self.scale.large_seconds,
            )
            yield from transfer(found, self.rows[connections])
        yield self.memory, process.memory_mib(server.pids(), "VmHWM")
