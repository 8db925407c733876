package postgres

import (
	"context"
	"slices"
	"sync"

	"github.com/latchkey-go/latchkey"
)

// mostMisses bounds how many sessions one trip asks for.
const mostMisses = 256

// lanes are the trips of Get that may be under way at once. Whoever finds one free
// takes it and goes alone, at no cost. Whoever does not waits, and the next lane to
// become free takes all who wait along: a trip carries only those that came before
// it was sent, so that each sees whatever was acknowledged before it asked.
type lanes struct {
	mu     sync.Mutex
	free   []*line // the one used last comes last, so that few stay busy
	queue  []*miss
	number int
	closed bool
	back   chan *line // after close: those that were under way
}

// miss is a caller that waits.
type miss struct {
	id    latchkey.ID
	party []*miss       // those to take along, this one first; set when it is to go
	line  *line         // to go by
	wake  chan struct{} // capacity 1: party is set, or rec and err are
	row   row
	err   error
}

func (l *lanes) init(s *Store, n int) {
	for range n {
		l.free = append(l.free, &line{s: s})
	}
	l.number, l.back = n, make(chan *line, n)
}

// enter takes a free lane, or queues up and returns the place.
func (l *lanes) enter(id latchkey.ID) (*line, *miss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		line := l.free[n-1]
		l.free = l.free[:n-1]
		return line, nil
	}
	m := &miss{id: id, wake: make(chan struct{}, 1)}
	if l.closed {
		m.err = errClosed
		m.wake <- struct{}{}
		return nil, m
	}
	l.queue = append(l.queue, m)
	return nil, m
}

// leave gives a lane back: to those who wait, of whom the first one goes.
func (l *lanes) leave(line *line) {
	l.mu.Lock()
	switch {
	case l.closed:
		l.back <- line
		l.mu.Unlock()
		return
	case len(l.queue) == 0:
		l.free = append(l.free, line)
		l.mu.Unlock()
		return
	}
	n := min(len(l.queue), mostMisses)
	party := slices.Clone(l.queue[:n])
	l.queue = slices.Delete(l.queue, 0, n)
	l.mu.Unlock()
	party[0].party, party[0].line = party, line
	party[0].wake <- struct{}{}
}

// close sends those away who wait, waits for the trips under way and closes the
// connections. Calls after it are sent away.
func (l *lanes) close() {
	l.mu.Lock()
	idle, waiting := l.free, l.queue
	l.closed, l.free, l.queue = true, nil, nil
	l.mu.Unlock()
	for _, m := range waiting {
		m.err = errClosed
		m.wake <- struct{}{}
	}
	for _, line := range idle {
		line.drop()
	}
	for range l.number - len(idle) {
		(<-l.back).drop()
	}
}

// quit takes a caller out of the queue, and reports false if a trip has it already.
func (l *lanes) quit(m *miss) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.queue, m)
	if i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
	return i >= 0
}

// Get implements latchkey.Store. It is one statement: whether the session's
// generation has ended is part of it. Callers who come while Config.Readers trips
// are under way share the next one.
//
// A trip that was sent is waited for, whether ctx is cancelled or not, as long as
// its deadline and Config.Timeout allow; the connection would be lost otherwise.
func (s *Store) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	if ctx.Err() != nil {
		return nil, brokenOff(ctx)
	}
	line, m := s.gets.enter(id)
	if line != nil {
		r, err := line.getAlone(ctx, id)
		s.gets.leave(line)
		return s.got(ctx, r, err)
	}
	select {
	case <-m.wake:
	case <-ctx.Done():
		if s.gets.quit(m) {
			return nil, brokenOff(ctx)
		}
		<-m.wake // it may be this one that is to go; a trip is bounded
	}
	if m.party != nil {
		m.line.getParty(ctx, m.party)
		s.gets.leave(m.line)
	}
	return s.got(ctx, m.row, m.err)
}

// got makes an answer of what a trip brought.
func (s *Store) got(ctx context.Context, r row, err error) (*latchkey.Record, error) {
	if err != nil {
		return nil, answer(err)
	}
	if r.rec == nil {
		return nil, noSuchSession()
	}
	rec, err := s.judge(ctx, r)
	if err != nil {
		return nil, answer(err)
	}
	return rec, nil
}

// getAlone returns no record when there is no such session.
func (l *line) getAlone(ctx context.Context, id latchkey.ID) (r row, err error) {
	l.id[0] = id[:]
	l.params = params{values: l.id[:], oids: oneUUID}
	err = l.run(ctx, stGet, &l.params, func(c *columns) (err error) {
		r, err = readRow(c)
		return err
	})
	return r, err
}

var oneUUID = []uint32{oidUUID}

// getParty reads what all of a party ask for, and tells all but the first.
func (l *line) getParty(ctx context.Context, party []*miss) {
	if len(party) == 1 {
		party[0].row, party[0].err = l.getAlone(ctx, party[0].id)
		return
	}
	ctx = context.WithoutCancel(ctx) // others wait for it: the first one's deadline is not theirs
	slices.SortFunc(party[1:], func(a, b *miss) int { return slices.Compare(a.id[:], b.id[:]) })
	ids := make([][16]byte, 0, len(party))
	for i, m := range party {
		if i < 2 || m.id != party[i-1].id {
			ids = append(ids, m.id)
		}
	}
	err := l.run(ctx, stGetMany, newParams(1).uuids(ids), func(c *columns) error { return deliver(party, c) })
	for i, m := range party {
		if err != nil {
			m.row, m.err = row{}, err
		}
		if i > 0 {
			m.wake <- struct{}{}
		}
	}
}

// deliver gives a row to those who asked for it, each a record of its own.
func deliver(party []*miss, c *columns) error {
	id := c.row[0]
	if len(id) != 16 {
		return errWire
	}
	wants := latchkey.ID(id)
	one := func(m *miss) (err error) {
		own := *c
		m.row, err = readRow(&own)
		return err
	}
	if party[0].id == wants {
		if err := one(party[0]); err != nil {
			return err
		}
	}
	rest := party[1:]
	i, _ := slices.BinarySearchFunc(rest, wants, func(m *miss, id latchkey.ID) int { return slices.Compare(m.id[:], id[:]) })
	for ; i < len(rest) && rest[i].id == wants; i++ {
		if err := one(rest[i]); err != nil {
			return err
		}
	}
	return nil
}
