"""The tables, as numbered migrations. Owns their definition; knows no connection.

`PRAGMA user_version` counts the migrations that a file has had. A migration, once released, never changes: a new
layout is a new entry at the end.
"""

from __future__ import annotations

APPLICATION_ID = 0x69535931  # "iSY1", so that tools can tell what the file is once it is open

_FIRST = """
-- One row, so that a seq is never given twice, whatever is purged.
CREATE TABLE counters (
    update_seq INTEGER NOT NULL,     -- the last seq given
    live       INTEGER NOT NULL,     -- documents whose winner is live
    deleted    INTEGER NOT NULL      -- documents whose winner is a tombstone
);
INSERT INTO counters VALUES (0, 0, 0);

CREATE TABLE documents (
    number  INTEGER PRIMARY KEY,     -- names the document in the other tables
    id      TEXT NOT NULL UNIQUE,
    seq     INTEGER NOT NULL UNIQUE, -- of its last change
    rev     TEXT NOT NULL,           -- the winner
    deleted INTEGER NOT NULL,        -- the winner is a tombstone
    head    INTEGER NOT NULL,        -- revisions.number of the winner
    live    INTEGER NOT NULL,        -- live leaves; more than one is a conflict
    tree    BLOB                     -- msgpack of RevTree.to_value(); NULL: `rev` is all there is
);
CREATE INDEX conflicts ON documents (number) WHERE live > 1;

CREATE TABLE revisions (
    number  INTEGER PRIMARY KEY,
    doc     INTEGER NOT NULL,
    rev     TEXT NOT NULL,
    leaf    INTEGER NOT NULL,        -- 0: displaced; kept until pruned
    deleted INTEGER NOT NULL,
    files   INTEGER NOT NULL,        -- how many attachments
    state   INTEGER NOT NULL,        -- of verification; 0: not looked at. The meaning is the engine's
    why     TEXT NOT NULL,
    body    BLOB NOT NULL            -- raw JSON
);
CREATE UNIQUE INDEX revisions_of ON revisions (doc, rev);
CREATE INDEX displaced ON revisions (doc) WHERE leaf = 0;

-- What a document is looked up by, from the heads of all its leaves. Kinds: store/heads.py.
CREATE TABLE terms (
    doc  INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    term TEXT NOT NULL,
    PRIMARY KEY (doc, kind, term)
) WITHOUT ROWID;
CREATE INDEX by_term ON terms (kind, term, doc);

CREATE TABLE attachments (
    revision     INTEGER NOT NULL,   -- revisions.number
    name         TEXT NOT NULL,
    content_type TEXT NOT NULL,
    length       INTEGER NOT NULL,
    digest       TEXT NOT NULL,      -- as the peer states it
    revpos       INTEGER NOT NULL,
    blob         INTEGER,            -- blobs.number; NULL: the bytes are not here
    PRIMARY KEY (revision, name)
) WITHOUT ROWID;
CREATE INDEX attachments_of ON attachments (blob) WHERE blob IS NOT NULL;
CREATE INDEX attachments_lacking ON attachments (revision) WHERE blob IS NULL;

CREATE TABLE blobs (
    number INTEGER PRIMARY KEY,
    sha256 BLOB UNIQUE,              -- NULL: still being written
    digest TEXT,                     -- md5-…, of these bytes
    length INTEGER NOT NULL
);
CREATE INDEX blobs_by_digest ON blobs (digest, length);
CREATE TABLE chunks (
    blob   INTEGER NOT NULL,
    start  INTEGER NOT NULL,         -- offset of its first byte
    bytes  BLOB NOT NULL,
    UNIQUE (blob, start)
);

CREATE TABLE local_documents (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE hcp_keys (
    kid TEXT NOT NULL, owner TEXT NOT NULL, delegate TEXT NOT NULL, key BLOB NOT NULL,
    PRIMARY KEY (kid, owner, delegate)
) WITHOUT ROWID;
CREATE TABLE pins (hcp TEXT PRIMARY KEY, signing_key BLOB NOT NULL, first_rev TEXT NOT NULL) WITHOUT ROWID;

-- The text itself is not kept: it is in the documents, sealed.
CREATE VIRTUAL TABLE search USING fts5 (
    text, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TABLE searchable (doc INTEGER PRIMARY KEY, type TEXT NOT NULL);
CREATE TABLE searched (through INTEGER NOT NULL);    -- every change up to this seq is in the index
INSERT INTO searched VALUES (0);
"""

