package upstream

import (
	"context"
	"time"
)

// maxPending bounds the invalidations that wait for Redis.
const maxPending = 1 << 16

// pendingKey is a user's ID, or a token's hash.
type pendingKey struct {
	user  string
	token [32]byte
}

// pendingOp tells until when an invalidation matters: what was cached before it is
// gone by then. made orders two of one key.
type pendingOp struct {
	made  uint64
	until int64 // monotonic
}

// endUserOrWait invalidates a user in Redis, or leaves it to the keeper and returns the error.
func (r *remote) endUserOrWait(ctx context.Context, id string) error {
	err := r.firm.endUser(ctx, id, r.clock.Now().Time())
	if err != nil {
		r.postpone(pendingKey{user: id})
	}
	return err
}

// endTokenOrWait is endUserOrWait for a token.
func (r *remote) endTokenOrWait(ctx context.Context, digest *[32]byte) error {
	err := r.firm.endToken(ctx, digest, r.keepFor)
	if err != nil {
		r.postpone(pendingKey{token: *digest})
	}
	return err
}

func (r *remote) postpone(key pendingKey) {
	now := r.clock.Now().Mono
	r.mu.Lock()
	if _, there := r.pending[key]; !there && len(r.pending) >= maxPending {
		for k, op := range r.pending {
			if op.until <= now {
				delete(r.pending, k)
			}
		}
	}
	if _, there := r.pending[key]; there || len(r.pending) < maxPending {
		r.pending[key] = pendingOp{made: r.pending[key].made + 1, until: now + int64(r.keepFor)}
	} else {
		r.lost.Add(1)
	}
	r.waiting.Store(int64(len(r.pending)))
	r.mu.Unlock()
	r.nudge()
}

// distrusts reports that an invalidation of this user or token did not reach Redis
// yet, so that what Redis says of them does not count.
func (r *remote) distrusts(s *subject, u *User) bool {
	if r.waiting.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, yes := r.pending[pendingKey{user: u.ID}]; yes {
		return true
	}
	_, yes := r.pending[pendingKey{token: s.digest}]
	return yes
}

// settle carries out what waits and reports whether nothing waits any more.
func (r *remote) settle(ctx context.Context) bool {
	r.mu.Lock()
	work := make(map[pendingKey]pendingOp, len(r.pending))
	for k, op := range r.pending {
		work[k] = op
	}
	r.mu.Unlock()
	for key, op := range work {
		if now := r.clock.Now(); op.until > now.Mono && !r.carryOut(ctx, key, now.Time()) {
			return false
		}
		r.mu.Lock()
		if r.pending[key].made == op.made {
			delete(r.pending, key)
		}
		r.waiting.Store(int64(len(r.pending)))
		r.mu.Unlock()
	}
	return r.waiting.Load() == 0
}

func (r *remote) carryOut(ctx context.Context, key pendingKey, now time.Time) bool {
	if key.user != "" {
		return r.firm.endUser(ctx, key.user, now) == nil
	}
	return r.firm.endToken(ctx, &key.token, r.keepFor) == nil
}
