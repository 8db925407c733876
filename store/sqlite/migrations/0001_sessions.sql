-- One row for each session, ended ones too. IDs ascend with time, so that new
-- rows meet on the last pages. What is looked up or changes alone has a column;
-- the rest is packed in record, which also holds the names. Times are Unix
-- microseconds; 0 means none. The long column comes last: what is scanned
-- stands before it.
CREATE TABLE session (
	id             BLOB PRIMARY KEY,
	generation     INTEGER NOT NULL,
	who            INTEGER NOT NULL, -- hash of provider and subject; 0 for anonymous
	created        INTEGER NOT NULL,
	last_seen      INTEGER NOT NULL,
	idle           INTEGER NOT NULL, -- microseconds; 0 for no limit
	expires        INTEGER NOT NULL,
	version        INTEGER NOT NULL,
	revoked_at     INTEGER,
	revoked_by     TEXT,
	revoked_reason TEXT,
	record         BLOB NOT NULL
) WITHOUT ROWID;

-- Newest first, for lists of everybody. Ascends with time.
CREATE INDEX session_created ON session (created);

-- The sessions of a subject: the one index in a random order. key is a hash, so
-- the real name is compared afterwards. ended is 1 once a writer has met the
-- session as ended for good; 0 tells nothing.
CREATE TABLE by_subject (
	key     INTEGER NOT NULL,
	ended   INTEGER NOT NULL,
	created INTEGER NOT NULL,
	id      BLOB NOT NULL,
	PRIMARY KEY (key, ended, created, id)
) WITHOUT ROWID;

-- The sessions of a provider's own session, for those that have one.
CREATE TABLE by_sid (
	key INTEGER NOT NULL,
	id  BLOB NOT NULL,
	PRIMARY KEY (key, id)
) WITHOUT ROWID;

-- How each generation was ended; the present one is the highest plus one.
CREATE TABLE raise (
	generation INTEGER PRIMARY KEY,
	at         INTEGER NOT NULL,
	actor      TEXT NOT NULL,
	reason     TEXT NOT NULL
);

-- Revocations by identity or SID, which stand against sign-ins that began before.
CREATE TABLE mark (
	key BLOB PRIMARY KEY,
	at  INTEGER NOT NULL
) WITHOUT ROWID;

-- The trail. seq is given by the writer and never used twice.
CREATE TABLE audit (
	seq     INTEGER PRIMARY KEY,
	at      INTEGER NOT NULL,
	session BLOB,
	event   BLOB NOT NULL
);
CREATE INDEX audit_session ON audit (session) WHERE session IS NOT NULL;

-- Events about a subject that by_subject does not lead to: those about no
-- session, about another's, or about one whose row is gone.
CREATE TABLE audit_subject (
	key INTEGER NOT NULL,
	seq INTEGER NOT NULL,
	PRIMARY KEY (key, seq)
) WITHOUT ROWID;

-- The log that other processes poll: a row for each commit that ended or
-- changed sessions. seq has no gaps, and the newest row always stays.
CREATE TABLE change (
	seq    INTEGER PRIMARY KEY,
	origin INTEGER NOT NULL, -- of the process that wrote it; random
	at     INTEGER NOT NULL,
	every  INTEGER NOT NULL, -- 1: all sessions may have ended
	ids    BLOB NOT NULL     -- 16 bytes each
);
INSERT INTO change (seq, origin, at, every, ids) VALUES (1, 0, 0, 1, x'');

CREATE TABLE meta (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
) WITHOUT ROWID;
-- The audit floor is the highest seq of audit that was ever removed, or more.
INSERT INTO meta (name, value) VALUES ('placement key', randomblob(32)), ('mark', x''),
	('audit floor', 0);
