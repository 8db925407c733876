package memory

import (
	"context"
	"time"

	"github.com/latchkey-go/latchkey"
)

// Follow implements latchkey.Feed. Batches that pile up while deliver runs are
// merged. A deliver that holds up a change for more than a second, or that itself
// changes this store, is cut off: Follow then returns an error of code
// CodeStoreUnavailable, and the change goes on without it.
//
// The interval is measured by the machine's clock; Sent is a reading of Config.Clock.
func (s *Store) Follow(ctx context.Context, interval time.Duration, deliver func(latchkey.Batch)) error {
	begun := false
	return s.hub.Follow(ctx, interval, func(int64) (latchkey.Batch, error) {
		// Changes are published under this lock, so that what was committed before
		// the reading has been published when it is let go.
		s.mu.RLock()
		defer s.mu.RUnlock()
		b := latchkey.Batch{Reset: !begun, Sent: s.clock.Now()}
		begun = true
		return b, nil
	}, deliver)
}
