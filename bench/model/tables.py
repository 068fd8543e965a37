"""The tables of docs/scaling.md, by what stands in their marks."""

import capacity
import inputs as known
import operations as ops
from capacity import GIBI, MEBI
from simulation import Settings, Simulation

SCALES = [1, 10, 100, 1000]
SIZES = [10**6, 10**7, 10**8, 10**9]


def make(inputs):
    return {
        "measured": measured_table(),
        "operations": operations_table(inputs),
        "replica": replica_table(inputs),
        "fleet": fleet_table(inputs),
        "database": database_table(inputs),
        "writes": writes_table(inputs),
        "data": data_table(inputs),
        "fan-out": fan_out_table(inputs),
        "parts": parts_table(inputs),
        "inputs": inputs_table(inputs),
        "cells": cells_table(inputs),
    }


def table(head, rows):
    """The first column is text, the others are figures."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def number(value, digits=3):
    """With so many digits that count, and thousands apart."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if value >= 100:
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    return text if "e" not in text else f"{value:.4f}".rstrip("0")


def size(value):
    for unit, name in ((1 << 40, "TiB"), (GIBI, "GiB"), (MEBI, "MiB")):
        if value >= unit:
            return f"{number(value / unit)} {name}"
    return f"{number(value / 1024)} KiB"


def measured_table():
    page = known.PAGE.read_text()
    rows = []
    for work, label, unit in known.FIGURES:
        rows.append([f"{work}: {label}", f"{number(known.benchmark(page, work, label))} {unit}"])
    return table(["measured on 2 cores, on the local disk and SQLite", "figure"], rows)


def parts_table(inputs):
    """Uploads of one replica, by the size of their parts."""
    latency, rate = inputs["object_latency"].value / 1000, inputs["object_rate"].value * 1e6
    flight = inputs["parts_in_flight"].value
    rows = []
    for mebibytes in (5, 8, 16, 32, 64, 128):
        part = mebibytes * MEBI
        speed = flight * part / (latency + part / rate)
        requests = 1024 / mebibytes
        rows.append([f"{mebibytes} MiB", number(speed / 1e6), number(requests), size(part * flight), size(part * 10_000)])
    head = ["part_size", "to the bucket, at most, MB/s", "PUTs for a GiB", "memory of all of them", "10,000 equal parts hold"]
    return table(head, rows)


def inputs_table(inputs):
    lines = ["| name | value | unit | | from |", "| --- | ---: | --- | --- | --- |"]
    for name, one in inputs.items():
        source = f"{one.source}, {one.cell}" if one.cell else one.source
        value = f"{one.value:,}" if isinstance(one.value, int) else f"{one.value:g}"
        lines.append(f"| `{name}` | {value} | {one.unit} | {one.meaning} | {source} |")
    return "\n".join(lines) + "\n"


def cells_table(inputs):
    # What was assumed before, also where what was measured has taken its place.
    used, page = {one.cell: one for one in known.STATED.values() if one.cell}, known.PAGE.read_text()
    lines = ["| cell | figure | unit | assumed so far | measured | how |", "| --- | --- | --- | ---: | ---: | --- |"]
    for cell, figure, unit, how in known.CELLS:
        assumed = f"{used[cell].value:g}" if cell in used else "–"
        value = known.measurement(page, cell)
        measured = "counted" if cell == "M14" else "not yet" if value is None else number(value)
        lines.append(f"| {cell} | {figure} | {unit} | {assumed} | {measured} | {how} |")
    return "\n".join(lines) + "\n"


def operations_table(inputs):
    head = ["operation", "requests", "statements that read", "… that write", "rows", "commits", "… that need not wait", "S3 GET, HEAD", "S3 PUT, POST", "S3 DELETE"]
    rows = []
    for one in ops.listed(inputs):
        figures = [one.requests, one.reads, one.writes, one.rows, one.commits, one.lazy_commits, one.gets, one.puts, one.deletes]
        rows.append([one.name] + [number(figure) for figure in figures])
    return table(head, rows)


