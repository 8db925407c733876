package nearcache

import (
	"context"
	"time"

	"github.com/latchkey-go/latchkey"
)

// flight is what goes on for one session: a trip on its way, and the next one to
// be sent, which waits for it. There are never more.
type flight struct {
	current, next *trip
}

// trip is one read of the store. done is closed when rec and err are set.
type trip struct {
	sent    latchkey.Moment
	filling latchkey.Filling
	done    chan struct{}
	rec     *latchkey.Record
	err     error
}

// Load implements latchkey.Cache. A trip runs in the goroutine of the caller that
// sent it; it does not end with that caller's context, since others wait for it,
// but by Config.LoadTimeout.
func (c *Cache) Load(ctx context.Context, id latchkey.ID, within time.Duration) (*latchkey.Record, latchkey.Filling, error) {
	arrived := c.clock.Now()
	s := c.stripe(id)
	s.Lock()
	f := s.flights[id]
	switch {
	case f == nil:
		t := &trip{done: make(chan struct{})}
		f = &flight{current: t}
		s.flights[id] = f
		c.depart(s, t, id, arrived)
		s.Unlock()
		return c.travel(ctx, s, f, t, id)
	case within > 0 && age(&f.current.sent, arrived) <= within && c.fileable(s, f.current.filling):
		t := f.current
		s.Unlock()
		return c.join(ctx, t, true)
	case f.next != nil:
		t := f.next
		s.Unlock()
		return c.join(ctx, t, false)
	}
	before := f.current
	t := &trip{done: make(chan struct{})}
	f.next = t
	s.Unlock()
	<-before.done // bounded by its timeout
	s.Lock()
	f.current, f.next = t, nil
	c.depart(s, t, id, c.clock.Now())
	s.Unlock()
	return c.travel(ctx, s, f, t, id)
}

// depart notes, with the stripe locked, from when on invalidations make the
// trip's result too old to be filed.
func (c *Cache) depart(s *stripe, t *trip, id latchkey.ID, at latchkey.Moment) {
	t.sent = at
	t.filling = latchkey.Filling{ID: id, Epoch: s.epoch, Clears: c.clears.Load()}
}

// travel reads the store and tells the others.
func (c *Cache) travel(ctx context.Context, s *stripe, f *flight, t *trip, id latchkey.ID) (*latchkey.Record, latchkey.Filling, error) {
	c.stats.trips.Add(1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	defer cancel()
	t.err = latchkey.NewError(latchkey.CodeStoreUnavailable, "the session store gave no answer", errNoTrip) // should it panic
	defer func() {
		s.Lock()
		if f.next == nil {
			delete(s.flights, id)
		}
		s.Unlock()
		close(t.done)
	}()
	t.rec, t.err = c.store.Get(ctx, id)
	return t.rec, t.filling, t.err
}

// fileable reports, with the stripe locked, whether nothing was invalidated since
// a trip departed. One that departed before a change is of no use to a caller who
// comes after it: on this node a change counts at once.
func (c *Cache) fileable(s *stripe, f latchkey.Filling) bool {
	return s.epoch == f.Epoch && c.clears.Load() == f.Clears
}

// join waits for somebody else's trip.
func (c *Cache) join(ctx context.Context, t *trip, joined bool) (*latchkey.Record, latchkey.Filling, error) {
	c.stats.joined.Add(1)
	select {
	case <-t.done:
		filling := t.filling
		filling.Joined = joined
		return t.rec, filling, t.err
	case <-ctx.Done():
		return nil, latchkey.Filling{}, latchkey.NewError(latchkey.CodeStoreUnavailable, "the session store gave no answer", errNoTrip)
	}
}
