-- Times are milliseconds since 1970, but where something runs out: that is judged by the clock of this server. Digests, names and tags
-- have the collation "C": order is by bytes, whatever the database was made with. What clients may write freely is bytea, because
-- text cannot hold every string.
--
-- Each writing function takes the row of its repository first: shared to add a blob, otherwise for itself alone. Whatever it reads of the
-- repository stays as it is until it has committed. Rows that repositories share (blobs, manifest_contents) come after that.

-- A row stays when its repository is emptied, and its name never changes.
CREATE TABLE repositories (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name text COLLATE "C" NOT NULL UNIQUE,
    created_at bigint NOT NULL
);

-- The bytes of manifests as received, once for all repositories that hold them.
CREATE TABLE manifest_contents (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    digest text COLLATE "C" NOT NULL UNIQUE,
    bytes bytea NOT NULL
);

CREATE TABLE manifests (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    repository bigint NOT NULL REFERENCES repositories (id),
    digest text COLLATE "C" NOT NULL,
    content bigint NOT NULL REFERENCES manifest_contents (id),
    media_type text NOT NULL,
    pushed_at bigint NOT NULL,
    used_at bigint NOT NULL,
    UNIQUE (repository, digest)
);

CREATE INDEX manifests_by_content ON manifests (content);

-- What a manifest names, except its subject. The size is what the descriptor claims, with all of its 64 bits.
CREATE TABLE manifest_references (
    repository bigint NOT NULL,
    target text COLLATE "C" NOT NULL,
    manifest bigint NOT NULL REFERENCES manifests (id),
    kind text NOT NULL CHECK (kind IN ('config', 'layer', 'child')),
    size bigint NOT NULL,
    PRIMARY KEY (repository, target, manifest, kind)
);

CREATE INDEX manifest_references_by_manifest ON manifest_references (manifest);
CREATE INDEX manifest_references_to_children ON manifest_references (repository, target) WHERE kind = 'child';

-- The manifests that have a subject, which itself need not be here. Annotations are a JSON object, kept as it was written.
CREATE TABLE referrers (
    repository bigint NOT NULL,
    subject text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    manifest bigint NOT NULL REFERENCES manifests (id),
    artifact_type bytea,
    annotations text NOT NULL,
    PRIMARY KEY (repository, subject, digest)
);

CREATE INDEX referrers_by_artifact_type ON referrers (repository, subject, artifact_type, digest);
CREATE INDEX referrers_by_manifest ON referrers (manifest);

CREATE TABLE tags (
    repository bigint NOT NULL REFERENCES repositories (id),
    name text COLLATE "C" NOT NULL,
    manifest bigint NOT NULL REFERENCES manifests (id),
    confirmed_at bigint NOT NULL,
    PRIMARY KEY (repository, name)
);

CREATE INDEX tags_by_manifest ON tags (manifest, name);

-- Which repository holds which blob. The repository stands here by its name, so that the holders of a popular blob come out of the
-- index in the order of their names.
CREATE TABLE blob_links (
    repository text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    size bigint NOT NULL,
    linked_at bigint NOT NULL,
    used_at bigint NOT NULL,
    PRIMARY KEY (repository, digest)
);

CREATE INDEX blob_links_by_digest ON blob_links (digest, repository) INCLUDE (size);

-- Every blob that is or was linked, until it is forgotten. Its size is the one that was linked last. This row is what two repositories
-- that add and drop the same blob wait for, so that it is either held or unheld.
CREATE TABLE blobs (
    digest text COLLATE "C" PRIMARY KEY,
    size bigint NOT NULL,
    holders bigint NOT NULL CHECK (holders >= 0)
) WITH (fillfactor = 80);

CREATE INDEX blobs_unheld ON blobs (digest) WHERE holders = 0;

-- How much there is, as a sum: every write adds a row of what it changed, and now and then all rows become one. No write waits for
-- another because of it, as all would for one row of totals.
CREATE TABLE totals_changes (
    bytes bigint NOT NULL,
    blobs bigint NOT NULL,
    manifests bigint NOT NULL
);

-- The repository stands here by its name, because it need not exist. A reference is a tag or a digest: only the latter has a colon.
CREATE TABLE pins (
    repository text COLLATE "C" NOT NULL,
    reference text COLLATE "C" NOT NULL,
    pinned_at bigint NOT NULL,
    PRIMARY KEY (repository, reference)
);

