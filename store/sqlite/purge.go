package sqlite

import (
	"context"
	"math"
	"runtime"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/pace"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

const (
	defaultBatch = 1000
	looks        = 2000 // rows that one step of a purge looks at
	// A step rests for so many times as long as it took. SQLite has one lock for the page
	// caches of all connections, at which lookups wait for a purge; nor does a step keep
	// a processor for longer than a row takes.
	rests = 3
)

// purge is one call of Purge. What it removes is found on a reading connection,
// so that others can write meanwhile, and looked at again when it is removed.
type purge struct {
	*latchkey.Purge
	s       *Store
	bound   int64 // EndedBefore; 0 when not by age
	batch   int
	removed int // sessions
	events  int
	told    bool // by the purge's own event
}

// Purge implements latchkey.Store. All rows and events are looked at, on a
// connection that keeps nobody from writing; others may write between batches,
// too. What goes by its age goes in batches of 100 rows or more, as many as take a
// few milliseconds, and after each it rests for three times as long. When ctx ends it stops after a whole batch; what went until then is
// counted and recorded. What an erasure removes is overwritten in the file.
func (s *Store) Purge(ctx context.Context, p latchkey.Purge) (int, error) {
	run := &purge{Purge: &p, s: s, batch: p.Batch}
	if run.batch <= 0 {
		run.batch = defaultBatch
	}
	if !p.EndedBefore.IsZero() {
		// A bound between two microseconds spares what is at the first one.
		if run.bound = microOf(p.EndedBefore); p.EndedBefore.Nanosecond()%1000 != 0 {
			run.bound++
		}
	}
	err := run.all(ctx)
	if err != nil && !run.told && run.removed+run.events > 0 {
		// What went until then is gone, and the trail says so.
		_, _ = do(context.WithoutCancel(ctx), s, func(t *tx) (struct{}, error) { return struct{}{}, run.record(t) })
	}
	return run.removed, err
}

func (p *purge) all(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return brokenOff(ctx)
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
		if err := p.oldChanges(ctx); err != nil {
			return err
		}
	}
	_, err := do(ctx, p.s, func(t *tx) (struct{}, error) {
		if err := t.c.query("DELETE FROM mark WHERE at<?1").int(t.now - latchkey.RevocationMark.Microseconds()).run(); err != nil {
			return struct{}{}, err
		}
		if err := t.dropSpent(); err != nil {
			return struct{}{}, err
		}
		if p.removed+p.events == 0 {
			return struct{}{}, nil
		}
		return struct{}{}, p.record(t)
	})
	if err != nil {
		return err
	}
	p.told = true
	if !p.Erase.IsZero() {
		p.forget(ctx)
	}
	return nil
}

// record records the purge without naming whom it erased.
func (p *purge) record(t *tx) error {
	e := p.Event
	e.Time, e.Count = t.time(), p.removed
	if !p.Erase.IsZero() && names(&e, p.Erase) {
		e.Provider, e.Subject, e.IP = "", "", ""
	}
	return t.record(&e, nil)
}

// names reports whether an event is about an identity, or about its subject
// under every provider.
func names(e *audit.Event, who latchkey.Identity) bool {
	return e.Subject == who.Subject && (e.Provider == who.Provider || e.Provider == "")
}

// find reads IDs on a reading connection.
func (p *purge) find(ctx context.Context, f func(c *conn) ([]latchkey.ID, error)) (ids []latchkey.ID, err error) {
	err = p.s.interruptible(ctx, func(c *conn) (err error) {
		ids, err = f(c)
		return err
	})
	return ids, err
}

