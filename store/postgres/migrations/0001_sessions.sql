-- The tables of a store, and the functions that change them. The program puts the
-- name of the store's schema in the place of "latchkey.". Times are Unix
-- microseconds by the server's clock. What is looked up or changes alone has a
-- column; the rest of a session is packed in record.

-- What describes the store, in one row. A store without it answers nothing.
CREATE TABLE latchkey.store (
	one           boolean PRIMARY KEY DEFAULT true CHECK (one),
	id            uuid NOT NULL,   -- tells two stores apart
	generation    bigint NOT NULL, -- the present one; sessions of lower ones have ended
	placement_key bytea NOT NULL,
	mark          text NOT NULL DEFAULT ''
);

-- How each generation was ended.
CREATE TABLE latchkey.raise (
	generation bigint PRIMARY KEY,
	at         bigint NOT NULL,
	actor      text NOT NULL,
	reason     text NOT NULL
);

-- One row for each session, ended ones too. Part of each page stays free, so that
-- an update, which seldom touches an indexed column, finds room beside the old row.
CREATE TABLE latchkey.session (
	id             uuid PRIMARY KEY,
	generation     bigint NOT NULL,
	version        bigint NOT NULL,
	created        bigint NOT NULL,
	last_seen      bigint NOT NULL,
	idle           bigint NOT NULL, -- 0 for no limit
	expires        bigint NOT NULL,
	revoked_at     bigint,
	stateless      boolean NOT NULL,
	provider       text COLLATE "C" NOT NULL, -- '' and '' for an anonymous session
	subject        text COLLATE "C" NOT NULL,
	sid            text COLLATE "C" NOT NULL, -- the provider's own session, or ''
	revoked_by     text,
	revoked_reason text,
	record         bytea NOT NULL
) WITH (fillfactor = 85);
-- Newest first, for lists of everybody and for purges.
CREATE INDEX session_created ON latchkey.session (created, id);
-- Names are found by a hash, which bounds the index, and compared afterwards.
CREATE INDEX session_subject ON latchkey.session (hashtextextended(subject, 0), created, id) WHERE subject <> '';
CREATE INDEX session_sid ON latchkey.session (hashtextextended(sid, 0)) WHERE sid <> '';

-- Revocations by identity or SID, which stand against sign-ins that began before.
CREATE TABLE latchkey.mark (
	key uuid PRIMARY KEY, -- a hash of the names
	at  bigint NOT NULL
);

-- Stateless sessions that are no longer as they were created, those that are gone
-- too, until the latest limit that they had.
CREATE TABLE latchkey.changed (
	id      uuid PRIMARY KEY,
	expires bigint NOT NULL
);
CREATE INDEX changed_expires ON latchkey.changed (expires);

-- What may be used once and was, until when.
CREATE TABLE latchkey.spent (
	key   bytea PRIMARY KEY,
	until bigint NOT NULL
);
CREATE INDEX spent_until ON latchkey.spent (until);

-- The trail. seq is given while the lock of latchkey.trail is held in common.
CREATE TABLE latchkey.audit (
	seq      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at       bigint NOT NULL,
	count    bigint NOT NULL,
	action   text NOT NULL,
	actor    text NOT NULL,
	session  text COLLATE "C" NOT NULL,
	provider text COLLATE "C" NOT NULL,
	subject  text COLLATE "C" NOT NULL,
	ip       text NOT NULL,
	outcome  text NOT NULL,
	reason   text NOT NULL
);
CREATE INDEX audit_session ON latchkey.audit (session, seq) WHERE session <> '';
CREATE INDEX audit_subject ON latchkey.audit (hashtextextended(subject, 0), seq) WHERE subject <> '';
CREATE INDEX audit_at ON latchkey.audit (at);

