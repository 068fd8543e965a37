"""Every value that was measured, by row and server, in the order of the rounds; kept on the disk, a file for each
group."""

import dataclasses
import datetime
import json
import statistics


@dataclasses.dataclass(frozen=True)
class Column:
    """One figure of a piece of work."""

    key: str
    label: str
    unit: str
    more_is_better: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. Targets find it by its key."""

    key: str
    work: str
    label: str
    unit: str
    more_is_better: bool


SPEED = Column("speed", "speed", "MB/s", True)
PROCESSOR = Column("processor", "server's processor", "s/GiB")
RATE = Column("rate", "rate", "requests/s", True)
PROCESSOR_EACH = Column("processor", "server's processor", "µs each")
MIDDLE = Column("p50", "middle", "ms")
SLOWEST = Column("p99", "99th of 100", "ms")

# 100 is one core: there a client of one thread can do no more, and the figure is its own, not the server's.
CLIENT = Column("client", "client's processor", "% of a core")


def rows(key, work, *columns):
    """The lines of one piece of work."""
    return [Row(f"{key}.{one.key}", work, one.label, one.unit, one.more_is_better) for one in columns]


class Samples:
    """What one group found."""

    def __init__(self, group, rounds, load, versions):
        self.group, self.rounds, self.load, self.versions = group, rounds, load, versions
        self.date = datetime.date.today().isoformat()
        self.values = {}

    def add(self, row, kind, value):
        self.values.setdefault(row, {}).setdefault(kind, []).append(value)

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        lines = [dataclasses.asdict(row) | {"values": by_kind} for row, by_kind in self.values.items()]
        head = {name: getattr(self, name) for name in ("group", "date", "rounds", "load", "versions")}
        (folder / f"{self.group}.json").write_text(json.dumps(head | {"rows": lines}, indent=1))

    @classmethod
    def read(cls, folder, group):
        """What an earlier run left, or nothing."""
        file = folder / f"{group}.json"
        if not file.exists():
            return None
        found = json.loads(file.read_text())
        samples = cls(group, found["rounds"], found["load"], found["versions"])
        samples.date = found["date"]
        for line in found["rows"]:
            by_kind = line.pop("values")
            samples.values[Row(**line)] = by_kind
        return samples


def median(values):
    return statistics.median(values)


def ratio(by_kind, ours, theirs):
    """The median of the rounds' ratios, ours to theirs, or nothing where one of them was not measured."""
    pairs = zip(by_kind.get(ours, []), by_kind.get(theirs, []))
    found = [one / other for one, other in pairs if other]
    return statistics.median(found) if found else None
