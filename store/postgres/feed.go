package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/fanout"
)

// change names an entry of the log.
type change struct{ origin, token int64 }

// told remembers of which changes followers have been told, so that the node's own
// call and the followers' polls tell of each once, and notifications once before.
// It forgets after 10 seconds at least; what a follower is told of twice costs it a
// read.
type told struct {
	mu       sync.Mutex
	recent   map[change]telling
	before   map[change]telling
	rotateAt int64 // monotonic
}

// telling is how followers were told: by the log, or by hearsay, which anybody may
// have sent.
type telling struct {
	claims  fanout.Claims
	hearsay bool
}

const (
	toldFor  = 10 * time.Second
	toldMost = 100_000
)

// tell has all followers of this store told of a change, once. Hearsay only adds:
// it may have been sent before the change, and a follower may have read the session
// again in between, so that what the log says is told even if the same was heard.
func (s *Store) tell(c change, b latchkey.Batch, hearsay bool) fanout.Claims {
	t := &s.told
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.recent[c]
	if !ok {
		known, ok = t.before[c]
	}
	if ok && (hearsay || !known.hearsay) {
		return known.claims
	}
	claims := s.hub.Publish(b, 0)
	if claims == nil {
		return nil // nobody follows; whoever begins to has a look that sees it
	}
	if now := s.clock.Now().Mono; t.recent == nil || now >= t.rotateAt || len(t.recent) >= toldMost {
		t.before, t.recent, t.rotateAt = t.recent, make(map[change]telling), now+int64(toldFor)
	}
	t.recent[c] = telling{claims: claims, hearsay: hearsay}
	return claims
}

// cursor is how far a follower is: at the look by which the server described the
// transactions that had ended. Its zero value is before everything.
type cursor struct {
	snapshot string
	looked   int64  // of the log, by then
	started  int64  // the server, and its life since its last crash: what was seen
	run      string // before may never have been, and its numbers be given again
}

// pollTimeout bounds a poll. It is less than the time that a change waits for a
// follower, which does not take anything in meanwhile.
const pollTimeout = fanout.Patience * 9 / 10

// poll reads what was committed since the cursor, and tells all followers. Its
// batch's Sent is a reading of the clock from before the question was sent: all
// that had been committed by then is seen. It has Reset set where something may
// have been missed.
//
// A poll is complete without any order of positions. It asks for the transactions
// that had ended at this look and not at the last one, whenever they began.
func (s *Store) poll(ctx context.Context, at *cursor) (latchkey.Batch, error) {
	ctx, cancel := context.WithTimeout(ctx, min(pollTimeout, s.t.Timeout))
	defer cancel()
	p := s.nowParam(newParams(2)).optText(at.snapshot, at.snapshot != "")
	var next cursor
	var pruned int64
	first := true
	sent := s.clock.Now()
	err := s.run(ctx, s.aside, stPoll, p, true, func(c *columns) error {
		snapshot, now := c.next(), c.int()
		started, run, looked, cut := c.int(), c.next(), c.int(), c.int()
		if first {
			s.clock.sample(sent, s.clock.Now(), now)
			next, pruned, first = cursor{string(snapshot), looked, started, string(run)}, cut, false
		}
		if c.row[0] == nil {
			c.row = nil
			return nil
		}
		of := change{c.int(), c.int()}
		b := latchkey.Batch{All: c.bool(), IDs: c.ids()}
		if err := c.done(); err != nil {
			return err
		}
		s.tell(of, b, false)
		return nil
	})
	switch {
	case err != nil:
		return latchkey.Batch{}, answer(err)
	case first:
		return latchkey.Batch{}, unavailable(errStandby) // or there is no log
	}
	b := latchkey.Batch{Sent: sent}
	b.Reset = at.snapshot == "" || at.started != next.started || at.run != next.run || at.looked < pruned || next.run == ""
	*at = next
	if next.run == "" { // the server has crashed; the next poll resets once more
		_ = s.run(ctx, s.aside, stRun, nil, true, nil)
	}
	return b, nil
}

// Follow implements latchkey.Feed. Changes of this Store are delivered before the
// calls that made them return; those of other nodes when a notification has this one
// read the log, and at the next poll at the latest. Each poll is a proof; while polls
// fail none is sent.
//
// Batches that pile up while deliver runs are merged. A deliver that holds up a
// change for more than a second, or that itself changes this store, is cut off:
// Follow then returns an error of code CodeStoreUnavailable, and the change goes
// on without it.
//
// The interval is measured by the machine's clock; Sent is a reading of Config.Clock.
func (s *Store) Follow(ctx context.Context, interval time.Duration, deliver func(latchkey.Batch)) error {
	if s.schema.Listens {
		s.listen.Do(func() { s.start(s.listenOn) })
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	var at cursor // the first poll resets
	return s.hub.Follow(ctx, interval, func(int64) (latchkey.Batch, error) {
		b, err := s.poll(ctx, &at)
		if err == nil || at.snapshot == "" || ctx.Err() != nil || s.usable() != nil {
			return b, err
		}
		return latchkey.Batch{}, nil // no proof this time
	}, deliver)
}

// How often the clock is read where nobody follows, and old entries are removed.
const (
	clockEvery = 5 * time.Second
	houseEvery = time.Minute
)

// keep is the goroutine that keeps the clock right and the tables small, until Close.
func (s *Store) keep() {
	ticker := time.NewTicker(clockEvery)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, s.t.Timeout)
		_ = s.run(ctx, s.aside, stClock, s.nowParam(newParams(1)), true, s.clockRow(s.clock.Now()))
		if n%int(houseEvery/clockEvery) == 0 {
			_ = s.housekeep(ctx)
		}
		cancel()
	}
}

// housekeep removes entries of the log that were there at the last look, and what
// no longer counts of other short-lived tables.
func (s *Store) housekeep(ctx context.Context) error {
	return s.run(ctx, s.work, stHousekeep, s.nowParam(newParams(2)).int(latchkey.RevocationMark.Microseconds()), false, nil)
}
