"""From samples to the tables of the page: which groups go into which, and how each is made."""

import os
import platform

import kinds
import targets
from samples import CLIENT, Samples, median, ratio

TITLES = {kinds.ENTREPOT: "Entrepôt", kinds.DOCKER_REGISTRY: "docker-registry", kinds.NGINX: "nginx"}
PEERS = [kinds.DOCKER_REGISTRY, kinds.NGINX]

# Groups with a table of their own.
GROWTH, INSTRUCTIONS, PROFILE, SCALE = "growth", "instructions", "profile", "scale"


def make(results, names):
    """The tables for which there are results, by what stands in their marks."""
    found = {name: samples for name in names if (samples := Samples.read(results, name))}
    alone = {name: found.pop(name, None) for name in (GROWTH, INSTRUCTIONS, PROFILE, SCALE)}
    everything = list(found.values())
    made = {}
    if everything:
        made["the table"] = comparison(everything)
    if everything or alone[GROWTH]:
        made["the targets"] = targets.markdown(everything + [one for one in alone.values() if one])
    if alone[SCALE]:
        made["the scale"] = scale(alone[SCALE])
    if alone[GROWTH]:
        made["the growth"] = growth(alone[GROWTH])
    if alone[INSTRUCTIONS]:
        made["the instructions"] = instructions(alone[INSTRUCTIONS])
    if alone[PROFILE]:
        made["the profile"] = profile(alone[PROFILE])
    return made


def comparison(groups):
    """The table of all groups that compare servers, in their order."""
    lines = [
        circumstances(groups),
        "",
        "| work | | Entrepôt | docker-registry | nginx | better than docker-registry | better than nginx |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for group in groups:
        last = None
        for row, by_kind in group.values.items():
            name = row.work if row.work != last else "…"
            last = row.work
            figures = [number(median(by_kind[kind])) if kind in by_kind else "–" for kind in TITLES]
            better = [times_better(row, by_kind, peer) for peer in PEERS]
            lines.append(f"| {name} | {row.label}, {row.unit} | {' | '.join(figures + better)} |")
    return "\n".join(lines) + "\n"


def scale(samples):
    """Ours and docker-registry, both on the same object store."""
    lines = [
        circumstances([samples]),
        "",
        "| work | | Entrepôt | docker-registry | better |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    last = None
    for row, by_kind in samples.values.items():
        name = row.work if row.work != last else "…"
        last = row.work
        figures = [number(median(by_kind[kind])) if kind in by_kind else "–" for kind in kinds.REGISTRIES]
        figures.append(times_better(row, by_kind, kinds.DOCKER_REGISTRY))
        lines.append(f"| {name} | {row.label}, {row.unit} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def circumstances(groups):
    dates = sorted({group.date for group in groups})
    versions = sorted({version for group in groups for version in group.versions})
    rounds = {}
    for group in groups:
        rounds.setdefault(group.rounds, []).append(group.group)
    most = max(rounds, key=lambda count: len(rounds[count]))
    others = [f"{' and '.join(names)}: {count}" for count, names in sorted(rounds.items()) if count != most]
    load = max(group.load for group in groups)
    words = [
        " to ".join(dict.fromkeys((dates[0], dates[-1]))),
        f"{os.cpu_count()} cores ({processor()})",
        f"Linux {platform.release()}",
        ", ".join(versions),
        ("one round" if most == 1 else f"medians of {most} rounds") + (f" ({'; '.join(others)})" if others else ""),
        f"load average before a group at most {load:.2f}",
    ]
    return "; ".join(word for word in words if word) + "."


def processor():
    with open("/proc/cpuinfo") as file:
        return next((line.split(": ")[1].strip() for line in file if line.startswith("model name")), platform.machine())


def times_better(row, by_kind, peer):
    """Above 1 when we are better."""
    if row.key.endswith(CLIENT.key) or row.key.startswith("direct"):
        # What the client used, and what it had without any of us.
        return "–"
    found = ratio(by_kind, kinds.ENTREPOT, peer) if row.more_is_better else ratio(by_kind, peer, kinds.ENTREPOT)
    return "–" if found is None else f"{found:.2f}"


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


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


def publish(text, page, name):
    """Puts a table between its marks."""
    begin, end = f"<!-- {name} of bench/run -->", f"<!-- end of {name} -->"
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n{text}{end}{rest.split(end)[1]}")
