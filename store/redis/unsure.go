package redis

import (
	"context"
	"time"

	"github.com/latchkey-go/latchkey"
)

// doubted notes that nobody knows whether a change of a session was made and is there to
// stay, when err says so. It returns err.
func (s *Store) doubted(id latchkey.ID, err error) error {
	if s.confirm > 0 && latchkey.CodeOf(err) == latchkey.CodeStoreUnavailable {
		s.unsure.Add(id)
	}
	return err
}

// confirmed waits until replicas have whatever a server has done so far, where somebody
// is about to rely on what was just read of a session.
func (s *Store) confirmed(ctx context.Context, n *node, id latchkey.ID) error {
	if !s.unsure.Has(id) {
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
	s.unsure.Settle(id)
	return n.usable()
}