def replica_table(inputs):
    replica = capacity.Replica(inputs)
    rows = [[name, number(cores), f"{number(100 * cores / replica.cores)} %"] for name, cores in replica.parts]
    rows.append(["sent, share of the network", f"{number(replica.sent / 1e6)} MB/s", f"{number(100 * replica.sent / replica.network)} %"])
    return table(["one replica at its busiest", "cores", "of what it has"], rows)


def fleet_table(inputs):
    fleets = [capacity.Fleet(inputs, replicas) for replicas in SCALES]
    cores = inputs["database_cores"].value

    def row(name, read):
        return [name] + [read(fleet) for fleet in fleets]

    def share(value):
        return f"{number(100 * value)} %"

    rows = [
        row("images pulled, 1/s", lambda fleet: number(fleet.pulls)),
        row("images pushed, 1/s", lambda fleet: number(fleet.pushes)),
        row("requests, 1/s", lambda fleet: number(fleet.load.requests)),
        row("statements, 1/s", lambda fleet: number(fleet.load.statements)),
        row("… of them that write", lambda fleet: number(fleet.load.writes)),
        row("commits that wait, 1/s", lambda fleet: number(fleet.load.commits)),
        row("cores of PostgreSQL", lambda fleet: number(fleet.database_cores)),
        row(f"… of {number(cores)}", lambda fleet: share(fleet.database_cores / cores)),
        row("log (WAL), a second", lambda fleet: size(fleet.log_bytes)),
        row("… a day", lambda fleet: size(fleet.log_bytes * 86400)),
        row("connections that the replicas may open", lambda fleet: number(fleet.connections)),
        row("… busy on average", lambda fleet: number(fleet.connections_busy)),
        row("a pool in front of PostgreSQL", lambda fleet: "needed" if fleet.is_pooled else "no"),
        row("connections that listen, past the pool", lambda fleet: number(fleet.replicas)),
        row("leases and claims renewed, 1/s", lambda fleet: number(fleet.lease_renewals)),
        row("notices, 1/s", lambda fleet: number(fleet.notices)),
        row("… delivered, 1/s", lambda fleet: number(fleet.deliveries)),
        row("bucket: GET and HEAD, 1/s", lambda fleet: number(fleet.reads_of_bucket)),
        row("… of what one partition of AWS takes", lambda fleet: share(fleet.reads_of_bucket / fleet.value("prefix_reads"))),
        row("bucket: PUT, POST and DELETE, 1/s", lambda fleet: number(fleet.writes_of_bucket)),
        row("… of what one partition of AWS takes", lambda fleet: share(fleet.writes_of_bucket / fleet.value("prefix_writes"))),
        row("bucket: bytes, a second", lambda fleet: size(fleet.bucket_bytes)),
    ]
    return table(["replicas"] + [number(scale) for scale in SCALES], rows)


def milliseconds(seconds):
    return "–" if seconds is None else number(1000 * seconds)


# Long enough for the queues to show, short enough for a test.
EVENTS = 25_000


