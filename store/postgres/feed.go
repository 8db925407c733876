package postgres

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/fanout"
)

// change names an entry of the log.
type change struct{ origin, token int64 }

// told remembers of which changes followers have been told, so that none is told
// of twice: by the node's own call, by the listener's poll and by their own polls.
// It forgets after 10 seconds at least; what a follower that polls more seldom is
// told of twice costs it a read.
type told struct {
	mu       sync.Mutex
	recent   map[change]fanout.Claims
	before   map[change]fanout.Claims
	rotateAt int64 // monotonic
}

const (
	toldFor  = 10 * time.Second
	toldMost = 100_000
)

// tell has all followers of this store told of a change, once.
func (s *Store) tell(c change, b latchkey.Batch) fanout.Claims {
	t := &s.told
	t.mu.Lock()
	defer t.mu.Unlock()
	if claims, ok := t.recent[c]; ok {
		return claims
	}
	if claims, ok := t.before[c]; ok {
		return claims
	}
	claims := s.hub.Publish(b, 0)
	if claims == nil {
		return nil // nobody follows; whoever begins to has a look that sees it
	}
	if now := s.clock.Now().Mono; t.recent == nil || now >= t.rotateAt || len(t.recent) >= toldMost {
		t.before, t.recent, t.rotateAt = t.recent, make(map[change]fanout.Claims), now+int64(toldFor)
	}
	t.recent[c] = claims
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

// notifyTimeout bounds how long other nodes are tried to be woken.
const notifyTimeout = 2 * time.Second

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
	err := s.run(ctx, s.reads, stPoll, p, true, func(c *columns) error {
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
		s.tell(of, b)
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
		_ = s.run(ctx, s.reads, stRun, nil, true, nil)
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

// wakeOthers has other nodes read the log.
func (s *Store) wakeOthers() {
	select {
	case s.ring <- struct{}{}:
	default: // one is due that comes after this change
	}
}

// herald is the goroutine that notifies other nodes, until Close. It does so in
// transactions of its own, after the changes: those that notify commit one after
// the other, each waiting for the disk, and so would all changes. What is lost with
// a node that dies in between, others find at their next poll.
func (s *Store) herald() {
	for {
		select {
		case <-s.ring:
			s.notify()
		case <-s.ctx.Done():
			select {
			case <-s.ring: // of a program that revokes and ends
				s.notify()
			default:
			}
			return
		}
	}
}

func (s *Store) notify() {
	// Close waits for it.
	ctx, cancel := context.WithTimeout(context.Background(), min(notifyTimeout, s.t.Timeout))
	defer cancel()
	p := newParams(2).text(channel(s.t.schema)).text(strconv.FormatInt(s.origin, 36))
	c, err := s.reads.Acquire(ctx)
	if err != nil {
		return
	}
	defer c.Release()
	_, _ = s.runOn(ctx, c.Conn().PgConn(), stNotify, p, nil)
}

// Pauses of the listener after its connection broke, and how often it finds out
// whether a silent one still is one.
const (
	minPause  = 50 * time.Millisecond
	maxPause  = 2 * time.Second
	pingEvery = 5 * time.Second
)

// listenOn is the goroutine that is woken by notifications, until Close.
func (s *Store) listenOn() {
	config := s.t.feed
	if config == nil {
		config = s.t.main.ConnConfig
	}
	for pause := minPause; s.ctx.Err() == nil; {
		began := time.Now()
		_ = s.hear(&config.Config)
		s.hears.Store(false)
		if time.Since(began) > 10*maxPause {
			pause = minPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, maxPause)
	}
}

// hear listens on one connection for as long as it holds.
func (s *Store) hear(config *pgconn.Config) error {
	own, woken := strconv.FormatInt(s.origin, 36), false
	config = config.Copy()
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { woken = woken || n.Payload != own }
	ctx, cancel := context.WithTimeout(s.ctx, s.t.Timeout)
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err == nil {
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = conn.Close(ctx)
		}()
		err = script(ctx, conn, `LISTEN "`+channel(s.t.schema)+`"`)
	}
	cancel()
	if err != nil {
		return err
	}
	var at cursor
	if _, err := s.poll(s.ctx, &at); err != nil {
		return err
	}
	s.hears.Store(true)
	for {
		ctx, cancel := context.WithTimeout(s.ctx, pingEvery)
		err := conn.WaitForNotification(ctx)
		cancel()
		switch {
		case err == nil:
		case s.ctx.Err() != nil || !pgconn.Timeout(err):
			return err
		default: // nothing came
			ctx, cancel := context.WithTimeout(s.ctx, s.t.Timeout)
			err := script(ctx, conn, "SELECT 1")
			cancel()
			if err != nil {
				return err
			}
		}
		if woken {
			woken = false
			if _, err := s.poll(s.ctx, &at); errors.Is(err, errClosed) {
				return err
			}
		}
	}
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
		_ = s.run(ctx, s.reads, stClock, s.nowParam(newParams(1)), true, s.clockRow(s.clock.Now()))
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
