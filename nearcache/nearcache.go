// Package nearcache keeps decoded sessions in this process, so that most checks
// cost no trip to the store, and keeps them honest.
//
// # The promise
//
// An ended or changed session is not granted from the cache for longer than
// Config.Staleness after the change was committed, on any node, even when the
// network is cut. Two things make it so:
//
//   - The store's feed tells of every change; what it names is dropped. Usually
//     that takes well under a millisecond.
//   - A lease covers the case that the feed is silent because it is broken. The
//     store proves the feed alive at least four times per Staleness, by a message
//     that takes the path of a revocation and comes back (or by polling the log
//     itself). An entry is honoured only while the last proof was sent no longer ago
//     than the caller accepts, by the monotonic and by the wall clock: a process that
//     was stopped, a machine that was suspended and a beat that lay in a buffer
//     would each look alive to one of them.
//
// Without a lease the store is asked. The cache never refuses: whatever does not
// fit is a miss.
//
// # Filling
//
// A result is filed only if no invalidation of its session was delivered since
// the read began, so a slow reader cannot put back what was just dropped. Callers
// that miss at the same time share one trip, where that trip was sent no earlier
// than their arrival less the staleness they accept; others join the next one.
//
// Entries are free of pointers and their memory is bounded; package
// nearcache/slab says how, and how it evicts.
//
// # Stateless sessions
//
// After Track the cache also keeps the list of those sessions whose tokens tell of
// them that are no longer as they were created: it is read from the store after
// each Reset of the feed, and kept by what the feed names. A token whose session is
// not in it is believed under the same lease. Nothing in the list is ever refused
// for that: its session is looked up like any other.
package nearcache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/nearcache/slab"
)

// Config configures a Cache. Store is required and must have a feed.
type Config struct {
	_ [0]func()

	// Store is where sessions are read; it must implement latchkey.Feed.
	Store latchkey.Store
	// Staleness bounds how far an answer may lag behind the store: 1 second unless
	// set, between 10 ms and a minute. To ask the store each time use no cache.
	Staleness time.Duration
	// MaxBytes bounds the memory of the entries: 64 MiB unless set.
	MaxBytes int64
	// LoadTimeout bounds a trip to the store: 5 seconds unless set.
	LoadTimeout time.Duration
	// MaxChanged bounds the list of changed stateless sessions, in entries of about
	// 40 bytes, twice that while it is read: 1,000,000 unless set. While there are
	// more, each check of a stateless session goes by its row.
	MaxChanged int
	// Clock is the machine's unless set.
	Clock latchkey.Clock
	// OnError hears of a feed that broke, and of a list of changed sessions that could
	// not be read or is too long; both are tried again with a growing pause. It is
	// called from the goroutine that met the error, and must not call Stop.
	OnError func(error)
}

// Bounds and defaults of the configuration.
const (
	DefaultStaleness = time.Second
	MinStaleness     = 10 * time.Millisecond
	MaxStaleness     = time.Minute
	beatsPerLease    = 4
	minPause         = 10 * time.Millisecond
	maxPause         = time.Second
	numStripes       = 256
)

// Cache implements latchkey.Cache. It is safe for concurrent use.
type Cache struct {
	store     latchkey.Store
	feed      latchkey.Feed
	clock     latchkey.Clock
	staleness time.Duration
	timeout   time.Duration
	onError   func(error)

	entries *slab.Cache
	lease   atomic.Pointer[latchkey.Moment] // when the last proof was sent; nil before the first
	clears  atomic.Uint64
	stripes [numStripes]stripe
	changes ledger

	run struct {
		sync.Mutex
		ctx    context.Context // of the goroutines; nil before Start
		cancel context.CancelFunc
		tasks  sync.WaitGroup
	}
	stats counters
}

// stripe guards the sessions whose IDs fall to it.
type stripe struct {
	sync.Mutex
	epoch   uint64 // raised by every invalidation here
	flights map[latchkey.ID]*flight
	_       [40]byte // a cache line of its own
}

