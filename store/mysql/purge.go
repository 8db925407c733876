package mysql

import (
	"context"
	"database/sql"
	"math"
	"slices"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/pace"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

// Bounds of a batch of a purge: more would make long statements.
const (
	defaultBatch = 1000
	maxBatch     = 5000
)

// purge is one call of Purge. What it removes is found without locks, so that
// others can write meanwhile, and looked at again when it is removed.
type purge struct {
	*latchkey.Purge
	s       *Store
	bound   int64 // EndedBefore; 0 when not by age
	batch   int
	removed int // sessions
	events  int
	told    bool // by the purge's own event
}

// Purge implements latchkey.Store. All rows and events are looked at, without
// keeping anybody from writing; others may write between batches, too, of which
// none is larger than 5,000. What goes by its age goes in batches of 100 rows or more,
// as many as take a few milliseconds, and after each it rests for as long as that
// took. When ctx ends it stops after a whole batch; what went
// until then is counted and recorded. What an erasure removes goes from the
// server's files when it cleans up, and from its binary log when that expires.
func (s *Store) Purge(ctx context.Context, p latchkey.Purge) (int, error) {
	run := &purge{Purge: &p, s: s, batch: p.Batch}
	if run.batch <= 0 {
		run.batch = defaultBatch
	}
	run.batch = min(run.batch, maxBatch)
	if !p.EndedBefore.IsZero() {
		// A bound between two microseconds spares what is at the first one.
		if run.bound = microOf(p.EndedBefore); p.EndedBefore.Nanosecond()%1000 != 0 {
			run.bound++
		}
	}
	err := run.all(ctx)
	if err != nil && !run.told && run.removed+run.events > 0 {
		// What went until then is gone, and the trail says so.
		_, _ = change(context.WithoutCancel(ctx), s, func(t *tx) (struct{}, error) { return struct{}{}, run.record(t) })
	}
	return run.removed, err
}

func (p *purge) all(ctx context.Context) error {
	if err := p.s.usable(ctx); err != nil {
		return err
	}
	if p.s.readOnly {
		return unavailable(errReadOnly)
	}
	if !p.Erase.IsZero() {
		if err := p.erase(ctx); err != nil {
			return err
		}
	}
	if p.bound != 0 {
		if err := p.old(ctx); err != nil {
			return err
		}
		if err := p.oldEvents(ctx); err != nil {
			return err
		}
	}
	if err := p.s.forget(ctx); err != nil {
		return err
	}
	if p.removed+p.events > 0 {
		if _, err := change(ctx, p.s, func(t *tx) (struct{}, error) { return struct{}{}, p.record(t) }); err != nil {
			return err
		}
	} else if !p.Erase.IsZero() { // whoever removed them before may not know that they are gone for good
		if err := p.s.hardened(ctx); err != nil {
			return err
		}
	}
	p.told = true
	return nil
}

// record records the purge without naming whom it erased.
func (p *purge) record(t *tx) error {
	if err := t.begin(nil, nil); err != nil {
		return err
	}
	e := p.Event
	e.Time, e.Count = t.time(), p.removed
	if !p.Erase.IsZero() && names(&e, p.Erase) {
		e.Provider, e.Subject, e.IP = "", "", ""
	}
	t.record(&e)
	return nil
}

// names reports whether an event is about an identity, or about its subject
// under every provider.
func names(e *audit.Event, who latchkey.Identity) bool {
	return e.Subject == who.Subject && (e.Provider == who.Provider || e.Provider == "")
}

// find reads IDs, without locks.
func (p *purge) find(ctx context.Context, text string, values ...literal) (ids []latchkey.ID, err error) {
	err = p.s.scan(ctx, boundAll, func(ctx context.Context, c *sql.Conn) error {
		ids = ids[:0]
		var q script
		q.add(text, values...)
		return ask(ctx, c, &q, func(rows *sql.Rows) error {
			var id []byte
			if err := rows.Scan(&id); err != nil {
				return err
			}
			if len(id) != len(latchkey.ID{}) {
				return errDamaged
			}
			ids = append(ids, latchkey.ID(id))
			return nil
		})
	})
	return ids, err
}

// remove removes those of the sessions that are still to go, in one transaction.
// Their events stay.
func (p *purge) remove(ctx context.Context, ids []latchkey.ID, goes func(t *tx, r *row) bool) error {
	n, err := change(ctx, p.s, func(t *tx) (int, error) {
		var q script
		var l rows
		q.add("SELECT "+locked+" FROM latchkey_session s FORCE INDEX (PRIMARY) WHERE s.id IN (?) ORDER BY s.id FOR UPDATE", list(ids, rawID))
		raised := make(map[int64]int64)
		q.add("SELECT generation, at FROM latchkey_raise")
		err := t.begin(nil, &q, l.take, func(rows *sql.Rows) error {
			var generation, at int64
			err := rows.Scan(&generation, &at)
			raised[generation] = at
			return err
		})
		if err != nil {
			return 0, err
		}
		for _, r := range t.settle(&l) {
			if at, ok := raised[int64(r.rec.Generation)]; ok && r.rec.RevokedAt.IsZero() {
				r.revoked = at
			}
		}
		gone := slices.DeleteFunc(l.list, func(r *row) bool { return !goes(t, r) })
		if len(gone) == 0 {
			return 0, nil
		}
		t.out.add("DELETE FROM latchkey_session WHERE id IN (?)", idsOf(gone))
		t.noteChanged(gone)
		for _, r := range gone {
			t.tell(r.rec.ID)
		}
		return len(gone), nil
	})
	p.removed += n
	return err
}

// erase removes the identity's sessions, live ones too, and then its name from the trail.
func (p *purge) erase(ctx context.Context) error {
	key := pack.SubjectKey(p.Erase.Subject)
	found, err := p.find(ctx, "SELECT id FROM latchkey_session WHERE subject_key=? AND who=?", num(key), num(pack.WhoKey(p.Erase.Provider, p.Erase.Subject)))
	if err != nil {
		return err
	}
	for part := range slices.Chunk(found, p.batch) {
		if err := p.remove(ctx, part, func(_ *tx, r *row) bool { return r.rec.Identity() == p.Erase }); err != nil {
			return err
		}
	}
	for after := int64(0); after != math.MaxInt64; {
		after, err = change(ctx, p.s, func(t *tx) (int64, error) { return t.unname(key, after, p.batch, p.Erase) })
		if err != nil {
			return err
		}
	}
	return nil
}

// unname takes an identity's name out of the next events of a subject, and
// returns the position to go on behind.
func (t *tx) unname(key, after int64, batch int, who latchkey.Identity) (int64, error) {
	var q script
	var events []audit.Event
	q.add("SELECT seq, at, session, event FROM latchkey_audit WHERE subject_key=? AND seq>? ORDER BY seq LIMIT ? FOR UPDATE", num(key), num(after), num(int64(batch)))
	err := t.begin(nil, &q, func(rows *sql.Rows) error {
		e, err := scanEvent(rows)
		events = append(events, e)
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, e := range events {
		after = int64(e.Seq)
		if names(&e, who) {
			e.Provider, e.Subject, e.IP = "", "", ""
			t.out.add("UPDATE latchkey_audit SET subject_key=NULL, event=? WHERE seq=?", raw(packEvent(&e)), num(after))
		}
	}
	if len(events) < batch {
		after = math.MaxInt64
	}
	return after, nil
}

// old removes the sessions that have ended before the bound. A bound in the
// future spares what is live.
func (p *purge) old(ctx context.Context) error {
	var after latchkey.ID
	steps := pace.New(p.batch, 1)
	for {
		size := steps.Begin()
		now := literal(p.s.clock.sql())
		ids, err := p.find(ctx, "SELECT s.id FROM "+fromBy("PRIMARY")+" WHERE c.id=1 AND s.id>? AND "+sqlEnd+"<? AND NOT "+sqlLive+" ORDER BY s.id LIMIT ?",
			rawID(after), num(p.bound), now, now, num(int64(size)))
		if err != nil || len(ids) == 0 {
			return err
		}
		after = ids[len(ids)-1]
		if err := p.remove(ctx, ids, func(t *tx, r *row) bool { return !r.live(t.now) && r.end() < p.bound }); err != nil {
			return err
		}
		if len(ids) < size {
			return nil
		}
		steps.Rest(ctx, len(ids))
	}
}

// oldEvents removes the events that are older than the bound.
func (p *purge) oldEvents(ctx context.Context) error {
	after := int64(0)
	steps := pace.New(p.batch, 1)
	for {
		size := steps.Begin()
		var seqs []int64
		err := p.s.scan(ctx, boundAll, func(ctx context.Context, c *sql.Conn) error {
			seqs = seqs[:0]
			var q script
			q.add("SELECT seq FROM latchkey_audit WHERE seq>? AND at<? ORDER BY seq LIMIT ?", num(after), num(p.bound), num(int64(size)))
			return ask(ctx, c, &q, func(rows *sql.Rows) error {
				var seq int64
				err := rows.Scan(&seq)
				seqs = append(seqs, seq)
				return err
			})
		})
		if err != nil || len(seqs) == 0 {
			return err
		}
		after = seqs[len(seqs)-1]
		n, err := change(ctx, p.s, func(t *tx) (int, error) {
			t.out.add("DELETE FROM latchkey_audit WHERE seq IN (?)", list(seqs, num))
			return len(seqs), t.begin(nil, nil)
		})
		p.events += n
		if err != nil {
			return err
		}
		if len(seqs) < size {
			return nil
		}
		steps.Rest(ctx, len(seqs))
	}
}

// forgotten are rows that count for a time only: a table, the column that tells
// until when, and by how many microseconds that is later.
var forgotten = [...]struct {
	table, column string
	late          int64
}{
	{"latchkey_mark", "at", latchkey.RevocationMark.Microseconds()},
	{"latchkey_changed", "expires", keepChanged},
	{"latchkey_spent", "until", 0},
}

// forget removes rows whose time has passed, in bounded batches.
func (s *Store) forget(ctx context.Context) error {
	for _, f := range forgotten {
		for more := true; more; {
			n, err := change(ctx, s, func(t *tx) (int64, error) { return t.forget(f.table, f.column, f.late) })
			if err != nil {
				return err
			}
			more = n == forgetAtOnce
		}
	}
	return nil
}

// forgetAtOnce bounds a batch of forget.
const forgetAtOnce = 1000

func (t *tx) forget(table, column string, late int64) (int64, error) {
	if err := t.begin(nil, nil); err != nil {
		return 0, err
	}
	return t.sweep("DELETE FROM "+table+" WHERE "+column+"<=? ORDER BY "+column+" LIMIT 1000", num(t.now-late-1))
}
