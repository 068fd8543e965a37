"""Every number that the model starts from, with where it comes from.

MEASURED is read from docs/benchmarks.md, COUNTED from the code of this repository, DOCUMENTED from somebody's manual, and ASSUMED from
nowhere: those are the ones to replace first.
"""

import pathlib
import re

PAGE = pathlib.Path("docs/benchmarks.md")

MEASURED, COUNTED, DOCUMENTED, ASSUMED = "measured", "counted", "documented", "assumed"


class Input:
    def __init__(self, value, unit, source, meaning, cell=None):
        self.value, self.unit, self.source, self.meaning = value, unit, source, meaning
        # The cell of the table of measurements that will replace it.
        self.cell = cell


def benchmark(page, work, label):
    """A figure of ours from the table of the benchmarks: the row of this work whose label begins so."""
    last = None
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) < 3:
            continue
        last = cells[0] if cells[0] != "…" else last
        if last == work and cells[1].startswith(label):
            return float(re.sub(",", "", cells[2]))
    raise ValueError(f"{PAGE} has no {label!r} of {work!r}")


def read(page=None):
    """All inputs by name."""
    page = PAGE.read_text() if page is None else page
    measured = {
        # 26 µs are for SQLite's look-up in the process; a round trip replaces it.
        "manifest_cpu": ("GET of a manifest by tag, 64 at once", "server's processor", "µs", "GET of a manifest by tag"),
        "blob_head_cpu": ("HEAD of a blob, 64 at once", "server's processor", "µs", "HEAD of a blob"),
        "send_cpu": ("pull of 1 GiB, 64 at once", "server's processor", "s/GiB", "sending a blob from the local disk"),
        "tls_cpu": ("TLS, HTTP/1.1: pull of 64 MiB, 8 at once", "server's processor", "s/GiB", "sending a blob over TLS"),
        "receive_cpu": ("push of 8 x 128 MiB at once, as the Docker engine does", "server's processor", "s/GiB", "receiving and hashing a blob"),
    }
    inputs = {
        name: Input(benchmark(page, work, label), unit, MEASURED, f"processor time: {meaning}")
        for name, (work, label, unit, meaning) in measured.items()
    }
    inputs.update(STATED)
    for name, (cell, digits) in FROM_CELLS.items():
        value = measurement(page, cell)
        if value is not None:
            stated = STATED[name]
            inputs[name] = Input(round(value, digits), stated.unit, MEASURED, stated.meaning, cell)
    return inputs


def measurement(page, cell):
    """What was measured for a cell, in its unit, or nothing."""
    found = MEASUREMENTS.get(cell)
    if found is None:
        return None
    work, label, factor, *divided = found
    value = benchmark(page, work, label) * factor
    return value / benchmark(page, *divided) if divided else value


