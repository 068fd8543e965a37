"""The tables of the page: which groups go into which, and how each is made of samples."""

import kinds
import targets
from samples import Samples, median
from table import circumstances, markdown, number

# Groups with a table of their own.
GROWTH, INSTRUCTIONS, PROFILE = "growth", "instructions", "profile"


def make(results, names):
    """The tables for which there are results, by what stands in their marks."""
    found = {name: samples for name in names if (samples := Samples.read(results, name))}
    alone = {name: found.pop(name, None) for name in (GROWTH, INSTRUCTIONS, PROFILE)}
    everything = list(found.values())
    made = {}
    if everything:
        made["the table"] = markdown(everything)
    if everything or alone[GROWTH]:
        made["the targets"] = targets.markdown(everything + [one for one in alone.values() if one])
    if alone[GROWTH]:
        made["the growth"] = growth(alone[GROWTH])
    if alone[INSTRUCTIONS]:
        made["the instructions"] = instructions(alone[INSTRUCTIONS])
    if alone[PROFILE]:
        made["the profile"] = profile(alone[PROFILE])
    return made


def growth(samples):
    """A column for each size, and how the last compares with the first."""
    sizes = list(next(iter(samples.values.values())))
    heads = [f"{int(size):,}" for size in sizes]
    lines = [
        circumstances([samples]),
        "",
        f"| work | | {' | '.join(heads)} | last to first |",
        f"| --- | --- |{' ---: |' * (len(sizes) + 1)}",
    ]
    last = None
    for row, by_size in samples.values.items():
        name = row.work if row.work != last else "…"
        last = row.work
        figures = [number(median(by_size[size])) for size in sizes]
        slope = targets.slope(by_size)
        lines.append(f"| {name} | {row.label}, {row.unit} | {' | '.join(figures)} | {slope:.2f} |")
    return "\n".join(lines) + "\n"


def instructions(samples):
    lines = [circumstances([samples]), "", "| work | instructions in user space |", "| --- | ---: |"]
    lines += [f"| {row.work} | {number(median(by_kind[kinds.ENTREPOT]))} |" for row, by_kind in samples.values.items()]
    return "\n".join(lines) + "\n"


def profile(samples):
    """A column for each path, a line for each kind of work."""
    shares, works = {}, []
    for row, by_kind in samples.values.items():
        works += [row.work] if row.work not in works else []
        shares.setdefault(row.label, {})[row.work] = median(by_kind[kinds.ENTREPOT])
    lines = [
        circumstances([samples]),
        "",
        f"| share of the server's processor time, % | {' | '.join(works)} |",
        f"| --- |{' ---: |' * len(works)}",
    ]
    for kind, by_work in shares.items():
        lines.append(f"| {kind} | {' | '.join(f'{by_work[work]:.0f}' for work in works)} |")
    return "\n".join(lines) + "\n"
