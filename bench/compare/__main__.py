"""Runs every piece of work on every server, round after round, and writes the tables."""

import argparse
import fcntl
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import groups
import kinds
import packages
import tables
from samples import Samples
from scale import FULL, QUICK
from servers import Bench

PAGE = pathlib.Path("docs/benchmarks.md")

# The highest load average of a machine that does nothing else.
QUIET = 0.5

# How long ext4 without a journal keeps clear of the place of a file that was removed: meanwhile it looks for others, for each that is made.
REMOVED_SECONDS = 65

# What --check tries: a little of everything that does not take long.
CHECKED = ["pull", "small", "push", "images", "tags", "footprint", "growth", "scale"]


def main():
    arguments = parse_arguments()
    # Whoever ends this run ends its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        # Held until the program ends.
        _held = lock(arguments.folder)
        packages.install_missing(programs(arguments.only))
        allow_many_files()
        results = arguments.folder / "results"
        for name in arguments.only:
            measure(name, arguments, results)
        made = tables.make(results, groups.ALL)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        print(f"bench/run: {error}", file=sys.stderr)
        return 1
    text = "\n".join(made.values())
    (arguments.folder / "tables.md").write_text(text)
    print(f"\n{text}")
    if arguments.publish:
        for name, one in made.items():
            tables.publish(one, PAGE, name)
    return 0


def measure(name, arguments, results):
    """One group, and its file: a run that breaks off loses no group that was ready."""
    make = groups.ALL[name]
    rounds = min(arguments.rounds, make.rounds_most or arguments.rounds)
    load, begun = os.getloadavg()[0], time.monotonic()
    if load > QUIET and not arguments.quick:
        print(f"the machine is busy (load average {load:.2f}): do not believe the figures", file=sys.stderr)
    versions = [kinds.MODULES[kind].version() for kind in make.kinds if kind != kinds.ENTREPOT]
    samples = Samples(name, rounds, load, versions)
    storage = arguments.folder / "storage"
    shutil.rmtree(storage, ignore_errors=True)
    if make.makes_many_files and not arguments.quick:
        time.sleep(REMOVED_SECONDS)
    try:
        with Bench(storage, QUICK if arguments.quick else FULL) as bench:
            group = make(bench)
            samples.versions += group.versions
            for number in range(rounds):
                # Whoever comes later finds a warmer machine: take turns.
                order = group.kinds if number % 2 == 0 else group.kinds[::-1]
                for kind in order:
                    for row, value in group.measure(kind, number):
                        samples.add(row, kind, value)
                        print(
                            f"{name} {number + 1}: {row.work}: {row.label}: {kind} {value:.5g} {row.unit}", flush=True
                        )
            group.finish()
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    samples.save(results)
    print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)


def lock(folder):
    """Two runs in one folder would remove each other's storage, and measure each other."""
    file = open(folder / "lock", "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise RuntimeError(f"another run is going on in {folder}") from None
    return file


def programs(names):
    """What the groups start, besides us."""
    needed = set()
    for name in names:
        needed |= {*groups.ALL[name].kinds, *groups.ALL[name].needs} - {kinds.ENTREPOT}
    return needed


def allow_many_files():
    """A thousand connections are a thousand files, for us and for the servers, which inherit this."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def parse_arguments():
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", action="append", choices=list(groups.ALL))
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--publish", action="store_true")
    arguments = parser.parse_args()
    arguments.quick |= arguments.check
    if arguments.quick and arguments.publish:
        parser.error("what a quick run finds is nothing to publish")
    arguments.folder = arguments.folder or pathlib.Path(os.environ["TARGET"]) / (
        "bench-quick" if arguments.quick else "bench"
    )
    arguments.folder.mkdir(parents=True, exist_ok=True)
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 5)
    chosen = CHECKED if arguments.check else list(groups.ALL if arguments.all else groups.USUAL)
    arguments.only = [] if arguments.tables else arguments.only or chosen
    return arguments


sys.exit(main())
