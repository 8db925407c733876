package upstream

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/nearcache/slab"
)

// Cache answers lookups. Make one with New; all methods are safe for concurrent use.
type Cache struct {
	settings
	remote *remote // nil without Redis

	users   *slab.Cache // entries of users
	refused *slab.Cache // entries of refused tokens

	// counter is raised by every invalidation of this process, and the marks hold it
	// at the last invalidation of each bucket of users and of tokens. An
	// entry carries the counter of when its lookup began: it counts while no mark is above.
	counter    atomic.Int64
	userMarks  [buckets]atomic.Int64
	tokenMarks [buckets]atomic.Int64

	mu      sync.Mutex
	flights map[[32]byte]*flight
	closed  bool

	turns     chan struct{} // one for each call of the upstream under way
	downUntil atomic.Int64  // monotonic: until then stale answers are given without asking
	down      atomic.Bool   // the last call got no answer

	ctx    context.Context // of flights and the keeper
	cancel context.CancelFunc
	work   sync.WaitGroup

	stats counters
}

// New returns a cache, or an error (invalid_request) that lists everything wrong
// with the configuration. A Redis that cannot be reached is no error: the cache works
// without it until it can. With a Redis the cache has a goroutine; Close stops it.
func New(cfg Config) (*Cache, error) {
	s, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	c := &Cache{settings: s, flights: make(map[[32]byte]*flight), turns: make(chan struct{}, s.MaxCalls)}
	if c.users, err = slab.New(slab.Config{MaxBytes: s.MaxBytes / 8 * 7}); err != nil {
		return nil, err
	}
	if c.refused, err = slab.New(slab.Config{MaxBytes: s.MaxBytes / 8}); err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if s.Redis.URL != "" {
		c.remote = newRemote(&s)
		if err := c.remote.connect(); err != nil {
			c.remote.gone(err)
		}
		c.work.Go(func() { c.remote.keep(c.ctx) })
	}
	return c, nil
}

// Close ends the lookups under way and waits for them and for the cache's
// goroutines. Lookups afterwards are unavailable. Invalidations that still wait for
// Redis are lost; Stats tells how many. It may be called twice.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.work.Wait()
	return nil
}

// Lookup returns the user whose session the token is. The error is of code
// invalid_session when the upstream says that it is nobody's, or store_unavailable
// when nobody could say, or ctx ended first. A hit in the process allocates nothing for tokens up to 512 bytes.
func (c *Cache) Lookup(ctx context.Context, token string) (User, error) {
	var u User
	if !plausible(token) {
		c.stats.implausible.Add(1)
		return u, errRefused
	}
	var buf [512]byte // on the stack, which a conversion of the token is not
	digest := sha256.Sum256(append(buf[:0], token...))
	now := c.Clock.Now()
	switch c.recall(&digest, now, &u) {
	case recallUser:
		c.stats.hits.Add(1)
		return u, nil
	case recallRefused:
		c.stats.refusedHits.Add(1)
		return User{}, errRefused
	}
	return c.ask(ctx, &subject{token: token, digest: digest})
}

type recalled int

const (
	recallNothing recalled = iota
	recallUser
	recallRefused
)

// An entry in the process: the second half of the digest (the first is its key),
// the user's bucket, four limits in nanoseconds, then the packed user, nothing for a refused token.
const (
	entryFreshMono = 16 + 2 + 8*iota
	entryFreshWall
	entryStaleMono
	entryStaleWall
	entryUser
)

// recall looks into the process cache. What it finds is fresh by both clocks: the
// monotonic one stands still in a suspended machine, and the other can be set back.
func (c *Cache) recall(digest *[32]byte, now latchkey.Moment, u *User) recalled {
	key := (*[16]byte)(digest[:16])
	if e, mark, ok := c.users.Get(key); ok && c.stands(e, digest, mark) && within(e[entryFreshMono:], now) {
		if decodeUser(e[entryUser:], u) == nil {
			return recallUser
		}
	}
	// A refusal counts before an invalidation as well as after it.
	if c.isRefused(digest, now) {
		return recallRefused
	}
	return recallNothing
}

func (c *Cache) isRefused(digest *[32]byte, now latchkey.Moment) bool {
	e, _, ok := c.refused.Get((*[16]byte)(digest[:16]))
	return ok && sameDigest(e, digest) && within(e[entryFreshMono:], now)
}

// recallStale finds an entry that is past its time but not past ServeStale.
func (c *Cache) recallStale(digest *[32]byte, now latchkey.Moment) (u User, ok bool) {
	e, mark, ok := c.users.Get((*[16]byte)(digest[:16]))
	if !ok || !c.stands(e, digest, mark) || !within(e[entryStaleMono:], now) || decodeUser(e[entryUser:], &u) != nil {
		return User{}, false
	}
	return u, true
}

// stands reports that an entry is the token's and neither it nor its user was invalidated.
func (c *Cache) stands(e []byte, digest *[32]byte, mark int64) bool {
	return c.userMarks[binary.LittleEndian.Uint16(e[16:])].Load() <= mark &&
		c.tokenMarks[tokenBucket(digest)].Load() <= mark && sameDigest(e, digest)
}

func sameDigest(e []byte, digest *[32]byte) bool {
	return subtle.ConstantTimeCompare(e[:16], digest[16:]) == 1
}

func tokenBucket(digest *[32]byte) uint16 {
	return binary.LittleEndian.Uint16(digest[:]) % buckets
}

