"""Where the time of our server goes on its three hottest paths. What perf recorded stays in the folder of the run, for
flame graphs."""

import os
import time

import kinds
import process
import sampling
from clients import begin, finish
from groups.common import Standing
from samples import Column, rows

MOST = 25

# perf needs a moment to begin.
LONGER_SECONDS = 2


class Profile(Standing):
    kinds = [kinds.ENTREPOT]
    rounds_most = 1
    needs = ["perf"]

    def __init__(self, bench):
        measured = os.environ["ENTREPOT"]
        os.environ["ENTREPOT"] = os.environ["ENTREPOT_WITH_NAMES"]
        try:
            super().__init__(bench)
        finally:
            os.environ["ENTREPOT"] = measured
        columns = [Column(str(number), kind, "%") for number, kind in enumerate(sampling.KINDS)]
        works = {
            "pull": "large pull, 8 at once",
            "get": "GET of a manifest, 64 at once",
            "push": "large push, as the Docker engine does",
        }
        self.rows = {key: rows(f"profile-{key}", work, *columns) for key, work in works.items()}
        self.folder = bench.folder.parent / "profile"
        self.folder.mkdir(parents=True, exist_ok=True)

    def measure(self, kind, _number):
        server, paths = self.servers[kind], self.paths[kind]
        push = {"repository": "bench/profile", "size": self.scale.pushed_blob, "seed": 7, "way": "chunked"}
        works = {
            "pull": ("pull", {"path": paths["large"], "connections": 8}),
            "get": ("pull", {"path": paths["tag"], "connections": 64}),
            "push": ("push", push),
        }
        for key, (command, options) in works.items():
            os.sync()
            client = begin(server, command, seconds=self.scale.profile_seconds + LONGER_SECONDS, **options)
            # Content is made before anything is sent.
            wait_until_busy(server)
            found = sampling.record(server.process.pid, self.scale.profile_seconds, self.folder / f"{key}.perf")
            finish(server, client)
            lines = [f"{share:5.1f} %  {name}  [{what}]" for name, what, share in sampling.most(found, MOST)]
            (self.folder / f"{key}.txt").write_text("\n".join(lines) + "\n")
            yield from zip(self.rows[key], sampling.shares(found).values(), strict=True)


def wait_until_busy(server):
    """Waits until the server has used the processor for a moment."""
    before = process.processor_seconds(server.pids())
    deadline = time.monotonic() + 60
    while process.processor_seconds(server.pids()) < before + 0.03:
        if time.monotonic() > deadline:
            raise RuntimeError("the server has nothing to do")
        time.sleep(0.01)
