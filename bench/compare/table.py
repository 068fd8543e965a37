"""From samples to Markdown."""

import os
import platform

import kinds
from samples import CLIENT, median, ratio

TITLES = {kinds.ENTREPOT: "Entrepôt", kinds.DOCKER_REGISTRY: "docker-registry", kinds.NGINX: "nginx"}
PEERS = [kinds.DOCKER_REGISTRY, kinds.NGINX]


def markdown(groups):
    """The table of all groups, in their order."""
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
        f"medians of {most} rounds" + (f" ({'; '.join(others)})" if others else ""),
        f"load average before a group at most {load:.2f}",
    ]
    return "; ".join(words) + "."


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
