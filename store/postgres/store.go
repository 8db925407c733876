package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/fanout"
	"github.com/latchkey-go/latchkey/store/internal/trips"
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

// Store keeps sessions in a schema of a PostgreSQL database. Make one with Open;
// it is safe for concurrent use, by any number of nodes on one database.
type Store struct {
	t         *target
	schema    Schema
	texts     *texts
	pooler    bool
	origin    int64 // by which this store's entries of the log are known; random
	placement [32]byte
	clock     clock

	work  *pgxpool.Pool // changes, lists, counts
	aside *pgxpool.Pool // what followers need, who must not wait for changes
	gets  *trips.Lanes[latchkey.ID, row, *line]

	tokens atomic.Int64 // the last number given to a change
	raises raises
	hub    fanout.Hub
	told   told

	news     news
	listen   sync.Once
	hears    atomic.Bool // the listener is connected
	migrated atomic.Bool // to what this program does not know

	ctx     context.Context // ends with Close, for the goroutines
	cancel  context.CancelFunc
	running sync.WaitGroup
	state   sync.RWMutex // held in common where a goroutine is started
	ended   bool
	close   sync.Once
}

// Open opens a store, and makes its tables first where there are none and cfg
// allows it. It never changes the schema of a store that exists: an older one is an
// error that names `latchkey migrate`.
//
// A wrong Config is CodeInvalidRequest. Everything that keeps the store from being
// used is CodeStoreUnavailable, with a message of one line that names the server,
// without a password, and what to do.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	t, err := cfg.check()
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, brokenOff(ctx)
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	s := &Store{t: t, texts: newTexts(t.schema), origin: int64(binary.BigEndian.Uint64(random[:]) >> 1)}
	s.clock.Clock = t.Clock
	s.news.ring = make(chan struct{}, 1)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	lines := make([]*line, t.Readers)
	for i := range lines {
		lines[i] = &line{s: s}
	}
	s.gets = trips.New(mostMisses, lines, s.carry)
	if s.work, err = newPool(t, t.Connections, true); err == nil {
		s.aside, err = newPool(t, 4, false)
	}
	if err == nil {
		err = s.begin(ctx)
	}
	if err != nil {
		_ = s.Close()
		return nil, cannotOpen(t.where, err)
	}
	s.running.Go(s.keep)
	s.running.Go(s.herald)
	return s, nil
}

// begin makes the first connection, finds out what it leads to, and sees to it that
// there is a store.
func (s *Store) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*s.t.Timeout+scanTimeout)
	defer cancel()
	c, err := s.work.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	conn := c.Conn().PgConn()
	sv, err := s.ensure(ctx, conn)
	if err != nil {
		return err
	}
	s.schema, s.pooler = sv.Schema, sv.pooled
	if s.t.pooler != "" {
		s.pooler = s.t.pooler == "1"
	}
	s.schema.Pooler = s.pooler
	if s.pooler || sv.pooled {
		s.texts[stGet], s.texts[stGetMany] = inSchema(textGetPooled, s.t.schema), inSchema(textGetManyPooled, s.t.schema)
	}
	s.schema.Listens = !s.t.polled && (s.t.feed != nil || !sv.pooled)
	id, err := s.describe(ctx, conn)
	if err != nil {
		return err
	}
	if s.t.feed != nil {
		if err := s.checkFeed(ctx, id); err != nil {
			return err
		}
	}
	return s.readClock(ctx, conn)
}

// ensure looks at the tables, and makes them where there are none.
func (s *Store) ensure(ctx context.Context, conn *pgconn.PgConn) (survey, error) {
	sv, err := look(ctx, conn, s.t.schema)
	if err == nil {
		err = sv.foreign(s.t)
	}
	if err != nil {
		return sv, err
	}
	if sv.tables == 0 {
		if s.t.MustExist {
			return sv, refused(s.t.where, "has no Latchkey store in schema %q; check the URL, or run `latchkey serve` or `latchkey migrate`, which make it", s.t.schema)
		}
		if _, _, err := apply(ctx, conn, s.t, migrations); err != nil {
			return sv, err
		}
		if sv, err = look(ctx, conn, s.t.schema); err != nil {
			return sv, err
		}
	}
	return sv, sv.usable(s.t)
}

// describe reads the row that describes the store.
func (s *Store) describe(ctx context.Context, conn *pgconn.PgConn) (id latchkey.ID, err error) {
	n := 0
	_, err = s.runOn(ctx, conn, stMeta, nil, func(c *columns) error {
		n++
		key := c.next()
		if len(key) != 32 {
			return errWire
		}
		s.placement = [32]byte(key)
		_ = c.text()
		id = c.id()
		return nil
	})
	if err == nil && n != 1 {
		err = errNoStore
	}
	return id, err
}

