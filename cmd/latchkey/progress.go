package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey"
)

// progress shows on a terminal how many ended sessions a long removal has taken
// away, until the function it returns is called. Elsewhere it shows nothing.
func (p *program) progress(ctx context.Context, store latchkey.Store, doing string) (stop func()) {
	counter, ok := store.(latchkey.Counter)
	if !ok || !terminal(p.err) {
		return func() {}
	}
	tick := time.NewTicker(500 * time.Millisecond)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		p.draw(ctx, counter, doing, tick.C, quit)
	}()
	return sync.OnceFunc(func() {
		tick.Stop()
		close(quit)
		<-done
	})
}

// draw draws the bar at each tick. The bar measures what is left against what
// there was; rows within the retention stay, so it need not reach its end.
func (p *program) draw(ctx context.Context, counter latchkey.Counter, doing string, ticks <-chan time.Time, quit <-chan struct{}) {
	const width = 30
	first, drawn := 0, false
	for {
		select {
		case <-quit:
			if drawn {
				fmt.Fprint(p.err, "\r\x1b[K") // the line is cleared for what follows
			}
			return
		case <-ticks:
		}
		counts, err := counter.Count(ctx)
		if err != nil {
			continue
		}
		first = max(first, counts.Ended)
		gone, bar := first-counts.Ended, ""
		for i := range width {
			if i*first < gone*width {
				bar += "#"
			} else {
				bar += "."
			}
		}
		fmt.Fprintf(p.err, "\rlatchkey: %s [%s] %d removed, %d left\x1b[K", doing, bar, gone, counts.Ended)
		drawn = true
	}
}
