package mysql

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey"
)

// logPlace is a place in the log, up to which a follower has been told. The entry
// itself is remembered too: a database that was put back from a backup may have
// come to the same number again.
type logPlace struct{ seq, origin, at int64 }

// Follow implements latchkey.Feed. Changes of this Store are delivered before they
// are acknowledged; those of others by reading the log twice in each interval,
// and that read is the proof: what another node has ended is delivered here within
// half an interval and the time of a read. While it fails no proof is sent. A
// follower that the log is pruned behind, after a minute at least, is told to
// forget everything.
//
// Batches that pile up while deliver runs are merged. A deliver that holds up a
// change for more than a second, or that itself changes this store, is cut off:
// Follow then returns an error of code CodeStoreUnavailable, and the change goes
// on without it.
//
// The interval is measured by the machine's clock; Sent is a reading of Config.Clock.
func (s *Store) Follow(ctx context.Context, interval time.Duration, deliver func(latchkey.Batch)) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(s.closing, func() { cancel(unavailable(errClosed)) })
	defer stop()

	var at logPlace // the first poll resets
	bound := s.timeout
	err := s.hub.Follow(ctx, interval, func(int64) (latchkey.Batch, error) {
		limited, cancel := context.WithTimeout(ctx, bound)
		defer cancel()
		b, err := s.poll(limited, &at)
		if err == nil {
			// A proof that takes longer is worth nothing, and keeps own changes waiting.
			bound = min(s.timeout, max(4*interval, slowPoll))
			return b, nil
		}
		if why := s.trouble.Load(); why != nil {
			return latchkey.Batch{}, unavailable(*why)
		}
		if at == (logPlace{}) || ctx.Err() != nil {
			return latchkey.Batch{}, answer(err)
		}
		return latchkey.Batch{}, nil // no proof this time
	}, deliver)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = context.Cause(ctx)
	}
	return err
}

// slowPoll is how long a poll may take however short the interval is. It is less
// than what a change waits for its followers.
const slowPoll = 700 * time.Millisecond

// mostEntries bounds what one poll reads. A follower that lies farther behind
// forgets everything, which is quicker.
const mostEntries = 10_000

const (
	// The entry that was read last is read again: it tells that nothing is missing.
	sqlLog      = `SELECT ` + sqlReplica + `, ` + sqlServerTime + `, seq, origin, at, every, ids FROM latchkey_change WHERE seq>=? ORDER BY seq LIMIT ?`
	sqlEndOfLog = `SELECT ` + sqlReplica + `, ` + sqlServerTime + `, seq, origin, at, every, '' FROM latchkey_change ORDER BY seq DESC LIMIT 1`
)

// entry is an entry of the log.
type entry struct {
	logPlace
	every bool
	ids   sql.RawBytes
}

// poll reads what the log has gained since a place. Its batch's Sent is a reading
// of the clock from before the read began. Own changes that have been published
// are left out: they are delivered with the batch at the latest.
func (s *Store) poll(ctx context.Context, at *logPlace) (latchkey.Batch, error) {
	b := latchkey.Batch{Sent: s.clock.Now()}
	if *at == (logPlace{}) {
		return s.rewind(ctx, b, at)
	}
	var q script
	q.add(sqlLog, num(at.seq), num(mostEntries+1))
	now, n, gap := *at, 0, false
	var own []latchkey.Batch
	var positions []int64
	err := s.read(ctx, &q, b.Sent, func(e *entry) error {
		n++
		gap = gap || n == 1 && e.logPlace != *at || n > 1 && e.seq != now.seq+1
		if now = e.logPlace; gap || n == 1 {
			return nil
		}
		part := latchkey.Batch{All: e.every}
		for ids := e.ids; len(ids) >= 16; ids = ids[16:] {
			part.IDs = append(part.IDs, latchkey.ID(ids[:16]))
		}
		if e.origin == s.origin {
			own, positions = append(own, part), append(positions, e.seq)
			return nil
		}
		b.IDs, b.All = append(b.IDs, part.IDs...), b.All || part.All
		return nil
	})
	if err != nil {
		return latchkey.Batch{}, err
	}
	if gap || n == 0 || n > mostEntries {
		return s.rewind(ctx, b, at)
	}
	brief, cancel := context.WithTimeout(ctx, lookTwice)
	defer cancel()
	for i, part := range own {
		if !s.told.wait(brief, positions[i]) {
			b.IDs, b.All = append(b.IDs, part.IDs...), b.All || part.All
		}
	}
	*at = now
	return b, nil
}

// rewind makes the batch one that forgets everything, and the log's present end
// the place. Sent stands: what was committed before it is forgotten with the rest.
func (s *Store) rewind(ctx context.Context, b latchkey.Batch, at *logPlace) (latchkey.Batch, error) {
	var q script
	q.add(sqlEndOfLog)
	var now logPlace
	if err := s.read(ctx, &q, s.clock.Now(), func(e *entry) error { now = e.logPlace; return nil }); err != nil {
		return latchkey.Batch{}, err
	}
	if now == (logPlace{}) {
		return latchkey.Batch{}, errDamaged // the newest entry always stays
	}
	*at = now
	b.IDs, b.All, b.Reset = nil, false, true
	return b, nil
}

// read reads entries of the log. A server that is read-only proves nothing.
func (s *Store) read(ctx context.Context, q *script, sent latchkey.Moment, take func(e *entry) error) (err error) {
	defer func() { s.leaveReplica(err) }()
	c, err := s.polls.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	first := true
	return ask(ctx, c, q, func(rows *sql.Rows) error {
		var e entry
		var replica bool
		var server int64
		if err := rows.Scan(&replica, &server, &e.seq, &e.origin, &e.at, &e.every, &e.ids); err != nil {
			return err
		}
		if replica {
			return errReplica
		}
		if first {
			s.clock.sample(sent, s.clock.Now(), server)
			first = false
		}
		return take(&e)
	})
}

// told are the positions of this store's own changes that have been published to
// its followers. Of the oldest nothing is known any more, which only has them
// delivered twice.
type told struct {
	mu    sync.Mutex
	known map[int64]struct{}
	ring  [4096]int64
	next  int
	more  chan struct{} // closed when there are more
}

// note adds a position, after the publication.
func (d *told) note(position int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = make(map[int64]struct{})
	}
	delete(d.known, d.ring[d.next])
	d.ring[d.next] = position
	d.known[position] = struct{}{}
	d.next = (d.next + 1) % len(d.ring)
	if d.more != nil {
		close(d.more)
		d.more = nil
	}
}

// lookTwice is how long a poll waits for own changes to be published: the answer to
// a commit that can be seen is under way.
const lookTwice = 50 * time.Millisecond

// wait reports whether a change has been published, or is before ctx ends.
func (d *told) wait(ctx context.Context, position int64) bool {
	for {
		d.mu.Lock()
		_, ok := d.known[position]
		if d.more == nil {
			d.more = make(chan struct{})
		}
		more := d.more
		d.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-more:
		case <-ctx.Done():
			return false
		}
	}
}
