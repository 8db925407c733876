package histories

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
)

// node is one of the fleet, in this process or in one of its own.
type node interface {
	issue(ctx context.Context, subject string) (id latchkey.ID, token string, err error)
	// lookup returns the counter in the session's data.
	lookup(ctx context.Context, token string, ask bool) (int, error)
	// update adds one to the counter and returns what it made of it.
	update(ctx context.Context, token string) (int, error)
	renew(ctx context.Context, token string) (next string, err error)
	revoke(ctx context.Context, r latchkey.Revocation) error
	close() error
}

// atLookup is the error of an update or a renewal that came no further than to look the
// session up.
type atLookup struct{ error }

func (e atLookup) Unwrap() error { return e.error }

// errNothing is when nothing was asked of the store that could have changed a session,
// and nothing is known of it.
var errNothing = errors.New("nothing was asked")

// settings are a node's, as they are told to a process.
type settings struct {
	Store     string        `json:"store"` // what it opens; see Config.Processes
	Keys      string        `json:"keys"`  // the keyring's file
	Staleness time.Duration `json:"staleness"`
	Stateless bool          `json:"stateless"`
	Idle      time.Duration `json:"idle"`
}

// local is a node in this process.
type local struct {
	store   latchkey.Store
	cache   *nearcache.Cache
	manager *latchkey.Manager
}

// newLocal makes a node that closes its store.
func newLocal(store latchkey.Store, ring *keyring.Ring, s settings) (*local, error) {
	n := &local{store: store}
	c := latchkey.Config{Store: store, Keys: ring, Stateless: s.Stateless, Idle: s.Idle}
	var err error
	if s.Staleness > 0 {
		if n.cache, err = nearcache.New(nearcache.Config{Store: store, Staleness: s.Staleness, LoadTimeout: callTimeout}); err != nil {
			return nil, err
		}
		n.cache.Start()
		c.Cache = n.cache
	}
	if n.manager, err = latchkey.New(c); err != nil && n.cache != nil {
		n.cache.Stop()
	}
	return n, err
}

func (n *local) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := n.manager.Close(ctx)
	if n.cache != nil {
		n.cache.Stop()
	}
	return errors.Join(err, n.store.Close())
}

func (n *local) issue(ctx context.Context, subject string) (latchkey.ID, string, error) {
	issued, err := n.manager.Issue(ctx, latchkey.SignIn{Subject: subject})
	if err != nil {
		return latchkey.ID{}, "", err
	}
	return issued.Record.ID, issued.Token, nil
}

func (n *local) lookup(ctx context.Context, token string, ask bool) (int, error) {
	s, err := n.manager.Lookup(ctx, latchkey.Lookup{Token: token, AskStore: ask})
	if err != nil {
		return 0, err
	}
	// What the session's data says belongs to the lookup, unless it is read apart.
	value, err := counter.Get(s)
	if err != nil {
		return 0, errNothing
	}
	return value, nil
}

func (n *local) update(ctx context.Context, token string) (int, error) {
	s, err := n.manager.Lookup(ctx, latchkey.Lookup{Token: token})
	if err != nil {
		return 0, atLookup{err}
	}
	var value atomic.Int64 // the function may still run when nobody waits any more
	err = counter.Update(s, func(n int) (int, error) { value.Store(int64(n + 1)); return n + 1, nil })
	if err == nil {
		err = s.Commit(ctx)
	}
	if latchkey.CodeOf(err) == latchkey.CodeConflict {
		err = errNothing // it gave up, and changed nothing
	}
	return int(value.Load()), err
}

func (n *local) renew(ctx context.Context, token string) (string, error) {
	s, err := n.manager.Lookup(ctx, latchkey.Lookup{Token: token})
	if err != nil {
		return "", atLookup{err}
	}
	issued, err := s.Renew(ctx, latchkey.Renewal{})
	if latchkey.CodeOf(err) == latchkey.CodeConflict {
		err = errNothing
	}
	return issued.Token, err
}

func (n *local) revoke(ctx context.Context, r latchkey.Revocation) error {
	_, err := n.manager.Revoke(ctx, r)
	return err
}
