"""Fills our database with images, because a million of them take too long over HTTP: rows as the server itself writes
them, with the server stopped. The layers exist in name only, and nobody asks for their bytes.

The triggers that derive what can be evicted are put aside meanwhile, because they look up for each row what is known
here: there is one entry for each manifest, and none for a blob that a manifest names. Whether that is so is asked of
the schema's own views, where there are few enough rows to ask."""

import hashlib
import json
import os
import sqlite3
import time

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_BYTES = 4096
AT_ONCE = 10_000
CHECKED_UP_TO = 10_000


def fill(file, repository, count):
    """Adds `count` images of one layer each, tagged `tag-0000000` and so on, to a repository that has an image."""
    database = sqlite3.connect(file, isolation_level=None)
    # Every batch touches most pages, because digests are in no order: so all of them stay in memory, are written once, and
    # nothing is logged. Whoever breaks it off begins anew with an empty store.
    for setting in ("synchronous = OFF", "journal_mode = OFF", "locking_mode = EXCLUSIVE", "cache_size = -4000000"):
        database.execute(f"PRAGMA {setting}")
    database.execute("BEGIN")
    (number,) = database.execute("SELECT id FROM repositories WHERE name = ?", [repository]).fetchone()
    (first,) = database.execute("SELECT bytes FROM manifest_contents LIMIT 1").fetchone()
    manifest = json.loads(first)
    (next_id,) = database.execute("SELECT 1 + max(max(manifests.id), max(content)) FROM manifests").fetchone()
    triggers = database.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'entry%'"
    ).fetchall()
    for name, _ in triggers:
        database.execute(f"DROP TRIGGER {name}")
    for begin in range(0, count, AT_ONCE):
        images = [Image(manifest, place) for place in range(begin, min(begin + AT_ONCE, count))]
        insert(database, images, repository, number, next_id + begin, int(time.time() * 1000))
    for _, text in triggers:
        database.execute(text)
    if count <= CHECKED_UP_TO:
        check(database)
    database.execute("COMMIT")
    database.execute("PRAGMA journal_mode = WAL")
    database.close()
    # Or the server pays for it: its first sync of the file would write all that is still only in the page cache.
    with open(file, "rb") as filled:
        os.fsync(filled.fileno())


def check(database):
    """Fails when the entries are not those that the schema derives."""
    columns = "repository, digest, manifest, used_at, is_pinned"
    derived = f"SELECT {columns} FROM manifest_entries UNION ALL SELECT {columns} FROM blob_entries"
    stored = f"SELECT {columns} FROM entries"
    for one, other in ((derived, stored), (stored, derived)):
        (differ,) = database.execute(
            f"SELECT count(*) FROM (SELECT * FROM ({one}) EXCEPT SELECT * FROM ({other}))"
        ).fetchone()
        if differ:
            raise RuntimeError(
                f"{differ} entries are not as the schema derives them: bench/compare/fill.py is behind the schema"
            )


class Image:
    """One that differs from all others in its layer."""

    def __init__(self, like, place):
        self.place = place
        self.layer = f"sha256:{hashlib.sha256(b'layer %d' % place).hexdigest()}"
        self.config = like["config"]
        layer = {"mediaType": LAYER_TYPE, "digest": self.layer, "size": LAYER_BYTES}
        self.bytes = json.dumps(like | {"layers": [layer]}, separators=(",", ":")).encode()
        self.digest = f"sha256:{hashlib.sha256(self.bytes).hexdigest()}"


def insert(database, images, repository, number, next_id, now):
    ids = range(next_id, next_id + len(images))
    links = [(repository, image.layer, LAYER_BYTES, now, now) for image in images]
    database.executemany(
        "INSERT INTO blob_links (repository, digest, size, linked_at, used_at) VALUES (?, ?, ?, ?, ?)", links
    )
    contents = [(id, image.digest, image.bytes) for id, image in zip(ids, images)]
    database.executemany("INSERT INTO manifest_contents (id, digest, bytes) VALUES (?, ?, ?)", contents)
    manifests = [(id, number, image.digest, id, MANIFEST_TYPE, now, now) for id, image in zip(ids, images)]
    columns = "id, repository, digest, content, media_type, pushed_at, used_at"
    database.executemany(f"INSERT INTO manifests ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", manifests)
    entries = [(repository, image.digest, id, now) for id, image in zip(ids, images)]
    database.executemany(
        "INSERT INTO entries (repository, digest, manifest, used_at, is_pinned) VALUES (?, ?, ?, ?, 0)", entries
    )
    references = []
    for id, image in zip(ids, images):
        references.append((number, image.layer, id, "layer", LAYER_BYTES))
        references.append((number, image.config["digest"], id, "config", image.config["size"]))
    columns = "repository, target, manifest, kind, size"
    database.executemany(f"INSERT INTO manifest_references ({columns}) VALUES (?, ?, ?, ?, ?)", references)
    tags = [(number, f"tag-{image.place:07}", id, now) for id, image in zip(ids, images)]
    database.executemany("INSERT INTO tags (repository, name, manifest, confirmed_at) VALUES (?, ?, ?, ?)", tags)