// New checks cfg, reporting all problems together, and returns an empty cache
// that finds nothing until it is started.
func New(cfg Config) (*Cache, error) {
	var problems []latchkey.FieldError
	add := func(field, format string, args ...any) {
		problems = append(problems, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	feed, ok := cfg.Store.(latchkey.Feed)
	if !ok {
		add("Store", "required, with a feed of invalidations (latchkey.Feed)")
	}
	if cfg.Staleness == 0 {
		cfg.Staleness = DefaultStaleness
	}
	if cfg.Staleness < MinStaleness || cfg.Staleness > MaxStaleness {
		add("Staleness", "%v is not between %v and %v", cfg.Staleness, MinStaleness, MaxStaleness)
	}
	if cfg.LoadTimeout == 0 {
		cfg.LoadTimeout = 5 * time.Second
	}
	if cfg.LoadTimeout < 0 {
		add("LoadTimeout", "%v is negative", cfg.LoadTimeout)
	}
	if cfg.MaxChanged == 0 {
		cfg.MaxChanged = DefaultMaxChanged
	}
	if cfg.MaxChanged < 0 {
		add("MaxChanged", "%d is negative", cfg.MaxChanged)
	}
	if cfg.Clock == nil {
		cfg.Clock = latchkey.SystemClock()
	}
	entries, err := slab.New(slab.Config{MaxBytes: cfg.MaxBytes})
	if err != nil {
		add("MaxBytes", "%v", err)
	}
	if len(problems) > 0 {
		return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "nearcache: configuration", Fields: problems}
	}
	c := &Cache{store: cfg.Store, feed: feed, clock: cfg.Clock, staleness: cfg.Staleness, timeout: cfg.LoadTimeout,
		onError: cfg.OnError, entries: entries}
	c.changes.max, c.changes.wake = cfg.MaxChanged, make(chan struct{}, 1)
	for i := range c.stripes {
		c.stripes[i].flights = make(map[latchkey.ID]*flight)
	}
	return c, nil
}

// Start follows the store's feed in a goroutine that Stop ends. Starting twice is
// one start. Until the first proof arrives every lookup asks the store.
func (c *Cache) Start() {
	c.run.Lock()
	defer c.run.Unlock()
	if c.run.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.run.ctx, c.run.cancel = ctx, cancel
	if c.changes.on.Load() {
		c.keepList(ctx)
	}
	c.run.tasks.Go(func() { c.follow(ctx) })
}

// Stop ends following and waits for it; from then on nothing is found. Stopping
// twice, or before Start, does nothing. A stopped cache cannot be started again.
func (c *Cache) Stop() {
	c.run.Lock()
	defer c.run.Unlock()
	if c.run.cancel == nil {
		c.run.cancel = func() {}
		return
	}
	c.run.cancel()
	c.run.tasks.Wait()
	c.lease.Store(nil)
	c.changes.listed.Store(nil)
	c.Clear()
}

// follow keeps the feed open until ctx ends.
func (c *Cache) follow(ctx context.Context) {
	pause := minPause
	for {
		began := c.clock.Now()
		err := c.feed.Follow(ctx, c.staleness/beatsPerLease, c.deliver)
		if ctx.Err() != nil {
			return
		}
		c.stats.breaks.Add(1)
		c.failed(err)
		if time.Duration(c.clock.Now().Mono-began.Mono) > 10*maxPause {
			pause = minPause // it held for a while
		}
		if !sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// failed tells of an error that nobody waits for.
func (c *Cache) failed(err error) {
	if c.onError != nil {
		c.onError(err)
	}
}

// sleep reports whether the pause has passed; it has not when ctx ended before.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// deliver takes one batch of the feed: first what it ends, then what it proves.
func (c *Cache) deliver(b latchkey.Batch) {
	if b.Reset || b.All {
		c.Clear()
		c.changes.forget()
	}
	c.Drop(b.IDs...)
	c.stats.invalidations.Add(uint64(len(b.IDs)))
	if b.Sent != (latchkey.Moment{}) {
		sent := b.Sent
		c.stats.proofs.Add(1)
		c.stats.proofTime.Add(uint64(max(c.clock.Now().Mono-sent.Mono, 0)))
		if last := c.lease.Load(); last == nil || sent.Mono >= last.Mono {
			c.lease.Store(&sent)
		}
	}
	c.changes.lookAfter(c.clock.Now().Mono)
}

// Staleness implements latchkey.Cache.
func (c *Cache) Staleness() time.Duration { return c.staleness }

// Find implements latchkey.Cache.
func (c *Cache) Find(id latchkey.ID, now latchkey.Moment, within time.Duration) (view []byte, touched int64, ok bool) {
	if !c.leased(now, within) {
		c.stats.lapses.Add(1)
		return nil, 0, false
	}
	return c.entries.Get((*[16]byte)(&id))
}

// leased reports whether the feed has delivered everything that was committed
// before now less within.
func (c *Cache) leased(now latchkey.Moment, within time.Duration) bool {
	sent := c.lease.Load()
	return sent != nil && within > 0 && age(sent, now) <= within
}

// age is how long ago a proof was sent, by the clock that says the most. A wall
// clock that was set back counts like one that was set forth.
func age(sent *latchkey.Moment, now latchkey.Moment) time.Duration {
	return time.Duration(max(now.Mono-sent.Mono, now.Wall-sent.Wall, sent.Wall-now.Wall))
}

// Fill implements latchkey.Cache.
func (c *Cache) Fill(f latchkey.Filling, view []byte, touched int64) {
	if f.ID.IsZero() {
		return
	}
	s := c.stripe(f.ID)
	s.Lock()
	defer s.Unlock()
	if !c.fileable(s, f) {
		c.stats.lateFills.Add(1)
		return
	}
	c.entries.Put((*[16]byte)(&f.ID), view, touched)
}

// Touched implements latchkey.Cache.
func (c *Cache) Touched(id latchkey.ID, at int64) { c.entries.Advance((*[16]byte)(&id), at) }

// Drop implements latchkey.Cache. Sessions that are dropped count as changed from
// now on: that is how this node hears of a change whose answer was lost.
func (c *Cache) Drop(ids ...latchkey.ID) {
	c.changes.add(ids, c.clock)
	for _, id := range ids {
		s := c.stripe(id)
		s.Lock()
		s.epoch++
		c.entries.Delete((*[16]byte)(&id))
		s.Unlock()
	}
}

// Clear implements latchkey.Cache. The list of changed sessions stays.
func (c *Cache) Clear() {
	// Fills hold their stripe's lock while they compare and put. With all of them
	// held, no fill that began before is still to come.
	for i := range c.stripes {
		c.stripes[i].Lock()
	}
	c.clears.Add(1)
	c.entries.Clear()
	for i := range c.stripes {
		c.stripes[i].Unlock()
	}
}

// stripe picks by the ID's last byte, which is random.
func (c *Cache) stripe(id latchkey.ID) *stripe { return &c.stripes[int(id[15])%numStripes] }

// counters are kept off the path of a hit.
type counters struct {
	lapses, lateFills, trips, joined, invalidations, breaks atomic.Uint64
	proofs, proofTime                                       atomic.Uint64 // nanoseconds together
}

// Stats are a cache's totals since it was made, and its present size.
type Stats struct {
	Entries, Bytes, MaxBytes int64
	Evictions                uint64
	Trips                    uint64 // reads of the store
	Joined                   uint64 // misses that shared another's trip
	LateFills                uint64 // results not filed because of an invalidation meanwhile
	Lapses                   uint64 // lookups without a lease
	Invalidations            uint64 // sessions named by the feed
	FeedBreaks               uint64 // times the feed had to be opened again
	LeaseAge                 time.Duration
	// Proofs counts the times that the feed proved itself alive, and ProofTime is how
	// long the proofs took together, from being sent to being taken in: the way that
	// an invalidation takes too.
	Proofs    uint64
	ProofTime time.Duration

	Changed         int64  // entries of the list of changed stateless sessions
	ChangedLoaded   bool   // the list is known; without it their rows are asked
	ChangedLoads    uint64 // times it was read from the store
	ChangedOverflow bool   // it was longer than Config.MaxChanged, and is not known since
}

// Stats returns the totals. LeaseAge is negative before the first proof.
func (c *Cache) Stats() Stats {
	e := c.entries.Stats()
	s := Stats{Entries: e.Entries, Bytes: e.Bytes, MaxBytes: e.MaxBytes, Evictions: e.Evictions,
		Trips: c.stats.trips.Load(), Joined: c.stats.joined.Load(), LateFills: c.stats.lateFills.Load(), Lapses: c.stats.lapses.Load(),
		Invalidations: c.stats.invalidations.Load(), FeedBreaks: c.stats.breaks.Load(), LeaseAge: -1,
		Proofs: c.stats.proofs.Load(), ProofTime: time.Duration(c.stats.proofTime.Load())}
	c.changes.stats(&s)
	if sent := c.lease.Load(); sent != nil {
		s.LeaseAge = age(sent, c.clock.Now())
	}
	return s
}

// errNoTrip is the cause when a caller gives up waiting for a shared trip.
var errNoTrip = errors.New("gave up waiting for the store")
