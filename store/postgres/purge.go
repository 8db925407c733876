package postgres

import (
	"context"
	"math"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/pace"
)

const defaultBatch = 1000

// keepChanged is how long an entry of the list of changed sessions stays after it
// has passed: a node whose clock is behind by less still reads it, as long as it
// would honour the token.
const keepChanged = 24 * time.Hour

// purge is one call of Purge.
type purge struct {
	*latchkey.Purge
	s       *Store
	bound   int64 // EndedBefore
	batch   int64
	removed int // sessions
	events  int
	told    bool // by the purge's own event
}

// Purge implements latchkey.Store. Each batch is a transaction; others may write
// between them. What goes by its age goes in batches of 100 rows or more, as many as
// take a few milliseconds, and after each it rests for as long as that took. When ctx ends it stops after a whole batch; what went until then
// is counted and recorded. Sessions are looked at in the order in which they were
// made, those that were made before the bound.
func (s *Store) Purge(ctx context.Context, p latchkey.Purge) (int, error) {
	run := &purge{Purge: &p, s: s, batch: int64(p.Batch)}
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
		_ = run.record(context.WithoutCancel(ctx))
	}
	return run.removed, err
}

func (p *purge) all(ctx context.Context) error {
	if ctx.Err() != nil {
		return brokenOff(ctx)
	}
	if err := p.s.usable(); err != nil {
		return err
	}
	if p.Erase.Subject != "" {
		if !plainName(p.Erase.Provider, p.Erase.Subject) {
			return badName()
		}
		if err := p.erase(ctx); err != nil {
			return err
		}
	}
	if !p.EndedBefore.IsZero() {
		if err := p.old(ctx); err != nil {
			return err
		}
	}
	if p.removed+p.events == 0 {
		return nil
	}
	return p.record(ctx)
}

// record records the purge without naming whom it erased.
func (p *purge) record(ctx context.Context) error {
	e := p.Event
	if p.Erase.Subject != "" && names(&e, p.Erase) {
		e.Provider, e.Subject, e.IP = "", "", ""
	}
	p.told = true
	return p.s.call(ctx, p.s.t.Timeout, stNote, p.s.nowParam(newParams(3)).int(int64(p.removed)).event(&e), (*columns).int)
}

// names reports whether an event is about an identity, or about its subject
// under every provider.
func names(e *audit.Event, who latchkey.Identity) bool {
	return e.Subject == who.Subject && (e.Provider == who.Provider || e.Provider == "")
}

// erase removes the identity's sessions, live ones too, and then its name from the trail.
func (p *purge) erase(ctx context.Context) error {
	for more := true; more; {
		o := p.s.newOp()
		q := o.params(3).text(p.Erase.Provider).text(p.Erase.Subject).int(p.batch)
		err := p.s.call(ctx, scanTimeout, stErase, q, func(c *columns) int64 {
			now := c.int()
			o.ids = c.ids()
			return now
		})
		if err == nil {
			p.removed += len(o.ids)
			more = int64(len(o.ids)) == p.batch
			err = o.done(ctx)
		}
		if err != nil {
			return err
		}
	}
	return p.batches(ctx, stEraseEvents, new(int), func() *params {
		return newParams(3).text(p.Erase.Provider).text(p.Erase.Subject).int(p.batch)
	})
}

// batches calls a function that returns a count until it is less than a batch.
func (p *purge) batches(ctx context.Context, st statement, total *int, args func() *params) error {
	for {
		var n int64
		if err := p.s.call(ctx, scanTimeout, st, args(), func(c *columns) int64 { n = c.int(); return 0 }); err != nil {
			return err
		}
		if *total += int(n); n < p.batch {
			return nil
		}
	}
}

// old removes what ended, or happened, before the bound.
func (p *purge) old(ctx context.Context) error {
	created, id := int64(math.MinInt64), latchkey.ID{}
	steps := pace.New(int(p.batch), 1)
	for {
		o, size, looked := p.s.newOp(), int64(steps.Begin()), int64(0)
		q := o.params(4).int(p.bound).int(size).int(created).uuid(id)
		err := p.s.call(ctx, scanTimeout, stPurge, q, func(c *columns) int64 {
			now := c.int()
			looked = c.int()
			p.removed += int(c.int())
			if looked > 0 {
				created, id = c.int(), c.id()
			} else {
				c.next()
				c.next()
			}
			o.ids = c.ids()
			return now
		})
		if err == nil {
			err = o.done(ctx)
		}
		if err != nil {
			return err
		}
		if looked < size {
			break
		}
		steps.Rest(ctx, int(looked))
	}
	if err := p.oldEvents(ctx); err != nil {
		return err
	}
	for n := p.batch; n == p.batch; {
		q := p.s.nowParam(newParams(3)).int(keepChanged.Microseconds()).int(p.batch)
		err := p.s.call(ctx, scanTimeout, stPurgeChanged, q, func(c *columns) int64 {
			now := c.int()
			n = c.int()
			return now
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// oldEvents removes the events that are older than the bound, the oldest first.
func (p *purge) oldEvents(ctx context.Context) error {
	steps := pace.New(int(p.batch), 1)
	for from := int64(math.MinInt64); ; {
		size, n := int64(steps.Begin()), int64(0)
		err := p.s.call(ctx, scanTimeout, stPurgeEvents, newParams(3).int(p.bound).int(size).int(from), func(c *columns) int64 {
			n = c.int()
			from = c.int()
			return 0
		})
		p.events += int(n)
		if err != nil || n < size {
			return err
		}
		steps.Rest(ctx, int(n))
	}
}
