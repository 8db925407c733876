package main

import (
	"context"
	"fmt"
	"strings"
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
	return p.ticking(func(ticks <-chan time.Time, quit <-chan struct{}) { p.draw(ctx, counter, doing, ticks, quit) })
}

// showing shows on a terminal what line returns, twice a second, until the function
// it returns is called. Elsewhere, or when it is not free, it shows nothing.
func (p *program) showing(free bool, line func() string) (stop func()) {
	if !free || !terminal(p.err) {
		return func() {}
	}
	return p.ticking(func(ticks <-chan time.Time, quit <-chan struct{}) {
		p.paint(func() (string, bool) { return line(), true }, ticks, quit)
	})
}

// ticking runs draw until the function it returns is called.
func (p *program) ticking(draw func(ticks <-chan time.Time, quit <-chan struct{})) (stop func()) {
	tick := time.NewTicker(500 * time.Millisecond)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		draw(tick.C, quit)
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
	first := 0
	p.paint(func() (string, bool) {
		counts, err := counter.Count(ctx)
		if err != nil {
			return "", false
		}
		first = max(first, counts.Ended)
		return fmt.Sprintf("%s %s %d removed, %d left", doing, bar(int64(first-counts.Ended), int64(first)), first-counts.Ended, counts.Ended), true
	}, ticks, quit)
}

// paint shows a line at each tick, and clears it in the end for what follows.
func (p *program) paint(line func() (text string, ok bool), ticks <-chan time.Time, quit <-chan struct{}) {
	drawn := false
	for {
		select {
		case <-quit:
			if drawn {
				fmt.Fprint(p.err, "\r\x1b[K")
			}
			return
		case <-ticks:
		}
		if text, ok := line(); ok {
			fmt.Fprintf(p.err, "\rlatchkey: %s\x1b[K", text)
			drawn = true
		}
	}
}

// bar is how much of a whole is done.
func bar(done, whole int64) string {
	const width = 30
	var b strings.Builder
	b.WriteByte('[')
	for i := range int64(width) {
		if i*whole < done*width {
			b.WriteByte('#')
		} else {
			b.WriteByte('.')
		}
	}
	b.WriteByte(']')
	return b.String()
}