_ARRIVALS = """
-- Files that have come and been checked, of revisions that have not: they wait for their other files.
CREATE TABLE arrivals (
    id    TEXT NOT NULL,             -- the document's: it may not be here at all
    rev   TEXT NOT NULL,
    name  TEXT NOT NULL,             -- the attachment's
    blob  INTEGER NOT NULL,          -- blobs.number
    since INTEGER NOT NULL,          -- seconds since 1970, by this device's clock
    PRIMARY KEY (id, rev, name)
) WITHOUT ROWID;
CREATE INDEX arrivals_of ON arrivals (blob);
CREATE INDEX arrivals_by_age ON arrivals (since);
"""

_UPKEEP = """
-- How many rows the views by delegate and by secret id have, counted as they come and go. Kinds: store/heads.py.
ALTER TABLE counters ADD COLUMN delegates INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counters ADD COLUMN foreign_keys INTEGER NOT NULL DEFAULT 0;
UPDATE counters SET
    delegates = (SELECT count(*) FROM terms WHERE kind = 2),
    foreign_keys = (SELECT count(*) FROM terms WHERE kind = 1);

-- What was to be purged, whether it was here or not: CouchDB's purge_seq counts these.
ALTER TABLE counters ADD COLUMN purge_seq INTEGER NOT NULL DEFAULT 0;
CREATE TABLE purges (
    seq  INTEGER PRIMARY KEY,
    id   TEXT NOT NULL,
    revs TEXT NOT NULL               -- JSON, as they were asked for
);

-- NULL: the bytes of an attachment are kept as they are. Else as gzip, of this length; digest is of that.
ALTER TABLE attachments ADD COLUMN gzip_length INTEGER;
"""

_INDEXES = """
-- What a server's clients look documents up by (store/indexes.py).
CREATE TABLE indexes (
    number     INTEGER PRIMARY KEY,
    design     TEXT,                 -- id of the design document that defines it; NULL: its rows are being removed
    name       TEXT NOT NULL,
    definition BLOB NOT NULL,        -- in the words of whoever reads it
    through    INTEGER NOT NULL,     -- every change up to this seq is in it
    built      INTEGER NOT NULL      -- since then each change is, in the transaction that makes it
);
CREATE UNIQUE INDEX indexes_of ON indexes (design, name) WHERE design IS NOT NULL;
CREATE TABLE index_rows (
    idx    INTEGER NOT NULL,         -- indexes.number
    key    BLOB NOT NULL,            -- store/collation.py
    id     TEXT NOT NULL,            -- of the document
    doc    INTEGER NOT NULL,
    fields BLOB NOT NULL,            -- the values of the key, as a JSON array
    PRIMARY KEY (idx, key, id)
) WITHOUT ROWID;
CREATE INDEX index_rows_of ON index_rows (doc, idx);
CREATE TABLE indexed (through INTEGER NOT NULL);     -- every design document up to this seq has been read
INSERT INTO indexed VALUES (0);
CREATE TRIGGER unindexed AFTER DELETE ON documents BEGIN
    DELETE FROM index_rows WHERE doc = OLD.number;
    UPDATE indexes SET design = NULL WHERE design = OLD.id;
END;
"""

_CONTESTS = """
-- Records with several leaves that could not be merged yet, or are for others to merge.
CREATE TABLE waiting (
    id    TEXT PRIMARY KEY,
    since INTEGER NOT NULL           -- ms since 1970, by this device's clock
) WITHOUT ROWID;
"""

_REVIEWS = """
-- Records that a person should look at, as far as changes have been looked through.
CREATE TABLE reviews (doc INTEGER PRIMARY KEY);
CREATE TABLE reviewed (through INTEGER NOT NULL);
INSERT INTO reviewed VALUES (0);
CREATE TRIGGER unreviewed AFTER DELETE ON documents BEGIN
    DELETE FROM reviews WHERE doc = OLD.number;
END;
"""

_TRAIL = """
-- Who did what (store/trail.py). Rows are added; nothing changes or removes one.
CREATE TABLE trail (
    number  INTEGER PRIMARY KEY,     -- 1, 2, 3, …
    time    INTEGER NOT NULL,        -- ms since 1970, by this device's clock
    hcp     TEXT NOT NULL,
    device  TEXT NOT NULL,
    action  TEXT NOT NULL,
    subject TEXT NOT NULL,           -- an id, or ''
    type    TEXT NOT NULL,           -- of the subject
    under   TEXT NOT NULL,           -- the id of what the subject is filed under, or ''
    detail  TEXT NOT NULL,           -- a JSON object
    digest  BLOB NOT NULL            -- of this row and the digest of the one before
);
CREATE TRIGGER trail_unchanged BEFORE UPDATE ON trail BEGIN SELECT RAISE(ABORT, 'the trail is only added to'); END;
CREATE TRIGGER trail_complete BEFORE DELETE ON trail BEGIN SELECT RAISE(ABORT, 'the trail is only added to'); END;
-- Where it ends, on a page that every write of a document changes, too.
ALTER TABLE counters ADD COLUMN trail_rows INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counters ADD COLUMN trail_digest BLOB NOT NULL DEFAULT x'';
"""

