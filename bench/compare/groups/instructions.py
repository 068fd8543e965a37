"""How many instructions of our program one request takes, counted by callgrind: the same on a busy machine as on a
quiet one."""

import re
import subprocess

import kinds
from clients import load
from groups.common import Group, pushed, verify
from samples import Column, rows

BLOB_BYTES = 1024 * 1024

# The difference of two counts leaves out what a connection costs once.
FEW, MORE = 1, 3

TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)


class Instructions(Group):
    """What the kernel does for it is not counted. There is no need to repeat it."""

    kinds = [kinds.ENTREPOT]
    rounds_most = 1
    needs = ["valgrind"]

    def __init__(self, bench):
        super().__init__(bench)
        count = Column("count", "in user space", "instructions")
        self.rows = {
            "tag": rows("instructions-get", "GET of a manifest by tag, one of many", count)[0],
            "head": rows("instructions-head", "HEAD of a blob, one of many", count)[0],
            "blob": rows("instructions-blob", "GET of a 1 MiB blob, one of many", count)[0],
        }
        output = bench.folder / "callgrind.out"
        bench.folder.mkdir(parents=True, exist_ok=True)
        wrapper = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}"]
        self.server, self.output, self.dumps = bench.start(kinds.ENTREPOT, "instructions", wrapper=wrapper), output, 0
        load(self.server, "tags", repository="bench/app", count=0, connections=1)
        blob = f"/v2/bench/app/blobs/{pushed(self.server, BLOB_BYTES, seed=1)}"
        verify(self.server, blob)
        self.requests = {
            "tag": ("GET", "/v2/bench/app/manifests/latest"),
            "head": ("HEAD", blob),
            "blob": ("GET", blob),
        }

    def measure(self, kind, _number):
        for what, row in self.rows.items():
            # What is made once and kept is made before.
            self._ask(what, FEW)
            self._count(what, FEW)
            few, more = self._count(what, FEW), self._count(what, MORE)
            yield row, (more - few) / ((MORE - FEW) * self.scale.counted_requests)

    def _ask(self, what, times):
        method, path = self.requests[what]
        load(self.server, "pull", path=path, method=method, connections=1, requests=times * self.scale.counted_requests)

    def _count(self, what, times):
        self._control("--instr=on")
        self._ask(what, times)
        self._control("--instr=off")
        self._control("--dump")
        self.dumps += 1
        # Each dump begins anew.
        return int(TOTALS.search(self.output.with_name(f"{self.output.name}.{self.dumps}").read_text()).group(1))

    def _control(self, what):
        words = ["callgrind_control", what, str(self.server.process.pid)]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(f"callgrind_control {what}: {done.stdout}")

    def finish(self):
        self.server.remove()
