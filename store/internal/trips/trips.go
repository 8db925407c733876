// Package trips lets callers who wait for a server share trips to it.
//
// A store has a few lanes, each of which carries one trip at a time. Whoever finds
// one free takes it and goes alone, at no cost. Whoever does not waits, and the next
// lane to become free takes all who wait along. So a trip carries only those that
// came before it was sent: each sees whatever was acknowledged before it asked.
package trips

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// What Do answers without having asked, or without knowing what came of it.
var (
	ErrLeft   = errors.New("the caller gave up while it waited")
	ErrClosed = errors.New("the store is closed")
	ErrBroken = errors.New("whoever made the trip broke it off")
)

// Want is what one caller asks for. Whoever carries it sets Value or Err.
type Want[K, V any] struct {
	Key   K
	Value V
	Err   error
}

// Carry makes one trip for all of wants, of which there is at least one. The first
// is the caller's own, and ctx is its caller's; where there are others too, ctx does
// not end when that caller gives up, nor at its deadline. They may not be kept.
type Carry[K, V, L any] func(ctx context.Context, line L, wants []*Want[K, V])

// Lanes are the trips that may be under way at once, each by a line of its own. It
// is safe for concurrent use; New makes it.
type Lanes[K, V, L any] struct {
	carry Carry[K, V, L]
	most  int

	mu     sync.Mutex
	free   []L // the one used last comes last, so that few stay busy
	queue  []*caller[K, V, L]
	number int
	closed bool
	back   chan L // after Close: those that were under way
}

// caller is one that waits.
type caller[K, V, L any] struct {
	Want[K, V]
	party []*caller[K, V, L] // those to take along, this one first; set, under the lock, when it is to go
	line  L                  // to go by
	wake  chan struct{}      // capacity 1: party is set, or the answer is
}

// New makes lanes of lines. A trip carries at most most callers.
func New[K, V, L any](most int, lines []L, carry Carry[K, V, L]) *Lanes[K, V, L] {
	return &Lanes[K, V, L]{carry: carry, most: most, free: slices.Clone(lines), number: len(lines), back: make(chan L, len(lines))}
}

// Do asks for key, alone or with others. A caller who gives up while it waits is
// answered ErrLeft at once, unless it is to make the trip that others wait for. Where
// a trip ends by a panic of Carry, that is its caller's, and the others are answered
// ErrBroken.
func (l *Lanes[K, V, L]) Do(ctx context.Context, key K) (V, error) {
	c := &caller[K, V, L]{Want: Want[K, V]{Key: key}}
	if l.enter(c) {
		l.trip(ctx, c.line, []*Want[K, V]{&c.Want})
		return c.Value, c.Err
	}
	select {
	case <-c.wake:
	case <-ctx.Done():
		if !l.mustGo(c) {
			var none V
			return none, ErrLeft
		}
	}
	if c.party != nil {
		l.goFor(ctx, c)
	}
	return c.Value, c.Err
}

// goFor makes the trip that the first of a party is to make.
func (l *Lanes[K, V, L]) goFor(ctx context.Context, c *caller[K, V, L]) {
	party := c.party
	if len(party) > 1 { // who waited alone may still give up, and has a deadline
		ctx = context.WithoutCancel(ctx)
	}
	wants := make([]*Want[K, V], len(party))
	for i, other := range party {
		wants[i] = &other.Want
	}
	defer func() {
		for _, other := range party[1:] {
			other.wake <- struct{}{}
		}
	}()
	l.trip(ctx, c.line, wants)
}

// trip carries wants, and gives the lane back however that ends.
func (l *Lanes[K, V, L]) trip(ctx context.Context, line L, wants []*Want[K, V]) {
	done := false
	defer func() {
		if !done { // nothing that was found is to be taken for an answer
			var none V
			for _, w := range wants {
				w.Value, w.Err = none, ErrBroken
			}
		}
		l.Leave(line)
	}()
	l.carry(ctx, line, wants)
	done = true
}

// enter takes a free lane, or queues up.
func (l *Lanes[K, V, L]) enter(c *caller[K, V, L]) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		c.line = l.free[n-1]
		l.free = l.free[:n-1]
		return true
	}
	c.wake = make(chan struct{}, 1)
	if l.closed {
		c.Err = ErrClosed
		c.wake <- struct{}{}
		return false
	}
	l.queue = append(l.queue, c)
	return false
}

// Enter takes a free lane out of use, if there is one, until Leave.
func (l *Lanes[K, V, L]) Enter() (line L, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.free)
	if n == 0 {
		return line, false
	}
	line = l.free[n-1]
	l.free = l.free[:n-1]
	return line, true
}

// Leave gives a lane back: to those who wait, of whom the first one goes.
func (l *Lanes[K, V, L]) Leave(line L) {
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
	n := min(len(l.queue), l.most)
	party := slices.Clone(l.queue[:n])
	l.queue = slices.Delete(l.queue, 0, n)
	first := party[0]
	first.party, first.line = party, line
	l.mu.Unlock()
	first.wake <- struct{}{}
}

// Waiting is how many callers wait for a lane.
func (l *Lanes[K, V, L]) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// Close sends those away who wait, waits for the trips under way and hands each line
// to drop, once. Calls after it are sent away. It is called once.
func (l *Lanes[K, V, L]) Close(drop func(L)) {
	l.mu.Lock()
	idle, waiting := l.free, l.queue
	l.closed, l.free, l.queue = true, nil, nil
	l.mu.Unlock()
	for _, c := range waiting {
		c.Err = ErrClosed
		c.wake <- struct{}{}
	}
	for _, line := range idle {
		drop(line)
	}
	for range l.number - len(idle) {
		drop(<-l.back)
	}
}

// mustGo takes a caller who gives up out of the queue, and reports whether it is the
// one that others wait for, who must make their trip.
func (l *Lanes[K, V, L]) mustGo(c *caller[K, V, L]) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.queue, c); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
	return c.party != nil
}
