package main

import (
	"context"
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

// propagation measures this deployment as its users meet it: a second opening of
// the store is another node, with a near cache of its own; it holds a session in
// memory, the first opening ends the session, and the time runs from the answer
// until the other node refuses.
func (d *doctor) propagation(ctx context.Context, store latchkey.Store) error {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	ring, err := keyring.Generate(d.now)
	if err != nil {
		return err
	}
	here, err := latchkey.New(latchkey.Config{Store: store, Keys: ring})
	if err != nil {
		return err
	}
	defer here.Close(ctx)
	second, err := openExisting(ctx, d.s)
	if err != nil {
		return err
	}
	defer second.Close()
	cache, err := nearcache.New(nearcache.Config{Store: second, Staleness: max(d.s.staleness, nearcache.MinStaleness)})
	if err != nil {
		return err
	}
	cache.Start()
	defer cache.Stop()
	there, err := latchkey.New(latchkey.Config{Store: second, Keys: ring, Cache: cache})
	if err != nil {
		return err
	}
	defer there.Close(ctx)

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