-- The log that followers poll: a row for each change that ended or changed
-- sessions. What a follower has seen is told by its last snapshot, so that it does
-- not matter in which order transactions end.
CREATE TABLE latchkey.change (
	xid    xid8 NOT NULL DEFAULT pg_current_xact_id(),
	origin bigint NOT NULL, -- of the node that made it; random
	token  bigint NOT NULL, -- the node's number for it
	every  boolean NOT NULL, -- all sessions may have ended
	ids    uuid[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 5000);
CREATE INDEX change_xid ON latchkey.change (xid);

-- Names the server's life since its last crash, which empties a table that is not
-- logged; so does the promotion of a standby. Numbers of transactions that a crash
-- took back are given again, so that no snapshot may be compared across it.
CREATE UNLOGGED TABLE latchkey.run (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	id  uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO latchkey.run DEFAULT VALUES;

-- How far the log was pruned: whoever saw look number pruned has missed nothing.
-- snapshot is what had been committed at look number looked, in that run.
CREATE TABLE latchkey.log (
	one      boolean PRIMARY KEY DEFAULT true CHECK (one),
	looked   bigint NOT NULL,
	pruned   bigint NOT NULL,
	snapshot pg_snapshot NOT NULL,
	run      uuid,
	at       bigint NOT NULL
);
INSERT INTO latchkey.log (looked, pruned, snapshot, at) VALUES (1, 0, pg_current_snapshot(), 0);

-- The time, which tests may set.
CREATE FUNCTION latchkey.clock(p_now bigint) RETURNS bigint LANGUAGE sql VOLATILE AS $$
	SELECT coalesce(p_now, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) $$;

CREATE FUNCTION latchkey.live(p_revoked bigint, p_generation bigint, p_present bigint, p_expires bigint, p_idle bigint, p_seen bigint, p_now bigint)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT p_revoked IS NULL AND p_generation = p_present AND p_now < p_expires AND (p_idle = 0 OR p_now < p_seen + p_idle) $$;

-- When a session ended, or will if it is not seen again.
CREATE FUNCTION latchkey.ends(p_revoked bigint, p_expires bigint, p_idle bigint, p_seen bigint)
RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT least(p_expires, CASE WHEN p_idle > 0 THEN p_seen + p_idle END, p_revoked) $$;

-- What was acknowledged survives a crash of the server, whatever its settings are.
-- And whoever has waited for a lock must see what was committed meanwhile: of a
-- snapshot from before, a sign-in would count sessions wrongly and miss marks.
CREATE FUNCTION latchkey.durable() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'a transaction of the store is %, not READ COMMITTED', upper(current_setting('transaction_isolation'))
			USING HINT = 'Take default_transaction_isolation off the role and the database, and connect anew.';
	END IF;
	IF current_setting('synchronous_commit') = 'off' THEN
		PERFORM set_config('synchronous_commit', 'on', true);
	END IF;
END $$;

-- Locks by name, for the length of the transaction: a sign-in and a revocation of
-- the same subject or SID do not overlap.
CREATE FUNCTION latchkey.lock_subject(p_subject text, p_alone boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	v_key bigint := hashtextextended(p_subject, 'latchkey.session'::regclass::oid::bigint);
BEGIN
	IF p_alone THEN
		PERFORM pg_advisory_xact_lock(v_key);
	ELSE
		PERFORM pg_advisory_xact_lock_shared(v_key);
	END IF;
END $$;

CREATE FUNCTION latchkey.lock_sid(p_provider text, p_sid text, p_alone boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	v_key bigint := hashtextextended(p_provider || chr(31) || p_sid, 'latchkey.mark'::regclass::oid::bigint);
BEGIN
	IF p_alone THEN
		PERFORM pg_advisory_xact_lock(v_key);
	ELSE
		PERFORM pg_advisory_xact_lock_shared(v_key);
	END IF;
END $$;

-- The lock that a transaction holds from before it takes positions of the trail
-- until it ends. Who takes it alone knows that no earlier position is still to come.
CREATE FUNCTION latchkey.trail() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_advisory_xact_lock_shared(hashtextextended('trail', 'latchkey.audit'::regclass::oid::bigint));
END $$;

CREATE FUNCTION latchkey.settle() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('lock_timeout', '1s', true);
	PERFORM pg_advisory_xact_lock(hashtextextended('trail', 'latchkey.audit'::regclass::oid::bigint));
END $$;

-- Events are {action, actor, session, provider, subject, ip, outcome, reason, count}.
CREATE FUNCTION latchkey.record(p_at bigint, p_count bigint, e text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM latchkey.trail();
	INSERT INTO latchkey.audit (at, count, action, actor, session, provider, subject, ip, outcome, reason)
	VALUES (p_at, coalesce(p_count, e[9]::bigint), e[1], e[2], e[3], e[4], e[5], e[6], e[7], e[8]);
END $$;

-- Tells followers of sessions that were changed or ended.
CREATE FUNCTION latchkey.tell(p_origin bigint, p_token bigint, p_ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF cardinality(p_ids) = 0 THEN
		RETURN;
	END IF;
	INSERT INTO latchkey.change (origin, token, every, ids) VALUES (p_origin, p_token, false, p_ids);
	INSERT INTO latchkey.changed (id, expires)
	SELECT s.id, s.expires FROM latchkey.session s WHERE s.id = ANY (p_ids) AND s.stateless
	ON CONFLICT (id) DO UPDATE SET expires = greatest(changed.expires, excluded.expires);
END $$;

-- The functions that change sessions keep the plans of their statements, which takes
-- less time than to make one for each call. All go by an index, so that a plan made
-- for an empty table is right for a full one.
CREATE FUNCTION latchkey.create_session(
	p_now bigint, p_origin bigint, p_token bigint,
	p_id uuid, p_provider text, p_subject text, p_sid text, p_created bigint, p_seen bigint, p_idle bigint, p_expires bigint,
	p_stateless boolean, p_record bytea,
	p_replaces uuid, p_replaces_version bigint, p_limit bigint, p_refuse boolean, p_began bigint, p_marks uuid[],
	p_mark_age bigint, p_event_at bigint, p_event text[],
	OUT o_answer text, OUT o_now bigint, OUT o_generation bigint, OUT o_replaced boolean, OUT o_evicted uuid[], OUT o_told uuid[])
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
	v_old   latchkey.session%ROWTYPE;
	v_ends  boolean := false; -- the session to be replaced is ended here
	v_evict uuid[] := '{}';
	v_over  bigint;
	v_at    bigint;
BEGIN
	PERFORM latchkey.durable();
	IF p_subject <> '' AND (p_limit > 0 OR p_began IS NOT NULL) THEN
		PERFORM latchkey.lock_subject(p_subject, p_limit > 0);
	END IF;
	IF p_sid <> '' AND p_began IS NOT NULL THEN
		PERFORM latchkey.lock_sid(p_provider, p_sid, false);
	END IF;
	o_now := latchkey.clock(p_now);
	o_replaced := false; o_evicted := '{}'; o_told := '{}';
	SELECT generation INTO STRICT o_generation FROM latchkey.store;

	-- All is decided before anything is changed.
	IF EXISTS (SELECT FROM latchkey.session WHERE id = p_id) THEN
		o_answer := 'exists'; RETURN;
	END IF;
	IF p_began IS NOT NULL AND EXISTS (SELECT FROM latchkey.mark WHERE key = ANY (p_marks) AND at >= p_began AND at >= o_now - p_mark_age) THEN
		o_answer := 'denied'; RETURN;
	END IF;
	IF p_replaces IS NOT NULL THEN
		SELECT * INTO v_old FROM latchkey.session WHERE id = p_replaces FOR NO KEY UPDATE;
		IF FOUND THEN
			v_ends := v_old.revoked_at IS NULL AND v_old.generation = o_generation;
			o_replaced := latchkey.live(v_old.revoked_at, v_old.generation, o_generation, v_old.expires, v_old.idle, v_old.last_seen, o_now);
			IF o_replaced AND p_replaces_version <> 0 AND v_old.version <> p_replaces_version THEN
				o_answer := 'conflict'; RETURN;
			END IF;
		END IF;
	END IF;
	IF p_limit > 0 AND p_subject <> '' THEN
		SELECT coalesce(array_agg(id ORDER BY created, id), '{}') INTO v_evict FROM latchkey.session
		WHERE hashtextextended(subject, 0) = hashtextextended(p_subject, 0) AND subject <> '' AND subject = p_subject AND provider = p_provider
			AND id IS DISTINCT FROM p_replaces
			AND latchkey.live(revoked_at, generation, o_generation, expires, idle, last_seen, o_now);
		v_over := cardinality(v_evict) + 1 - p_limit;
		IF v_over > 0 AND p_refuse THEN
			o_answer := 'limit'; RETURN;
		END IF;
		v_evict := CASE WHEN v_over > 0 THEN v_evict[1:v_over] ELSE '{}' END;
	END IF;

	o_answer := 'ok';
	INSERT INTO latchkey.session (id, generation, version, created, last_seen, idle, expires, stateless, provider, subject, sid, record)
	VALUES (p_id, o_generation, 1, p_created, p_seen, p_idle, p_expires, p_stateless, p_provider, p_subject, p_sid, p_record);
	v_at := coalesce(p_event_at, o_now);
	IF v_ends THEN
		UPDATE latchkey.session SET revoked_at = o_now, revoked_by = p_event[2], revoked_reason = 'replaced' WHERE id = p_replaces;
		o_told := ARRAY[p_replaces];
		PERFORM latchkey.record(v_at, 0, ARRAY['session.revoke', p_event[2], p_replaces::text, p_event[4], p_event[5], p_event[6], 'done', 'replaced']);
	END IF;
	IF cardinality(v_evict) > 0 THEN
		WITH evicted AS (
			UPDATE latchkey.session SET revoked_at = o_now, revoked_by = p_event[2], revoked_reason = 'limit'
			WHERE id = ANY (v_evict) AND revoked_at IS NULL RETURNING id, created)
		SELECT coalesce(array_agg(id ORDER BY created, id), '{}') INTO o_evicted FROM evicted;
		o_told := o_told || o_evicted;
		PERFORM latchkey.trail();
		INSERT INTO latchkey.audit (at, count, action, actor, session, provider, subject, ip, outcome, reason)
		SELECT v_at, 0, 'session.evict', p_event[2], e.id::text, p_event[4], p_event[5], p_event[6], 'done', 'limit'
		FROM unnest(o_evicted) WITH ORDINALITY AS e (id, n) ORDER BY e.n;
	END IF;
	PERFORM latchkey.record(v_at, NULL, p_event);
	PERFORM latchkey.tell(p_origin, p_token, o_told);
END $$;

-- Answers 'other' and what the row has when the caller's record differs from it in
-- what never changes: the caller puts that into its record and asks again.
CREATE FUNCTION latchkey.patch_session(
	p_now bigint, p_origin bigint, p_token bigint,
	p_id uuid, p_version bigint, p_provider text, p_subject text, p_sid text, p_created bigint, p_seen bigint, p_idle bigint, p_expires bigint,
	p_stateless boolean, p_record bytea, p_event_at bigint, p_event text[],
	OUT o_answer text, OUT o_now bigint, OUT o_provider text, OUT o_subject text, OUT o_created bigint, OUT o_stateless boolean)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
	v_old     latchkey.session%ROWTYPE;
	v_present bigint;
BEGIN
	PERFORM latchkey.durable();
	SELECT * INTO v_old FROM latchkey.session WHERE id = p_id FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		o_answer := 'unknown'; RETURN;
	END IF;
	SELECT generation INTO STRICT v_present FROM latchkey.store;
	o_now := latchkey.clock(p_now);
	IF NOT latchkey.live(v_old.revoked_at, v_old.generation, v_present, v_old.expires, v_old.idle, v_old.last_seen, o_now) THEN
		o_answer := 'ended'; RETURN;
	END IF;
	IF v_old.version <> p_version THEN
		o_answer := 'conflict'; RETURN;
	END IF;
	IF v_old.provider <> p_provider OR v_old.subject <> p_subject OR v_old.created <> p_created OR v_old.stateless <> p_stateless THEN
		o_answer := 'other';
		o_provider := v_old.provider; o_subject := v_old.subject; o_created := v_old.created; o_stateless := v_old.stateless;
		RETURN;
	END IF;
	o_answer := 'ok';
	UPDATE latchkey.session SET version = version + 1, last_seen = greatest(last_seen, p_seen), idle = p_idle, expires = p_expires,
		sid = p_sid, record = p_record WHERE id = p_id;
	IF v_old.stateless THEN -- under its old limit, which may be the later one
		INSERT INTO latchkey.changed (id, expires) VALUES (p_id, v_old.expires)
		ON CONFLICT (id) DO UPDATE SET expires = greatest(changed.expires, excluded.expires);
	END IF;
	IF p_event IS NOT NULL THEN
		PERFORM latchkey.record(coalesce(p_event_at, o_now), NULL, p_event);
	END IF;
	PERFORM latchkey.tell(p_origin, p_token, ARRAY[p_id]);
END $$;

-- IDs are unique and in order: whoever locks several rows does so in their order.
CREATE FUNCTION latchkey.touch(p_now bigint, p_ids uuid[], p_ats bigint[], OUT o_now bigint) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
	v_present bigint;
BEGIN
	PERFORM latchkey.durable();
	PERFORM FROM latchkey.session WHERE id = ANY (p_ids) ORDER BY id FOR NO KEY UPDATE;
	SELECT generation INTO STRICT v_present FROM latchkey.store;
	o_now := latchkey.clock(p_now);
	UPDATE latchkey.session s SET last_seen = least(t.at, o_now) FROM unnest(p_ids, p_ats) AS t (id, at)
	WHERE s.id = t.id AND s.last_seen < least(t.at, o_now) AND s.revoked_at IS NULL AND s.generation = v_present AND s.expires > o_now
		AND (s.idle = 0 OR least(t.at, o_now) < s.last_seen + s.idle);
END $$;

CREATE FUNCTION latchkey.revoke_session(
	p_now bigint, p_origin bigint, p_token bigint, p_id uuid, p_only_provider text, p_only_subject text, p_by text, p_reason text, p_event text[],
	OUT o_answer text, OUT o_now bigint, OUT o_live boolean, OUT o_told uuid[])
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
	v_old     latchkey.session%ROWTYPE;
	v_present bigint;
BEGIN
	PERFORM latchkey.durable();
	o_told := '{}'; o_live := false;
	SELECT * INTO v_old FROM latchkey.session WHERE id = p_id FOR NO KEY UPDATE;
	IF NOT FOUND OR p_only_subject IS NOT NULL AND (v_old.provider <> p_only_provider OR v_old.subject <> p_only_subject) THEN
		o_answer := 'unknown'; RETURN;
	END IF;
	SELECT generation INTO STRICT v_present FROM latchkey.store;
	o_answer := 'ok';
	o_now := latchkey.clock(p_now);
	IF v_old.revoked_at IS NOT NULL OR v_old.generation <> v_present THEN
		RETURN;
	END IF;
	o_live := latchkey.live(v_old.revoked_at, v_old.generation, v_present, v_old.expires, v_old.idle, v_old.last_seen, o_now);
	UPDATE latchkey.session SET revoked_at = o_now, revoked_by = p_by, revoked_reason = p_reason WHERE id = p_id;
	IF p_event[5] = '' THEN
		p_event[4] := v_old.provider; p_event[5] := v_old.subject;
	END IF;
	PERFORM latchkey.record(o_now, NULL, p_event);
	o_told := ARRAY[p_id];
	PERFORM latchkey.tell(p_origin, p_token, o_told);
END $$;

-- Ends the sessions of a subject, under one provider or under all (NULL), or those
-- of a provider's own session.
CREATE FUNCTION latchkey.revoke_sessions(
	p_now bigint, p_origin bigint, p_token bigint, p_provider text, p_subject text, p_sid text, p_except uuid, p_mark uuid,
	p_by text, p_reason text, p_event text[],
	OUT o_now bigint, OUT o_ended uuid[], OUT o_told uuid[])
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
	v_present bigint;
	v_ids     uuid[];
BEGIN
	PERFORM latchkey.durable();
	IF p_sid IS NULL THEN
		PERFORM latchkey.lock_subject(p_subject, true);
	ELSE
		PERFORM latchkey.lock_sid(p_provider, p_sid, true);
	END IF;
	SELECT generation INTO STRICT v_present FROM latchkey.store;
	IF p_sid IS NULL THEN
		SELECT array_agg(r.id) INTO v_ids FROM (
			SELECT id FROM latchkey.session
			WHERE hashtextextended(subject, 0) = hashtextextended(p_subject, 0) AND subject <> '' AND subject = p_subject
				AND (p_provider IS NULL OR provider = p_provider) AND id IS DISTINCT FROM p_except
				AND revoked_at IS NULL AND generation = v_present
			ORDER BY id FOR NO KEY UPDATE) r;
	ELSE
		SELECT array_agg(r.id) INTO v_ids FROM (
			SELECT id FROM latchkey.session
			WHERE hashtextextended(sid, 0) = hashtextextended(p_sid, 0) AND sid <> '' AND sid = p_sid AND provider = p_provider
				AND revoked_at IS NULL AND generation = v_present
			ORDER BY id FOR NO KEY UPDATE) r;
	END IF;
	o_now := latchkey.clock(p_now);
	WITH ended AS (
		UPDATE latchkey.session SET revoked_at = o_now, revoked_by = p_by, revoked_reason = p_reason
		WHERE id = ANY (v_ids) AND revoked_at IS NULL
		RETURNING id, latchkey.live(NULL, generation, v_present, expires, idle, last_seen, o_now) AS was_live)
	SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(id) FILTER (WHERE was_live), '{}') INTO o_told, o_ended FROM ended;
	INSERT INTO latchkey.mark (key, at) VALUES (p_mark, o_now) ON CONFLICT (key) DO UPDATE SET at = greatest(mark.at, excluded.at);
	PERFORM latchkey.record(o_now, cardinality(o_ended), p_event);
	PERFORM latchkey.tell(p_origin, p_token, o_told);
END $$;

CREATE FUNCTION latchkey.revoke_all(
	p_now bigint, p_origin bigint, p_token bigint, p_by text, p_reason text, p_event text[],
	OUT o_now bigint, OUT o_count bigint)
LANGUAGE plpgsql AS $$
DECLARE
	v_ended bigint;
BEGIN
	PERFORM latchkey.durable();
	SELECT generation INTO STRICT v_ended FROM latchkey.store FOR UPDATE;
	o_now := latchkey.clock(p_now);
	-- A number that no generation ever had, even if these tables were restored from a
	-- backup: a stateless session's token may tell of a generation of what was in use
	-- after it.
	UPDATE latchkey.store SET generation = greatest(v_ended + 1, o_now);
	INSERT INTO latchkey.raise (generation, at, actor, reason) VALUES (v_ended, o_now, p_by, p_reason);
	SELECT count(*) INTO o_count FROM latchkey.session s
	WHERE latchkey.live(s.revoked_at, s.generation, v_ended, s.expires, s.idle, s.last_seen, o_now);
	INSERT INTO latchkey.change (origin, token, every, ids) VALUES (p_origin, p_token, true, '{}');
	PERFORM latchkey.record(o_now, o_count, p_event);
END $$;

-- Looks at the next p_batch sessions that were made before the bound, and removes
-- those that ended before it. Followers need to be told only of what a node's
-- memory may hold as live: a session that ended by not being seen.
CREATE FUNCTION latchkey.purge_sessions(
	p_now bigint, p_origin bigint, p_token bigint, p_bound bigint, p_batch bigint, p_created bigint, p_id uuid,
	OUT o_now bigint, OUT o_looked bigint, OUT o_removed bigint, OUT o_created bigint, OUT o_id uuid, OUT o_told uuid[])
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
	v_present bigint;
	v_ids     uuid[];
BEGIN
	PERFORM latchkey.durable();
	SELECT generation INTO STRICT v_present FROM latchkey.store;
	o_now := latchkey.clock(p_now); o_removed := 0; o_told := '{}';
	WITH page AS (
		SELECT s.id, s.created, NOT latchkey.live(s.revoked_at, s.generation, v_present, s.expires, s.idle, s.last_seen, o_now)
			AND latchkey.ends(coalesce(s.revoked_at, r.at), s.expires, s.idle, s.last_seen) < p_bound AS goes
		FROM latchkey.session s LEFT JOIN latchkey.raise r ON r.generation = s.generation
		WHERE s.created < p_bound AND (s.created, s.id) > (p_created, p_id) ORDER BY s.created, s.id LIMIT p_batch)
	SELECT count(*), array_agg(id) FILTER (WHERE goes), (array_agg(created ORDER BY created DESC, id DESC))[1],
		(array_agg(id ORDER BY created DESC, id DESC))[1] INTO o_looked, v_ids, o_created, o_id FROM page;
	IF v_ids IS NULL THEN
		RETURN;
	END IF;
	-- Looked at again with the rows locked: one may have been touched meanwhile.
	PERFORM FROM latchkey.session WHERE id = ANY (v_ids) ORDER BY id FOR UPDATE;
	WITH gone AS (
		DELETE FROM latchkey.session s WHERE s.id = ANY (v_ids)
			AND NOT latchkey.live(s.revoked_at, s.generation, v_present, s.expires, s.idle, s.last_seen, o_now)
			AND latchkey.ends(coalesce(s.revoked_at, (SELECT r.at FROM latchkey.raise r WHERE r.generation = s.generation)), s.expires, s.idle, s.last_seen) < p_bound
		RETURNING s.id, s.expires, s.stateless, s.revoked_at IS NULL AND s.generation = v_present AND s.expires > o_now AS unseen),
	kept AS (
		INSERT INTO latchkey.changed (id, expires) SELECT id, expires FROM gone WHERE stateless AND expires > o_now
		ON CONFLICT (id) DO UPDATE SET expires = greatest(changed.expires, excluded.expires))
	SELECT count(*), coalesce(array_agg(id) FILTER (WHERE unseen), '{}') INTO o_removed, o_told FROM gone;
	PERFORM latchkey.tell(p_origin, p_token, o_told);
END $$;

-- Removes the next p_batch sessions of an identity, live ones too.
CREATE FUNCTION latchkey.erase_sessions(
	p_now bigint, p_origin bigint, p_token bigint, p_provider text, p_subject text, p_batch bigint, OUT o_now bigint, OUT o_told uuid[])
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
	v_ids uuid[];
BEGIN
	PERFORM latchkey.durable();
	PERFORM latchkey.lock_subject(p_subject, true);
	o_now := latchkey.clock(p_now);
	SELECT array_agg(r.id) INTO v_ids FROM (
		SELECT id FROM latchkey.session
		WHERE hashtextextended(subject, 0) = hashtextextended(p_subject, 0) AND subject <> '' AND subject = p_subject AND provider = p_provider
		ORDER BY id LIMIT p_batch FOR UPDATE) r;
	WITH gone AS (
		DELETE FROM latchkey.session WHERE id = ANY (v_ids) RETURNING id, expires, stateless),
	kept AS (
		INSERT INTO latchkey.changed (id, expires) SELECT id, expires FROM gone WHERE stateless
		ON CONFLICT (id) DO UPDATE SET expires = greatest(changed.expires, excluded.expires))
	SELECT coalesce(array_agg(id), '{}') INTO o_told FROM gone;
	PERFORM latchkey.tell(p_origin, p_token, o_told);
END $$;

-- Takes an identity's name out of the next p_batch events that name it.
CREATE FUNCTION latchkey.erase_events(p_provider text, p_subject text, p_batch bigint, OUT o_count bigint) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM latchkey.durable();
	UPDATE latchkey.audit SET provider = '', subject = '', ip = '' WHERE seq IN (
		SELECT seq FROM latchkey.audit
		WHERE hashtextextended(subject, 0) = hashtextextended(p_subject, 0) AND subject <> '' AND subject = p_subject AND provider IN (p_provider, '')
		ORDER BY seq LIMIT p_batch FOR UPDATE);
	GET DIAGNOSTICS o_count = ROW_COUNT;
END $$;

CREATE FUNCTION latchkey.purge_events(p_bound bigint, p_batch bigint, OUT o_count bigint) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM latchkey.durable();
	DELETE FROM latchkey.audit WHERE seq IN (
		SELECT seq FROM latchkey.audit WHERE at < p_bound ORDER BY at LIMIT p_batch FOR UPDATE SKIP LOCKED);
	GET DIAGNOSTICS o_count = ROW_COUNT;
END $$;

CREATE FUNCTION latchkey.purge_changed(p_now bigint, p_age bigint, p_batch bigint, OUT o_now bigint, OUT o_count bigint) LANGUAGE plpgsql AS $$
BEGIN
	o_now := latchkey.clock(p_now);
	DELETE FROM latchkey.changed WHERE id IN (
		SELECT id FROM latchkey.changed WHERE expires < o_now - p_age ORDER BY expires LIMIT p_batch FOR UPDATE SKIP LOCKED)
		AND expires < o_now - p_age;
	GET DIAGNOSTICS o_count = ROW_COUNT;
END $$;

-- Adds an event that belongs to no other change.
CREATE FUNCTION latchkey.note(p_now bigint, p_count bigint, p_event text[], OUT o_now bigint) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM latchkey.durable();
	o_now := latchkey.clock(p_now);
	PERFORM latchkey.record(o_now, p_count, p_event);
END $$;

CREATE FUNCTION latchkey.spend(p_now bigint, p_key bytea, p_until bigint, p_most bigint, OUT o_answer text, OUT o_now bigint) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM latchkey.durable();
	o_now := latchkey.clock(p_now);
	IF p_until <= o_now OR p_until > o_now + p_most THEN
		o_answer := 'until'; RETURN;
	END IF;
	INSERT INTO latchkey.spent AS s (key, until) VALUES (p_key, p_until)
	ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE s.until <= o_now;
	o_answer := CASE WHEN FOUND THEN 'ok' ELSE 'conflict' END;
END $$;

-- Removes what no longer counts: by one node at a time, once in a minute at most.
-- Of the log goes what was there at the last look.
CREATE FUNCTION latchkey.housekeep(p_now bigint, p_mark_age bigint, OUT o_now bigint) LANGUAGE plpgsql AS $$
DECLARE
	v_log latchkey.log%ROWTYPE;
	v_run uuid;
BEGIN
	o_now := latchkey.clock(p_now);
	SELECT * INTO v_log FROM latchkey.log FOR UPDATE SKIP LOCKED;
	IF NOT FOUND OR v_log.at BETWEEN o_now - 60000000 AND o_now THEN
		RETURN;
	END IF;
	DELETE FROM latchkey.mark WHERE at < o_now - p_mark_age;
	DELETE FROM latchkey.spent WHERE until <= o_now;
	IF EXISTS (SELECT FROM latchkey.change) THEN
		SELECT id INTO v_run FROM latchkey.run;
		IF v_run = v_log.run THEN
			DELETE FROM latchkey.change WHERE xid < pg_snapshot_xmax(v_log.snapshot) AND pg_visible_in_snapshot(xid, v_log.snapshot);
			v_log.pruned := v_log.looked;
		END IF;
		UPDATE latchkey.log SET pruned = v_log.pruned, looked = looked + 1, snapshot = pg_current_snapshot(), run = v_run, at = o_now;
	END IF;
END $$;