// checkFeed refuses a FeedURL that leads elsewhere, or through a pooler: its
// notifications would not arrive.
func (s *Store) checkFeed(ctx context.Context, id latchkey.ID) error {
	conn, err := pgx.ConnectConfig(ctx, s.t.feed)
	if err != nil {
		return cannotOpen("(feed) "+s.t.where, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	sv, err := look(ctx, conn.PgConn(), s.t.schema)
	if err != nil {
		return err
	}
	if sv.pooled {
		return refused(s.t.where, "the feed URL leads through a pooler, which does not pass notifications on; give the server's own address")
	}
	if sv.ours {
		result := conn.PgConn().ExecParams(ctx, inSchema(`SELECT id FROM latchkey.store`, s.t.schema), nil, nil, nil, binaryFormat).Read()
		if result.Err != nil {
			return result.Err
		}
		sv.ours = len(result.Rows) == 1 && string(result.Rows[0][0]) == string(id[:])
	}
	if !sv.ours {
		return refused(s.t.where, "the feed URL leads to another store; give the direct address of the same database")
	}
	return nil
}

// readClock takes a sample of the server's clock, and finds out whether another
// program has migrated the store.
func (s *Store) readClock(ctx context.Context, conn *pgconn.PgConn) error {
	sent := s.clock.Now()
	_, err := s.runOn(ctx, conn, stClock, s.nowParam(newParams(1)), s.clockRow(sent))
	return err
}

func (s *Store) clockRow(sent latchkey.Moment) func(*columns) error {
	return func(c *columns) error {
		now, needs := c.int(), c.int()
		s.clock.sample(sent, s.clock.Now(), now)
		if needs > int64(s.schema.Known) {
			s.migrated.Store(true)
		}
		return nil
	}
}

// usable refuses calls to a store that is closed, or that this program no longer knows.
func (s *Store) usable() error {
	switch {
	case s.ctx.Err() != nil:
		return unavailable(errClosed)
	case s.migrated.Load():
		return unavailable(errMigrated)
	}
	return nil
}

// Close implements latchkey.Store. Calls under way are finished first, which takes
// as long as the server takes, and Config.Timeout at most; scans are broken off.
// Closing twice is no error.
func (s *Store) Close() error {
	s.close.Do(func() {
		s.state.Lock()
		s.ended = true
		s.state.Unlock()
		s.cancel()
		s.hub.End(unavailable(errClosed))
		s.running.Wait()
		s.gets.Close((*line).drop)
		for _, pool := range []*pgxpool.Pool{s.aside, s.work} {
			if pool != nil {
				pool.Close()
			}
		}
	})
	return nil
}

// start runs f in a goroutine that Close waits for, unless the store is closed.
func (s *Store) start(f func()) {
	s.state.RLock()
	defer s.state.RUnlock()
	if !s.ended {
		s.running.Go(f)
	}
}

// PlacementKey implements latchkey.PlacementKeeper. The key was drawn when the
// store was made and stays for its life.
func (s *Store) PlacementKey(ctx context.Context) ([32]byte, error) {
	if ctx.Err() != nil {
		return [32]byte{}, brokenOff(ctx)
	}
	if err := s.usable(); err != nil {
		return [32]byte{}, err
	}
	return s.placement, nil
}

// Mark gives the store a name, such as "demo"; "" takes it away. It is durable
// when Mark returns.
func (s *Store) Mark(ctx context.Context, name string) error {
	return s.call(ctx, s.t.Timeout, stMark, newParams(1).text(name), func(c *columns) int64 { c.int(); return 0 })
}

// Marked returns the store's name, "" when it has none.
func (s *Store) Marked(ctx context.Context) (string, error) {
	name, n := "", 0
	err := s.scan(ctx, stMeta, nil, func(c *columns) error {
		n++
		c.next()
		name = c.text()
		return nil
	})
	if err == nil && n != 1 {
		err = unavailable(errNoStore)
	}
	return name, err
}

// raises are the generations that ended, as far as they were met. They never change.
type raises struct {
	mu sync.Mutex
	by map[uint64]raise
}

// raise tells how a generation was ended.
type raise struct {
	at         int64
	by, reason string
}

// raised tells how a generation was ended.
func (s *Store) raised(ctx context.Context, generation uint64) (raise, error) {
	s.raises.mu.Lock()
	r, ok := s.raises.by[generation]
	s.raises.mu.Unlock()
	if ok {
		return r, nil
	}
	n := 0
	err := s.run(ctx, s.work, stRaise, newParams(1).int(int64(generation)), true, func(c *columns) error {
		n++
		r = raise{c.int(), c.text(), c.text()}
		return nil
	})
	if err == nil && n != 1 {
		err = errDamaged
	}
	if err != nil {
		return raise{}, err
	}
	s.raises.mu.Lock()
	defer s.raises.mu.Unlock()
	if s.raises.by == nil {
		s.raises.by = make(map[uint64]raise)
	}
	s.raises.by[generation] = r
	return r, nil
}

// row is a session as it was read.
type row struct {
	rec     *latchkey.Record
	present uint64 // generation at that look
}

// readRow reads an ID, the present generation and rowColumns. It returns no record
// when there is no such session.
func readRow(c *columns) (row, error) {
	id := c.next()
	present, ok := c.optInt()
	switch {
	case !ok:
		return row{}, errNoStore
	case present == standby:
		return row{}, errStandby
	}
	if id == nil {
		c.row = nil
		return row{present: uint64(present)}, nil
	}
	if len(id) != 16 {
		return row{}, errWire
	}
	rec := &latchkey.Record{ID: latchkey.ID(id)}
	rec.Generation, rec.LastSeenAt, rec.Version = uint64(c.int()), timeOf(c.int()), uint64(c.int())
	at, _ := c.optInt()
	rec.RevokedAt, rec.RevokedBy, rec.RevokedReason = timeOf(at), c.text(), c.text()
	packed := c.next()
	if err := c.done(); err != nil {
		return row{}, err
	}
	if err := latchkey.DecodeRecord(packed, rec); err != nil {
		return row{}, errors.Join(errDamaged, err)
	}
	return row{rec, uint64(present)}, nil
}

// judge makes a session of a lower generation a revoked one.
func (s *Store) judge(ctx context.Context, r row) (*latchkey.Record, error) {
	if r.rec == nil || r.rec.Generation >= r.present || !r.rec.RevokedAt.IsZero() {
		return r.rec, nil
	}
	how, err := s.raised(ctx, r.rec.Generation)
	if err != nil {
		return nil, err
	}
	r.rec.RevokedAt, r.rec.RevokedBy, r.rec.RevokedReason = timeOf(how.at), how.by, how.reason
	return r.rec, nil
}
