package upstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-go/latchkey"
)

// flight is one lookup on its way through Redis and to the upstream, for any number
// of waiters. It has a goroutine of its own, so that it does not end with the first
// of them. user, err and overtaken are set when done is closed.
type flight struct {
	mark      int64 // the counter at departure
	done      chan struct{}
	user      User
	err       error
	overtaken bool // Redis saw an invalidation since departure
}

// upstreamRest is for how long after a call without an answer stale answers are
// given without another call.
const upstreamRest = time.Second

// ask joins the token's flight or starts it.
//
// Whoever started a flight takes what it brings: it departed after he came. Whoever
// joined takes it unless the user or token was invalidated since it departed,
// because then he may have come after that, and goes again once: a flight that he meets then
// departed after the first had landed, and so after he came.
func (c *Cache) ask(ctx context.Context, s *subject) (User, error) {
	for again := false; ; again = true {
		f, joined, err := c.board(s)
		if err != nil {
			return User{}, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return User{}, unavailable(sayNoUpstream, context.Cause(ctx))
		}
		if f.err == nil && joined && !again && c.passed(f, &s.digest) {
			continue
		}
		return f.user, f.err
	}
}

func (c *Cache) passed(f *flight, digest *[32]byte) bool {
	return f.overtaken || c.userMarks[bucketOf(f.user.ID)].Load() > f.mark || c.tokenMarks[tokenBucket(digest)].Load() > f.mark
}

func (c *Cache) board(s *subject) (f *flight, joined bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f = c.flights[s.digest]; f != nil {
		c.stats.joined.Add(1)
		return f, true, nil
	}
	if c.closed {
		return nil, false, unavailable(sayClosed, nil)
	}
	f = &flight{mark: c.counter.Load(), done: make(chan struct{})}
	c.flights[s.digest] = f
	c.work.Go(func() {
		c.fly(f, s)
		// Off the list before it is done: who goes again must not meet it again.
		c.mu.Lock()
		delete(c.flights, s.digest)
		c.mu.Unlock()
		close(f.done)
	})
	return f, false, nil
}

// fly asks Redis, then the upstream, and files the answer.
func (c *Cache) fly(f *flight, s *subject) {
	c.stats.misses.Add(1)
	at := c.Clock.Now()
	in := c.consult(f, s, at)
	if in.settled {
		return
	}
	if in.fallback && at.Mono < c.downUntil.Load() {
		c.serveStale(f, &in)
		return
	}
	at = c.Clock.Now()
	user, err := c.call(s.token)
	switch {
	case err == nil:
		user.CheckedAt, user.Stale = at.Time().Truncate(time.Microsecond), false
		c.file(f, s, user, in.seen, at)
	case errors.Is(err, latchkey.ErrInvalidSession):
		c.stats.refusals.Add(1)
		f.err = errRefused
		c.refuse(s, at, c.NegativeTTL)
		if in.remnant { // or another process serves it when the upstream is away
			_ = c.remote.drop(c.ctx, &s.digest) // counted there; it ends with its TTL
		}
	case in.fallback:
		c.serveStale(f, &in)
	default:
		c.stats.unavailable.Add(1)
		f.err = err
	}
}

// consulted is what a flight has in hand when it comes to the upstream.
type consulted struct {
	settled  bool // the flight is done
	seen     ticket
	fallback bool // user may be served if the upstream is away
	remnant  bool // Redis holds an entry that is not fresh
	user     User
}

