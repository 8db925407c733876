package sqlite

import (
	"context"
	"slices"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

// Revoke implements latchkey.Store. A session that is idle or expired is marked
// as revoked without being counted. To count what a revocation of everything ends, all rows
// are looked at while others wait to write, about 0.2 seconds a million; it is
// committed with its count or not at all.
func (s *Store) Revoke(ctx context.Context, r latchkey.Revocation) (latchkey.RevokeResult, error) {
	if err := r.Check(); err != nil {
		return latchkey.RevokeResult{}, err
	}
	return do(ctx, s, func(t *tx) (latchkey.RevokeResult, error) {
		switch {
		case !r.ID.IsZero():
			return t.revokeOne(&r)
		case r.All:
			return t.revokeAll(&r)
		case r.SID != "":
			return t.revokeSID(&r)
		}
		return t.revokeSubject(&r)
	})
}

func (t *tx) revokeOne(r *latchkey.Revocation) (result latchkey.RevokeResult, err error) {
	old, err := t.load(r.ID)
	switch {
	case err != nil:
		return result, err
	case old == nil || r.Only.Subject != "" && old.rec.Identity() != r.Only:
		return result, noSuchSession()
	}
	changed, err := t.revokeRow(old, r, &result)
	if err != nil || !changed {
		return result, err
	}
	event := r.Event
	event.Time = t.time()
	if event.Subject == "" {
		event.Provider, event.Subject = old.rec.Provider, old.rec.Subject
	}
	return result, t.record(&event, &old.rec)
}

// revokeRow ends one of the sessions that a revocation selects, and reports
// whether that changed it.
func (t *tx) revokeRow(row *row, r *latchkey.Revocation, result *latchkey.RevokeResult) (bool, error) {
	live := row.live(t.now)
	changed, err := t.end(row, r.By, r.Reason)
	if changed && live {
		result.Count++
		result.IDs = append(result.IDs, row.rec.ID)
	}
	return changed, err
}

// recordMany records a revocation of several, of none too.
func (t *tx) recordMany(r *latchkey.Revocation, count int) error {
	event := r.Event
	event.Time, event.Count = t.time(), count
	return t.record(&event, nil)
}

const sqlCountLive = `SELECT count(*) FROM session WHERE generation=?1 AND revoked_at IS NULL AND expires>?2 AND (idle=0 OR last_seen+idle>?2)`

func (t *tx) revokeAll(r *latchkey.Revocation) (result latchkey.RevokeResult, err error) {
	n, _, err := t.c.query(sqlCountLive).int(int64(t.generation)).int(t.now).number()
	if err != nil {
		return result, err
	}
	result.Count = int(n)
	// The next one is a number that no generation ever had, even if this file is a
	// backup of which a later state was in use: a stateless session's token may tell
	// of a generation of that. The highest row says which it is.
	next := max(int64(t.generation)+1, t.now)
	for _, ended := range slices.Compact([]int64{int64(t.generation), next - 1}) {
		err = t.c.query("INSERT INTO raise (generation, at, actor, reason) VALUES (?1,?2,?3,?4)").
			int(ended).int(t.now).text(r.By).text(r.Reason).run()
		if err != nil {
			return result, err
		}
	}
	t.generation = uint64(next) // for those behind it in the group
	t.every, t.op.tells = true, true
	return result, t.recordMany(r, result.Count)
}

func (t *tx) revokeSID(r *latchkey.Revocation) (result latchkey.RevokeResult, err error) {
	q := t.c.query("SELECT id FROM by_sid WHERE key=?1").int(pack.SIDKey(r.Provider, r.SID))
	var ids []latchkey.ID
	for {
		ok, err := q.next()
		if err != nil {
			return result, err
		}
		if !ok {
			break
		}
		id, err := t.c.id(q, 0)
		if err != nil {
			q.done()
			return result, err
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		row, err := t.load(id)
		if err != nil {
			return result, err
		}
		if row == nil || row.rec.Provider != r.Provider || row.rec.SID != r.SID {
			continue
		}
		if _, err := t.revokeRow(row, r, &result); err != nil {
			return result, err
		}
	}
	if err := t.mark(pack.MarkKey(pack.SID, r.Provider, r.SID)); err != nil {
		return result, err
	}
	return result, t.recordMany(r, result.Count)
}

func (t *tx) revokeSubject(r *latchkey.Revocation) (result latchkey.RevokeResult, err error) {
	key := pack.SubjectKey(r.Subject)
	rows, ended, err := t.ofSubject(key, func(st state, _ int64) bool { return st.revoked == 0 }, func(rec *latchkey.Record) bool {
		return rec.Subject == r.Subject && (r.AnyProvider || rec.Provider == r.Provider) && rec.ID != r.Except
	})
	if err != nil {
		return result, err
	}
	for _, row := range rows {
		changed, err := t.revokeRow(row, r, &result)
		if err != nil {
			return result, err
		}
		if changed {
			ended = append(ended, subjectEntry{key, microOf(row.rec.CreatedAt), row.rec.ID})
		}
	}
	if err := t.setEnded(key, ended); err != nil {
		return result, err
	}
	mark := pack.MarkKey(pack.Identity, r.Provider, r.Subject)
	if r.AnyProvider {
		mark = pack.MarkKey(pack.Subject, "", r.Subject)
	}
	if err := t.mark(mark); err != nil {
		return result, err
	}
	return result, t.recordMany(r, result.Count)
}

// mark stands against sign-ins that began before now.
func (t *tx) mark(key [16]byte) error {
	t.noMarks = -1
	return t.c.query("INSERT INTO mark (key, at) VALUES (?1,?2) ON CONFLICT (key) DO UPDATE SET at=max(at, excluded.at)").
		blob(key[:]).int(t.now).run()
}
