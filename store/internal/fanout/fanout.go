// Package fanout tells the followers of a store, in this process, of the changes
// that the process makes itself. It is the half of [latchkey.Feed] that is the
// same for every store; how a store proves that it is alive, and how it learns of
// what others changed, is a function that the store gives it.
//
// What is published is merged until a follower takes it, so that the memory it
// needs is bounded by the sessions that changed and one follower's pace is no
// other's. A change waits until all have taken it in, for [Patience] at most.
package fanout

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey"
)

// Patience is how long a change waits for a follower to take it in. One that is
// slower is cut off, so that it can block nobody: its Follow fails, and until
// then its lease runs out.
const Patience = time.Second

// Why a follower ends.
var (
	errSlow    = errors.New("the follower did not take an invalidation in time")
	errStopped = errors.New("the follower has stopped")
)

func unavailable(cause error) error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, "the session store gave no answer", cause)
}

// Hub knows the followers of one store. Its zero value is ready for use; it is
// safe for concurrent use, and must not be copied.
type Hub struct {
	mu        sync.Mutex
	closed    error
	followers map[*follower]struct{}
}

// follower is one call of Follow. What is published is merged into pending, in
// the order of the calls of Publish, and delivered by Follow's goroutine.
type follower struct {
	wake chan struct{} // capacity 1: pending is not empty, or err is set

	mu        sync.Mutex
	pending   latchkey.Batch
	position  int64         // of the last own change in pending or before it; see Publish
	published uint64        // number of batches merged so far
	delivered uint64        // number of those that deliver has returned from
	progress  chan struct{} // closed and replaced when delivered grows or the follower ends
	err       error         // why it ends
}

// Claims are what a change wants of the followers there were when it was
// published: that they take it in.
type Claims []claim

// claim wants the batch of this number delivered.
type claim struct {
	f *follower
	n uint64
}

// Publish hands a change to all followers. The caller sees to the order: changes
// are published in that in which they took effect.
//
// A store that keeps a log of its changes passes the change's position in it, and
// 0 where the change is not known to be in effect. Since every change is
// published, and in order, none at or before the position that Follow gives to
// its poll was kept from that follower. Stores without a log pass 0.
func (h *Hub) Publish(b latchkey.Batch, position int64) Claims {
	if len(b.IDs) == 0 && !b.All {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.followers) == 0 {
		return nil
	}
	claims := make(Claims, 0, len(h.followers))
	for f := range h.followers {
		f.mu.Lock()
		f.pending.IDs = append(f.pending.IDs, b.IDs...)
		f.pending.All = f.pending.All || b.All
		if position != 0 {
			f.position = position
		}
		f.published++
		claims = append(claims, claim{f, f.published})
		f.mu.Unlock()
		f.signal()
	}
	return claims
}

// End ends all followers with an error, and lets no more begin. Of several calls
// the first one counts.
func (h *Hub) End(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed == nil {
		h.closed = err
	}
	for f := range h.followers {
		f.end(err)
	}
}

func (h *Hub) add(f *follower) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed != nil {
		return h.closed
	}
	if h.followers == nil {
		h.followers = make(map[*follower]struct{})
	}
	h.followers[f] = struct{}{}
	return nil
}

func (h *Hub) remove(f *follower) {
	h.mu.Lock()
	delete(h.followers, f)
	h.mu.Unlock()
	f.end(errStopped) // whoever waits need not any more
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
		f.advance()
	}
	f.mu.Unlock()
	f.signal()
}

// advance wakes whoever waits for the follower. The caller holds f.mu.
func (f *follower) advance() {
	close(f.progress)
	f.progress = make(chan struct{})
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
		f.advance()
	}
}

func (f *follower) at() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.position
}

// Await waits until the followers have taken the change in, and cuts off those
// that do not within [Patience]. The change has been made; when ctx ends meanwhile
// the error, of code CodeStoreUnavailable, says that nothing is known.
func (c Claims) Await(ctx context.Context) error {
	if len(c) == 0 {
		return nil
	}
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	for _, w := range c {
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
				return unavailable(context.Cause(ctx))
			}
		}
	}
	return nil
}

// Poll proves that a store is alive: the batch has Sent set and, where other
// processes change the store too, what they did. position is that of the last own
// change that the follower is told of anyway, so that the batch may leave own
// changes up to there out. A batch without Sent is no proof; an error ends Follow.
type Poll func(position int64) (latchkey.Batch, error)

// Follow is [latchkey.Feed]'s: it polls once for the first batch, which is to have
// Reset set, and then twice in each interval until ctx ends, poll fails or the
// follower is cut off. What was published before a poll began is in the batch that
// is delivered with it.
//
// The interval is measured by the machine's clock. An interval that is not
// positive is CodeInvalidRequest.
func (h *Hub) Follow(ctx context.Context, interval time.Duration, poll Poll, deliver func(latchkey.Batch)) error {
	if interval <= 0 {
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: feed",
			Fields: []latchkey.FieldError{{Field: "interval", Detail: "is a positive duration"}}}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f := &follower{wake: make(chan struct{}, 1), progress: make(chan struct{})}
	if err := h.add(f); err != nil {
		return err
	}
	defer h.remove(f)

	b, err := poll(0)
	if err != nil {
		return err
	}
	deliver(b)
	// Half the interval leaves room for a goroutine that is scheduled late.
	beat := time.NewTicker(max(interval/2, time.Microsecond))
	defer beat.Stop()
	for {
		var polled latchkey.Batch
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
			if polled, err = poll(f.at()); err != nil {
				return err
			}
		case <-f.wake:
		}
		// Taken after the poll, so that what Sent promises is in it.
		b, n, err := f.take()
		if err != nil {
			return err
		}
		b.IDs = append(b.IDs, polled.IDs...)
		b.All, b.Reset, b.Sent = b.All || polled.All, polled.Reset, polled.Sent
		if len(b.IDs) > 0 || b.All || b.Reset || b.Sent != (latchkey.Moment{}) {
			deliver(b)
			f.took(n)
		}
	}
}
