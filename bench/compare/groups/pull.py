"""One large blob, asked for over and over: discarded by the client's kernel, which leaves the machine to the server, and read
into memory, as clients do, which takes more of it than serving."""

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
        self.rows = {
            (bodies, one): rows(f"{key}-{one}", f"pull of {large}, {one} at once{what}", *columns)
            for bodies, key, what in (("discard", "pull", ""), ("read", "read", ", read into memory"))
            for one in CONNECTIONS
        }
        (self.memory,) = rows("pull-64", f"pull of {large}, 64 at once", Column("memory", "most memory", "MiB"))

    def measure(self, kind, _number):
        server = self.servers[kind]
        process.forget_peak(server.pids())
        for (bodies, connections), columns in self.rows.items():
            found = load(
                server,
                "pull",
                path=self.paths[kind]["large"],
                connections=connections,
                threads=2,
                bodies=bodies,
                seconds=self.scale.large_seconds,
            )
            yield from transfer(found, columns)
        yield self.memory, process.memory_mib(server.pids(), "VmHWM")
