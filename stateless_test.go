package latchkey_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// stateless adds what stateless sessions need to a configuration.
func stateless(t *testing.T) func(*latchkey.Config) {
	return func(c *latchkey.Config) {
		withCache(t)(c)
		c.Stateless = true
	}
}

// believed waits until tokens are believed, and then returns how many reads of the
// store n further checks of token cost.
func believed(t *testing.T, m *latchkey.Manager, token string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		before := m.Stats().Loads
		if _, err := m.Lookup(context.Background(), latchkey.Lookup{Token: token, Passive: true}); err == nil && m.Stats().Loads == before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the token is never believed")
		}
	}
}

func TestStatelessReadsNothing(t *testing.T) {
	m, store, _ := setup(t, stateless(t))
	issued, err := m.Issue(t.Context(), latchkey.SignIn{Subject: "ann", Provider: "p", Email: "ann@example.com", Name: "Ann",
		Roles: []string{"admin", "dev"}, Methods: []string{"pwd"}, Assurance: "aal2", SID: "sid-1", IP: "192.0.2.7", UserAgent: "curl/8"})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(issued.Token, "lk_Ag") || len(issued.Token) <= latchkey.TokenLength {
		t.Fatalf("a token of %d characters that begins %.6s", len(issued.Token), issued.Token)
	}
	believed(t, m, issued.Token)
	before := m.Stats()
	for range 100 {
		s, err := m.Read(httptest.NewRecorder(), request(issued.Token))
		if err != nil || s.Subject() != "ann" {
			t.Fatal(s.Subject(), err)
		}
	}
	s := lookup(t, m, issued.Token) // from the row
	told, err := m.Read(httptest.NewRecorder(), request(issued.Token))
	if err != nil || !sameInfo(told.Info(), s.Info()) {
		t.Errorf("the token tells %+v, the row %+v (%v)", told.Info(), s.Info(), err)
	}
	if loads := m.Stats().Loads - before.Loads; loads != 1 {
		t.Errorf("%d reads of the store, want the one that was asked for", loads)
	}
	rec, err := store.Get(t.Context(), issued.Record.ID)
	if err != nil || !rec.Stateless {
		t.Errorf("row %+v, %v", rec, err)
	}
}

// sameInfo compares what a token can tell.
func sameInfo(a, b latchkey.Info) bool {
	return a.ID == b.ID && a.Subject == b.Subject && a.Provider == b.Provider && a.Email == b.Email && a.Name == b.Name &&
		strings.Join(a.Roles, ",") == strings.Join(b.Roles, ",") && strings.Join(a.Methods, ",") == strings.Join(b.Methods, ",") &&
		a.Assurance == b.Assurance && a.SID == b.SID && a.IP == b.IP && a.UserAgent == b.UserAgent && a.Version == b.Version &&
		a.CreatedAt.Equal(b.CreatedAt) && a.ExpiresAt.Equal(b.ExpiresAt) && a.AuthTime.Equal(b.AuthTime)
}