// remove removes those of the sessions that are still to go, in one transaction.
func (p *purge) remove(ctx context.Context, ids []latchkey.ID, goes func(t *tx, r *row) bool) error {
	n, err := do(ctx, p.s, func(t *tx) (n int, err error) {
		if err := t.flush(); err != nil {
			return 0, err
		}
		for _, id := range ids {
			runtime.Gosched()
			r, err := t.load(id)
			if err != nil {
				return n, err
			}
			if r == nil || !goes(t, r) {
				continue
			}
			if err := t.remove(r); err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	})
	p.removed += n
	return err
}

// remove takes a session out for good. Its events stay, and are found by their
// subject from now on without it.
func (t *tx) remove(r *row) error {
	rec := &r.rec
	t.tell(rec.ID)
	if err := t.note(rec); err != nil {
		return err
	}
	if rec.Subject != "" {
		key := pack.SubjectKey(rec.Subject)
		if err := t.keepTrail(key, rec); err != nil {
			return err
		}
		if err := t.c.query("DELETE FROM by_subject WHERE key=?1 AND ended IN (0,1) AND created=?2 AND id=?3").
			int(key).int(microOf(rec.CreatedAt)).blob(rec.ID[:]).run(); err != nil {
			return err
		}
	}
	if err := t.unindexSID(rec); err != nil {
		return err
	}
	return t.c.query("DELETE FROM session WHERE id=?1").blob(rec.ID[:]).run()
}

// keepTrail indexes the events that a session's row led to.
func (t *tx) keepTrail(key int64, rec *latchkey.Record) error {
	var led []int64
	q := t.c.query("SELECT seq, at, session, event FROM audit WHERE session=?1").blob(rec.ID[:])
	for {
		ok, err := q.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		e, err := t.c.event(q)
		if err != nil {
			q.done()
			return err
		}
		if e.Subject != "" && leadsTo(rec, &e) {
			led = append(led, int64(e.Seq))
		}
	}
	for _, seq := range led {
		if err := t.c.query("INSERT INTO audit_subject (key, seq) VALUES (?1,?2)").int(key).int(seq).run(); err != nil {
			return err
		}
	}
	return nil
}

// erase removes the identity's sessions, live ones too, and then its name from the trail.
func (p *purge) erase(ctx context.Context) error {
	key := pack.SubjectKey(p.Erase.Subject)
	whose := func(_ *tx, r *row) bool { return r.rec.Identity() == p.Erase }
	all, err := p.find(ctx, func(c *conn) (ids []latchkey.ID, err error) {
		q := c.query("SELECT id FROM by_subject WHERE key=?1").int(key)
		defer q.done()
		for {
			ok, err := q.next()
			if err != nil || !ok {
				return ids, err
			}
			id, err := c.id(q, 0)
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
	})
	for len(all) > 0 && err == nil {
		part := all[:min(len(all), p.batch)]
		all = all[len(part):]
		err = p.remove(ctx, part, whose)
	}
	if err != nil {
		return err
	}
	// The events are found by their subject without the rows now.
	for after := int64(0); after != math.MaxInt64; {
		after, err = do(ctx, p.s, func(t *tx) (int64, error) { return t.unname(key, after, p.batch, p.Erase) })
		if err != nil {
			return err
		}
	}
	return nil
}

// unname takes an identity's name out of the next events of a subject, and
// returns the position to go on behind.
func (t *tx) unname(key, after int64, batch int, who latchkey.Identity) (int64, error) {
	seqs, err := t.c.numbers(t.c.query("SELECT seq FROM audit_subject WHERE key=?1 AND seq>?2 ORDER BY seq LIMIT ?3").int(key).int(after).int(int64(batch)))
	if err != nil {
		return 0, err
	}
	for _, seq := range seqs {
		after = seq
		q := t.c.query(sqlEvent).int(seq)
		ok, err := q.next()
		if err != nil {
			return 0, err
		}
		if !ok {
			continue
		}
		e, err := t.c.event(q)
		q.done()
		if err != nil {
			return 0, err
		}
		if !names(&e, who) {
			continue
		}
		e.Provider, e.Subject, e.IP = "", "", ""
		if err := t.c.query("UPDATE audit SET event=?1 WHERE seq=?2").blob(pack.AppendEvent(nil, &e)).int(seq).run(); err != nil {
			return 0, err
		}
		if err := t.c.query("DELETE FROM audit_subject WHERE key=?1 AND seq=?2").int(key).int(seq).run(); err != nil {
			return 0, err
		}
	}
	if len(seqs) < batch {
		after = math.MaxInt64
	}
	return after, nil
}

// forget moves the log into the database, so that no earlier version of an
// erased page is left in it, as far as other readers let it.
func (p *purge) forget(ctx context.Context) {
	done := make(chan struct{})
	select {
	case p.s.tidy <- done:
		<-done
	case <-p.s.stopped:
	case <-ctx.Done():
	}
}

// old removes the sessions that have ended before the bound. A bound in the
// future spares what is live.
func (p *purge) old(ctx context.Context) error {
	goes := func(now int64, st state) bool { return !st.live(now) && st.end() < p.bound }
	var after latchkey.ID
	steps := pace.New(p.batch, rests)
	for more := true; more; {
		size, looked := steps.Begin(), 0
		ids, err := p.find(ctx, func(c *conn) (ids []latchkey.ID, err error) {
			now := p.s.clock.micros()
			q := c.query("SELECT s.id, " + judged + " FROM session s LEFT JOIN raise r ON r.generation=s.generation WHERE s.id>?1 ORDER BY s.id").blob(after[:])
			defer q.done()
			for len(ids) < size && looked < looks {
				if more, err = q.next(); err != nil || !more {
					return ids, err
				}
				looked++
				runtime.Gosched()
				if after, err = c.id(q, 0); err != nil {
					return nil, err
				}
				if goes(now, stateAt(q, 1)) {
					ids = append(ids, after)
				}
			}
			return ids, nil
		})
		if err != nil {
			return err
		}
		if len(ids) > 0 {
			if err := p.remove(ctx, ids, func(t *tx, r *row) bool { return goes(t.now, r.state) }); err != nil {
				return err
			}
		}
		if more {
			steps.Rest(ctx, len(ids))
		}
	}
	return nil
}

// oldEvents removes the events that are older than the bound.
func (p *purge) oldEvents(ctx context.Context) error {
	after := int64(0)
	steps := pace.New(p.batch, rests)
	for more := true; more; {
		size, looked := steps.Begin(), 0
		var seqs []int64
		err := p.s.interruptible(ctx, func(c *conn) (err error) {
			q := c.query("SELECT seq, at FROM audit WHERE seq>?1 ORDER BY seq").int(after)
			defer q.done()
			for len(seqs) < size && looked < looks {
				if more, err = q.next(); err != nil || !more {
					return err
				}
				looked++
				runtime.Gosched()
				if after = q.s.ColumnInt64(0); q.s.ColumnInt64(1) < p.bound {
					seqs = append(seqs, after)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(seqs) > 0 {
			n, err := do(ctx, p.s, func(t *tx) (int, error) { return t.removeEvents(seqs) })
			p.events += n
			if err != nil {
				return err
			}
		}
		if more {
			steps.Rest(ctx, len(seqs))
		}
	}
	return nil
}

// removeEvents removes events and what leads to them. The highest position is
// noted first: none is given twice, even if the last event of all goes.
func (t *tx) removeEvents(seqs []int64) (n int, err error) {
	if err := t.c.query("UPDATE meta SET value=?1 WHERE name='audit floor'").int(t.auditSeq).run(); err != nil {
		return 0, err
	}
	for _, seq := range seqs {
		runtime.Gosched()
		q := t.c.query(sqlEvent).int(seq)
		ok, err := q.next()
		if err != nil {
			return n, err
		}
		if !ok {
			continue
		}
		e, err := t.c.event(q)
		q.done()
		if err != nil {
			return n, err
		}
		if e.Subject != "" {
			if err := t.c.query("DELETE FROM audit_subject WHERE key=?1 AND seq=?2").int(pack.SubjectKey(e.Subject)).int(seq).run(); err != nil {
				return n, err
			}
		}
		if err := t.c.query("DELETE FROM audit WHERE seq=?1").int(seq).run(); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
