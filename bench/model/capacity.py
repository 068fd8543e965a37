"""What a fleet asks of its parts, by arithmetic alone."""

import math

import operations as ops

MEBI, GIBI = 1 << 20, 1 << 30

# Beyond so many connections of its own a server of PostgreSQL does worse, not better.
DIRECT_MAX = 500


class Fleet:
    """So many replicas, each at its busiest."""

    def __init__(self, inputs, replicas):
        self.inputs, self.replicas = inputs, replicas
        value = lambda name: inputs[name].value
        layers, missing, size = int(value("image_layers")), int(value("layers_missing")), int(value("blob_bytes"))
        self.pulls, self.pushes = replicas * value("replica_pulls"), replicas * value("replica_pushes")
        due = self.pulls * value("proxied_share") * value("tags_due_share")
        # A confirmation: find the manifest, point the tag at it.
        confirm = ops.Operation("confirm a tag", reads=1, writes=1, rows=1, commits=1)
        uses = ops.Operation("write uses", reads=1, writes=2, rows=value("uses_rows"), lazy_commits=1)
        self.lease_renewals = replicas * (value("lease_kinds") + value("fills_running")) / value("lease_renewal")
        lease = ops.Operation("renew a lease", writes=1, rows=1, lazy_commits=1)
        self.load = ops.sums(
            "in a second",
            [
                ops.image_pull(inputs, missing).times(self.pulls),
                ops.image_push(inputs, layers, missing, size).times(self.pushes),
                confirm.times(due),
                uses.times(replicas / value("uses_interval")),
                lease.times(self.lease_renewals),
            ],
        )

    def value(self, name):
        return self.inputs[name].value

    @property
    def database_cores(self):
        milliseconds = self.load.reads * self.value("read_time") + self.load.writes * self.value("write_time")
        # A row beyond the first of its statement costs a fifth of one.
        milliseconds += max(0, self.load.rows - self.load.writes) * self.value("write_time") / 5
        return milliseconds / 1000

    @property
    def log_bytes(self):
        return self.load.rows * self.value("row_log") * self.value("page_images")

    @property
    def connections(self):
        """What the replicas may open: their pools, and one each that listens."""
        return self.replicas * (int(self.value("connections")) + 1)

    @property
    def connections_busy(self):
        """By Little's law: what is under way at a moment, of statements and of waiting for the log."""
        trip, flush = self.value("round_trip"), self.value("flush_time")
        seconds = self.load.round_trips * trip / 1000 + self.database_cores + self.load.commits * 1.5 * flush / 1000
        return seconds

    @property
    def is_pooled(self):
        return self.connections > DIRECT_MAX

    @property
    def notices(self):
        """A tag that is pushed is told; deletions and configuration are rare."""
        return self.pushes

    @property
    def deliveries(self):
        return self.notices * self.replicas

    @property
    def reads_of_bucket(self):
        return self.load.gets

    @property
    def writes_of_bucket(self):
        return self.load.puts + self.load.deletes

    @property
    def bucket_bytes(self):
        missing = self.value("layers_missing")
        pulled = self.pulls * missing * (1 - self.value("read_cache_hits"))
        return (pulled + self.pushes * missing) * self.value("blob_bytes") * MEBI


class Replica:
    """What one replica is busy with, by the measured figures."""

    def __init__(self, inputs):
        value = lambda name: inputs[name].value
        pulls, pushes = value("replica_pulls"), value("replica_pushes")
        gibi = value("layers_missing") * value("blob_bytes") / 1024
        blobs = value("layers_missing") + 1
        small = pulls * (2 * value("manifest_cpu") + blobs * value("blob_head_cpu")) / 1e6
        self.requests = pulls * (2 + blobs)
        self.parts = [
            ("answers without their bytes", small),
            ("sending, plain", pulls * gibi * value("send_cpu")),
            ("sending, TLS in the place of that", pulls * gibi * value("tls_cpu")),
            ("receiving and hashing, pushes", pushes * gibi * value("receive_cpu")),
            # Written beside being served: received from the bucket once, as a push is.
            ("receiving and hashing, from the bucket", pulls * gibi * (1 - value("read_cache_hits")) * value("receive_cpu")),
        ]
        self.sent = pulls * gibi * GIBI
        self.network = value("replica_network") * 1e9 / 8
        self.cores = value("replica_cores")


