"""From samples to medians, ratios and a Markdown table."""

import dataclasses
import datetime
import os
import statistics

import servers

BEGIN = "<!-- the table of bench/run -->"
END = "<!-- end of the table -->"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table."""

    work: str
    label: str
    unit: str
    more_is_better: bool


class Samples:
    """Every value, by row and registry, in the order of the rounds."""

    def __init__(self):
        self.values = {}

    def add(self, row, kind, value):
        self.values.setdefault(row, {kind: [] for kind in servers.KINDS})[kind].append(value)

    def plain(self):
        return [dataclasses.asdict(row) | by_kind for row, by_kind in self.values.items()]

    def medians(self, row):
        return [statistics.median(self.values[row][kind]) for kind in servers.KINDS]

    def times_better(self, row):
        """The median of the rounds' ratios; above 1 when we are better."""
        ours, theirs = (self.values[row][kind] for kind in servers.KINDS)
        pairs = zip(ours, theirs) if row.more_is_better else zip(theirs, ours)
        return statistics.median(better / worse if worse else float("inf") for better, worse in pairs)


def markdown(samples, rounds, load):
    today = datetime.date.today().isoformat()
    lines = [
        f"{today}, {os.cpu_count()} cores, load average {load:.2f} before the run, medians of {rounds} rounds.",
        "",
        "| work | | Entrepôt | docker-registry | times better |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    last = None
    for row in samples.values:
        ours, theirs = samples.medians(row)
        name = row.work if row.work != last else "…"
        last = row.work
        better = samples.times_better(row)
        lines.append(f"| {name} | {row.label}, {row.unit} | {number(ours)} | {number(theirs)} | {better:.2f} |")
    return "\n".join(lines) + "\n"


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def publish(text, page):
    """Puts the table between its marks."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}{END}{rest.split(END)[1]}")
