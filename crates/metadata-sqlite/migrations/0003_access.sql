-- Who may do what: the credentials that this registry has issued, the keys that tokens are signed with, and whose an upload is.

-- Nothing here can be used to log in: of a secret there is only its hash. Lists of texts are JSON arrays.
CREATE TABLE credentials (
    id TEXT NOT NULL PRIMARY KEY,
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    kind TEXT NOT NULL CHECK (kind IN ('personal', 'robot', 'refresh')),
    principal TEXT NOT NULL,
    name TEXT NOT NULL,
    repositories TEXT NOT NULL,
    actions TEXT NOT NULL,
    basis BLOB CHECK (length(basis) = 32),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    used_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX credentials_by_name ON credentials (principal, kind, name) WHERE kind <> 'refresh';
CREATE INDEX credentials_by_principal ON credentials (principal, id);
CREATE INDEX credentials_by_expiry ON credentials (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX credentials_by_idleness ON credentials (max(created_at, ifnull(used_at, created_at))) WHERE kind = 'refresh';

-- The secret keys themselves: this is why nobody else may read the file. `number` is the order in which they came.
CREATE TABLE signing_keys (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    secret BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- What was begun before has an owner without a name.
ALTER TABLE uploads ADD COLUMN owner TEXT NOT NULL DEFAULT '';
