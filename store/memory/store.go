package memory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

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

// Config is a Store's configuration. Its zero value is ready for use.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Clock is the machine's unless set. Give the Manager and the near cache the
	// same one: their readings of it are compared.
	Clock latchkey.Clock
	// MaxAudit bounds the audit trail, in events: 100,000 unless set. Beyond it
	// the oldest are forgotten.
	MaxAudit int
	// Rand is crypto/rand unless set. It draws the placement key.
	Rand io.Reader
}

const defaultMaxAudit = 100_000

// Store keeps sessions in memory. Make one with New; it is safe for concurrent use.
type Store struct {
	clock     latchkey.Clock
	start     latchkey.Moment
	maxAudit  int
	placement [32]byte

	mu         sync.RWMutex
	closed     bool
	rows       map[latchkey.ID]*row
	all        order
	identities map[string]map[string]*order // by subject, then provider; no anonymous ones
	sids       map[sid]map[latchkey.ID]*row
	marks      map[mark]time.Time
	sweepMarks int              // how many marks there may be before old ones are looked for
	present    uint64           // the present generation
	raises     map[uint64]raise // how those before it ended
	changes    changes
	spent      map[[32]byte]time.Time // until when
	sweepSpent int                    // like sweepMarks
	trail      []audit.Event
	seq        uint64
	hub        fanout.Hub // published to with the lock held
}

// row is a session. Its record is changed under the store's lock only, and
// never shared with callers.
type row struct {
	rec  latchkey.Record
	gone bool // removed for good; still in an order until that is compacted
}

// sid names a provider's own session.
type sid struct{ provider, id string }

// raise tells how a generation was ended.
type raise struct {
	at         time.Time
	by, reason string
}

// New makes an empty store. It fails when the configuration is wrong or the
// system has no randomness.
func New(cfg Config) (*Store, error) {
	if cfg.MaxAudit < 0 {
		return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: memory store",
			Fields: []latchkey.FieldError{{Field: "MaxAudit", Detail: fmt.Sprintf("%d is negative; 0 means %d", cfg.MaxAudit, defaultMaxAudit)}}}
	}
	s := &Store{clock: cfg.Clock, maxAudit: cfg.MaxAudit, present: 1, raises: make(map[uint64]raise), rows: make(map[latchkey.ID]*row),
		identities: make(map[string]map[string]*order), sids: make(map[sid]map[latchkey.ID]*row),
		marks: make(map[mark]time.Time), sweepMarks: minMarks, spent: make(map[[32]byte]time.Time), sweepSpent: minSpent}
	s.changes.until = make(map[latchkey.ID]time.Time)
	if s.clock == nil {
		s.clock = latchkey.SystemClock()
	}
	if s.maxAudit == 0 {
		s.maxAudit = defaultMaxAudit
	}
	s.start = s.clock.Now()
	random := cfg.Rand
	if random == nil {
		random = rand.Reader
	}
	if _, err := io.ReadFull(random, s.placement[:]); err != nil {
		return nil, latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	return s, nil
}

// StoreTime implements latchkey.Timekeeper.
func (s *Store) StoreTime(at latchkey.Moment) int64 {
	return (s.start.Wall + (at.Mono - s.start.Mono)) / 1000
}

func (s *Store) now() time.Time { return time.UnixMicro(s.StoreTime(s.clock.Now())).UTC() }

// PlacementKey implements latchkey.PlacementKeeper. The key lives as long as the store.
func (s *Store) PlacementKey(ctx context.Context) ([32]byte, error) {
	if err := s.read(ctx); err != nil {
		return [32]byte{}, err
	}
	defer s.mu.RUnlock()
	return s.placement, nil
}

// errClosed is the cause of every answer after Close.
var errClosed = errors.New("the store is closed")

func unavailable(cause error) error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, "the session store gave no answer", cause)
}

func noSuchSession() error {
	return latchkey.NewError(latchkey.CodeNoSuchSession, "no such session", nil)
}

// read takes the lock for reading, unless the call is to be refused.
func (s *Store) read(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return unavailable(errClosed)
	}
	return nil
}

// change runs f with the lock held and delivers what it adds to the batch to all
// followers before it returns. An f that fails has changed nothing.
func (s *Store) change(ctx context.Context, f func(now time.Time, b *latchkey.Batch) error) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	var b latchkey.Batch
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return unavailable(errClosed)
	}
	// The clock is read inside the lock, so that times ascend in the order of the changes.
	if err := f(s.now(), &b); err != nil {
		s.mu.Unlock()
		return err
	}
	claims := s.hub.Publish(b, 0)
	s.mu.Unlock()
	return claims.Await(ctx)
}

// Get implements latchkey.Store.
func (s *Store) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	defer s.mu.RUnlock()
	r := s.rows[id]
	if r == nil {
		return nil, noSuchSession()
	}
	return s.show(r), nil
}

// Close implements latchkey.Store. It forgets everything and ends all followers.
// Closing twice is no error.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.hub.End(unavailable(errClosed))
	s.rows, s.all, s.identities, s.sids, s.marks, s.trail = nil, order{}, nil, nil, nil, nil
	s.changes, s.spent = changes{}, nil
	return nil
}

// Count implements latchkey.Counter. It walks all rows.
func (s *Store) Count(ctx context.Context) (latchkey.Counts, error) {
	if err := s.read(ctx); err != nil {
		return latchkey.Counts{}, err
	}
	defer s.mu.RUnlock()
	now := s.now()
	var c latchkey.Counts
	seen := make(map[latchkey.Identity]struct{})
	for _, r := range s.rows {
		switch {
		case s.state(r, now) != latchkey.Live:
			c.Ended++
		case r.rec.Subject == "":
			c.Live++
			c.Anonymous++
		default:
			c.Live++
			seen[r.rec.Identity()] = struct{}{}
		}
	}
	c.Identities = len(seen)
	return c, nil
}
