// Package unsure remembers sessions with a change of which nobody knows whether it is
// there to stay: its answer was lost, or said that too few have it. Whoever made the
// change reads the session to find out, and what a server shows then may be undone
// still, by a failover or a crash. So what is read of these sessions is answered when
// the server has been made sure of it.
package unsure

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey"
)

// Set is such sessions. Its zero value is empty; it is safe for concurrent use.
type Set struct {
	some atomic.Bool // there are some; most of the time there are none

	mu    sync.Mutex
	since map[latchkey.ID]time.Time
	all   time.Time // when there were too many to be told apart
}

const (
	// lasts is how long a session is remembered at least. Its reader comes at once.
	lasts = 10 * time.Second
	// most bounds how many are remembered.
	most = 4096
)

// Add notes a session.
func (u *Set) Add(id latchkey.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if len(u.since) >= most {
		for id, at := range u.since {
			if now.Sub(at) > lasts {
				delete(u.since, id)
			}
		}
	}
	if len(u.since) >= most {
		u.all = now
	} else {
		if u.since == nil {
			u.since = make(map[latchkey.ID]time.Time)
		}
		u.since[id] = now
	}
	u.some.Store(true)
}

// Has reports whether a session is among them. Where there are none it costs next to
// nothing.
func (u *Set) Has(id latchkey.ID) bool {
	if !u.some.Load() {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.since[id]
	return ok || !u.all.IsZero() && time.Since(u.all) < lasts
}

// Settle forgets a session that is sure as it was read, unless what is not known of it
// is so recent that it may still be on its way.
func (u *Set) Settle(id latchkey.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if at, ok := u.since[id]; ok && time.Since(at) > lasts {
		delete(u.since, id)
	}
	if len(u.since) == 0 && time.Since(u.all) > lasts {
		u.some.Store(false)
	}
}