-- What can be evicted, as the views below say it; the functions that write keep it in step. `manifest` is NULL for a blob.
CREATE TABLE entries (
    repository text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    manifest bigint,
    used_at bigint NOT NULL,
    is_pinned boolean NOT NULL,
    PRIMARY KEY (repository, digest)
) WITH (fillfactor = 80);

CREATE INDEX entries_by_use ON entries (used_at, repository, digest) WHERE NOT is_pinned;

-- A manifest that no manifest of its repository names as a child, pinned by its digest or by a tag on it;
CREATE VIEW manifest_entries AS
SELECT
    repositories.name AS repository, manifests.digest, manifests.id AS manifest, manifests.used_at,
    EXISTS (SELECT 1 FROM pins WHERE pins.repository = repositories.name AND pins.reference = manifests.digest)
    OR EXISTS (
        SELECT 1 FROM pins JOIN tags ON tags.repository = repositories.id AND tags.name = pins.reference
        WHERE pins.repository = repositories.name AND tags.manifest = manifests.id
    ) AS is_pinned
FROM repositories JOIN manifests ON manifests.repository = repositories.id
WHERE NOT EXISTS (
    SELECT 1 FROM manifest_references
    WHERE manifest_references.repository = repositories.id AND target = manifests.digest AND kind = 'child'
);

-- or a blob that none names at all, pinned by its digest. A digest that is both is the manifest.
CREATE VIEW blob_entries AS
SELECT
    repositories.name AS repository, blob_links.digest, NULL::bigint AS manifest, blob_links.used_at,
    EXISTS (SELECT 1 FROM pins WHERE pins.repository = repositories.name AND pins.reference = blob_links.digest)
    AS is_pinned
FROM repositories JOIN blob_links ON blob_links.repository = repositories.name
WHERE NOT EXISTS (
    SELECT 1 FROM manifests WHERE manifests.repository = repositories.id AND manifests.digest = blob_links.digest
)
AND NOT EXISTS (
    SELECT 1 FROM manifest_references
    WHERE manifest_references.repository = repositories.id AND target = blob_links.digest
);

-- An upload, and how far its last writer has left it. `writer` has it until another takes it, which is possible from `claimed_until` on.
CREATE TABLE uploads (
    id text COLLATE "C" PRIMARY KEY,
    repository bigint NOT NULL REFERENCES repositories (id),
    owner bytea NOT NULL,
    algorithm text NOT NULL,
    touched_at bigint NOT NULL,
    received bigint,
    state bytea,
    writer text,
    claimed_until timestamptz,
    CHECK ((received IS NULL) = (state IS NULL)),
    CHECK ((writer IS NULL) = (claimed_until IS NULL))
);

CREATE INDEX uploads_by_repository ON uploads (repository);
CREATE INDEX uploads_by_touched_at ON uploads (touched_at, id);

-- Nothing here can be used to log in: of a secret there is only its hash. Lists of texts are JSON arrays.
CREATE TABLE credentials (
    id bytea PRIMARY KEY,
    secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    kind text NOT NULL CHECK (kind IN ('personal', 'robot', 'refresh')),
    principal bytea NOT NULL,
    name bytea NOT NULL,
    repositories text NOT NULL,
    actions text NOT NULL,
    basis bytea CHECK (octet_length(basis) = 32),
    created_at bigint NOT NULL,
    expires_at bigint,
    used_at bigint
);

CREATE UNIQUE INDEX credentials_by_name ON credentials (principal, kind, name) WHERE kind <> 'refresh';
CREATE INDEX credentials_by_principal ON credentials (principal, id);
CREATE INDEX credentials_by_expiry ON credentials (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX credentials_by_idleness ON credentials (greatest(created_at, used_at)) WHERE kind = 'refresh';

-- The secret keys themselves: whoever may read this table can sign tokens. `number` is the order in which they came.
CREATE TABLE signing_keys (
    number bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    id text COLLATE "C" NOT NULL UNIQUE,
    secret bytea NOT NULL,
    created_at bigint NOT NULL
);

-- Who does something now. A lease that was released keeps its row for a while, so that its fence goes on from there.
CREATE SEQUENCE lease_fences;

CREATE TABLE leases (
    name text COLLATE "C" PRIMARY KEY,
    holder text NOT NULL,
    note text NOT NULL,
    fence bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX leases_by_expiry ON leases (expires_at);

-- Small values that run out. Losing the last of them with the server's memory harms nobody, and a restart of it loses them all.
CREATE UNLOGGED TABLE notes (
    key text COLLATE "C" PRIMARY KEY,
    value text NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX notes_by_expiry ON notes (expires_at);