_ALARMS = """
-- What a person should know of the server or of others (store/alarms.py). A number is never given twice.
CREATE TABLE alarms (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    kind      TEXT NOT NULL,
    subject   TEXT NOT NULL,         -- id of a document, an Hcp, a device, …
    why       TEXT NOT NULL,
    first     INTEGER NOT NULL,      -- ms since 1970, by this device's clock
    last      INTEGER NOT NULL,
    dismissed INTEGER,               -- likewise; NULL: nobody has
    UNIQUE (kind, subject)
);
"""

_DEVICES = """
-- What this device has written: how many revisions, and the digest of their chain (crypto/devices.py).
ALTER TABLE counters ADD COLUMN writes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counters ADD COLUMN writes_digest TEXT NOT NULL DEFAULT '';

-- The highest head of each device that was seen here, and on each server (store/device_heads.py).
CREATE TABLE device_heads (
    device  TEXT PRIMARY KEY,
    hcp     TEXT NOT NULL,
    rev     TEXT NOT NULL,
    counter INTEGER NOT NULL,
    digest  TEXT NOT NULL,
    key     BLOB NOT NULL,           -- that the device signs with
    seen    INTEGER NOT NULL         -- ms since 1970, by this device's clock
) WITHOUT ROWID;
CREATE TABLE servers (
    name    TEXT PRIMARY KEY,        -- of the log that this device's pulls leave there
    address TEXT NOT NULL,
    met     INTEGER NOT NULL         -- ms since 1970, by this device's clock
) WITHOUT ROWID;
CREATE TABLE sightings (
    server  TEXT NOT NULL,
    device  TEXT NOT NULL,
    rev     TEXT NOT NULL,
    counter INTEGER NOT NULL,
    PRIMARY KEY (server, device)
) WITHOUT ROWID;
"""

_EPOCHS = """
-- Which identity of an Hcp is the one that is known, of those that followed each other (store/trust.py).
ALTER TABLE pins ADD COLUMN epoch INTEGER NOT NULL DEFAULT 1;
ALTER TABLE pins ADD COLUMN previous TEXT NOT NULL DEFAULT '[]'; -- JSON: [[former signing key as hex, how it ended], …]
ALTER TABLE pins ADD COLUMN verified INTEGER;                    -- ms since 1970 when a person compared; NULL: never
ALTER TABLE pins ADD COLUMN refused TEXT NOT NULL DEFAULT '[]';  -- JSON: [signing key as hex, …]
"""

_SET_ASIDE = """
-- Revisions that came, and are not taken in before somebody has said what they are (store/set_aside.py).
CREATE TABLE set_aside (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL,
    rev         TEXT NOT NULL,
    history     TEXT NOT NULL,       -- JSON: revision ids, newest first
    body        BLOB NOT NULL,
    deleted     INTEGER NOT NULL,
    attachments TEXT NOT NULL,       -- JSON: stubs
    UNIQUE (id, rev)
);
"""

_WITHDRAWALS = """
-- Records whose Hcp was put out of them (store/withdrawals.py).
CREATE TABLE withdrawing (id TEXT PRIMARY KEY) WITHOUT ROWID;     -- they are to go
CREATE TABLE withdrawn (                                          -- what went of them
    id  TEXT NOT NULL,
    rev TEXT NOT NULL,
    PRIMARY KEY (id, rev)
) WITHOUT ROWID;
"""

_TELLERS = """
-- Servers that told that this Hcp was put out of a record (store/withdrawals.py).
CREATE TABLE tellers (
    id      TEXT NOT NULL,
    name    TEXT NOT NULL,           -- of the log that this device's pulls leave there
    address TEXT NOT NULL,
    PRIMARY KEY (id, name, address)
) WITHOUT ROWID;
"""

MIGRATIONS: tuple[str, ...] = (
    _FIRST,
    _ARRIVALS,
    _UPKEEP,
    _INDEXES,
    _CONTESTS,
    _REVIEWS,
    _TRAIL,
    _ALARMS,
    _EPOCHS,
    _DEVICES,
    _SET_ASIDE,
    _WITHDRAWALS,
    _TELLERS,
)
