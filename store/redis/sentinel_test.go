package redis

import (
	"context"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

func openURL(t *testing.T, url string) *Store {
	t.Helper()
	cfg, err := ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Prefix = defaultPrefix // the servers are the test's own
	return mustOpen(t, cfg)
}

// proven waits until the feed gives a proof.
func proven(t *testing.T, s *Store) {
	t.Helper()
	fixture.Eventually(t, "a proof", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return s.Follow(ctx, 20*time.Millisecond, func(b latchkey.Batch) {
			if b.Sent != (latchkey.Moment{}) {
				cancel()
			}
		}) == context.Canceled
	})
}

func TestSentinelFailover(t *testing.T) {
	group := servers.StartRedisSentinel(t, "--appendonly", "yes")
	s, other := openURL(t, group.URL+"?timeout=2s"), openURL(t, group.URL+"?timeout=2s")
	live, ended := add(t, s), add(t, s)
	f := follow(t, other)
	if _, err := s.Revoke(t.Context(), fixture.Revocation(ended)); err != nil {
		t.Fatal(fixture.Chain(err))
	}
	f.Await(t, "the revocation", func(b latchkey.Batch) bool { return len(b.IDs) == 1 && b.IDs[0] == ended })

	primary := group.Primary(t)
	primary.Kill(t)
	if err := f.Ended(); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Errorf("Follow ended with %v", err)
	}
	for _, node := range []*Store{s, other} {
		fixture.Eventually(t, "an answer", func() bool { _, err := node.Get(t.Context(), live); return err == nil })
		if rec, err := node.Get(t.Context(), ended); err != nil || rec.RevokedAt.IsZero() {
			t.Errorf("a confirmed revocation after the failover: %+v, %v", rec, fixture.Chain(err))
		}
		proven(t, node)
	}
	// The test's own look at the sentinels may be behind that of the store.
	fixture.Eventually(t, "another primary", func() bool { return group.Primary(t).Addr != primary.Addr })
	if _, err := s.Revoke(t.Context(), fixture.Revocation(live)); err != nil {
		t.Errorf("Revoke after the failover: %v", fixture.Chain(err))
	}
	if rec, err := other.Get(t.Context(), live); err != nil || rec.RevokedAt.IsZero() {
		t.Errorf("revoked on one node after the failover, %+v, %v on the other", rec, err)
	}
}

// A primary without replicas may have been replaced: what it says counts as nothing.
func TestSentinelCutOff(t *testing.T) {
	group := servers.StartRedisSentinel(t)
	s := openURL(t, group.URL+"?timeout=2s&lease=2s")
	id := add(t, s)
	if _, err := s.Get(t.Context(), id); err != nil {
		t.Fatal(fixture.Chain(err))
	}
	// Nobody is left to take over, and nobody to confirm.
	for _, server := range append(group.Sentinels, group.Servers[1:]...) {
		server.Stop(t)
	}
	fixture.Eventually(t, "a refusal", func() bool { _, err := s.Get(t.Context(), id); return err != nil })
	_, err := s.Get(t.Context(), id)
	wantUnavailable(t, "Get", err, "")
	_, err = s.Revoke(t.Context(), fixture.Revocation(id))
	wantUnavailable(t, "Revoke", err, "")
	_, err = s.Create(t.Context(), session(s))
	wantUnavailable(t, "Create", err, "")
	for _, server := range append(group.Sentinels, group.Servers[1:]...) {
		server.Continue(t)
	}
	fixture.Eventually(t, "an answer", func() bool { _, err := s.Get(t.Context(), id); return err == nil })
}

func TestSentinelRefuses(t *testing.T) {
	group := servers.StartRedisSentinel(t)
	for url, because := range map[string]string{
		"redis+sentinel://" + group.Sentinels[0].Addr + "/nobody": "no sentinel names a primary",
		"redis+sentinel://127.0.0.1:1/main":                       "no sentinel names a primary",
		"redis://" + group.Sentinels[0].Addr:                      "sentinel",
		"redis://" + group.Servers[1].Addr:                        "replica",
		group.URL + "?wait=3&timeout=1s":                          "too few replicas",
	} {
		cfg, err := ParseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), cfg)
		if err == nil {
			s.Close()
		}
		wantUnavailable(t, url, err, because)
	}
}
