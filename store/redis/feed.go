package redis

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey"
)

// patience is how long a change waits for a follower to take it in. One that is
// slower is cut off, so that it can block nobody.
const patience = time.Second

// maxPending bounds what a follower has yet to take; with more it is told to forget
// everything.
const maxPending = 1 << 17

// follower is one call of Follow.
type follower struct {
	interval time.Duration
	wake     chan struct{} // capacity 1

	mu      sync.Mutex
	pending latchkey.Batch
	proofs  map[*line]latchkey.Moment
	done    []uint64 // own changes in pending
	awaited map[uint64]chan struct{}
	err     error
}

func (f *follower) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// add takes a message in.
func (f *follower) add(m *message, origin string) {
	f.mu.Lock()
	if len(f.pending.IDs)+len(m.ids) > maxPending {
		f.pending.IDs, f.pending.Reset = nil, true
	} else {
		f.pending.IDs = append(f.pending.IDs, m.ids...)
	}
	f.pending.All = f.pending.All || m.all
	if m.origin == origin && !m.more && f.awaited[m.number] != nil {
		f.done = append(f.done, m.number)
	}
	f.mu.Unlock()
	f.signal()
}

// prove notes a line's proof. What holds of all lines is the oldest of theirs.
func (f *follower) prove(l *line, sent latchkey.Moment) {
	f.mu.Lock()
	f.proofs[l] = sent
	oldest := sent
	for _, other := range f.proofs {
		if other.Mono < oldest.Mono {
			oldest = other
		}
	}
	if oldest.Mono != 0 || oldest.Wall != 0 {
		f.pending.Sent = oldest
	}
	f.mu.Unlock()
	f.signal()
}

// end makes Follow return err, and lets go of whoever waits for it.
func (f *follower) end(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	for _, ch := range f.awaited {
		close(ch)
	}
	clear(f.awaited)
	f.mu.Unlock()
	f.signal()
}

// take returns what is pending, and the own changes in it.
func (f *follower) take() (latchkey.Batch, []uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, done := f.pending, f.done
	f.pending, f.done = latchkey.Batch{}, nil
	return b, done, f.err
}

// took lets go of whoever waits for changes that have been delivered.
func (f *follower) took(done []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range done {
		if ch := f.awaited[n]; ch != nil {
			close(ch)
			delete(f.awaited, n)
		}
	}
}

// expect announces an own change; the channel is closed when it has been delivered.
func (f *follower) expect(n uint64) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := make(chan struct{})
	if f.err != nil {
		close(ch)
		return ch
	}
	f.awaited[n] = ch
	return ch
}

func (f *follower) forget(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.awaited, n)
}

// Follow implements latchkey.Feed. Changes are published by the scripts that make
// them, so that they come in the order in which the server made them; a beat is a
// script too, whose publication comes back on the same connection. A connection that
// breaks, or a primary that is another one now, ends Follow, since what was published
// meanwhile is lost.
//
// A deliver that holds up a change for more than a second, or that itself changes
// this store, is cut off: Follow then returns an error of code CodeStoreUnavailable,
// and the change goes on without it.
//
// The interval is measured by the machine's clock; Sent is a reading of Config.Clock.
func (s *Store) Follow(ctx context.Context, interval time.Duration, deliver func(latchkey.Batch)) error {
	if interval <= 0 {
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: feed",
			Fields: []latchkey.FieldError{{Field: "interval", Detail: "is a positive duration"}}}
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	f := &follower{interval: interval, wake: make(chan struct{}, 1), proofs: make(map[*line]latchkey.Moment),
		awaited: make(map[uint64]chan struct{})}
	defer f.end(errClosed)
	attached, err := s.attach(ctx, f)
	for _, l := range attached {
		defer l.detach(f)
	}
	if err != nil {
		return err
	}
	deliver(latchkey.Batch{Reset: true})
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.wake:
		}
		b, done, err := f.take()
		if err != nil {
			return err
		}
		if len(b.IDs) > 0 || b.All || b.Reset || b.Sent != (latchkey.Moment{}) {
			deliver(b)
		}
		f.took(done)
	}
}

// attach attaches a follower to the lines of all primaries.
func (s *Store) attach(ctx context.Context, f *follower) (attached []*line, err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	v := s.view.Load()
	f.mu.Lock()
	for _, n := range v.nodes {
		f.proofs[n.line] = latchkey.Moment{} // none yet, so that others prove nothing
	}
	f.mu.Unlock()
	for _, n := range v.nodes {
		if err := n.line.await(ctx); err != nil {
			return attached, unavailable(err)
		}
		if !n.line.attach(f) {
			return attached, unavailable(errNoBeat)
		}
		attached = append(attached, n.line)
	}
	if s.view.Load() != v {
		return attached, unavailable(errMoved)
	}
	return attached, nil
}

// claim is a follower that is to take a change in.
type claim struct {
	f  *follower
	ch chan struct{}
}

// ok is nil for an answer that says no more than that it was done.
func (f *fields) ok() error {
	f.bad = f.bad || f.text(0) != "ok"
	return f.err()
}

func (f *fields) err() error {
	if f.bad {
		return unavailable(errAnswer)
	}
	return nil
}

// expect announces a change to the followers there are.
func (l *line) expect(number uint64) []claim {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.followers) == 0 {
		return nil
	}
	claims := make([]claim, 0, len(l.followers))
	for f := range l.followers {
		claims = append(claims, claim{f, f.expect(number)})
	}
	return claims
}

// await waits until followers have taken a change in, and cuts off those that do not.
func await(ctx context.Context, claims []claim) error {
	if len(claims) == 0 {
		return nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for _, c := range claims {
		select {
		case <-c.ch:
		case <-timer.C:
			c.f.end(unavailable(errSlow))
			timer.Reset(0) // the others have had as long
		case <-ctx.Done():
			return brokenOff(ctx)
		}
	}
	return nil
}

// median of the primaries' clocks, as far as they are known.
func (s *Store) setOffset() {
	var known []int64
	for _, n := range s.primaries() {
		n.line.mu.Lock()
		if n.line.clock.known {
			known = append(known, n.line.clock.micros)
		}
		n.line.mu.Unlock()
	}
	if len(known) > 0 {
		slices.Sort(known)
		s.offset.Store(known[len(known)/2])
	}
}
