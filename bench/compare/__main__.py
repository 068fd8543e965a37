"""Runs every piece of work on both registries, round after round, and writes the table."""

import argparse
import json
import os
import pathlib
import shutil
import sys

import servers
import table
import work

# The highest load average of a machine that does nothing else.
QUIET = 0.5


def main():
    arguments = parse_arguments()
    folder = arguments.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    load = os.getloadavg()[0]
    if load > QUIET:
        print(f"the machine is busy (load average {load:.2f}): do not believe the figures", file=sys.stderr)
    samples = table.Samples()
    groups = arguments.only or list(work.GROUPS)
    with servers.Bench(folder) as bench:
        for name in groups:
            group = work.GROUPS[name](bench)
            for number in range(arguments.rounds):
                # Whoever comes second finds a warmer machine: take turns.
                kinds = servers.KINDS if number % 2 == 0 else servers.KINDS[::-1]
                for kind in kinds:
                    for row, value in group.measure(kind, number):
                        samples.add(row, kind, value)
                        print(f"{name} round {number + 1}: {row.label}: {kind} {value:.5g} {row.unit}", flush=True)
            group.finish()
    (folder / "samples.json").write_text(json.dumps(samples.plain(), indent=1))
    text = table.markdown(samples, arguments.rounds, load)
    (folder / "table.md").write_text(text)
    print(f"\n{text}")
    if arguments.publish:
        table.publish(text, pathlib.Path("docs/benchmarks.md"))
    for kind in servers.KINDS:
        shutil.rmtree(folder / kind, ignore_errors=True)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=list(work.GROUPS))
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(os.environ["TARGET"]) / "bench")
    parser.add_argument("--publish", action="store_true")
    return parser.parse_args()


sys.exit(main())
