-- How far an upload is, as its last writer has left it. A table of its own, with row ids: a state may be large, and most sessions have none.
CREATE TABLE upload_states (
    id INTEGER PRIMARY KEY,
    upload TEXT NOT NULL UNIQUE REFERENCES uploads (id),
    received INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;
