-- What a bounded store is made of: when content was last used, what is pinned, what can be evicted, and how much there is.
--
-- `entries`, `blobs` and `totals` say nothing that the other tables do not say. Triggers keep them in step, inside of the
-- statement that changes what they are derived from, so that no write can forget them; what they cost does not depend on how much there is.

-- What was here before counts as used when it came, and an index when the last came of what it reaches.
ALTER TABLE manifests ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE blob_links ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0;
UPDATE manifests SET used_at = (
    WITH RECURSIVE reached (id) AS (
        SELECT manifests.id
        UNION
        SELECT child.id FROM reached
        JOIN manifest_references ON manifest_references.manifest = reached.id AND kind = 'child'
        JOIN manifests AS child ON child.repository = manifest_references.repository AND child.digest = target
    )
    SELECT max(pushed_at) FROM reached JOIN manifests AS one ON one.id = reached.id
);
UPDATE blob_links SET used_at = linked_at;

-- A manifest that is very popular as a layer of others is still found at once among the children.
CREATE INDEX manifest_references_to_children ON manifest_references (repository, target) WHERE kind = 'child';

-- The repository stands here by its name, because it need not exist. A reference is a tag or a digest: only the latter has a
-- colon.
CREATE TABLE pins (
    repository TEXT NOT NULL,
    reference TEXT NOT NULL,
    pinned_at INTEGER NOT NULL,
    PRIMARY KEY (repository, reference)
) STRICT, WITHOUT ROWID;

