package sqlite

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

// hub tells the followers in this process of its own changes.
type hub struct {
	mu        sync.Mutex
	closed    error
	followers map[*follower]struct{}
}

// follower is one call of Follow. What is published is merged into pending, in
// the order of the commits, and delivered by Follow's goroutine.
type follower struct {
	wake chan struct{} // capacity 1: pending is not empty, or err is set

	mu        sync.Mutex
	pending   latchkey.Batch
	position  int64         // in the log, of the last confirmed own change in pending or before it
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

// publish hands a change to all followers. position is that of its entry in the
// log, or 0 where it is not known to be committed: a poll that finds the entry
// then delivers it once more. Since every commit is published, confirmed or not,
// and in order, none at or before a follower's position was kept from it. Only
// the writer calls it.
func (h *hub) publish(b latchkey.Batch, position int64) []wait {
	if len(b.IDs) == 0 && !b.All {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.followers) == 0 {
		return nil
	}
	waits := make([]wait, 0, len(h.followers))
	for f := range h.followers {
		f.mu.Lock()
		f.pending.IDs = append(f.pending.IDs, b.IDs...)
		f.pending.All = f.pending.All || b.All
		if position != 0 {
			f.position = position
		}
		f.published++
		waits = append(waits, wait{f, f.published})
		f.mu.Unlock()
		f.signal()
	}
	return waits
}

func (h *hub) add(f *follower) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed == nil {
		h.followers[f] = struct{}{}
	}
	return h.closed
}

func (h *hub) remove(f *follower) {
	h.mu.Lock()
	delete(h.followers, f)
	h.mu.Unlock()
	f.end(errStopped) // whoever waits need not any more
}

// end ends all followers and takes no more.
func (h *hub) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = err
	for f := range h.followers {
		f.end(err)
	}
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
				return brokenOff(ctx)
			}
		}
	}
	return nil
}

// place in the log up to which a follower has been told. The entry itself is
// remembered too: a database that was put back from a backup may have come to
// the same number again.
type logPlace struct{ seq, origin, at int64 }

// Follow implements latchkey.Feed. Changes of this Store are delivered as they
// are committed; those of other processes by reading the log at least every
// interval, and that read is the proof. While it fails no proof is sent.
//
// Batches that pile up while deliver runs are merged. A deliver that holds up a
// change for more than a second, or that itself changes this store, is cut off:
// Follow then returns an error of code CodeStoreUnavailable, and the change goes
// on without it. A database file that was replaced ends Follow in the same way.
//
// The interval is measured by the machine's clock; Sent is a reading of Config.Clock.
func (s *Store) Follow(ctx context.Context, interval time.Duration, deliver func(latchkey.Batch)) error {
	if interval <= 0 {
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: feed",
			Fields: []latchkey.FieldError{{Field: "interval", Detail: "is a positive duration"}}}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.usable(); err != nil {
		return err
	}
	f := &follower{wake: make(chan struct{}, 1), progress: make(chan struct{})}
	if err := s.hub.add(f); err != nil {
		return err
	}
	defer s.hub.remove(f)

	var at logPlace // before everything: the first poll resets
	b, err := s.poll(ctx, f, &at)
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
			if polled, err = s.poll(ctx, f, &at); err != nil {
				if why := s.broken.Load(); why != nil {
					return unavailable(*why)
				}
				polled = latchkey.Batch{} // no proof this time
			}
		case <-f.wake:
		}
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

// The entry that was read last is read again: it tells that nothing is missing.
// A poll reads the log each time, for that costs no more than to ask whether it
// has moved.
const sqlLog = `SELECT seq, origin, at, every, ids FROM change WHERE seq>=?1 ORDER BY seq`

// poll reads what the log has gained. Its batch's Sent is a reading of the clock
// from before the read began. Own changes that the writer has published are left
// out: they are pending, and what is pending is delivered with the batch at the
// latest. One that is committed and not yet published is not left out, or Sent
// would promise too much.
func (s *Store) poll(ctx context.Context, f *follower, at *logPlace) (latchkey.Batch, error) {
	s.clock.sample()
	sent := s.clock.Now()
	c, err := s.polls.take(ctx)
	if err != nil {
		return latchkey.Batch{}, err
	}
	defer s.polls.give(c)
	if err := s.watch(); err != nil {
		return latchkey.Batch{}, unavailable(err)
	}
	f.mu.Lock()
	published := f.position
	f.mu.Unlock()
	b := latchkey.Batch{Sent: sent}
	if at.seq == 0 {
		return b, s.rewind(c.conn, &b, at)
	}
	q := c.query(sqlLog).int(at.seq)
	now, first := *at, true
	for ; ; first = false {
		ok, err := q.next()
		if err != nil {
			return latchkey.Batch{}, answer(err)
		}
		if !ok {
			break
		}
		entry := logPlace{q.s.ColumnInt64(0), q.s.ColumnInt64(1), q.s.ColumnInt64(2)}
		if first && entry != *at || !first && entry.seq != now.seq+1 {
			q.done()
			return b, s.rewind(c.conn, &b, at)
		}
		if now = entry; first || entry.origin == s.origin && entry.seq <= published {
			continue
		}
		b.All = b.All || q.s.ColumnInt64(3) != 0
		ids := c.column(q, 4)
		for ; len(ids) >= 16; ids = ids[16:] {
			b.IDs = append(b.IDs, latchkey.ID(ids[:16]))
		}
	}
	if first {
		return b, s.rewind(c.conn, &b, at)
	}
	*at = now
	return b, nil
}

// rewind makes the batch one that forgets everything, and the log's present end the place.
func (s *Store) rewind(c *conn, b *latchkey.Batch, at *logPlace) error {
	q := c.query("SELECT seq, origin, at FROM change ORDER BY seq DESC LIMIT 1")
	ok, err := q.next()
	if err != nil || !ok {
		*b = latchkey.Batch{}
		if err == nil {
			err = errDamaged
		}
		return answer(err)
	}
	defer q.done()
	*at = logPlace{q.s.ColumnInt64(0), q.s.ColumnInt64(1), q.s.ColumnInt64(2)}
	b.IDs, b.All, b.Reset = nil, false, true
	return nil
}
