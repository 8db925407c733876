package latchkeytest

import (
	"sync"
	"time"

	"github.com/latchkey-go/latchkey"
)

// Clock is a clock to turn by hand. It is safe for concurrent use; make it with NewClock.
type Clock struct {
	mu   sync.Mutex
	wall time.Time
	mono time.Duration
}

// NewClock returns a clock that stands at start until it is turned. The zero
// time stands for noon of 1 January 2026, UTC.
func NewClock(start time.Time) *Clock {
	if start.IsZero() {
		start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	}
	return &Clock{wall: start.UTC(), mono: time.Hour}
}

// Now implements latchkey.Clock.
func (c *Clock) Now() latchkey.Moment {
	c.mu.Lock()
	defer c.mu.Unlock()
	return latchkey.Moment{Wall: c.wall.UnixNano(), Mono: int64(c.mono)}
}

// Time is the wall clock's reading.
func (c *Clock) Time() time.Time { return c.Now().Time() }

// Advance lets time pass on both clocks.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.mono = c.wall.Add(d), c.mono+d
}

// StepWall sets the wall clock forth or back without time passing, as an operator or NTP does.
func (c *Clock) StepWall(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

// Suspend lets time pass on the wall clock only, as on a machine that is asleep.
func (c *Clock) Suspend(d time.Duration) { c.StepWall(d) }
