package mysql

import (
	"context"
	"database/sql"
	"slices"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

// Revoke implements latchkey.Store. A session that is idle or expired is marked
// as revoked without being counted. To count what a revocation of everything ends,
// all rows are looked at first, about half a second a million, and nobody waits for
// that; what is made or ended meanwhile may be missing in the count, or in it.
func (s *Store) Revoke(ctx context.Context, r latchkey.Revocation) (latchkey.RevokeResult, error) {
	if err := r.Check(); err != nil {
		return latchkey.RevokeResult{}, err
	}
	live := 0
	if r.All {
		var err error
		if live, err = s.countLive(ctx); err != nil {
			return latchkey.RevokeResult{}, err
		}
	}
	bound := s.timeout
	if r.Subject != "" || r.SID != "" { // which may end many
		bound = boundMany
	}
	return changeWithin(ctx, s, bound, func(t *tx) (latchkey.RevokeResult, error) {
		switch {
		case !r.ID.IsZero():
			return t.revokeOne(&r)
		case r.All:
			return t.revokeAll(&r, live)
		case r.SID != "":
			return t.revokeSID(&r)
		}
		return t.revokeSubject(&r)
	})
}

func (t *tx) revokeOne(r *latchkey.Revocation) (result latchkey.RevokeResult, err error) {
	old, err := t.one(r.ID)
	switch {
	case err != nil:
		return result, err
	case old == nil || r.Only.Subject != "" && old.rec.Identity() != r.Only:
		return result, noSuchSession()
	}
	if changed := t.revokeRows([]*row{old}, r, &result); !changed {
		return result, t.harden()
	}
	event := r.Event
	event.Time = t.time()
	if event.Subject == "" {
		event.Provider, event.Subject = old.rec.Provider, old.rec.Subject
	}
	t.record(&event)
	return result, nil
}

// revokeRows ends the sessions that a revocation selects, and reports whether that
// changed one.
func (t *tx) revokeRows(list []*row, r *latchkey.Revocation, result *latchkey.RevokeResult) bool {
	ended := t.end(list, r.By, r.Reason)
	for _, row := range ended {
		if row.live(t.now) {
			result.Count++
			result.IDs = append(result.IDs, row.rec.ID)
		}
	}
	return len(ended) > 0
}

// recordMany records a revocation of several, of none too.
func (t *tx) recordMany(r *latchkey.Revocation, count int) {
	event := r.Event
	event.Time, event.Count = t.time(), count
	t.record(&event)
}

// countLive counts what a revocation of everything is about to end.
func (s *Store) countLive(ctx context.Context) (n int, err error) {
	err = s.scan(ctx, boundAll, func(ctx context.Context, c *sql.Conn) error {
		now := literal(s.clock.sql())
		var q script
		q.add("SELECT count(*) FROM latchkey_counter c JOIN latchkey_session s WHERE c.id=1 AND "+sqlLive, now, now)
		return ask(ctx, c, &q, func(rows *sql.Rows) error { return rows.Scan(&n) })
	})
	return n, err
}

func (t *tx) revokeAll(r *latchkey.Revocation, live int) (result latchkey.RevokeResult, err error) {
	if err := t.begin(nil, nil); err != nil {
		return result, err
	}
	// Whoever raises it holds the row, so that it is told once how each generation
	// ended. The next one is a number that no generation ever had, even if these tables
	// were restored from a backup: a stateless session's token may tell of a generation
	// of what was in use after it.
	t.out.add("INSERT INTO latchkey_raise (generation, at, actor, reason) SELECT generation,?,?,? FROM latchkey_counter WHERE id=1 FOR UPDATE",
		num(t.now), raw(r.By), raw(r.Reason))
	t.out.add("UPDATE latchkey_counter SET generation=GREATEST(generation+1,?) WHERE id=1", num(t.now))
	t.every = true
	result.Count = live
	t.recordMany(r, live)
	return result, nil
}

func (t *tx) revokeSID(r *latchkey.Revocation) (result latchkey.RevokeResult, err error) {
	key := pack.SIDKey(r.Provider, r.SID)
	var q script
	var l rows
	q.add("SELECT "+locked+" FROM latchkey_session s FORCE INDEX (by_sid) WHERE s.sid_key=? ORDER BY s.id FOR UPDATE", num(key))
	if err := t.begin([]int64{key}, &q, l.take); err != nil {
		return result, err
	}
	list := slices.DeleteFunc(t.settle(&l), func(row *row) bool { return row.rec.Provider != r.Provider || row.rec.SID != r.SID })
	t.revokeRows(list, r, &result)
	t.setMark(pack.MarkKey(pack.SID, r.Provider, r.SID))
	t.recordMany(r, result.Count)
	return result, nil
}

func (t *tx) revokeSubject(r *latchkey.Revocation) (result latchkey.RevokeResult, err error) {
	key := pack.SubjectKey(r.Subject)
	var q script
	var l rows
	q.add("SELECT "+locked+" FROM latchkey_session s FORCE INDEX (by_subject) WHERE s.subject_key=? AND s.ended=0 ORDER BY s.created, s.id FOR UPDATE", num(key))
	if err := t.begin([]int64{key}, &q, l.take); err != nil {
		return result, err
	}
	list := slices.DeleteFunc(t.settle(&l), func(row *row) bool {
		return row.rec.Subject != r.Subject || !r.AnyProvider && row.rec.Provider != r.Provider || row.rec.ID == r.Except
	})
	t.revokeRows(list, r, &result)
	mark := pack.MarkKey(pack.Identity, r.Provider, r.Subject)
	if r.AnyProvider {
		mark = pack.MarkKey(pack.Subject, "", r.Subject)
	}
	t.setMark(mark)
	t.recordMany(r, result.Count)
	return result, nil
}

// setMark stands against sign-ins that began before now.
func (t *tx) setMark(key [16]byte) {
	t.out.add("INSERT INTO latchkey_mark (k, at) VALUES (?,?) ON DUPLICATE KEY UPDATE at=GREATEST(at,?)", raw(key[:]), num(t.now), num(t.now))
}
