package sqlite

import (
	"context"
	"errors"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/fanout"
)

// The interfaces that a Store implements.
var (
	_ latchkey.Store           = (*Store)(nil)
	_ latchkey.Feed            = (*Store)(nil)
	_ latchkey.PlacementKeeper = (*Store)(nil)
	_ latchkey.Counter         = (*Store)(nil)
	_ latchkey.Timekeeper      = (*Store)(nil)
	_ latchkey.ChangeLister    = (*Store)(nil)
	_ latchkey.Spender         = (*Store)(nil)
	_ audit.Reader             = (*Store)(nil)
)

// Store keeps sessions in a database file. Make one with Open; it is safe for
// concurrent use, by several processes on one file too.
type Store struct {
	path   string
	files  *files
	schema Schema
	origin int64 // how entries of the log are known as this store's
	ahead  time.Duration
	wait   time.Duration // for other processes' locks
	clock  *clock
	reads  *pool      // for Get
	scans  *pool      // for whatever takes longer
	polls  *pool      // for followers, which must not wait for either
	hub    fanout.Hub // published to by the writer, once for each commit

	// The goroutine that writes owns the connection and all changes.
	readOnly bool
	ops      chan *op
	tidy     chan chan struct{} // asks for the log to be emptied
	closing  chan struct{}      // closed by Close
	stopped  chan struct{}      // closed when the writing goroutine has ended
	close    sync.Once
	closeErr error
}

// newStore starts a store on its writing connection.
func newStore(cfg *Config, w *conn, schema Schema, f *files) (*Store, error) {
	origin, err := newOrigin()
	if err != nil {
		return nil, err
	}
	s := &Store{path: cfg.Path, files: f, schema: schema, origin: origin, clock: newClock(cfg.Clock), wait: cfg.Wait, readOnly: cfg.ReadOnly,
		ops: make(chan *op, maxGroup), tidy: make(chan chan struct{}), closing: make(chan struct{}), stopped: make(chan struct{})}
	newest, err := newestTime(w)
	if err != nil {
		return nil, err
	}
	if ahead := newest - s.clock.micros(); ahead > 0 {
		s.ahead = time.Duration(ahead) * time.Microsecond
	}
	guard, err := s.openReader(cfg, sqlite.OpenReadOnly, 0)
	if err != nil {
		return nil, err
	}
	opener := func(cache int64) func() (*conn, error) {
		flags := sqlite.OpenReadWrite // a connection that only reads cannot always make use of the log
		if cfg.ReadOnly {
			flags = sqlite.OpenReadOnly
		}
		return func() (*conn, error) { return s.openReader(cfg, flags, cache) }
	}
	s.reads = newPool(s, cfg.Readers, opener(cfg.ReadCache))
	s.scans = newPool(s, scanners, opener(cfg.ReadCache))
	s.polls = newPool(s, 1, opener(0))
	w.SetBusyTimeout(min(cfg.Wait, slice))
	go s.write(&writer{s: s, c: w, guard: guard})
	return s, nil
}

// openReader opens a connection that only reads, in the files that the store has
// open already and no others.
func (s *Store) openReader(cfg *Config, flags sqlite.OpenFlags, cache int64) (*conn, error) {
	if err := s.files.check(); err != nil {
		return nil, err
	}
	c, err := openConn(cfg.Path, flags, cfg.Wait)
	if err != nil {
		return nil, err
	}
	if err = c.script(readerSettings(cache)); err == nil {
		_, _, err = c.query(sqlNeeds).number() // the first read opens the log
	}
	if err == nil {
		err = s.files.check()
	}
	if err != nil {
		return nil, closing(c.Conn, err)
	}
	return c, nil
}

// newestTime is the latest creation or event that the file knows.
func newestTime(c *conn) (int64, error) {
	created, _, err := c.query("SELECT max(created) FROM session").number()
	if err != nil {
		return 0, err
	}
	at, _, err := c.query("SELECT at FROM audit ORDER BY seq DESC LIMIT 1").number()
	return max(created, at), err
}

// Ahead is by how much the newest entry of the file was ahead of the machine's
// clock when the store was opened: more than a little means that one of the
// clocks that wrote or read it was wrong. 0 when it was not.
func (s *Store) Ahead() time.Duration { return s.ahead }

