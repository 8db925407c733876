package sqlite

import (
	"context"
	"time"

	"github.com/latchkey-go/latchkey"
)

// logPlace is a place in the log, up to which a follower has been told. The entry
// itself is remembered too: a database that was put back from a backup may have
// come to the same number again.
type logPlace struct{ seq, origin, at int64 }

// cursor is how far a follower is. Its zero value is before everything.
type cursor struct {
	logPlace
	returns uint64 // of the files, by then
}

// Follow implements latchkey.Feed. Changes of this Store are delivered as they
// are committed; those of other processes by reading the log at least every
// interval, and that read is the proof. While it fails no proof is sent: while
// the database file is away, say, after which the first proof comes with Reset.
//
// Batches that pile up while deliver runs are merged. A deliver that holds up a
// change for more than a second, or that itself changes this store, is cut off:
// Follow then returns an error of code CodeStoreUnavailable, and the change goes
// on without it. A database file that was replaced, or whose log was removed,
// ends Follow in the same way.
//
// The interval is measured by the machine's clock; Sent is a reading of Config.Clock.
func (s *Store) Follow(ctx context.Context, interval time.Duration, deliver func(latchkey.Batch)) error {
	var at cursor // the first poll resets
	begun := false
	return s.hub.Follow(ctx, interval, func(published int64) (latchkey.Batch, error) {
		b, err := s.poll(ctx, published, &at)
		if err == nil {
			begun = true
			return b, nil
		}
		if t := s.files.trouble.Load(); !begun || t != nil && t.ends {
			return latchkey.Batch{}, err
		}
		return latchkey.Batch{}, nil // no proof this time
	}, deliver)
}

// The entry that was read last is read again: it tells that nothing is missing.
// A poll reads the log each time, for that costs no more than to ask whether it
// has moved.
const sqlLog = `SELECT seq, origin, at, every, ids FROM change WHERE seq>=?1 ORDER BY seq`

// poll reads what the log has gained since a place. Its batch's Sent is a reading
// of the clock from before the read began. Own changes up to the published position
// are left out: they are delivered with the batch at the latest. One that is
// committed and not yet published is not left out, or Sent would promise too much.
func (s *Store) poll(ctx context.Context, published int64, at *cursor) (latchkey.Batch, error) {
	s.clock.sample()
	sent := s.clock.Now()
	c, err := s.polls.take(ctx)
	if err != nil {
		return latchkey.Batch{}, err
	}
	defer s.polls.give(c)
	// Looked at after sent was read: what is promised is that nobody wrote elsewhere by then.
	if err := s.files.check(); err != nil {
		return latchkey.Batch{}, unavailable(err)
	}
	b := latchkey.Batch{Sent: sent}
	if now := s.files.returns.Load(); at.seq == 0 || now != at.returns {
		err := s.rewind(c.conn, &b, &at.logPlace)
		if err == nil {
			at.returns = now
		}
		return b, err
	}
	q := c.query(sqlLog).int(at.seq)
	now, first := at.logPlace, true
	for ; ; first = false {
		ok, err := q.next()
		if err != nil {
			return latchkey.Batch{}, answer(err)
		}
		if !ok {
			break
		}
		entry := logPlace{q.s.ColumnInt64(0), q.s.ColumnInt64(1), q.s.ColumnInt64(2)}
		if first && entry != at.logPlace || !first && entry.seq != now.seq+1 {
			q.done()
			return b, s.rewind(c.conn, &b, &at.logPlace)
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
		return b, s.rewind(c.conn, &b, &at.logPlace)
	}
	at.logPlace = now
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