STATED = {
    # The fleet.
    "replica_cores": Input(4, "cores", ASSUMED, "processor of one replica"),
    "replica_network": Input(10, "Gbit/s", ASSUMED, "network of one replica, each way"),
    "replica_pulls": Input(10, "images/s", ASSUMED, "images pulled from one replica at its busiest"),
    "replica_pushes": Input(0.2, "images/s", ASSUMED, "images pushed to one replica at its busiest"),
    "image_layers": Input(8, "", ASSUMED, "layers of an image, beside its configuration"),
    "layers_missing": Input(2, "", ASSUMED, "layers of an image that a client does not have yet"),
    "blob_bytes": Input(40, "MiB", ASSUMED, "size of a layer, on average"),
    "read_cache_hits": Input(0.9, "", ASSUMED, "share of blob bytes that the local read cache has", "M9"),
    "proxied_share": Input(0.5, "", ASSUMED, "share of pulls that are of other registries' images"),
    "tags_due_share": Input(0.02, "", ASSUMED, "share of proxied pulls by tag that write a confirmation (one for each tag and window)"),
    # The program's own rhythm.
    "connections": Input(16, "", COUNTED, "metadata.connections_max: connections of one replica to PostgreSQL"),
    "part_bytes": Input(16, "MiB", COUNTED, "storage.s3.part_size"),
    "uses_interval": Input(10, "s", ASSUMED, "how often a replica writes the uses that it has noted, in one transaction"),
    "uses_rows": Input(400, "rows", ASSUMED, "different entries in one such transaction"),
    "lease_renewal": Input(10, "s", ASSUMED, "how often a lease is renewed or asked for"),
    "lease_kinds": Input(4, "", ASSUMED, "jobs that one replica does for all: collection, sweep, eviction, retention"),
    "fills_running": Input(2, "", ASSUMED, "fills that one replica leads at a time, each with a claim to renew"),
    # PostgreSQL.
    "database_cores": Input(32, "cores", ASSUMED, "processor of the PostgreSQL server"),
    "read_time": Input(0.08, "ms", ASSUMED, "a look-up by an index that is in memory, prepared: processor time", "M1"),
    "write_time": Input(0.12, "ms", ASSUMED, "a statement that changes a row: processor time", "M2"),
    "flush_time": Input(1.0, "ms", ASSUMED, "flush of the log at COMMIT, local NVMe; everybody who waits is in it", "M3"),
    "round_trip": Input(0.3, "ms", ASSUMED, "between a replica and PostgreSQL, in one zone", "M4"),
    "row_log": Input(250, "bytes", ASSUMED, "log for a row that is inserted or changed: the row and its index entries", "M5"),
    "page_images": Input(3.0, "times", ASSUMED, "log in all, with full pages after checkpoints, to log of rows alone", "M6"),
    "fill_factor": Input(0.7, "", ASSUMED, "how full leaf pages of an index of random digests are"),
    "page": Input(8192, "bytes", DOCUMENTED, "page of PostgreSQL"),
    "vacuum_share": Input(0.2, "", DOCUMENTED, "autovacuum_vacuum_scale_factor"),
    "vacuum_rate": Input(40, "MiB/s", ASSUMED, "pages that one vacuum gets through with its cost limit"),
    # S3.
    "prefix_reads": Input(5500, "requests/s", DOCUMENTED, "GET and HEAD for one partition of a bucket of AWS, at least"),
    "prefix_writes": Input(3500, "requests/s", DOCUMENTED, "PUT, POST and DELETE for one partition, at least"),
    "object_latency": Input(20, "ms", ASSUMED, "a request to the bucket, before its bytes", "M7"),
    "object_rate": Input(400, "MB/s", ASSUMED, "bytes of one request to the bucket", "M8"),
    "parts_in_flight": Input(8, "", COUNTED, "storage.s3.parts_in_flight: parts of all uploads of a replica that are on their way at once"),
    # How data looks.
    "digest_bytes": Input(71, "bytes", COUNTED, "a digest as text: sha256: and 64 digits"),
    "name_bytes": Input(30, "bytes", ASSUMED, "name of a repository"),
    "holders": Input(3, "", ASSUMED, "repositories that hold a blob, on average"),
    "blobs_per_manifest": Input(3, "", ASSUMED, "different blobs for each manifest: layers are shared"),
    "manifest_bytes": Input(2000, "bytes", ASSUMED, "a manifest"),
}

