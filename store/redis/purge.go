package redis

import (
	"context"
	"strconv"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/pace"
)

// maxBatch is how many rows one script removes: less than a tenth of a millisecond
// of the server's time, for which a lookup may have to wait.
const maxBatch = 8

// purge is one call of Purge.
type purge struct {
	*latchkey.Purge
	s       *Store
	bound   int64 // EndedBefore; 0 when not by age
	most    int   // rows of a script
	batch   string
	removed int // sessions
	events  int
	told    bool // by the purge's own event
}

// Purge implements latchkey.Store. However large a batch may be, one script removes 8
// rows, so that others are served soon, and after each that removes what is old it
// rests for as long as that took. When ctx ends it stops after a whole batch; what went until then is
// counted and recorded. Rows that the server has removed by itself are not counted.
func (s *Store) Purge(ctx context.Context, p latchkey.Purge) (int, error) {
	if err := s.open(ctx); err != nil {
		return 0, err
	}
	run := &purge{Purge: &p, s: s, most: maxBatch}
	if p.Batch > 0 {
		run.most = min(run.most, p.Batch)
	}
	run.batch = strconv.Itoa(run.most)
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
	if p.s.cfg.Mode == Cluster {
		if err := p.s.drain(ctx); err != nil {
			return err
		}
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
	}
	if p.removed+p.events == 0 {
		return nil
	}
	if err := p.record(ctx); err != nil {
		return err
	}
	p.told = true
	return nil
}

// record records the purge without naming whom it erased.
func (p *purge) record(ctx context.Context) error {
	e := p.Event
	if !p.Erase.IsZero() && names(&e, p.Erase) {
		e.Provider, e.Subject, e.IP = "", "", ""
	}
	ctx, cancel := p.s.bound(ctx)
	defer cancel()
	return p.s.recordAt(ctx, trailTag, &e, p.removed)
}

// names reports whether an event is about an identity, or about its subject under
// every provider.
func names(e *audit.Event, who latchkey.Identity) bool {
	return e.Subject == who.Subject && (e.Provider == who.Provider || e.Provider == "")
}

// step runs the script once, for one batch.
func (p *purge) step(ctx context.Context, tag string, among ...string) (n int, more bool, f *fields, err error) {
	if err := p.s.open(ctx); err != nil {
		return 0, false, nil, err
	}
	ctx, cancel := p.s.bound(ctx)
	defer cancel()
	f, err = p.s.do(ctx, call{sc: &p.s.scripts.purge, tag: tag, told: 3, among: among})
	if err != nil {
		return 0, false, nil, err
	}
	n, more = int(f.int(1)), f.flag(2)
	if f.text(0) != "ok" || f.bad {
		return 0, false, nil, unavailable(errAnswer)
	}
	return n, more, f, nil
}

// erase removes the identity's sessions, live ones too, and then its name from the trail.
// In a cluster the subject goes on leading to the identity until the server removes
// that: a sign-in that is under way may have entered it already.
func (p *purge) erase(ctx context.Context) error {
	subject := subjectRef(p.Erase.Subject)
	identity := p.s.identityRef(p.Erase)
	if identity == "" {
		return nil
	}
	for more := true; more; {
		var n int
		var err error
		if n, more, _, err = p.step(ctx, identity[:3], "erase", identity, p.batch, subject); err != nil {
			return err
		}
		p.removed += n
	}
	for from, more := 0, true; more; from += p.most {
		var err error
		if _, more, _, err = p.step(ctx, trailTag, "name", subject[:3], strconv.Itoa(from), p.batch, p.Erase.Provider, p.Erase.Subject); err != nil {
			return err
		}
	}
	return nil
}

// old removes the sessions that have ended before the bound, and the events that are
// older. A bound in the future spares what is live.
func (p *purge) old(ctx context.Context) error {
	list := []string{""}
	if p.s.cfg.Mode == Cluster {
		var err error
		if list, err = p.s.tagsWith(ctx, "all"); err != nil {
			return err
		}
	}
	steps := pace.New(p.most, 1)
	for _, tag := range list {
		created, id := "", ""
		for more := true; more; {
			steps.Begin()
			n, again, f, err := p.step(ctx, tag, "old", decimal(p.bound), p.batch, created, id)
			if err != nil {
				return err
			}
			p.removed += n
			if more, created, id = again, f.text(4), f.text(5); more {
				steps.Rest(ctx, p.most)
			}
		}
	}
	from := ""
	for more := true; more; {
		steps.Begin()
		n, again, f, err := p.step(ctx, trailTag, "events", decimal(p.bound), p.batch, from)
		if err != nil {
			return err
		}
		if p.events, more, from = p.events+n, again, f.text(4); more {
			steps.Rest(ctx, p.most)
		}
	}
	return nil
}
