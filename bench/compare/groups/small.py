"""Small answers on 64 connections, from one thread that does nothing else."""

from clients import load
from groups.common import Standing, small
from samples import CLIENT, MIDDLE, PROCESSOR_EACH, RATE, SLOWEST, rows

CONNECTIONS = 64

WORK = {
    "blob": ("GET of a 4 KiB blob", "GET", "small"),
    "head-blob": ("HEAD of a blob", "HEAD", "small"),
    "get-tag": ("GET of a manifest by tag", "GET", "tag"),
    "get-digest": ("GET of a manifest by digest", "GET", "digest"),
    "head-tag": ("HEAD of a manifest by tag", "HEAD", "tag"),
    "head-digest": ("HEAD of a manifest by digest", "HEAD", "digest"),
}


class Small(Standing):
    def __init__(self, bench):
        super().__init__(bench)
        columns = (RATE, MIDDLE, SLOWEST, PROCESSOR_EACH, CLIENT)
        self.rows = {key: rows(key, f"{work[0]}, {CONNECTIONS} at once", *columns) for key, work in WORK.items()}

    def large_bytes(self):
        return None

    def measure(self, kind, _number):
        for key, (_, method, what) in WORK.items():
            path, seconds = self.paths[kind][what], self.scale.small_seconds
            found = load(self.servers[kind], "pull", path=path, connections=CONNECTIONS, seconds=seconds, method=method)
            yield from small(found, self.rows[key])
