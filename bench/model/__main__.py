"""Prints the tables, checks them, or writes them into the page."""

import argparse
import pathlib
import sys
import unittest

import inputs as known
import tables

PAGE = pathlib.Path("docs/scaling.md")


def main():
    parser = argparse.ArgumentParser(prog="bench/model/run", description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--publish", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    inputs = known.read()
    for setting in arguments.set:
        name, _, value = setting.partition("=")
        if name not in inputs:
            parser.error(f"there is no input {name!r}")
        inputs[name].value = float(value)
    if arguments.set and (arguments.check or arguments.publish):
        parser.error("--set is for printing: the page has what inputs.py says")
    made = tables.make(inputs)
    if arguments.check:
        return check(made)
    if arguments.publish:
        PAGE.write_text(published(made))
        return 0
    for name, text in made.items():
        print(f"## {name}\n\n{text}")
    return 0


def published(made):
    page = PAGE.read_text()
    for name, text in made.items():
        page = tables.publish(text, page, name)
    return page


def check(made):
    import tests

    suite = unittest.defaultTestLoader.loadTestsFromModule(tests)
    if not unittest.TextTestRunner(stream=sys.stderr).run(suite).wasSuccessful():
        return 1
    if published(made) != PAGE.read_text():
        print(f"bench/model/run: {PAGE} is out of date: run bench/model/run --publish", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