// Whatever ends a session, its token is refused from the moment that the change
// was acknowledged, by the node that made it.
func TestStatelessEnds(t *testing.T) {
	ctx := context.Background()
	for name, end := range map[string]func(m *latchkey.Manager, s latchkey.Session) error{
		"revoke": func(m *latchkey.Manager, s latchkey.Session) error {
			_, err := m.Revoke(ctx, latchkey.Revocation{ID: s.ID(), By: "admin", Reason: "test"})
			return err
		},
		"identity": func(m *latchkey.Manager, s latchkey.Session) error {
			_, err := m.Revoke(ctx, latchkey.Revocation{Provider: "local", Subject: "ann", By: "admin"})
			return err
		},
		"sid": func(m *latchkey.Manager, s latchkey.Session) error {
			_, err := m.Revoke(ctx, latchkey.Revocation{Provider: "local", SID: "sid-1", By: "admin"})
			return err
		},
		"everything": func(m *latchkey.Manager, s latchkey.Session) error {
			_, err := m.Revoke(ctx, latchkey.Revocation{All: true, By: "admin"})
			return err
		},
		"logout": func(m *latchkey.Manager, s latchkey.Session) error { return s.End(ctx) },
		"renewal": func(m *latchkey.Manager, s latchkey.Session) error {
			_, err := s.Renew(ctx, latchkey.Renewal{Roles: []string{"none"}})
			return err
		},
		"sign-in-again": func(m *latchkey.Manager, s latchkey.Session) error {
			return s.SignIn(ctx, latchkey.SignIn{Subject: "bob"})
		},
		"erasure": func(m *latchkey.Manager, s latchkey.Session) error {
			_, err := m.Purge(ctx, latchkey.Purge{Erase: latchkey.Identity{Provider: "local", Subject: "ann"}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, _, _ := setup(t, stateless(t))
			issued, err := m.Issue(ctx, latchkey.SignIn{Subject: "ann", SID: "sid-1"})
			if err != nil {
				t.Fatal(err)
			}
			believed(t, m, issued.Token)
			if err := end(m, lookup(t, m, issued.Token)); err != nil {
				t.Fatal(err)
			}
			refused(t, m, issued.Token)
		})
	}
}

// A restarted node learns of what ended before it served.
func TestStatelessAfterRestart(t *testing.T) {
	var cfg latchkey.Config
	m, _, _ := setup(t, func(c *latchkey.Config) { cfg = *c; stateless(t)(c) })
	dead, live := issue(t, m, "ann"), issue(t, m, "bob")
	if _, err := m.Revoke(t.Context(), latchkey.Revocation{ID: lookup(t, m, dead).ID(), By: "admin"}); err != nil {
		t.Fatal(err)
	}
	again := another(t, cfg, stateless(t))
	refused(t, again, dead)
	believed(t, again, live)
	refused(t, again, dead)
	believed(t, again, live)
}

// another is a further node: a Manager of its own over the same store and keys.
func another(t *testing.T, cfg latchkey.Config, change func(*latchkey.Config)) *latchkey.Manager {
	t.Helper()
	change(&cfg)
	m, err := latchkey.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(context.Background()) })
	return m
}

// Past half of the idle limit an active request gets the token sealed anew; each
// token is good for the idle limit from its issue, and none past the absolute one.
func TestStatelessSlides(t *testing.T) {
	m, store, clock := setup(t, func(c *latchkey.Config) {
		stateless(t)(c)
		c.Idle, c.Absolute = time.Hour, 3*time.Hour
	})
	token := issue(t, m, "ann")
	h := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !mustSession(t, r).SignedIn() {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	ask := func(token string) (status int, next string) {
		believe(t, m)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request(token))
		for _, c := range w.Result().Cookies() {
			next = c.Value
		}
		if err := m.FlushTouches(t.Context()); err != nil {
			t.Fatal(err)
		}
		return w.Code, next
	}
	clock.Advance(29 * time.Minute)
	if status, next := ask(token); status != http.StatusOK || next != "" {
		t.Fatalf("before half: %d, new token %v", status, next != "")
	}
	clock.Advance(2 * time.Minute)
	status, second := ask(token)
	if status != http.StatusOK || second == "" || second == token {
		t.Fatalf("past half: %d, new token %v", status, second != "")
	}
	clock.Advance(30 * time.Minute) // 61 minutes after the first issue, 30 after the second
	if status, _ := ask(second); status != http.StatusOK {
		t.Fatalf("the second token: %d", status)
	}
	rec, err := store.Get(t.Context(), lookup(t, m, second).ID())
	if err != nil || clock.Time().Sub(rec.LastSeenAt) != 0 {
		t.Errorf("the row was last seen %v ago (%v)", clock.Time().Sub(rec.LastSeenAt), err)
	}
	for range 10 {
		clock.Advance(31 * time.Minute)
		status, next := ask(second)
		if over := !clock.Time().Before(rec.ExpiresAt); over != (status == http.StatusUnauthorized) {
			t.Fatalf("%v after sign-in: %d", clock.Time().Sub(rec.CreatedAt), status)
		} else if over {
			return
		}
		second = next
	}
	t.Error("it never ended")
}

