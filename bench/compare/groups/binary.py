"""How large the programs are: ours as it is given away, with everything optimised that can be."""

import os
import pathlib
import shutil
import subprocess

from groups.common import Group
from kinds import ENTREPOT
from samples import Column, rows
from scale import MB


class Binary(Group):
    """What a program needs besides, in libraries, is not counted."""

    rounds_most = 1

    def __init__(self, bench):
        super().__init__(bench)
        self.row = rows("binary", "program", Column("size", "size", "MB"))[0]

    def measure(self, kind, _number):
        if kind == ENTREPOT:
            subprocess.run(["cargo", "build", "--profile", "dist", "--locked", "--package", "entrepot"], check=True)
            file = pathlib.Path(os.environ["TARGET"]) / "dist" / "entrepot"
        else:
            file = pathlib.Path(shutil.which(kind))
        yield self.row, file.stat().st_size / MB