// usable refuses calls to a store that is closed or whose files are gone.
func (s *Store) usable() error {
	select {
	case <-s.closing:
		return unavailable(errClosed)
	default:
	}
	if err := s.files.fresh(); err != nil {
		return unavailable(err)
	}
	return nil
}

// Close implements latchkey.Store. Changes that were accepted are finished, and
// reads under way too; then the log is moved into the database, unless another
// process uses it. Closing twice is no error.
func (s *Store) Close() error {
	s.close.Do(func() {
		close(s.closing)
		s.hub.End(unavailable(errClosed))
		<-s.stopped
	})
	return s.closeErr
}

// pool is a fixed number of places for connections, which are opened when they
// are first needed.
type pool struct {
	s    *Store
	free chan *place
	open func() (*conn, error)
}

// place holds a connection, or nil before it is opened.
type place struct{ c *conn }

func newPool(s *Store, n int, open func() (*conn, error)) *pool {
	p := &pool{s: s, free: make(chan *place, n), open: open}
	for range n {
		p.free <- &place{}
	}
	return p
}

// reader is a connection that was taken from a pool.
type reader struct {
	*conn
	at *place
}

// take waits for a connection. It is to be given back.
func (p *pool) take(ctx context.Context) (reader, error) {
	if err := ctx.Err(); err != nil {
		return reader{}, brokenOff(ctx)
	}
	var at *place
	select {
	case at = <-p.free:
	default:
		select {
		case at = <-p.free:
		case <-ctx.Done():
			return reader{}, brokenOff(ctx)
		case <-p.s.closing:
			return reader{}, unavailable(errClosed)
		}
	}
	// Close collects the places after it has said so, and so waits for this one.
	if err := p.s.usable(); err != nil {
		p.free <- at
		return reader{}, err
	}
	if at.c == nil {
		c, err := p.open()
		if err != nil {
			p.free <- at
			return reader{}, unavailable(err)
		}
		at.c = c
	}
	return reader{at.c, at}, nil
}

func (p *pool) give(r reader) { p.free <- r.at }

// close waits for all connections to be given back and closes them.
func (p *pool) close() error {
	var err error
	for range cap(p.free) {
		if at := <-p.free; at.c != nil {
			err = errors.Join(err, at.c.Close())
		}
	}
	return err
}

// interruptible runs f on a connection for longer reads, and breaks it off when ctx ends.
func (s *Store) interruptible(ctx context.Context, f func(c *conn) error) error {
	c, err := s.scans.take(ctx)
	if err != nil {
		return err
	}
	defer s.scans.give(c)
	if ctx.Done() != nil {
		c.SetInterrupt(ctx.Done())
		defer c.SetInterrupt(nil)
	}
	if err := f(c.conn); err != nil {
		if ctx.Err() != nil {
			return brokenOff(ctx)
		}
		return answer(err)
	}
	return nil
}

// snapshot runs f in one transaction, so that all its statements see the same.
func (s *Store) snapshot(ctx context.Context, f func(c *conn) error) error {
	return s.interruptible(ctx, func(c *conn) error {
		if err := c.query("BEGIN").run(); err != nil {
			return err
		}
		err := f(c)
		c.SetInterrupt(nil) // or the end of the transaction could be refused, too
		if eerr := c.query("ROLLBACK").run(); err == nil && !c.AutocommitEnabled() {
			err = eerr
		}
		return err
	})
}

// Get implements latchkey.Store. It is one statement, and so one look at the
// file: how the session's generation was ended is part of it, whoever ended it.
func (s *Store) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	c, err := s.reads.take(ctx)
	if err != nil {
		return nil, err
	}
	defer s.reads.give(c)
	q := c.query(sqlGet).blob(id[:])
	ok, err := q.next()
	if err != nil {
		return nil, unavailable(err)
	}
	if !ok {
		return nil, noSuchSession()
	}
	defer q.done()
	rec := new(latchkey.Record)
	rec.ID = id
	if err := c.record(q, 0, rec); err != nil {
		return nil, unavailable(err)
	}
	return rec, nil
}
