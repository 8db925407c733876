package memory

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey"
)

// patience is how long a change waits for a follower to take it in. One that is
// slower is cut off, so that it can block nobody: its Follow fails, and until
// then its lease runs out.
const patience = time.Second

// Why a follower ends.
var (
	errSlow    = errors.New("the follower did not take an invalidation in time")
	errStopped = errors.New("the follower has stopped")
)

// follower is one call of Follow. What is published is merged into pending,
// under the store's lock and so in order, and delivered by Follow's goroutine.
type follower struct {
	wake chan struct{} // capacity 1: pending is not empty, or err is set

	mu        sync.Mutex
	pending   latchkey.Batch
	published uint64        // number of batches merged so far
	delivered uint64        // number of those that deliver has returned from
	progress  chan struct{} // closed and replaced when delivered grows or the follower ends
	err       error         // why it ends
}

// wait is a change's claim on a follower: it wants the batch of this number delivered.
type wait struct {
	f *follower
	n uint64
}

// publish hands a batch to all followers. The caller holds the store's lock.
func (s *Store) publish(b latchkey.Batch) []wait {
	if len(s.followers) == 0 || len(b.IDs) == 0 && !b.All {
		return nil
	}
	waits := make([]wait, 0, len(s.followers))
	for f := range s.followers {
		f.mu.Lock()
		f.pending.IDs = append(f.pending.IDs, b.IDs...)
		f.pending.All = f.pending.All || b.All
		f.published++
		waits = append(waits, wait{f, f.published})
		f.mu.Unlock()
		f.signal()
	}
	return waits
}

func (f *follower) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// end makes Follow return err.
func (f *follower) end(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
		close(f.progress)
		f.progress = make(chan struct{})
	}
	f.mu.Unlock()
	f.signal()
}

// take returns what is pending, the number of its last batch, and whether the follower has ended.
func (f *follower) take() (latchkey.Batch, uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.pending
	f.pending = latchkey.Batch{}
	return b, f.published, f.err
}

// took notes that everything up to a batch has been delivered.
func (f *follower) took(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > f.delivered {
		f.delivered = n
		close(f.progress)
		f.progress = make(chan struct{})
	}
}

// await waits until the followers have taken their batches in. The change has
// been made; when ctx ends meanwhile the caller is told that nothing is known.
func await(ctx context.Context, waits []wait) error {
	if len(waits) == 0 {
		return nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for _, w := range waits {
		for {
			w.f.mu.Lock()
			done, progress := w.f.delivered >= w.n || w.f.err != nil, w.f.progress
			w.f.mu.Unlock()
			if done {
				break
			}
			select {
			case <-progress:
			case <-timer.C:
				w.f.end(unavailable(errSlow))
				timer.Reset(0) // the others have had as long
			case <-ctx.Done():
				return unavailable(ctx.Err())
			}
		}
	}
	return nil
}

// Follow implements latchkey.Feed. Batches that pile up while deliver runs are
// merged. A deliver that holds up a change for more than a second, or that itself
// changes this store, is cut off: Follow then returns an error of code
// CodeStoreUnavailable, and the change goes on without it.
//
// The interval is measured by the machine's clock; Sent is a reading of Config.Clock.
func (s *Store) Follow(ctx context.Context, interval time.Duration, deliver func(latchkey.Batch)) error {
	if interval <= 0 {
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: feed",
			Fields: []latchkey.FieldError{{Field: "interval", Detail: "is a positive duration"}}}
	}
	f := &follower{wake: make(chan struct{}, 1), progress: make(chan struct{})}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return unavailable(errClosed)
	}
	s.followers[f] = struct{}{}
	sent := s.clock.Now()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.followers, f)
		s.mu.Unlock()
		f.end(errStopped) // whoever waits need not any more
	}()

	deliver(latchkey.Batch{Reset: true, Sent: sent})
	// Half the interval leaves room for a goroutine that is scheduled late.
	beat := time.NewTicker(max(interval/2, time.Microsecond))
	defer beat.Stop()
	for {
		var sent latchkey.Moment
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
			// Changes are merged into pending under this lock, so that what was
			// committed before the reading is in the batch taken below.
			s.mu.RLock()
			sent = s.clock.Now()
			s.mu.RUnlock()
		case <-f.wake:
		}
		b, n, err := f.take()
		if err != nil {
			return err
		}
		b.Sent = sent
		if len(b.IDs) > 0 || b.All || sent != (latchkey.Moment{}) {
			deliver(b)
			f.took(n)
		}
	}
}
