package postgres

// The statements of a store. What changes something calls a function of the
// schema, which is one trip to the server and one transaction.
const (
	stGet statement = iota
	stGetMany
	stRaise
	stClock
	stCreate
	stPatch
	stTouch
	stRevokeOne
	stRevokeMany
	stRevokeAll
	stList
	stListSubject
	stCount
	stChanged
	stSpend
	stPurge
	stPurgeEvents
	stPurgeChanged
	stErase
	stEraseEvents
	stNote
	stHousekeep
	stTrail
	stTrailUp
	stTrailOf
	stTrailOfUp
	stTrailSubject
	stTrailSubjectUp
	stSettle
	stPoll
	stRun
	stNotify
	stMeta
	stMark
	numStatements
)

// lives judges a session in a scan. The subqueries are looked up once; a function of
// the schema would be called for each row.
const (
	present = `(SELECT generation FROM latchkey.store)`
	now     = `(SELECT latchkey.clock($1::bigint))`
	lives   = `(s.revoked_at IS NULL AND s.generation = ` + present + ` AND s.expires > ` + now + ` AND (s.idle = 0 OR s.last_seen + s.idle > ` + now + `))`
)

// rowColumns are, with the ID and the present generation before them, what a record
// is made from; see readRow.
const rowColumns = `s.generation, s.last_seen, s.version, s.revoked_at, s.revoked_by, s.revoked_reason, s.record`

const (
	textGet     = `SELECT s.id, ` + present + `, ` + rowColumns + ` FROM latchkey.session s WHERE s.id = $1::uuid`
	textGetMany = `SELECT s.id, ` + present + `, ` + rowColumns + ` FROM latchkey.session s WHERE s.id = ANY ($1::uuid[])`

	// textPurgeEvents goes on from where it came to, so as not to meet again and again
	// what it has removed, which is in the index until the server cleans up.
	textPurgeEvents = `WITH old AS MATERIALIZED (SELECT seq, at FROM latchkey.audit WHERE at < $1::bigint AND at >= $3::bigint ORDER BY at LIMIT $2::bigint FOR UPDATE SKIP LOCKED),
		gone AS (DELETE FROM latchkey.audit WHERE seq IN (SELECT seq FROM old) RETURNING at) SELECT count(*), coalesce(max(at), $3) FROM gone`

	auditColumns = `SELECT seq, at, count, action, actor, session, provider, subject, ip, outcome, reason FROM latchkey.audit `
	auditDown    = `seq < $1::bigint AND ($2::text = '' OR provider = $2) ORDER BY seq DESC LIMIT $3::bigint`
	auditUp      = `seq > $1::bigint AND ($2::text = '' OR provider = $2) ORDER BY seq LIMIT $3::bigint`
	ofSession    = `WHERE session <> '' AND session = $4::text AND ($5::text = '' OR subject = $5) AND `
	ofSubject    = `WHERE hashtextextended(subject, 0) = hashtextextended($4::text, 0) AND subject <> '' AND subject = $4 AND `
)