class Index:
    """A B-tree of PostgreSQL."""

    # Header of a page and of what each entry needs: its pointer in the page, its tuple header.
    PAGE_HEADER, ENTRY_HEADER = 24 + 16, 4 + 8

    def __init__(self, inputs, name, rows, key_bytes):
        self.name, self.rows = name, rows
        page, full = inputs["page"].value, inputs["fill_factor"].value
        entry = self.ENTRY_HEADER + math.ceil(key_bytes / 8) * 8
        leaf = math.floor((page - self.PAGE_HEADER) * full / entry)
        # Inner pages keep no more of a key than tells two pages apart: of random digests about a dozen bytes after what they share.
        fan = math.floor((page - self.PAGE_HEADER) * full / (self.ENTRY_HEADER + math.ceil(min(key_bytes, 32) / 8) * 8))
        pages = math.ceil(rows / leaf)
        self.leaves, self.inner, self.depth = pages, 0, 1
        while pages > 1:
            pages = math.ceil(pages / fan)
            self.inner += pages
            self.depth += 1
        self.bytes = (self.leaves + self.inner) * page
        self.inner_bytes = self.inner * page


class Data:
    """Tables and indexes for so many different blobs."""

    ROW_HEADER = 28

    def __init__(self, inputs, blobs):
        self.inputs, self.blobs = inputs, blobs
        value = lambda name: inputs[name].value
        digest, name = value("digest_bytes"), value("name_bytes")
        links = blobs * value("holders")
        manifests = blobs / value("blobs_per_manifest")
        references = manifests * (value("image_layers") + 1)
        row = lambda *columns: self.ROW_HEADER + sum(math.ceil(column / 8) * 8 for column in columns)
        # Rows, bytes of a row, indexes.
        self.tables = [
            self.table("blob_links", links, row(8, digest, 8, 8, 8), [8 + digest, digest + 16]),
            self.table("blobs", blobs, row(digest, 8, 8), [digest]),
            self.table("manifests", manifests, row(8, 8, digest, 8, 60, 8, 8), [8, 8 + digest, 8]),
            self.table("manifest_contents", manifests, row(8, digest, value("manifest_bytes")), [8, digest]),
            self.table("manifest_references", references, row(8, digest, 8, 8, 8), [16 + digest, 8]),
            self.table("tags", manifests, row(8, name, 8, 8), [8 + name, 8]),
        ]

    def table(self, name, rows, row_bytes, keys):
        rows = math.ceil(rows)
        indexes = [Index(self.inputs, name, rows, key) for key in keys]
        return {
            "name": name,
            "rows": rows,
            "heap": rows * row_bytes,
            "indexes": sum(index.bytes for index in indexes),
            "depth": max(index.depth for index in indexes),
            "inner": sum(index.inner_bytes for index in indexes),
        }

    def total(self, field):
        return sum(table[field] for table in self.tables)

    @property
    def largest(self):
        return max(self.tables, key=lambda table: table["heap"] + table["indexes"])

    @property
    def dead_rows(self):
        """What the largest table gathers before autovacuum comes, with its default."""
        return self.largest["rows"] * self.inputs["vacuum_share"].value

    @property
    def vacuum_hours(self):
        """For one pass over all of the largest table and its indexes."""
        size = self.largest["heap"] + self.largest["indexes"]
        return size / (self.inputs["vacuum_rate"].value * MEBI) / 3600


class FanOut:
    """A blob that clients of all replicas ask for at once, and that no replica has."""

    SECONDS_TO_STORE = 1.0

    def __init__(self, inputs, replicas, bytes_, upstream):
        self.network = inputs["replica_network"].value * 1e9 / 8
        self.replicas, self.bytes, self.upstream = replicas, bytes_, upstream
        self.fetch = bytes_ / upstream

    def star(self):
        """Everybody reads the growing file of the leader: its network is shared."""
        rate = min(self.upstream, self.network / max(1, self.replicas - 1))
        return self.bytes / rate

    def chain(self, width):
        """A leader has `width` readers, each of which has as many: everybody sends no more than `width` times what he gets."""
        rate = min(self.upstream, self.network / width)
        depth = math.ceil(math.log(max(1, self.replicas) * (width - 1) + 1, width)) - 1 if width > 1 else self.replicas
        return self.bytes / rate + depth * 0.005

    def bucket(self):
        """Everybody waits for the leader, and reads from the bucket."""
        return self.fetch + self.SECONDS_TO_STORE + self.bytes / self.network