# The measurements of bench/run --only scale that a cell is taken from: work, label, the factor for the cell's unit, and what to divide by.
TAGS = "push of 300 tags of one manifest, 16 at once"
LOG = "PostgreSQL under those small images"
MEASUREMENTS = {
    "M1": ("GET of a manifest by tag, 16 at once", "PostgreSQL's processor", 0.001),
    "M2": (TAGS, "PostgreSQL's processor", 0.001, TAGS, "statements to PostgreSQL"),
    "M3": (LOG, "a flush of the log", 1),
    "M4": (LOG, "SELECT 1", 1),
    "M5": (LOG, "log for a row", 1),
    "M7": ("GET of a 4 KiB blob through the registry, 1 at once", "middle", 1),
    "M8": ("pull of 64 MiB, 1 at once, redirected to the bucket", "speed", 1),
    "M10": ("GET of a manifest by tag, 16 at once", "rate", 1),
    "M11": ("push of 100 small images, 16 at once", "rate", 1),
    "M12": ("push of 128 MiB, POST and PUT", "speed", 1),
    "M13": ("pull of 64 MiB, 8 at once, through the registry", "speed", 1),
}
# Those inputs that do not depend on where the stores are, or on their disks. Round trips over loopback, a bucket in the same machine and
# the disk of a shared virtual machine say nothing about a fleet: for these the assumptions stay, and stand beside what was measured. So does that of a statement which writes: what was measured is the push of
# a manifest, a whole transaction of a dozen statements in one function, in sessions that had just begun.
FROM_CELLS = {"read_time": ("M1", 3), "row_log": ("M5", 0)}

# What one process on one machine was measured to do: the work, the label, and how the page calls them.
FIGURES = [
    ("pull of 1 GiB, 64 at once", "speed", "MB/s"),
    ("pull of 1 GiB, 64 at once", "server's processor", "s/GiB"),
    ("pull of 1 GiB, 64 at once", "most memory", "MiB"),
    ("TLS, HTTP/1.1: pull of 64 MiB, 8 at once", "speed", "MB/s"),
    ("GET of a manifest by tag, 64 at once", "rate", "requests/s"),
    ("GET of a manifest by tag, 64 at once", "99th of 100", "ms"),
    ("HEAD of a blob, 64 at once", "rate", "requests/s"),
    ("push of 8 x 128 MiB at once, as the Docker engine does", "speed", "MB/s"),
    ("push of 2,000 small images, 16 at once", "rate", "images/s"),
    ("push of 10,000 tags of one manifest, 16 at once", "rate", "tags/s"),
    ("list of 10,000 tags, by 1000", "all pages", "ms"),
    ("cold pull through of 256 MiB, 16 at once, over 100 MB/s", "last client done", "s"),
    ("2,000 idle connections", "resident memory", "KiB each"),
]

# What replaces assumptions, once it has been measured on S3 and PostgreSQL: the cell, what to measure, and how.
CELLS = [
    ("M1", "processor time of PostgreSQL for a look-up", "ms", "GET of a manifest by tag: PostgreSQL's processes, from /proc, for each"),
    ("M2", "processor time of PostgreSQL for a statement that writes", "ms", "push of 300 tags: the same, for each statement, which is a whole transaction"),
    ("M3", "flush of the log", "ms", "pg_stat_wal under the push of small images, track_wal_io_timing"),
    ("M4", "round trip to PostgreSQL", "ms", "SELECT 1, prepared, pgbench on one connection over loopback"),
    ("M5", "log for a row", "bytes", "pg_waldump of the push of small images, without full pages, by the rows in it"),
    ("M6", "log with full pages, to log of rows", "times", "an hour of pushes with checkpoint_timeout = 15min"),
    ("M7", "a request to the bucket, before its bytes", "ms", "pull of a 4 KiB blob with the read cache off, all of it: two requests to Garage in the same machine"),
    ("M8", "bytes of one request to the bucket", "MB/s", "pull of 64 MiB from Garage in the same machine, one connection"),
    ("M9", "share of bytes from the read cache", "", "in operation; the program's metric"),
    ("M10", "GET of a manifest by tag, one replica", "requests/s", "bench/run --only scale"),
    ("M11", "push of small images, one replica", "images/s", "bench/run --only scale"),
    ("M12", "push of 128 MiB, one replica", "MB/s", "bench/run --only scale"),
    ("M13", "pull of 64 MiB through one replica, 8 at once, without a read cache", "MB/s", "bench/run --only scale, which has it with the cache, too"),
    ("M14", "statements of each operation", "", "bench/run --only scale; they are in the table of operations"),
]