func within(limits []byte, now latchkey.Moment) bool {
	return now.Mono < int64(binary.LittleEndian.Uint64(limits)) && now.Wall < int64(binary.LittleEndian.Uint64(limits[8:]))
}

// keep files a user under the counter that its lookup began with. A fill that was
// overtaken by an invalidation may be filed: it does not stand.
func (c *Cache) keep(digest *[32]byte, u *User, mark int64, since latchkey.Moment, fresh, stale time.Duration) {
	limit := int64(1<<63 - 1)
	if !u.ExpiresAt.IsZero() {
		limit = u.ExpiresAt.UnixNano()
	}
	e := make([]byte, entryUser, entryUser+2+4*8+5*2+len(u.ID)+len(u.Email)+len(u.Name)+len(u.Tier)+len(u.Claims)+3)
	copy(e, digest[16:])
	le := binary.LittleEndian
	le.PutUint16(e[16:], bucketOf(u.ID))
	le.PutUint64(e[entryFreshMono:], uint64(since.Mono+int64(fresh)))
	le.PutUint64(e[entryFreshWall:], uint64(min(since.Wall+int64(fresh), limit)))
	le.PutUint64(e[entryStaleMono:], uint64(since.Mono+int64(stale)))
	le.PutUint64(e[entryStaleWall:], uint64(min(since.Wall+int64(stale), limit)))
	key := (*[16]byte)(digest[:16])
	c.users.Put(key, appendUser(e, u), mark)
	if c.isRefused(digest, since) { // refused meanwhile: see InvalidateToken
		c.users.Delete(key)
	}
}

// refuse files a refusal. What was known of the token is forgotten.
func (c *Cache) refuse(digest *[32]byte, since latchkey.Moment, d time.Duration) {
	key := (*[16]byte)(digest[:16])
	c.users.Delete(key)
	if d <= 0 {
		return
	}
	var e [entryStaleMono]byte
	copy(e[:], digest[16:])
	binary.LittleEndian.PutUint64(e[entryFreshMono:], uint64(since.Mono+int64(d)))
	binary.LittleEndian.PutUint64(e[entryFreshWall:], uint64(since.Wall+int64(d)))
	c.refused.Put(key, e[:], 0)
}

// InvalidateUser voids what is known of a user's sessions: after a change of the
// password, the address, the tier. Tokens that the upstream still accepts are asked
// about anew and go on. When Redis does not take it the error is of code
// store_unavailable: it is in force in this process, is tried again until it no longer
// matters, and other processes may serve what they share for Config.TTL and
// Config.ServeStale. It does not end with ctx; Redis' timeout bounds it.
func (c *Cache) InvalidateUser(ctx context.Context, id string) error {
	if id == "" || len(id) > MaxText || hasControl(id) {
		err := latchkey.NewError(latchkey.CodeInvalidRequest, "upstream: no user can have this ID", nil)
		err.Fields = []latchkey.FieldError{{Field: "id", Detail: "must have 1 to 512 bytes without control characters"}}
		return err
	}
	return c.invalidate(ctx, &c.userMarks[bucketOf(id)], func(ctx context.Context) error { return c.remote.endUserOrWait(ctx, id) })
}

// InvalidateToken ends a session here, at logout: the token is refused without
// asking the upstream for Config.TTL and a little more (without Redis: while there is
// room for it), so that it does not matter whether the upstream ends the session
// before or after. Errors are as those of InvalidateUser.
func (c *Cache) InvalidateToken(ctx context.Context, token string) error {
	if !plausible(token) {
		return nil // never was a session
	}
	digest := sha256.Sum256([]byte(token))
	// First, so that a flight that departs from now on finds it when it lands.
	c.refuse(&digest, c.Clock.Now(), c.TTL+c.ServeStale+c.UpstreamTimeout)
	return c.invalidate(ctx, &c.tokenMarks[tokenBucket(&digest)], func(ctx context.Context) error { return c.remote.endTokenOrWait(ctx, &digest) })
}

// invalidate raises the mark before Redis is told, so that this process is done even
// if Redis fails, and after, because a lookup may have read the entry in between.
func (c *Cache) invalidate(ctx context.Context, mark *atomic.Int64, tell func(context.Context) error) error {
	c.stats.invalidations.Add(1)
	c.raise(mark)
	if c.remote == nil {
		return nil
	}
	err := tell(context.WithoutCancel(ctx))
	c.raise(mark)
	if err != nil {
		return unavailable("the invalidation is in force in this process only until Redis answers; it will be tried again", err)
	}
	return nil
}

// raise takes the next number and lifts the mark to it.
func (c *Cache) raise(mark *atomic.Int64) {
	n := c.counter.Add(1)
	for {
		old := mark.Load()
		if old >= n || mark.CompareAndSwap(old, n) {
			return
		}
	}
}

// Health reports what is wrong now: a Redis that does not answer a PING, an upstream
// whose last call got no answer. Nil is well. The cache works either way, so it is a
// matter for an operator and not for a readiness probe.
func (c *Cache) Health(ctx context.Context) error {
	var errs []error
	if c.remote != nil {
		if err := c.remote.ping(ctx); err != nil {
			errs = append(errs, unavailable("the session cache's Redis gives no answer", err))
		}
	}
	if c.down.Load() {
		errs = append(errs, unavailable(sayNoUpstream, nil))
	}
	return errors.Join(errs...)
}