// believe waits for a lease under the present clock.
func believe(t *testing.T, m *latchkey.Manager) {
	t.Helper()
	probe, err := m.Issue(context.Background(), latchkey.SignIn{Subject: "probe"})
	if err != nil {
		t.Fatal(err)
	}
	believed(t, m, probe.Token)
}

func TestStatelessIdlesOut(t *testing.T) {
	m, _, clock := setup(t, func(c *latchkey.Config) { stateless(t)(c); c.Idle = time.Hour })
	token := issue(t, m, "ann")
	clock.Advance(time.Hour)
	refused(t, m, token)
}

// Programs that hand out no cookies keep a session alive as well.
func TestStatelessAliveByLookups(t *testing.T) {
	m, _, clock := setup(t, func(c *latchkey.Config) { stateless(t)(c); c.Idle, c.Absolute = time.Hour, 10*time.Hour })
	token := issue(t, m, "ann")
	for range 8 {
		clock.Advance(50 * time.Minute)
		if _, err := m.Lookup(t.Context(), latchkey.Lookup{Token: token}); err != nil {
			t.Fatal(err)
		}
	}
}

// Data works as ever: it is in the row, and a session that has changed is read there.
func TestStatelessData(t *testing.T) {
	m, _, _ := setup(t, stateless(t))
	token := issue(t, m, "ann")
	believed(t, m, token)
	saveMotto(t, lookup(t, m, token), "first")
	s, err := m.Lookup(t.Context(), latchkey.Lookup{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	holds(t, s, "first", 0)
	if read, err := m.Read(httptest.NewRecorder(), request(token)); err != nil {
		t.Error(err)
	} else {
		holds(t, read, "first", 0)
	}
	with, err := m.Issue(t.Context(), latchkey.SignIn{Subject: "bob", Data: map[string]json.RawMessage{"motto": json.RawMessage(`"born with"`)}})
	if err != nil {
		t.Fatal(err)
	}
	believed(t, m, with.Token)
	if s, err = m.Lookup(t.Context(), latchkey.Lookup{Token: with.Token}); err != nil {
		t.Fatal(err)
	}
	holds(t, s, "born with", 0)
}

// Either setting serves what the other one made.
func TestStatelessAndStored(t *testing.T) {
	var cfg latchkey.Config
	m, _, _ := setup(t, func(c *latchkey.Config) { cfg = *c; stateless(t)(c) })
	stored := another(t, cfg, withCache(t))
	plain := another(t, cfg, func(*latchkey.Config) {})
	sealed, classic := issue(t, m, "ann"), issue(t, stored, "bob")
	for _, node := range []*latchkey.Manager{m, stored, plain} {
		for _, token := range []string{sealed, classic} {
			for range 2 {
				if s, err := node.Lookup(t.Context(), latchkey.Lookup{Token: token}); err != nil || !s.SignedIn() {
					t.Errorf("%v", err)
				}
			}
		}
	}
	if _, err := stored.Revoke(t.Context(), latchkey.Revocation{Provider: "local", Subject: "ann", By: "admin"}); err != nil {
		t.Fatal(err)
	}
	for _, node := range []*latchkey.Manager{stored, plain} {
		refused(t, node, sealed)
	}
}

// An outage is not a logout, neither for tokens that are believed nor after.
func TestStatelessOutage(t *testing.T) {
	var faulty *storetest.Faulty
	m, _, _ := setup(t, func(c *latchkey.Config) {
		faulty = storetest.NewFaulty(c.Store)
		c.Store = faulty
		stateless(t)(c)
	})
	token := issue(t, m, "ann")
	believed(t, m, token)
	faulty.Fail(storetest.NotPersisted)
	if s, err := m.Lookup(t.Context(), latchkey.Lookup{Token: token}); err != nil || s.Subject() != "ann" {
		t.Errorf("while the lease lasts: %v", err)
	}
	if _, err := m.Lookup(t.Context(), latchkey.Lookup{Token: token, AskStore: true}); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Errorf("asked now: %v", err)
	}
}

func TestStatelessTooLarge(t *testing.T) {
	m, store, _ := setup(t, stateless(t))
	roles := make([]string, 20)
	for i := range roles {
		roles[i] = strings.Repeat("r", 100) + string(rune('a'+i))
	}
	long := latchkey.SignIn{Subject: strings.Repeat("s", 255), Provider: strings.Repeat("p", 255), Name: strings.Repeat("n", 512), SID: strings.Repeat("i", 255)}
	large := long
	large.Roles = roles
	_, err := m.Issue(t.Context(), large)
	if latchkey.CodeOf(err) != latchkey.CodeInvalidRequest || !strings.Contains(err.Error(), "stored session") {
		t.Errorf("%v", err)
	}
	if page, err := store.List(t.Context(), latchkey.ListQuery{State: latchkey.AnyState}); err != nil || len(page.Records) != 0 {
		t.Errorf("%d rows, %v", len(page.Records), err)
	}
	small, err := m.Issue(t.Context(), long)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lookup(t, m, small.Token).Renew(t.Context(), latchkey.Renewal{Roles: roles}); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
		t.Errorf("renewal: %v", err)
	}
	believed(t, m, small.Token)
}

