"""Runs every piece of work on every server, round after round, and writes the tables."""

import argparse
import os
import pathlib
import resource
import shutil
import sys

import groups
import kinds
import publish
import table
from samples import Samples
from scale import FULL, QUICK
from servers import Bench

# The highest load average of a machine that does nothing else.
QUIET = 0.5

# What --check tries: a little of everything that does not take long or need more than a server.
CHECKED = ["pull", "small"]


def main():
    arguments = parse_arguments()
    allow_many_files()
    results = arguments.folder / ("quick" if arguments.quick else "results")
    load = os.getloadavg()[0]
    if load > QUIET and not arguments.quick:
        print(f"the machine is busy (load average {load:.2f}): do not believe the figures", file=sys.stderr)
    for name in arguments.only:
        measure(name, arguments, results)
    found = [samples for name in groups.ALL if (samples := Samples.read(results, name))]
    text = table.markdown(found)
    (arguments.folder / "table.md").write_text(text)
    print(f"\n{text}")
    if arguments.publish:
        publish.publish(text, pathlib.Path("docs/benchmarks.md"), "the table")


def measure(name, arguments, results):
    """One group, and its file."""
    make = groups.ALL[name]
    rounds = min(arguments.rounds, make.rounds_most or arguments.rounds)
    versions = [kinds.MODULES[kind].version() for kind in make.kinds if kind != kinds.ENTREPOT]
    samples = Samples(name, rounds, os.getloadavg()[0], versions)
    storage = arguments.folder / "storage"
    shutil.rmtree(storage, ignore_errors=True)
    with Bench(storage, QUICK if arguments.quick else FULL) as bench:
        group = make(bench)
        try:
            for number in range(rounds):
                # Whoever comes later finds a warmer machine: take turns.
                order = group.kinds if number % 2 == 0 else group.kinds[::-1]
                for kind in order:
                    for row, value in group.measure(kind, number):
                        samples.add(row, kind, value)
                        print(f"{name} {number + 1}: {row.work}: {row.label}: {kind} {value:.5g} {row.unit}", flush=True)
        finally:
            group.finish()
    shutil.rmtree(storage, ignore_errors=True)
    samples.save(results)


def allow_many_files():
    """A thousand connections are a thousand files, for us and for the servers, which inherit this."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def parse_arguments():
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", action="append", choices=list(groups.ALL))
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(os.environ["TARGET"]) / "bench")
    parser.add_argument("--publish", action="store_true")
    arguments = parser.parse_args()
    arguments.quick |= arguments.check
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 5)
    arguments.only = arguments.only or (CHECKED if arguments.check else list(groups.ALL if arguments.all else groups.USUAL))
    if arguments.quick and arguments.publish:
        parser.error("what a quick run finds is nothing to publish")
    return arguments


sys.exit(main())
