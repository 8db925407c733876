package postgres

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// pooled makes the URL of a store lead through a pooler.
func pooled(pooler *servers.Server, url string) string {
	return strings.Replace(url, pg.Addr, pooler.Addr, 1)
}

// Through a pooler in transaction mode, which is found out, followers poll; with a
// direct URL for the feed they are woken.
func TestThroughPooler(t *testing.T) {
	pooler := servers.StartPgBouncer(t, pg)
	url := newURL(t)
	a := mustOpen(t, Config{URL: pooled(pooler, url), Timeout: time.Minute})
	b := mustOpen(t, Config{URL: pooled(pooler, url), FeedURL: url, Timeout: time.Minute})
	if is := a.Schema(); !is.Pooler || is.Listens {
		t.Errorf("schema is %+v, want a pooler and no listening", is)
	}
	if is := b.Schema(); !is.Pooler || !is.Listens {
		t.Errorf("schema is %+v, want a pooler and listening", is)
	}
	polled, woken := fixture.Follow(t, a, often), fixture.Follow(t, b, seldom)
	fixture.Eventually(t, "the listener", b.hears.Load)
	for range 10 {
		one, two := add(t, a, "ann"), add(t, b, "ann")
		fixture.Get(t, b, one)
		fixture.Revoke(t, a, one)
		fixture.Revoke(t, b, two)
		fixture.Eventually(t, "the other's revocation, by polling", func() bool { return polled.Times(two) == 1 })
		fixture.Eventually(t, "the other's revocation, by notification", func() bool { return woken.Times(one) == 1 })
		if fixture.Get(t, b, one).RevokedAt.IsZero() || fixture.Get(t, a, two).RevokedAt.IsZero() {
			t.Error("a revocation is not seen")
		}
	}
	if polled.Resets()+woken.Resets() != 2 {
		t.Errorf("%d and %d resets, want the first ones only", polled.Resets(), woken.Resets())
	}

	other := newURL(t)
	mustOpen(t, Config{URL: other, Timeout: time.Minute})
	for name, test := range map[string]struct{ feed, say string }{
		"ThroughPooler": {pooled(pooler, url), "leads through a pooler"},
		"OtherDatabase": {strings.Replace(url, "/latchkey?", "/postgres?", 1), "leads to another store"},
		"Unreachable":   {strings.Replace(url, pg.Addr, "127.0.0.1:1", 1), "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), Config{URL: pooled(pooler, url), FeedURL: test.feed, Timeout: 20 * time.Second})
			fixture.Unavailable(t, err, test.say)
		})
	}
	// What the pooler does not pass on, it is told.
	if _, err := Open(t.Context(), Config{URL: pooled(pooler, url) + "&pooler=0", Timeout: 20 * time.Second}); err != nil {
		fixture.Unavailable(t, err, "pooler=1")
	}
	direct := mustOpen(t, Config{URL: url + "&pooler=1", Timeout: time.Minute})
	fixture.Get(t, direct, add(t, direct, "ann"))
	if _, err := direct.Revoke(t.Context(), latchkey.Revocation{Provider: "idp", Subject: "ann"}); err != nil {
		t.Error(fixture.Chain(err))
	}
}

// A pooler goes on serving when the server behind it comes back as a standby. What
// that knows may be old, so that it answers nothing.
func TestPoolerLeadsToStandby(t *testing.T) {
	server := servers.StartPostgres(t)
	pooler := servers.StartPgBouncer(t, server)
	s := mustOpen(t, Config{URL: pooler.URL, Timeout: time.Minute, Readers: 1})
	ids := []latchkey.ID{add(t, s, "ann"), add(t, s, "bob"), signIn(s, "nobody").Record.ID}
	answers := func(want string) {
		t.Helper()
		_, errs := gathered(t, s, ids)
		for i, id := range ids {
			_, err := s.Get(t.Context(), id)
			for _, err := range []error{err, errs[i]} {
				code := latchkey.CodeOf(err)
				if want == "" && (i < 2) == (code == "") && (i < 2 || code == latchkey.CodeNoSuchSession) {
					continue
				}
				if want == "" || code != latchkey.CodeStoreUnavailable || !strings.Contains(fixture.Chain(err), want) {
					t.Errorf("session %d: %q, %s; want it to tell of %q", i, code, fixture.Chain(err), want)
				}
			}
		}
		_, errs = gathered(t, s, ids[2:])
		if code := latchkey.CodeOf(errs[0]); (code == latchkey.CodeNoSuchSession) != (want == "") {
			t.Errorf("an unknown session: %q", code)
		}
		_, errs = gathered(t, s, []latchkey.ID{ids[2], ids[2]})
		if code := latchkey.CodeOf(errs[0]); (code == latchkey.CodeNoSuchSession) != (want == "") {
			t.Errorf("an unknown session twice: %q", code)
		}
		if _, err := s.Changed(t.Context(), latchkey.ID{}, 0); (err == nil) != (want == "") {
			t.Errorf("Changed: %s", fixture.Chain(err))
		}
	}
	answers("")
	server.Terminate(t)
	signal := filepath.Join(server.Dir, "data", "standby.signal")
	if err := os.WriteFile(signal, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	server.Restart(t)
	fixture.Eventually(t, "an answer of the standby", func() bool {
		_, err := s.Get(t.Context(), ids[0])
		return err == nil || strings.Contains(fixture.Chain(err), "standby")
	})
	answers("standby")
	server.Terminate(t)
	if err := os.Remove(signal); err != nil {
		t.Fatal(err)
	}
	server.Restart(t)
	fixture.Eventually(t, "the primary", func() bool {
		_, err := s.Get(t.Context(), ids[0])
		return err == nil
	})
	answers("")
}

// The store is made and migrated through a pooler, too.
func TestMigrateThroughPooler(t *testing.T) {
	pooler := servers.StartPgBouncer(t, pg)
	url := newURL(t)
	if from, to, err := Migrate(t.Context(), Config{URL: pooled(pooler, url), Timeout: time.Minute}); err != nil || from != 0 || to != known() {
		t.Fatalf("from %d to %d, %v", from, to, fixture.Chain(err))
	}
	s := mustOpen(t, Config{URL: pooled(pooler, url), Timeout: time.Minute, MustExist: true})
	fixture.Revoke(t, s, add(t, s, "ann"))
}

// The whole suite, through a pooler in transaction mode and with a polled feed.
func TestConformanceThroughPooler(t *testing.T) {
	pooler := servers.StartPgBouncer(t, pg)
	h := harness("")
	open := func(t *testing.T, url string, o storetest.Options) latchkey.Store {
		return mustOpen(t, Config{URL: url, Clock: o.Clock, Timeout: time.Minute, now: turned(o.Clock)})
	}
	h.Open = func(t *testing.T, o storetest.Options) latchkey.Store { return open(t, pooled(pooler, newURL(t)), o) }
	h.Sessions, h.Histories = servers.Sized(1000, 300), servers.Sized(100, 10)
	storetest.Run(t, h)
}