def database_table(inputs):
    """The fleet's own load, and multiples of it, on the simulated database."""
    rows = []
    for replicas, factor, per_core in ((10, 1, None), (100, 1, 4), (1000, 1, 4), (1000, 3, 4), (1000, 6, 4), (1000, 6, 16)):
        fleet = capacity.Fleet(inputs, replicas)
        # What is not a transaction that waits is a look-up: of the simulation's two kinds the nearer one.
        writes, reads = fleet.load.commits * factor, fleet.load.reads * factor
        statements = max(1, round(fleet.load.writes / fleet.load.commits))
        # Without a pool in front of the server, the replicas' own.
        connections = per_core and per_core * int(inputs["database_cores"].value)
        seconds = min(20.0, EVENTS / (reads + writes * statements))
        settings = Settings(
            inputs, replicas, reads, writes, statements=statements, server_connections=connections, seconds=seconds
        )
        run = Simulation(settings).run()
        load = f", {factor} times the load" if factor > 1 else ""
        rows.append(
            [
                f"{replicas:,} replicas{load}",
                number(connections or replicas * settings.pool),
                number(reads),
                number(writes),
                f"{number(100 * run.core_share)} %",
                milliseconds(run.percentile(False, 0.5)),
                milliseconds(run.percentile(False, 0.99)),
                milliseconds(run.percentile(True, 0.5)),
                milliseconds(run.percentile(True, 0.99)),
            ]
        )
    head = ["simulated", "connections of the server", "look-ups, 1/s", "commits, 1/s", "cores busy", "look-up, middle, ms", "99th of 100", "write, middle, ms", "99th of 100"]
    return table(head, rows)


def writes_table(inputs):
    """How many writes a second get through when all of them change one row, and when that row is many."""
    rows = []
    for flush in (0.2, 1.0, 4.0):
        cells = []
        for hot_rows in (1, 16, 0):
            changed = dict(inputs, flush_time=known.Input(flush, "ms", known.ASSUMED, ""))
            offered = 12_000
            settings = Settings(changed, 100, 0, offered, statements=4, hot_rows=hot_rows, server_connections=128, seconds=0.4)
            run = Simulation(settings).run()
            cells.append(number(run.rate(True)))
        rows.append([f"{flush:g} ms"] + cells)
    head = ["flush of the log", "all change one row, or notify: commits, 1/s", "one of 16 rows", "no common row"]
    return table(head, rows)


def data_table(inputs):
    data = [capacity.Data(inputs, blobs) for blobs in SIZES]
    short = dict(inputs, digest_bytes=known.Input(33, "bytes", known.ASSUMED, ""))

    def row(name, read):
        return [name] + [read(one) for one in data]

    rows = [
        row("manifests", lambda one: number(next(t["rows"] for t in one.tables if t["name"] == "manifests"))),
        row("links of blobs", lambda one: number(one.tables[0]["rows"])),
        row("references", lambda one: number(next(t["rows"] for t in one.tables if t["name"] == "manifest_references"))),
        row("tables", lambda one: size(one.total("heap"))),
        row("indexes", lambda one: size(one.total("indexes"))),
        row("… with digests as 33 bytes in the place of text", lambda one: size(capacity.Data(short, one.blobs).total("indexes"))),
        row("… inner pages, which every look-up wants in memory", lambda one: size(one.total("inner"))),
        row("pages from the root to a row, deepest index", lambda one: number(max(t["depth"] for t in one.tables))),
        row("largest table with its indexes", lambda one: f"{one.largest['name']}, {size(one.largest['heap'] + one.largest['indexes'])}"),
        row("dead rows there before autovacuum comes, by default", lambda one: number(one.dead_rows)),
        row("one vacuum of it, hours", lambda one: number(one.vacuum_hours)),
    ]
    return table(["different blobs"] + [number(blobs) for blobs in SIZES], rows)


def fan_out_table(inputs):
    rows = []
    for replicas in (3, 10, 100, 1000):
        one = capacity.FanOut(inputs, replicas, 256 * MEBI, 100e6)
        rows.append([number(replicas), number(one.fetch), number(one.star()), number(one.chain(4)), number(one.bucket())])
    head = ["replicas whose clients want it", "the upstream's own time, s", "all read from the leader, s", "each from one of four, s", "after the leader, from the bucket, s"]
    return table(head, rows)


def publish(text, page, name):
    """Puts a table between its marks."""
    opening, closing = f"<!-- {name}: bench/model/run -->\n", f"<!-- end of {name} -->"
    before, rest = page.split(opening)
    _, after = rest.split(closing)
    return f"{before}{opening}{text}{closing}{after}"