var statements = texts{
	stGet:     textGet,
	stGetMany: textGetMany,
	stRaise:   `SELECT at, actor, reason FROM latchkey.raise WHERE generation = $1::bigint`,
	stClock:   `SELECT latchkey.clock($1::bigint), (SELECT value::bigint FROM latchkey.meta WHERE name = 'needs')`,
	stCreate: `SELECT o_answer, o_now, o_generation, o_replaced, o_evicted, o_told FROM latchkey.create_session(
$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)`,
	stPatch: `SELECT o_answer, o_now, o_provider, o_subject, o_created, o_stateless FROM latchkey.patch_session(
$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
	stTouch:      `SELECT latchkey.touch($1, $2, $3)`,
	stRevokeOne:  `SELECT o_answer, o_now, o_live, o_told FROM latchkey.revoke_session($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
	stRevokeMany: `SELECT o_now, o_ended, o_told FROM latchkey.revoke_sessions($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
	stRevokeAll:  `SELECT o_now, o_count FROM latchkey.revoke_all($1, $2, $3, $4, $5, $6)`,
	// $1 is the time, $2 and $3 where the page begins, $4 its size, $5 the state.
	stList: `SELECT s.id, g.generation, ` + rowColumns + ` FROM latchkey.store g LEFT JOIN LATERAL (
SELECT * FROM latchkey.session s WHERE (s.created, s.id) < ($2::bigint, $3::uuid)
AND ($5::bigint = 2 OR ` + lives + ` = ($5 = 0))
ORDER BY s.created DESC, s.id DESC LIMIT $4::bigint) s ON true ORDER BY s.created DESC, s.id DESC`,
	stListSubject: `SELECT s.id, g.generation, ` + rowColumns + ` FROM latchkey.store g LEFT JOIN LATERAL (
SELECT * FROM latchkey.session s
WHERE hashtextextended(s.subject, 0) = hashtextextended($6::text, 0) AND s.subject <> '' AND s.subject = $6 AND ($7::text IS NULL OR s.provider = $7)
AND (s.created, s.id) < ($2::bigint, $3::uuid)
AND ($5::bigint = 2 OR ` + lives + ` = ($5 = 0))
ORDER BY s.created DESC, s.id DESC LIMIT $4::bigint) s ON true ORDER BY s.created DESC, s.id DESC`,
	stCount: `SELECT ` + present + `, count(*) FILTER (WHERE l), count(*) FILTER (WHERE NOT l), count(*) FILTER (WHERE l AND subject = ''),
count(DISTINCT (provider, subject)) FILTER (WHERE l AND subject <> '')
FROM (SELECT s.provider, s.subject, ` + lives + ` AS l FROM latchkey.session s) j`,
	stChanged: `SELECT CASE WHEN pg_is_in_recovery() THEN -1 ELSE g.generation END, c.id FROM latchkey.store g LEFT JOIN LATERAL (
SELECT id FROM latchkey.changed WHERE id > $2::uuid AND expires > ` + now + ` ORDER BY id LIMIT $3::bigint) c ON true ORDER BY c.id`,
	stSpend:          `SELECT o_answer, o_now FROM latchkey.spend($1, $2, $3, $4)`,
	stPurge:          `SELECT o_now, o_looked, o_removed, o_created, o_id, o_told FROM latchkey.purge_sessions($1, $2, $3, $4, $5, $6, $7)`,
	stPurgeEvents:    textPurgeEvents,
	stPurgeChanged:   `SELECT o_now, o_count FROM latchkey.purge_changed($1, $2, $3)`,
	stErase:          `SELECT o_now, o_told FROM latchkey.erase_sessions($1, $2, $3, $4, $5, $6)`,
	stEraseEvents:    `SELECT o_count FROM latchkey.erase_events($1, $2, $3) AS o_count`,
	stNote:           `SELECT latchkey.note($1, $2, $3)`,
	stHousekeep:      `SELECT latchkey.housekeep($1, $2)`,
	stTrail:          auditColumns + `WHERE ` + auditDown,
	stTrailUp:        auditColumns + `WHERE ` + auditUp,
	stTrailOf:        auditColumns + ofSession + auditDown,
	stTrailOfUp:      auditColumns + ofSession + auditUp,
	stTrailSubject:   auditColumns + ofSubject + auditDown,
	stTrailSubjectUp: auditColumns + ofSubject + auditUp,
	stSettle:         `SELECT latchkey.settle() IS NULL`,
	// What had been committed at this look and not yet at the one before, $2. Every
	// transaction counts by whether it had ended, so that none is ever passed by.
	stPoll: `SELECT pg_current_snapshot()::text, latchkey.clock($1::bigint), (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
(SELECT id FROM latchkey.run), l.looked, l.pruned, c.origin, c.token, c.every, c.ids
FROM latchkey.log l LEFT JOIN latchkey.change c
ON c.xid >= pg_snapshot_xmin($2::text::pg_snapshot) AND NOT pg_visible_in_snapshot(c.xid, $2::text::pg_snapshot)
WHERE NOT pg_is_in_recovery()`,
	stRun: `INSERT INTO latchkey.run DEFAULT VALUES ON CONFLICT DO NOTHING`,
	// A transaction that notifies is written down, and its commit would wait for the
	// disk; but nothing is lost with it that the log does not have.
	stNotify: `SELECT count(pg_notify($1::text, t)), set_config('synchronous_commit', 'off', true) IS NULL FROM unnest($2::text[]) t`,
	stMeta:   `SELECT placement_key, mark, id FROM latchkey.store`,
	stMark:   `UPDATE latchkey.store SET mark = $1::text RETURNING 1::bigint`,
}
