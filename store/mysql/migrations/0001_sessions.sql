-- Each statement can be run again: changes of tables are no part of a transaction
-- here, and one that was broken off is begun anew. Texts are kept as bytes, so that
-- no collation takes two names for one. Times are Unix microseconds; 0 means none.

-- The store's own values. The row 'schema' is written last: without it the tables
-- are not complete.
CREATE TABLE IF NOT EXISTS latchkey_meta (
	name  VARBINARY(64) NOT NULL PRIMARY KEY,
	value VARBINARY(1024) NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- One row for each session, ended ones too. IDs ascend with time, so that new
-- rows meet on the last pages. What is looked up or changes alone has a column;
-- the rest is packed in record, which also holds the names. Keys are hashes of
-- names, which are compared afterwards.
CREATE TABLE IF NOT EXISTS latchkey_session (
	id             BINARY(16) NOT NULL PRIMARY KEY,
	generation     BIGINT NOT NULL,
	subject_key    BIGINT,                      -- of the subject; NULL for anonymous
	who            BIGINT NOT NULL,             -- of provider and subject; 0 for anonymous
	sid_key        BIGINT,                      -- of provider and its own session, for those that have one
	ended          TINYINT NOT NULL DEFAULT 0,  -- 1: revoked_at is set
	created        BIGINT NOT NULL,
	last_seen      BIGINT NOT NULL,
	idle           BIGINT NOT NULL,             -- microseconds; 0 for no limit
	expires        BIGINT NOT NULL,
	version        BIGINT NOT NULL,
	revoked_at     BIGINT,
	revoked_by     BLOB,
	revoked_reason BLOB,
	record         MEDIUMBLOB NOT NULL,
	KEY by_created (created),
	KEY by_subject (subject_key, ended, created),
	KEY by_sid (sid_key)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- One row. Whoever adds to the log or the trail takes the next positions here, last
-- of all, and so holds the row until the commit: positions commit in their order.
CREATE TABLE IF NOT EXISTS latchkey_counter (
	id         TINYINT NOT NULL PRIMARY KEY,
	generation BIGINT NOT NULL,                 -- the present one
	change_seq BIGINT NOT NULL,                 -- of the last entry of the log
	audit_seq  BIGINT NOT NULL                  -- of the last event
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
-- The first generation is by the clock, so that a store which is made anew begins above
-- what tokens of the one before it tell of.
INSERT IGNORE INTO latchkey_counter (id, generation, change_seq, audit_seq)
	SELECT 1, TIMESTAMPDIFF(MICROSECOND,'1970-01-01',UTC_TIMESTAMP(6)), 1, 0;

-- How each generation before the present one was ended.
CREATE TABLE IF NOT EXISTS latchkey_raise (
	generation BIGINT NOT NULL PRIMARY KEY,
	at         BIGINT NOT NULL,
	actor      BLOB NOT NULL,
	reason     BLOB NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- What sign-ins and revocations of one subject, or of one provider's own session,
-- wait for each other at. Many share a row; nothing is ever written to it.
CREATE TABLE IF NOT EXISTS latchkey_lock (
	n SMALLINT NOT NULL PRIMARY KEY
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
INSERT IGNORE INTO latchkey_lock (n) SELECT a.d + 4*b.d + 16*c.d + 64*e.d + 256*f.d
	FROM (SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) a
	CROSS JOIN (SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) b
	CROSS JOIN (SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) c
	CROSS JOIN (SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) e
	CROSS JOIN (SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) f;

-- Revocations by identity or SID, which stand against sign-ins that began before.
CREATE TABLE IF NOT EXISTS latchkey_mark (
	k  BINARY(16) NOT NULL PRIMARY KEY,
	at BIGINT NOT NULL,
	KEY by_at (at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- The trail. The session is 16 bytes of its ID, or the text where that is none.
CREATE TABLE IF NOT EXISTS latchkey_audit (
	seq         BIGINT NOT NULL PRIMARY KEY,
	at          BIGINT NOT NULL,
	session     VARBINARY(64),
	subject_key BIGINT,
	event       MEDIUMBLOB NOT NULL,
	KEY by_session (session),
	KEY by_subject (subject_key)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- The log that other processes poll: a row for each commit that ended or changed
-- sessions. seq has no gaps, and the newest row always stays.
CREATE TABLE IF NOT EXISTS latchkey_change (
	seq    BIGINT NOT NULL PRIMARY KEY,
	origin BIGINT NOT NULL,                     -- of the process that wrote it; random
	at     BIGINT NOT NULL,
	every  TINYINT NOT NULL,                    -- 1: all sessions may have ended
	ids    LONGBLOB NOT NULL                    -- 16 bytes each
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
INSERT IGNORE INTO latchkey_change (seq, origin, at, every, ids) VALUES (1, 0, 0, 1, x'');

-- Stateless sessions that are no longer as they were created, until their limit.
CREATE TABLE IF NOT EXISTS latchkey_changed (
	id      BINARY(16) NOT NULL PRIMARY KEY,
	expires BIGINT NOT NULL,
	KEY by_expires (expires)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- What may be used only once, until it is forgotten.
CREATE TABLE IF NOT EXISTS latchkey_spent (
	k     BINARY(32) NOT NULL PRIMARY KEY,
	until BIGINT NOT NULL,
	KEY by_until (until)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