-- Every blob that is or was linked, until it is forgotten. Its size is the one that was linked last.
CREATE TABLE blobs (
    digest TEXT NOT NULL PRIMARY KEY,
    size INTEGER NOT NULL,
    holders INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX blobs_unheld ON blobs (digest, size) WHERE holders = 0;

-- One row. Blobs that nobody holds are not counted.
CREATE TABLE totals (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    bytes INTEGER NOT NULL,
    blobs INTEGER NOT NULL,
    manifests INTEGER NOT NULL
) STRICT;

-- What can be evicted, see the views below. `manifest` is NULL for a blob.
CREATE TABLE entries (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    manifest INTEGER,
    used_at INTEGER NOT NULL,
    is_pinned INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX entries_by_use ON entries (used_at) WHERE is_pinned = 0;

-- What an entry is: a manifest that no manifest of its repository names as a child, pinned by its digest or by a tag on it;
CREATE VIEW manifest_entries (repository, digest, manifest, used_at, is_pinned) AS
SELECT
    repositories.name, manifests.digest, manifests.id, manifests.used_at,
    EXISTS (SELECT 1 FROM pins WHERE pins.repository = repositories.name AND pins.reference = manifests.digest)
    OR EXISTS (
        SELECT 1 FROM tags CROSS JOIN pins ON pins.repository = repositories.name AND pins.reference = tags.name
        WHERE tags.manifest = manifests.id
    )
FROM repositories JOIN manifests ON manifests.repository = repositories.id
WHERE NOT EXISTS (
    SELECT 1 FROM manifest_references
    WHERE manifest_references.repository = repositories.id AND target = manifests.digest AND kind = 'child'
);

-- or a blob that none names at all, pinned by its digest. A digest that is both is the manifest.
CREATE VIEW blob_entries (repository, digest, manifest, used_at, is_pinned) AS
SELECT
    repositories.name, blob_links.digest, NULL, blob_links.used_at,
    EXISTS (SELECT 1 FROM pins WHERE pins.repository = repositories.name AND pins.reference = blob_links.digest)
FROM repositories JOIN blob_links ON blob_links.repository = repositories.name
WHERE NOT EXISTS (
    SELECT 1 FROM manifests WHERE manifests.repository = repositories.id AND manifests.digest = blob_links.digest
)
AND NOT EXISTS (
    SELECT 1 FROM manifest_references
    WHERE manifest_references.repository = repositories.id AND target = blob_links.digest
);

INSERT INTO entries SELECT repository, digest, manifest, used_at, is_pinned FROM manifest_entries;
INSERT INTO entries SELECT repository, digest, manifest, used_at, is_pinned FROM blob_entries;
-- The size beside max() is that of the row which has the maximum.
INSERT INTO blobs SELECT digest, size, holders FROM (
    SELECT digest, size, count(*) AS holders, max(linked_at) FROM blob_links GROUP BY digest
);
INSERT INTO totals SELECT
    1, (SELECT coalesce(sum(size), 0) FROM blobs), (SELECT count(*) FROM blobs), (SELECT count(*) FROM manifests);

-- Blobs and totals.

CREATE TRIGGER blob_holder_added AFTER INSERT ON blob_links BEGIN
    INSERT INTO blobs (digest, size, holders) VALUES (NEW.digest, NEW.size, 1)
    ON CONFLICT (digest) DO UPDATE SET size = excluded.size, holders = holders + 1;
END;

CREATE TRIGGER blob_resized AFTER UPDATE OF size ON blob_links BEGIN
    UPDATE blobs SET size = NEW.size WHERE digest = NEW.digest;
END;

CREATE TRIGGER blob_holder_removed AFTER DELETE ON blob_links BEGIN
    UPDATE blobs SET holders = holders - 1 WHERE digest = OLD.digest;
END;

CREATE TRIGGER blob_counted AFTER INSERT ON blobs BEGIN
    UPDATE totals SET bytes = bytes + NEW.size, blobs = blobs + 1 WHERE id = 1;
END;

CREATE TRIGGER blob_recounted AFTER UPDATE ON blobs
WHEN NEW.size <> OLD.size OR (NEW.holders = 0) <> (OLD.holders = 0) BEGIN
    UPDATE totals SET
        bytes = bytes + iif(NEW.holders = 0, 0, NEW.size) - iif(OLD.holders = 0, 0, OLD.size),
        blobs = blobs + (OLD.holders = 0) - (NEW.holders = 0)
    WHERE id = 1;
END;

CREATE TRIGGER manifest_counted AFTER INSERT ON manifests BEGIN
    UPDATE totals SET manifests = manifests + 1 WHERE id = 1;
END;

CREATE TRIGGER manifest_uncounted AFTER DELETE ON manifests BEGIN
    UPDATE totals SET manifests = manifests - 1 WHERE id = 1;
END;

-- Entries. What is inserted into this view is derived again; values that are at hand let SQLite look for one row, where it
-- would otherwise read all of a view.
CREATE VIEW changed_entries (repository, digest) AS SELECT repository, digest FROM entries;

CREATE TRIGGER entry_derived INSTEAD OF INSERT ON changed_entries BEGIN
    DELETE FROM entries WHERE repository = NEW.repository AND digest = NEW.digest;
    INSERT INTO entries SELECT repository, digest, manifest, used_at, is_pinned FROM manifest_entries
    WHERE repository = NEW.repository AND digest = NEW.digest;
    INSERT INTO entries SELECT repository, digest, manifest, used_at, is_pinned FROM blob_entries
    WHERE repository = NEW.repository AND digest = NEW.digest;
END;

CREATE TRIGGER entry_of_new_blob AFTER INSERT ON blob_links BEGIN
    INSERT INTO changed_entries VALUES (NEW.repository, NEW.digest);
END;

CREATE TRIGGER entry_of_deleted_blob AFTER DELETE ON blob_links BEGIN
    INSERT INTO changed_entries VALUES (OLD.repository, OLD.digest);
END;

CREATE TRIGGER entry_of_used_blob AFTER UPDATE OF used_at ON blob_links BEGIN
    UPDATE entries SET used_at = NEW.used_at
    WHERE repository = NEW.repository AND digest = NEW.digest AND manifest IS NULL;
END;

CREATE TRIGGER entry_of_new_manifest AFTER INSERT ON manifests BEGIN
    INSERT INTO changed_entries SELECT name, NEW.digest FROM repositories WHERE id = NEW.repository;
END;

CREATE TRIGGER entry_of_deleted_manifest AFTER DELETE ON manifests BEGIN
    INSERT INTO changed_entries SELECT name, OLD.digest FROM repositories WHERE id = OLD.repository;
END;

CREATE TRIGGER entry_of_used_manifest AFTER UPDATE OF used_at ON manifests BEGIN
    UPDATE entries SET used_at = NEW.used_at
    WHERE repository = (SELECT name FROM repositories WHERE id = NEW.repository) AND digest = NEW.digest;
END;

CREATE TRIGGER entry_of_new_reference AFTER INSERT ON manifest_references BEGIN
    INSERT INTO changed_entries SELECT name, NEW.target FROM repositories WHERE id = NEW.repository;
END;

CREATE TRIGGER entry_of_deleted_reference AFTER DELETE ON manifest_references BEGIN
    INSERT INTO changed_entries SELECT name, OLD.target FROM repositories WHERE id = OLD.repository;
END;

-- A tag or a pin changes no more of an entry than whether it is pinned.

CREATE TRIGGER entry_of_new_tag AFTER INSERT ON tags BEGIN
    INSERT INTO changed_entries SELECT pins.repository, manifests.digest
    FROM manifests JOIN repositories ON repositories.id = NEW.repository
    JOIN pins ON pins.repository = repositories.name AND pins.reference = NEW.name
    WHERE manifests.id = NEW.manifest;
END;

CREATE TRIGGER entries_of_moved_tag AFTER UPDATE OF manifest ON tags WHEN NEW.manifest <> OLD.manifest BEGIN
    INSERT INTO changed_entries SELECT pins.repository, manifests.digest
    FROM manifests JOIN repositories ON repositories.id = NEW.repository
    JOIN pins ON pins.repository = repositories.name AND pins.reference = NEW.name
    WHERE manifests.id IN (OLD.manifest, NEW.manifest);
END;

CREATE TRIGGER entry_of_deleted_tag AFTER DELETE ON tags BEGIN
    INSERT INTO changed_entries SELECT pins.repository, manifests.digest
    FROM manifests JOIN repositories ON repositories.id = OLD.repository
    JOIN pins ON pins.repository = repositories.name AND pins.reference = OLD.name
    WHERE manifests.id = OLD.manifest;
END;

CREATE TRIGGER entries_of_new_pin AFTER INSERT ON pins BEGIN
    INSERT INTO changed_entries VALUES (NEW.repository, NEW.reference);
    INSERT INTO changed_entries SELECT NEW.repository, manifests.digest
    FROM repositories JOIN tags ON tags.repository = repositories.id AND tags.name = NEW.reference
    JOIN manifests ON manifests.id = tags.manifest
    WHERE repositories.name = NEW.repository;
END;

CREATE TRIGGER entries_of_deleted_pin AFTER DELETE ON pins BEGIN
    INSERT INTO changed_entries VALUES (OLD.repository, OLD.reference);
    INSERT INTO changed_entries SELECT OLD.repository, manifests.digest
    FROM repositories JOIN tags ON tags.repository = repositories.id AND tags.name = OLD.reference
    JOIN manifests ON manifests.id = tags.manifest
    WHERE repositories.name = OLD.repository;
END;
