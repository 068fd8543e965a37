"""What one request asks of the database and of the object store.

Statements and requests to the bucket are counted: by the program's own metrics, request by request (bench/run --only scale, docs/benchmarks.md).
Rows and commits follow from the statements' text. A statement is a round trip; nearly all are transactions of their own, without
BEGIN and COMMIT, and one that writes waits for the log unless it need not.
"""


class Operation:
    """Sums of what an operation takes. `commits` wait for the log; `lazy_commits` do not (synchronous_commit = off)."""

    FIELDS = ("requests", "reads", "writes", "rows", "commits", "lazy_commits", "gets", "puts", "deletes")

    def __init__(self, name, **fields):
        self.name = name
        for field in self.FIELDS:
            setattr(self, field, fields.pop(field, 0))
        assert not fields, fields

    def __add__(self, other):
        sums = {field: getattr(self, field) + getattr(other, field) for field in self.FIELDS}
        return Operation(self.name, **sums)

    def times(self, factor, name=None):
        return Operation(name or self.name, **{field: getattr(self, field) * factor for field in self.FIELDS})

    @property
    def statements(self):
        return self.reads + self.writes

    @property
    def round_trips(self):
        """Each statement is one: those that write are whole transactions."""
        return self.statements


def sums(name, operations):
    total = Operation(name)
    for operation in operations:
        total += operation
    return total


# Reading. Each is one look-up that goes through indexes to one row.
MANIFEST_BY_TAG = Operation("GET or HEAD of a manifest by tag", requests=1, reads=1)
MANIFEST_BY_DIGEST = Operation("GET or HEAD of a manifest by digest", requests=1, reads=1)
# The link says that the repository holds it; the size is the object's, so that a blob that is gone is not promised.
BLOB_HEAD = Operation("HEAD of a blob", requests=1, reads=1, gets=1)
BLOB_CACHED = Operation("GET of a blob, in the read cache", requests=1, reads=1)
# How long it is, and then its bytes. To find what was uploaded in parts for the first time takes two requests more.
BLOB_COLD = Operation("GET of a blob, not in the read cache", requests=1, reads=1, gets=2)
# Whether it is there: clients are not sent to what is gone.
BLOB_REDIRECTED = Operation("GET of a blob, redirected", requests=1, reads=1, gets=1)
TAGS_PAGE = Operation("a page of tags, of any length", requests=1, reads=1)
REFERRERS_PAGE = Operation("a page of referrers", requests=1, reads=1)

# Pushing. Content is content: rows are the rows that change, without those of indexes.
SESSION = Operation("POST: begin an upload", requests=1, writes=1, rows=1, lazy_commits=1)


def parts(inputs, mebibytes):
    return max(1, -(-int(mebibytes) // int(inputs["part_bytes"].value)))


def chunk(inputs, mebibytes):
    """PATCH: the session is read and claimed, parts leave as they are full, what is left over becomes a tail, and all that is kept."""
    whole = int(mebibytes) // int(inputs["part_bytes"].value)
    return Operation(
        f"PATCH of {mebibytes} MiB", requests=1, reads=1, writes=2, rows=2, lazy_commits=2, puts=whole + 1
    )


def chunk_elsewhere(inputs, mebibytes):
    """The same, taken up by a replica that did not have the last one: the tail is fetched, and the old one removed."""
    here = chunk(inputs, mebibytes)
    here.name = "… by another replica than the one before"
    here.gets += 1
    here.deletes += 1
    return here


# PUT without a body: look at the session, claim it, and in one statement link the blob, count its holder and delete the session.
CLOSE = Operation("PUT: close an upload", requests=1, reads=1, writes=2, rows=4, commits=1, lazy_commits=1)
LINK = Operation("link a blob", writes=1, rows=2, commits=1)


def blob_whole():
    """POST and PUT of a blob that fits into one part: one object, at its place at once."""
    return sums("push of a blob up to one part, POST and PUT", [SESSION, CLOSE, Operation("", puts=1)])


def blob_staged(inputs, mebibytes):
    """As the Docker engine pushes: HEAD, POST, one PATCH with everything, PUT. The upload in parts is begun (marker, POST), gets its last
    part, is closed (marker, POST) and pointed at; the two markers and the tail go. What fits into one part goes to its place. One look
    more at the bucket was counted for both."""
    multipart = Operation("", gets=1, puts=2 + 1 + 2 + 1, deletes=3)
    if parts(inputs, mebibytes) == 1:
        multipart = Operation("", gets=1, puts=1, deletes=1)
    head = BLOB_HEAD.times(1)
    return sums(
        f"push of a blob of {mebibytes} MiB, as the Docker engine does",
        [head, SESSION, chunk(inputs, mebibytes), CLOSE, multipart],
    )


# Without the bytes: look at the source, look whether its object is there, link.
MOUNT = sums("mount of a blob", [Operation("", requests=1, reads=1, gets=1), LINK])


def manifest(inputs, layers):
    """One statement: it looks at all that is named, and writes content, manifest, references, use of what is above and the tag."""
    return Operation(f"push of a manifest of {layers} layers", requests=1, writes=1, rows=4 + layers + 1, commits=1)


def image_push(inputs, layers, new, mebibytes):
    """HEAD of every layer and of the configuration; the new ones are pushed, and then the manifest."""
    known = layers - new
    return sums(
        f"push of an image of {layers} layers, {new} of them new",
        [
            BLOB_HEAD.times(known),
            blob_staged(inputs, mebibytes).times(new),
            blob_staged(inputs, 0),
            manifest(inputs, layers),
        ],
    )


def image_pull(inputs, layers):
    """HEAD or GET by tag, GET by digest, the configuration, and the layers that the client lacks; bytes from the read cache mostly."""
    hits = inputs["read_cache_hits"].value
    blobs = layers + 1
    return sums(
        f"pull of an image, {layers} of its layers",
        [MANIFEST_BY_TAG, MANIFEST_BY_DIGEST, BLOB_CACHED.times(blobs * hits), BLOB_COLD.times(blobs * (1 - hits))],
    )


def listed(inputs):
    """The operations of the table, in its order."""
    size = int(inputs["blob_bytes"].value)
    layers, new = int(inputs["image_layers"].value), int(inputs["layers_missing"].value)
    return [
        MANIFEST_BY_TAG,
        MANIFEST_BY_DIGEST,
        BLOB_HEAD,
        BLOB_CACHED,
        BLOB_COLD,
        BLOB_REDIRECTED,
        TAGS_PAGE,
        REFERRERS_PAGE,
        MOUNT,
        blob_whole(),
        blob_staged(inputs, size),
        SESSION,
        chunk(inputs, 5),
        chunk_elsewhere(inputs, 5),
        CLOSE,
        manifest(inputs, layers),
        image_push(inputs, layers, new, size),
        image_pull(inputs, new),
    ]