// consult asks Redis, and finds what can stand in for the upstream.
func (c *Cache) consult(f *flight, s *subject, at latchkey.Moment) (in consulted) {
	r := c.remote
	if r == nil {
		in.user, in.fallback = c.held(s, at)
		return in
	}
	got, err := r.read(c.ctx, s, at.Time())
	switch {
	case errors.Is(err, errGarbage):
		c.stats.garbage.Add(1)
		_ = r.repair(c.ctx, &s.digest) // counted there; the next fill overwrites it
		got.known = false
	case err != nil:
		c.stats.passedBy.Add(1)
		in.user, in.fallback = c.held(s, at)
		return in
	}
	switch {
	case got.ended:
		f.err, in.settled = errRefused, true
		c.refuse(s, at, c.ProcessTTL)
		return in
	case got.known && r.distrusts(s, &got.user):
		return consulted{} // nor is anything filed that others would read
	case got.known && !c.believes(&got.user, at.Time()):
		got.known = false
	case got.known && got.fresh > 0:
		c.stats.redisHits.Add(1)
		stale := got.fresh
		if c.ServeStale > 0 {
			stale = got.fresh + c.ServeStale
		}
		f.user, in.settled = got.user, true
		c.keep(s, &f.user, f.mark, at, min(c.ProcessTTL, got.fresh), stale)
		return in
	}
	in.seen = got.seen
	in.remnant = got.known
	if got.known && c.ServeStale > 0 && got.fresh+min(got.stale, c.ServeStale) > 0 {
		in.user, in.fallback = got.user, true
		return in
	}
	// The process may hold it still, where Redis' format has no room for stale ones.
	if u, ok := c.held(s, at); ok {
		if stands, err := r.vouches(c.ctx, s, &u); err == nil && stands {
			in.user, in.fallback = u, true
		}
	}
	return in
}

// held is what the process can serve if the upstream is away, and may.
func (c *Cache) held(s *subject, at latchkey.Moment) (User, bool) {
	if c.ServeStale == 0 {
		return User{}, false
	}
	return c.recallStale(s, at)
}

// maxSkew is how far apart the hosts' clocks may be for entries to be believed.
const maxSkew = time.Minute

// believes holds an entry's own times against this host's clock: the time to live is
// Redis' word alone, and its clock may have been set.
func (c *Cache) believes(u *User, now time.Time) bool {
	age := now.Sub(u.CheckedAt)
	return age >= -maxSkew && age <= c.TTL+c.ServeStale+maxSkew && (u.ExpiresAt.IsZero() || now.Before(u.ExpiresAt)) && u.check() == nil
}

func (c *Cache) serveStale(f *flight, in *consulted) {
	c.stats.stale.Add(1)
	f.user = in.user
	f.user.Stale = true
}

// file keeps an answer in Redis, then in the process.
func (c *Cache) file(f *flight, s *subject, user User, seen ticket, asked latchkey.Moment) {
	fresh, stale := c.TTL, c.ServeStale
	if !user.ExpiresAt.IsZero() {
		left := user.ExpiresAt.Sub(c.Clock.Now().Time())
		if left <= 0 {
			c.stats.refusals.Add(1)
			f.err = errRefused
			c.refuse(s, asked, c.NegativeTTL)
			return
		}
		fresh, stale = min(fresh, left), min(stale, max(0, left-fresh))
	}
	f.user = user
	if c.remote != nil && seen.valid && fresh >= time.Millisecond {
		written, err := c.remote.fill(c.ctx, s, &user, seen, fresh, stale)
		if err == nil && !written {
			c.stats.overtaken.Add(1)
			f.overtaken = true
			return
		}
	}
	c.keep(s, &f.user, f.mark, asked, min(c.ProcessTTL, fresh), fresh+stale)
}

// call asks the upstream within its time and turn.
func (c *Cache) call(token string) (user User, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.UpstreamTimeout)
	defer cancel()
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	case <-ctx.Done():
		return User{}, unavailable(sayNoUpstream, errNoTurn)
	}
	c.stats.calls.Add(1)
	user, err = c.validate(ctx, token)
	if err == nil {
		if err = user.check(); err == nil {
			c.answered()
			return user, nil
		}
	} else if errors.Is(err, latchkey.ErrInvalidSession) {
		c.answered()
		return User{}, errRefused
	}
	c.stats.failures.Add(1)
	c.downUntil.Store(c.Clock.Now().Mono + int64(upstreamRest))
	if !c.down.Swap(true) && c.ctx.Err() == nil {
		c.Log.Warn("the service that keeps the sessions gives no answer", "error", err)
	}
	return User{}, unavailable(sayNoUpstream, err)
}

var errNoTurn = errors.New("upstream: too many calls are under way")

func (c *Cache) answered() {
	if c.down.Load() && c.down.Swap(false) {
		c.downUntil.Store(0)
		c.Log.Info("the service that keeps the sessions answers again")
	}
}

// validate makes an error of a panic: it would end the process, not a request.
func (c *Cache) validate(ctx context.Context, token string) (user User, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("upstream: %T panicked", c.Upstream)
		}
	}()
	return c.Upstream.Validate(ctx, token)
}