// A change of keys reseals; a retired one ends its tokens.
func TestStatelessKeys(t *testing.T) {
	var ring *keyring.Ring
	m, _, clock := setup(t, func(c *latchkey.Config) {
		stateless(t)(c)
		one := keyring.NewKey(1, [32]byte{1}, c.Clock.Now().Time().Add(-time.Hour))
		ring, _ = keyring.New(one)
		c.Keys = ring
	})
	token := issue(t, m, "ann")
	believed(t, m, token)
	one, two := keyring.NewKey(1, [32]byte{1}, clock.Time().Add(-time.Hour)), keyring.NewKey(2, [32]byte{2}, clock.Time().Add(-time.Minute))
	if _, err := ring.Set(one, two); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if s, err := m.Read(w, request(token)); err != nil || !s.SignedIn() {
		t.Fatal(err)
	}
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || cookies[0].Value == token {
		t.Fatalf("%d cookies", len(cookies))
	}
	if _, err := ring.Set(two); err != nil {
		t.Fatal(err)
	}
	refused(t, m, token)
	believed(t, m, cookies[0].Value)
}

func TestStatelessConfig(t *testing.T) {
	store, err := memory.New(memory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	cache, err := nearcache.New(nearcache.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Generate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]latchkey.Config{
		"no-cache": {Store: store, Keys: ring, Stateless: true},
		"rotation": {Store: store, Keys: ring, Stateless: true, Cache: cache, RotateEvery: time.Minute},
	} {
		if _, err := latchkey.New(cfg); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest || !strings.Contains(err.Error(), "Stateless") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A revocation whose answer was lost may have taken effect: no token is believed on
// the strength of what was known before.
func TestStatelessDoubt(t *testing.T) {
	var faulty *storetest.Faulty
	m, _, _ := setup(t, func(c *latchkey.Config) {
		faulty = storetest.NewFaulty(c.Store)
		c.Store = faulty
		stateless(t)(c)
	})
	token := issue(t, m, "ann")
	believed(t, m, token)
	faulty.CutFeed(true)
	faulty.Fail(storetest.Only(storetest.MethodRevoke, storetest.PersistedLost))
	if _, err := m.Revoke(t.Context(), latchkey.Revocation{Provider: "local", Subject: "ann", By: "admin"}); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Fatal(err)
	}
	refused(t, m, token)
}
