-- The sessions whose token tells of them that are no longer as they were
-- created, also those whose row is gone, until the latest limit that they had.
-- Only what ends or changes such a session writes here.
CREATE TABLE changed (
	id      BLOB PRIMARY KEY,
	expires INTEGER NOT NULL
) WITHOUT ROWID;

-- What may be used once and was, until when.
CREATE TABLE spent (
	key   BLOB PRIMARY KEY,
	until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX spent_until ON spent (until);
