package upstream

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash/maphash"
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

	seed    maphash.Seed
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
	c := &Cache{settings: s, flights: make(map[[32]byte]*flight), turns: make(chan struct{}, s.MaxCalls), seed: maphash.MakeSeed()}
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
// when nobody could say, or ctx ended first. A hit in the process allocates nothing.
func (c *Cache) Lookup(ctx context.Context, token string) (User, error) {
	var u User
	if len(token) > MaxToken {
		c.stats.implausible.Add(1)
		return u, errRefused
	}
	now := c.Clock.Now()
	key := c.keyOf(token)
	if e, mark, ok := c.users.Get(&key); ok && c.stands(e, token, mark) && within(e[entryFreshMono:], now) && decodeUser(userIn(e), &u) == nil {
		c.stats.hits.Add(1)
		return u, nil
	}
	if !plausible(token) { // none of these is ever filed, so that hits need no look
		c.stats.implausible.Add(1)
		return User{}, errRefused
	}
	s := newSubject(c, token)
	if c.isRefused(&s.digest, now) {
		c.stats.refusedHits.Add(1)
		return User{}, errRefused
	}
	return c.ask(ctx, s)
}

// subject is what is looked up: a token, its SHA-256, and its key in the process.
type subject struct {
	token  string
	digest [32]byte
	key    [16]byte
}

func newSubject(c *Cache, token string) *subject {
	return &subject{token: token, digest: sha256.Sum256([]byte(token)), key: c.keyOf(token)}
}

// keyOf is a token's place in the process. SHA-256 would take longer than all the
// rest of a hit. A hash that is merely fast does here because it decides nothing: the entry holds the
// token, and equality does. The seed is this process' secret, so that who
// asks can neither aim at a place nor learn from the time a comparison takes: it is
// made only where all 64 bits agree.
func (c *Cache) keyOf(token string) (key [16]byte) {
	binary.LittleEndian.PutUint64(key[:], maphash.String(c.seed, token))
	binary.LittleEndian.PutUint64(key[8:], uint64(len(token)))
	return key
}

// An entry in the process: the buckets of its user and token, four limits in
// nanoseconds, the length of the token, the token, the packed user.
const (
	entryUserBucket  = 0
	entryTokenBucket = 2
	entryFreshMono   = 4
	entryFreshWall   = 12
	entryStaleMono   = 20
	entryStaleWall   = 28
	entryLength      = 36
	entryToken       = 38
)

// recallStale finds an entry that is past its time but not past ServeStale.
func (c *Cache) recallStale(s *subject, now latchkey.Moment) (u User, ok bool) {
	e, mark, ok := c.users.Get(&s.key)
	if !ok || !c.stands(e, s.token, mark) || !within(e[entryStaleMono:], now) || decodeUser(userIn(e), &u) != nil {
		return User{}, false
	}
	return u, true
}

// stands reports that an entry is the token's and neither it nor its user was invalidated.
func (c *Cache) stands(e []byte, token string, mark int64) bool {
	le := binary.LittleEndian
	return c.userMarks[le.Uint16(e[entryUserBucket:])%buckets].Load() <= mark &&
		c.tokenMarks[le.Uint16(e[entryTokenBucket:])%buckets].Load() <= mark &&
		string(e[entryToken:entryToken+int(le.Uint16(e[entryLength:]))]) == token
}

func userIn(e []byte) []byte {
	return e[entryToken+int(binary.LittleEndian.Uint16(e[entryLength:])):]
}

// isRefused looks among the refused tokens, which are held by their hash: there are
// as many as anybody cares to send, and of any length.
func (c *Cache) isRefused(digest *[32]byte, now latchkey.Moment) bool {
	e, _, ok := c.refused.Get((*[16]byte)(digest[:16]))
	return ok && subtle.ConstantTimeCompare(e[:16], digest[16:]) == 1 && within(e[16:], now)
}

func tokenBucket(digest *[32]byte) uint16 {
	return binary.LittleEndian.Uint16(digest[:]) % buckets
}

// within reports that a pair of limits is ahead by both clocks: the monotonic one
// stands still in a suspended machine, and the other can be set back.
func within(limits []byte, now latchkey.Moment) bool {
	return now.Mono < int64(binary.LittleEndian.Uint64(limits)) && now.Wall < int64(binary.LittleEndian.Uint64(limits[8:]))
}

// keep files a user under the counter that its lookup began with. A fill that was
// overtaken by an invalidation may be filed: it does not stand.
func (c *Cache) keep(s *subject, u *User, mark int64, since latchkey.Moment, fresh, stale time.Duration) {
	limit := int64(1<<63 - 1)
	if !u.ExpiresAt.IsZero() {
		limit = u.ExpiresAt.UnixNano()
	}
	e := make([]byte, entryToken, entryToken+len(s.token)+2+4*8+5*3+len(u.ID)+len(u.Email)+len(u.Name)+len(u.Tier)+len(u.Claims))
	le := binary.LittleEndian
	le.PutUint16(e[entryUserBucket:], bucketOf(u.ID))
	le.PutUint16(e[entryTokenBucket:], tokenBucket(&s.digest))
	le.PutUint64(e[entryFreshMono:], uint64(since.Mono+int64(fresh)))
	le.PutUint64(e[entryFreshWall:], uint64(min(since.Wall+int64(fresh), limit)))
	le.PutUint64(e[entryStaleMono:], uint64(since.Mono+int64(stale)))
	le.PutUint64(e[entryStaleWall:], uint64(min(since.Wall+int64(stale), limit)))
	le.PutUint16(e[entryLength:], uint16(len(s.token))) // at most MaxToken
	c.users.Put(&s.key, appendUser(append(e, s.token...), u), mark)
	if c.isRefused(&s.digest, since) { // refused meanwhile: see InvalidateToken
		c.users.Delete(&s.key)
	}
}

// refuse files a refusal. What was known of the token is forgotten.
func (c *Cache) refuse(s *subject, since latchkey.Moment, d time.Duration) {
	if d > 0 {
		var e [16 + 2*8]byte
		copy(e[:], s.digest[16:])
		binary.LittleEndian.PutUint64(e[16:], uint64(since.Mono+int64(d)))
		binary.LittleEndian.PutUint64(e[24:], uint64(since.Wall+int64(d)))
		c.refused.Put((*[16]byte)(s.digest[:16]), e[:], 0)
	}
	c.users.Delete(&s.key) // after the refusal stands: see keep
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
	s := newSubject(c, token)
	// First, so that a flight that departs from now on finds it when it lands.
	c.refuse(s, c.Clock.Now(), c.TTL+c.ServeStale+c.UpstreamTimeout)
	return c.invalidate(ctx, &c.tokenMarks[tokenBucket(&s.digest)], func(ctx context.Context) error { return c.remote.endTokenOrWait(ctx, &s.digest) })
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
