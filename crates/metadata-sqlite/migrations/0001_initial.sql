-- Times are milliseconds since 1970. Digests and names are text in the BINARY collation: order is by bytes.
-- The column of every foreign key comes first in an index, so that a deletion steps through what it deletes and
-- nothing else.

-- A row stays when its repository is emptied, and its name never changes.
CREATE TABLE repositories (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

-- The bytes of manifests as received, once for all repositories that hold them.
-- A table with row ids: large rows would make the inner pages of a WITHOUT ROWID tree hold next to nothing.
CREATE TABLE manifest_contents (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE manifests (
    id INTEGER PRIMARY KEY,
    repository INTEGER NOT NULL REFERENCES repositories (id),
    digest TEXT NOT NULL,
    content INTEGER NOT NULL REFERENCES manifest_contents (id),
    media_type TEXT NOT NULL,
    pushed_at INTEGER NOT NULL,
    UNIQUE (repository, digest)
) STRICT;

CREATE INDEX manifests_by_content ON manifests (content);

-- What a manifest names, except its subject. The size is what the descriptor claims.
CREATE TABLE manifest_references (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    target TEXT NOT NULL,
    manifest INTEGER NOT NULL REFERENCES manifests (id),
    kind TEXT NOT NULL CHECK (kind IN ('config', 'layer', 'child')),
    size INTEGER NOT NULL,
    PRIMARY KEY (repository, target, manifest, kind)
) STRICT, WITHOUT ROWID;

CREATE INDEX manifest_references_by_manifest ON manifest_references (manifest);

-- The manifests that have a subject, which itself need not be here. Annotations are a JSON object, which may be large:
-- this is a table with row ids, too.
CREATE TABLE referrers (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    subject TEXT NOT NULL,
    digest TEXT NOT NULL,
    manifest INTEGER NOT NULL REFERENCES manifests (id),
    artifact_type TEXT,
    annotations TEXT NOT NULL,
    PRIMARY KEY (repository, subject, digest)
) STRICT;

CREATE INDEX referrers_by_artifact_type ON referrers (repository, subject, artifact_type, digest);
CREATE INDEX referrers_by_manifest ON referrers (manifest);

CREATE TABLE tags (
    repository INTEGER NOT NULL REFERENCES repositories (id),
    name TEXT NOT NULL,
    manifest INTEGER NOT NULL REFERENCES manifests (id),
    confirmed_at INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX tags_by_manifest ON tags (manifest);

-- Which repository holds which blob. The repository stands here by its name, so that the holders of a popular blob
-- come out of the index in the order of their names, without a sort.
CREATE TABLE blob_links (
    repository TEXT NOT NULL REFERENCES repositories (name),
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    linked_at INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX blob_links_by_digest ON blob_links (digest, repository, size);

CREATE TABLE uploads (
    id TEXT NOT NULL PRIMARY KEY,
    repository INTEGER NOT NULL REFERENCES repositories (id),
    algorithm TEXT NOT NULL,
    touched_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX uploads_by_repository ON uploads (repository);
CREATE INDEX uploads_by_touched_at ON uploads (touched_at);
