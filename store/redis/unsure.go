package redis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey"
)

// unsure are sessions with a change of which nobody knows whether replicas have it: too
// few confirmed it, or its answer was lost. Whoever made it reads the session to find
// out, and where the primary has the change that may be undone by a failover still. So
// what is read of these sessions is answered when replicas have it.
type unsure struct {
	some atomic.Bool // there are some; most of the time there are none

	mu    sync.Mutex
	since map[latchkey.ID]time.Time
	all   time.Time // when there were too many to be told apart
}

const (
	// unsureFor is how long a session is remembered at least. Its reader comes at once.
	unsureFor = 10 * time.Second
	// unsureMost bounds how many are remembered.
	unsureMost = 4096
)

// add notes a session.
func (u *unsure) add(id latchkey.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if len(u.since) >= unsureMost {
		for id, at := range u.since {
			if now.Sub(at) > unsureFor {
				delete(u.since, id)
			}
		}
	}
	if len(u.since) >= unsureMost {
		u.all = now
	} else {
		if u.since == nil {
			u.since = make(map[latchkey.ID]time.Time)
		}
		u.since[id] = now
	}
	u.some.Store(true)
}

// has reports whether a session is among them.
func (u *unsure) has(id latchkey.ID) bool {
	if !u.some.Load() {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.since[id]
	return ok || !u.all.IsZero() && time.Since(u.all) < unsureFor
}

// settle forgets a session that replicas have as it was read, unless what is not known
// of it is so recent that it may still be on its way.
func (u *unsure) settle(id latchkey.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if at, ok := u.since[id]; ok && time.Since(at) > unsureFor {
		delete(u.since, id)
	}
	if len(u.since) == 0 && time.Since(u.all) > unsureFor {
		u.some.Store(false)
	}
}

// doubted notes that nobody knows whether a change of a session was made and is there to
// stay, when err says so. It returns err.
func (s *Store) doubted(id latchkey.ID, err error) error {
	if s.confirm > 0 && latchkey.CodeOf(err) == latchkey.CodeStoreUnavailable {
		s.unsure.add(id)
	}
	return err
}

// confirmed waits until replicas have whatever a server has done so far, where somebody
// is about to rely on what was just read of a session.
func (s *Store) confirmed(ctx context.Context, n *node, id latchkey.ID) error {
	if !s.unsure.has(id) {
		return nil
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	c, key := n.client(), n.line.beatChannel()
	both := c.DoMulti(ctx, c.B().Set().Key(key).Value("").Px(time.Minute).Build(),
		c.B().Wait().Numreplicas(int64(s.confirm)).Timeout(waitMillis(ctx)).Build())
	if err := both[0].Error(); err != nil {
		return unavailable(err)
	}
	replicas, err := both[1].AsInt64()
	if err != nil {
		return unavailable(err)
	}
	if replicas < int64(s.confirm) {
		return unavailable(errUnconfirmed)
	}
	s.unsure.settle(id)
	return n.usable()
}
