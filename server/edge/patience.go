package edge

import (
	"context"
	"sync"
	"time"
)

// patience is a context with a time limit that begins to run only when somebody
// waits: most questions are answered from memory, and a timer for each of them would
// cost more than the answer.
type patience struct {
	context.Context // the request's
	limit           time.Duration

	once   sync.Once
	timed  context.Context
	cancel context.CancelFunc
}

func (p *patience) begin() context.Context {
	p.once.Do(func() { p.timed, p.cancel = context.WithTimeout(p.Context, p.limit) })
	if p.timed == nil {
		return p.Context // the request is over
	}
	return p.timed
}

// Deadline, Done and Err implement context.Context.
func (p *patience) Deadline() (time.Time, bool) { return p.begin().Deadline() }
func (p *patience) Done() <-chan struct{}       { return p.begin().Done() }
func (p *patience) Err() error                  { return p.begin().Err() }

// end releases the timer, if there is one. It is for the goroutine that began.
func (p *patience) end() {
	p.once.Do(func() {}) // nobody begins from here on
	if p.cancel != nil {
		p.cancel()
	}
}
