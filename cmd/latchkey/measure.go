package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
)

const (
	measureRounds  = 8
	measureTimeout = 15 * time.Second
)

// node is this deployment opened once more, as another process would.
type node struct {
	store latchkey.Store
	ring  *keyring.Ring
	cache *nearcache.Cache // nil without one
	m     *latchkey.Manager
}

// nodeOf makes a node of a store that is open, with a near cache unless staleness is
// 0, and a keyring of its own unless it is given one: what it issues is good for
// nobody else.
func nodeOf(store latchkey.Store, ring *keyring.Ring, staleness time.Duration) (n *node, err error) {
	n = &node{store: store, ring: ring}
	if ring == nil {
		if n.ring, err = keyring.Generate(time.Now()); err != nil {
			return nil, err
		}
	}
	cfg := latchkey.Config{Store: store, Keys: n.ring}
	if staleness > 0 {
		if n.cache, err = nearcache.New(nearcache.Config{Store: store, Staleness: staleness}); err != nil {
			return nil, err
		}
		cfg.Cache = n.cache
	}
	if n.m, err = latchkey.New(cfg); err != nil {
		return nil, err
	}
	if n.cache != nil {
		n.cache.Start()
	}
	return n, nil
}

// openNode opens the store for a node, with a near cache if that is wanted.
func openNode(ctx context.Context, s *settings, ring *keyring.Ring, cached bool) (*node, error) {
	staleness := time.Duration(0)
	if cached {
		staleness = max(s.staleness, nearcache.MinStaleness)
	}
	store, err := openExisting(ctx, s)
	if err != nil {
		return nil, err
	}
	n, err := nodeOf(store, ring, staleness)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return n, nil
}

// close ends the node, its store too.
func (n *node) close(ctx context.Context) error {
	err := n.m.Close(ctx)
	if n.cache != nil {
		n.cache.Stop()
	}
	return errors.Join(err, n.store.Close())
}

// propagation measures this deployment as its users meet it: a second opening of
// the store is another node, with a near cache of its own; it holds a session in
// memory, the first opening ends the session, and the time runs from the answer
// until the other node refuses.
func (d *doctor) propagation(ctx context.Context, store latchkey.Store) error {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	first, err := nodeOf(store, nil, 0)
	if err != nil {
		return err
	}
	defer first.m.Close(ctx)
	second, err := openNode(ctx, d.s, first.ring, true)
	if err != nil {
		return err
	}
	defer second.close(ctx)
	here, there := first.m, second.m

	var trips, lags []time.Duration
	who := latchkey.Identity{Provider: "latchkey-doctor", Subject: "propagation"}
	defer func() { _, _ = here.Purge(context.WithoutCancel(ctx), latchkey.Purge{Erase: who}) }()
	for range measureRounds {
		trip, lag, err := oneRevocation(ctx, here, there, store, who)
		if err != nil {
			return err
		}
		trips, lags = append(trips, trip), append(lags, lag)
	}
	slices.Sort(trips)
	slices.Sort(lags)
	half, last := len(lags)/2, len(lags)-1
	status, advice := fine, ""
	if trips[half] > slowTrip/10 {
		status, advice = warn, "each check that memory does not answer waits so long: bring the store nearer"
	}
	d.add("read", status, fmt.Sprintf("a session is read in %s (median of %d), %s at most", fineDuration(trips[half]), len(trips), fineDuration(trips[last])), advice)
	status, advice = fine, ""
	detail := fmt.Sprintf("a session that one node ended is refused by another after %s (median of %d), %s at most", fineDuration(lags[half]), len(lags), fineDuration(lags[last]))
	if bound := max(d.s.staleness, nearcache.MinStaleness); lags[last] > bound/2 {
		status, advice = warn, fmt.Sprintf("the feed is slow: the bound of %s holds all the same, since nodes then ask the store", formatDuration(bound))
	}
	d.add("revocation", status, detail, advice)
	return nil
}

// oneRevocation returns how long a read took, and how long after the revocation's
// answer the other node granted the session.
func oneRevocation(ctx context.Context, here, there *latchkey.Manager, store latchkey.Store, who latchkey.Identity) (trip, lag time.Duration, err error) {
	issued, err := here.Issue(ctx, latchkey.SignIn{Provider: who.Provider, Subject: who.Subject, Lifetime: time.Minute, Idle: time.Minute, By: actor()})
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if _, err := store.Get(ctx, issued.Record.ID); err != nil {
		return 0, 0, err
	}
	trip = time.Since(began)
	look := latchkey.Lookup{Token: issued.Token, Passive: true}
	for hits := there.Stats().Hits; there.Stats().Hits == hits; { // until its memory answers
		if _, err := there.Lookup(ctx, look); err != nil {
			return 0, 0, err
		}
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
	}
	if _, err := here.Revoke(ctx, latchkey.Revocation{ID: issued.Record.ID, By: actor(), Reason: "doctor"}); err != nil {
		return 0, 0, err
	}
	answered := time.Now()
	for {
		_, err := there.Lookup(ctx, look)
		switch {
		case latchkey.CodeOf(err) == latchkey.CodeInvalidSession:
			return trip, time.Since(answered), nil
		case err != nil:
			return 0, 0, err
		}
	}
}

// fineDuration is a short time for people, to a hundredth of a millisecond.
func fineDuration(t time.Duration) string { return t.Round(10 * time.Microsecond).String() }
