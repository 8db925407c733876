// Package pace keeps long work in the background from being felt by those who wait
// for an answer: it is done in short batches, with a rest after each.
package pace

import (
	"context"
	"time"
)

const (
	aim   = 5 * time.Millisecond // what a batch should take
	least = 100                  // rows: fewer would take as long, for their commit
	// longest bounds a rest, after a batch that waited for a lock, or for a server
	// that was away.
	longest = time.Second
)

// Pace sizes the batches of one piece of work. It is for one goroutine.
type Pace struct {
	size, least, most int
	rests             int
	began             time.Time
}

// New is a pace whose batches have at most so many rows, and whose rests are so many
// times as long as what they follow.
func New(most, rests int) *Pace {
	few := min(least, most)
	return &Pace{size: few, least: few, most: most, rests: rests}
}

// Begin begins a batch, and returns how many rows it may have.
func (p *Pace) Begin() int {
	p.began = time.Now()
	return p.size
}

// Rest ends a batch that had n rows, when another one is to follow. It waits as long
// as the batch took, or a multiple of that, so that a server, its disk and its
// processors are left to others half of the time or more, and get less to do where
// they are busy. It returns earlier when ctx
// ends, which the next batch is to notice.
func (p *Pace) Rest(ctx context.Context, n int) {
	took := time.Since(p.began)
	p.size = p.next(n, took)
	timer := time.NewTimer(min(took*time.Duration(p.rests), longest))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// next is the size of the batch after one of n rows.
func (p *Pace) next(n int, took time.Duration) int {
	switch {
	case took > 2*aim:
		return max(p.least, p.size/2)
	case took < aim && n >= p.size:
		return min(p.most, p.size+p.size/4+1)
	}
	return p.size
}
