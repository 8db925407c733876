package mysql

import (
	"context"
	"crypto/rand"
	"database/sql"
	sqldriver "database/sql/driver"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/fanout"
	"github.com/latchkey-go/latchkey/store/internal/unsure"
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

// maxMark bounds the name that a store is marked with, in bytes.
const maxMark = 255

// idleConn is how long a connection may be idle before it is given up, so that a
// store which was busy once does not hold its connections for ever.
const idleConn = 2 * time.Minute

// Store keeps sessions in a database of a MariaDB or MySQL server. Make one with
// Open; it is safe for concurrent use.
type Store struct {
	to       *target
	schema   Schema
	warnings []string
	origin   int64 // how entries of the log are known as this store's
	timeout  time.Duration
	readOnly bool
	clock    *clock

	work, scans, polls *sql.DB    // for changes, for what takes longer, and for followers, which must not wait for either
	reads              *reads     // for Get
	unsure             unsure.Set // sessions with changes that a crash may undo
	hub                fanout.Hub
	told               told

	trouble atomic.Pointer[error] // why the store cannot be used any more
	mark    pruneMark             // of the janitor

	mu      sync.Mutex
	closed  bool
	calls   sync.WaitGroup // under way
	closing context.Context
	close   context.CancelFunc
}

// Open opens a store, and makes its tables first where the database has none and
// cfg allows it. It never changes tables that are there: an older schema is an
// error that names `latchkey migrate`.
//
// A wrong Config is CodeInvalidRequest. Everything that keeps the database from
// being used is CodeStoreUnavailable, with a message of one line that names the
// server, without the password, and what to do.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	to, err := cfg.check()
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, cfg.Timeout+migrating)
	defer cancel()
	s := &Store{to: to, timeout: cfg.Timeout, readOnly: cfg.ReadOnly, clock: newClock(cfg.Clock, cfg.handClock)}
	if err := to.alone(limited, &cfg, func(c *sql.Conn) error { return s.look(limited, c, &cfg) }); err != nil {
		return nil, err
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	s.origin = int64(binary.BigEndian.Uint64(random[:])>>1) + 1
	s.closing, s.close = context.WithCancel(context.Background())
	var reading *sql.DB
	for _, pool := range []struct {
		db      **sql.DB
		n       int
		bounded bool
	}{{&s.work, cfg.Connections, false}, {&s.scans, scanners, false}, {&s.polls, followers, true}, {&reading, cfg.Readers, true}} {
		if *pool.db, err = to.open(&cfg, pool.n, pool.bounded); err != nil {
			return nil, to.cannotOpen(err)
		}
	}
	s.reads = newReads(s, reading, cfg.Readers)
	s.calls.Go(s.lookAfter)
	return s, nil
}

// look finds out what the server and the tables are, and makes the tables.
func (s *Store) look(ctx context.Context, c *sql.Conn, cfg *Config) error {
	var found *server
	err := c.Raw(func(conn any) (err error) {
		found, err = greet(ctx, conn.(sqldriver.Conn))
		return err
	})
	if err != nil {
		return err
	}
	what, version, needs, err := readSchema(ctx, c, s.to)
	if err != nil {
		return err
	}
	if what != complete {
		if cfg.MustExist || cfg.ReadOnly {
			return s.to.refused("the database has no Latchkey store; run `latchkey serve` or `latchkey migrate`, which make one")
		}
		if _, _, err = apply(ctx, c, s.to, migrations, cfg.Mark); err == nil {
			_, version, needs, err = readSchema(ctx, c, s.to)
		}
		if err != nil {
			return err
		}
	}
	if err := s.to.checkSchema(version, needs); err != nil {
		return err
	}
	s.warnings = found.warnings()
	s.schema = Schema{Version: version, Needs: needs, Known: known(), Server: found.version, FlushLog: int(found.flush),
		Binlog: found.binlog, SyncBinlog: int(found.syncBinlog)}
	var wsrep sql.NullString
	if err := c.QueryRowContext(ctx, "SELECT max(variable_value) FROM information_schema.global_variables WHERE variable_name='WSREP_ON'").Scan(&wsrep); err == nil && wsrep.String == "ON" {
		s.warnings = append(s.warnings, "the server is one of a Galera cluster: give all nodes the same one, since another one answers from what it has received so far")
	}
	// Several samples: the quickest one tells most.
	for range 5 {
		if err := s.sample(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// sample asks for the server's clock.
func (s *Store) sample(ctx context.Context, c *sql.Conn) error {
	var now int64
	sent := s.clock.Now()
	if err := c.QueryRowContext(ctx, "SELECT "+sqlServerTime).Scan(&now); err != nil {
		return err
	}
	s.clock.sample(sent, s.clock.Now(), now)
	return nil
}

// enter begins a call; leave ends it. Calls to a store that is closed or cannot be
// used any more are refused.
func (s *Store) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return brokenOff(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return unavailable(errClosed)
	}
	if why := s.trouble.Load(); why != nil {
		return unavailable(*why)
	}
	s.calls.Add(1)
	return nil
}

func (s *Store) leave() { s.calls.Done() }

// Close implements latchkey.Store. Calls that are under way are finished first,
// each within its own bounds. Closing twice is no error.
func (s *Store) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		s.close()
		s.hub.End(unavailable(errClosed))
	}
	s.calls.Wait()
	if first {
		for _, db := range []*sql.DB{s.work, s.scans, s.polls, s.reads.db} {
			_ = db.Close() // of connections that are idle; whatever they answer
		}
	}
	return nil
}
