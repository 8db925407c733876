package transaction_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/sqlite"
	"github.com/latchkey-go/latchkey/store/storetest"
	"github.com/latchkey-go/latchkey/transaction"
)

func TestSignIn(t *testing.T) {
	s, b := newSite(t, nil), &browser{}
	extra := map[string]string{"acr": "high", "empty": ""}
	began := s.begin(b, transaction.Params{Provider: "acme", ReturnTo: "/reports?x=ü", Extra: extra})
	for name, text := range map[string]string{"State": began.State, "Nonce": began.Nonce, "Verifier": began.Verifier} {
		if raw, err := base64.RawURLEncoding.DecodeString(text); err != nil || len(raw) != 32 {
			t.Errorf("%s is %q", name, text)
		}
	}
	if began.State == began.Nonce || began.Nonce == began.Verifier || began.State == began.Verifier {
		t.Error("one secret serves twice")
	}
	sum := sha256.Sum256([]byte(began.Verifier))
	if began.Challenge() != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Error("the challenge is not S256")
	}
	s.clock.Advance(time.Minute)
	got, err := s.finish(b, "acme", began.State)
	if err != nil {
		t.Fatal(err)
	}
	if got.Provider != "acme" || got.State != began.State || got.Nonce != began.Nonce || got.Verifier != began.Verifier ||
		got.ReturnTo != "/reports?x=%C3%BC" || got.ReturnTo != began.ReturnTo || !got.Began.Equal(began.Began) || !maps.Equal(got.Extra, extra) {
		t.Errorf("%#v came back as %#v", began.Extra, got.Extra)
	}
	if len(b.names) != 0 {
		t.Errorf("the browser keeps %v", b.names)
	}
	_, err = s.finish(b, "acme", began.State)
	refused(t, "again", err, transaction.Missing)
}

func TestCookieText(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*transaction.Config)
		prefix string
		rest   string
	}{
		{"default", nil, "__Host-signin-", "; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax"},
		{"path", func(c *transaction.Config) { c.Path = "/auth/callback/" }, "__Secure-signin-", "; Path=/auth/callback/; Max-Age=600; HttpOnly; Secure; SameSite=Lax"},
		{"loopback", func(c *transaction.Config) { c.DangerouslyInsecure = true }, "signin-", "; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"},
		{"named", func(c *transaction.Config) { c.CookieName, c.Lifetime = "__Host-Http-tx", time.Hour }, "__Host-Http-tx-", "; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, c.change)
			w := httptest.NewRecorder()
			began, err := s.Begin(w, httptest.NewRequest("GET", "/", nil), transaction.Params{Provider: "acme"})
			if err != nil {
				t.Fatal(err)
			}
			line := w.Header().Get("Set-Cookie")
			name, value, _ := strings.Cut(strings.TrimSuffix(line, c.rest), "=")
			sum := sha256.Sum256([]byte("latchkey/transaction-name/v1\x00" + began.State))
			if !strings.HasSuffix(line, c.rest) || name != c.prefix+base64.RawURLEncoding.EncodeToString(sum[:9]) {
				t.Errorf("%s", line)
			}
			for _, secret := range []string{began.State, began.Nonce, began.Verifier} {
				if strings.Contains(line, secret) {
					t.Errorf("%s shows a secret", line)
				}
			}
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", name+"="+value)
			w = httptest.NewRecorder()
			if _, err := s.Finish(t.Context(), w, r, "acme", began.State); err != nil {
				t.Fatal(err)
			}
			if want := name + "=" + strings.Replace(c.rest, c.rest[strings.Index(c.rest, "Max-Age="):strings.Index(c.rest, "; HttpOnly")], "Max-Age=0", 1); w.Header().Get("Set-Cookie") != want {
				t.Errorf("deleted by %s, want %s", w.Header().Get("Set-Cookie"), want)
			}
		})
	}
}

// TestTabs: sign-ins in several tabs end in any order; one too many drops the oldest.
func TestTabs(t *testing.T) {
	s, b := newSite(t, nil), &browser{}
	b.set("session", "kept")
	var tabs []transaction.Transaction
	for i := range 7 {
		tabs = append(tabs, s.begin(b, transaction.Params{Provider: "acme", ReturnTo: fmt.Sprintf("/tab/%d", i)}))
		s.clock.Advance(time.Second)
		if most := min(i+1, transaction.DefaultMaxAttempts); len(b.names) != most+1 {
			t.Fatalf("%d cookies after %d attempts", len(b.names)-1, i+1)
		}
	}
	for _, i := range []int{4, 2, 6, 0, 3, 5, 1} {
		got, err := s.finish(b, "acme", tabs[i].State)
		if i < 2 {
			refused(t, "a dropped attempt", err, transaction.Missing)
		} else if err != nil || got.ReturnTo != fmt.Sprintf("/tab/%d", i) {
			t.Errorf("tab %d: %v %v", i, got, err)
		}
	}
	if len(b.names) != 1 || b.values["session"] != "kept" {
		t.Errorf("the browser keeps %v", b.names)
	}
}

// TestTidy: Begin deletes what is over, unreadable or too large together, and nothing else.
func TestTidy(t *testing.T) {
	s, b := newSite(t, nil), &browser{}
	s.begin(b, transaction.Params{Provider: "acme"})
	over := b.names[0]
	s.clock.Advance(transaction.DefaultLifetime)
	junk := "__Host-signin-" + strings.Repeat("A", 12)
	b.set(junk, "junk")
	others := []string{"__Host-signin", "__Host-signin-AAAA", "__Host-signin-" + strings.Repeat("A", 11) + ".", "__Host-other-" + strings.Repeat("A", 12)}
	for _, other := range others {
		b.set(other, "junk")
	}
	s.begin(b, transaction.Params{Provider: "acme"})
	for _, name := range []string{over, junk} {
		if _, there := b.values[name]; there {
			t.Errorf("%s is kept", name)
		}
	}
	for _, other := range others {
		if _, there := b.values[other]; !there {
			t.Errorf("%s is deleted", other)
		}
	}
	b, last := &browser{}, ""
	for range 4 {
		began := s.begin(b, transaction.Params{Provider: "acme", ReturnTo: "/" + strings.Repeat("a", 1000)})
		last = began.State
		s.clock.Advance(time.Second)
		size := 0
		for n, v := range b.values {
			size += len(n) + len(v)
		}
		if size > 4096 {
			t.Errorf("the cookies have %d bytes", size)
		}
	}
	if len(b.names) != 2 {
		t.Errorf("%d large cookies", len(b.names))
	}
	if _, err := s.finish(b, "acme", last); err != nil {
		t.Error("the last one is gone:", err)
	}
	// The largest that is allowed fits a cookie, whatever else there is.
	b.set(b.names[0], strings.Repeat("A", 4000))
	s.begin(b, transaction.Params{Provider: strings.Repeat("p", transaction.MaxProvider), ReturnTo: "/" + strings.Repeat("a", transaction.MaxReturnTo-1),
		Extra: map[string]string{"a": strings.Repeat("x", transaction.MaxExtra-1)}})
	if len(b.names) != 1 || len(b.names[0])+len(b.values[b.names[0]]) > 4096 {
		t.Errorf("%d cookies, one of %d bytes", len(b.names), len(b.values[b.names[0]]))
	}
	// A header full of junk is not answered with as many lines.
	b = &browser{}
	for i := range 5000 {
		b.set(fmt.Sprintf("__Host-signin-%012d", i), "x")
	}
	w := httptest.NewRecorder()
	if _, err := s.Begin(w, b.request(), transaction.Params{Provider: "acme"}); err != nil || len(w.Header()["Set-Cookie"]) > 33 {
		t.Errorf("%d lines, %v", len(w.Header()["Set-Cookie"]), err)
	}
}

func TestAttacks(t *testing.T) {
	other := strings.Repeat("A", 43)
	for _, c := range []struct {
		name string
		why  transaction.Reason
		// attack gets the victim's attempt and another of the same browser, and returns
		// the provider and state of the callback.
		attack func(s *site, b *browser, mine, another transaction.Transaction) (provider, state string)
	}{
		{"other_provider", transaction.Unsealed, func(_ *site, _ *browser, mine, _ transaction.Transaction) (string, string) {
			return "evil", mine.State
		}},
		{"no_provider", transaction.Unsealed, func(_ *site, _ *browser, mine, _ transaction.Transaction) (string, string) { return "", mine.State }},
		{"long_provider", transaction.Unsealed, func(_ *site, _ *browser, mine, _ transaction.Transaction) (string, string) {
			return "acme" + strings.Repeat("\x00", 256), mine.State
		}},
		{"unknown_state", transaction.Missing, func(*site, *browser, transaction.Transaction, transaction.Transaction) (string, string) {
			return "acme", other
		}},
		{"another_browser", transaction.Missing, func(_ *site, b *browser, mine, _ transaction.Transaction) (string, string) {
			*b = browser{}
			return "acme", mine.State
		}},
		{"swapped_cookies", transaction.Unsealed, func(_ *site, b *browser, mine, _ transaction.Transaction) (string, string) {
			b.values[b.names[0]], b.values[b.names[1]] = b.values[b.names[1]], b.values[b.names[0]]
			return "acme", mine.State
		}},
		{"two_cookies", transaction.Duplicate, func(_ *site, b *browser, mine, _ transaction.Transaction) (string, string) {
			b.names = append(b.names, b.names[0])
			return "acme", mine.State
		}},
		{"other_deployment", transaction.Unsealed, func(s *site, b *browser, mine, _ transaction.Transaction) (string, string) {
			if _, err := s.keys.Set(keyring.NewKey(1, [32]byte{9}, s.clock.Time())); err != nil {
				s.t.Fatal(err)
			}
			return "acme", mine.State
		}},
		{"expired", transaction.Expired, func(s *site, _ *browser, mine, _ transaction.Transaction) (string, string) {
			s.clock.Advance(transaction.DefaultLifetime)
			return "acme", mine.State
		}},
		{"from_the_future", transaction.Expired, func(s *site, _ *browser, mine, _ transaction.Transaction) (string, string) {
			s.clock.StepWall(-time.Minute - time.Second)
			return "acme", mine.State
		}},
		{"empty_state", transaction.Malformed, func(*site, *browser, transaction.Transaction, transaction.Transaction) (string, string) {
			return "acme", ""
		}},
		{"padded_state", transaction.Malformed, func(_ *site, _ *browser, mine, _ transaction.Transaction) (string, string) {
			return "acme", mine.State + "="
		}},
		{"state_with_newline", transaction.Malformed, func(_ *site, _ *browser, mine, _ transaction.Transaction) (string, string) {
			return "acme", mine.State[:42] + "\n"
		}},
		{"state_spelled_otherwise", transaction.Malformed, func(_ *site, _ *browser, mine, _ transaction.Transaction) (string, string) {
			const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
			return "acme", mine.State[:42] + string(digits[strings.IndexByte(digits, mine.State[42])|1])
		}},
		{"empty_cookie", transaction.Malformed, func(_ *site, b *browser, mine, _ transaction.Transaction) (string, string) {
			b.values[b.names[0]] = ""
			return "acme", mine.State
		}},
		{"huge_cookie", transaction.Malformed, func(_ *site, b *browser, mine, _ transaction.Transaction) (string, string) {
			b.values[b.names[0]] = strings.Repeat("A", 10<<20)
			return "acme", mine.State
		}},
		{"padded_cookie", transaction.Malformed, func(_ *site, b *browser, mine, _ transaction.Transaction) (string, string) {
			b.values[b.names[0]] += "="
			return "acme", mine.State
		}},
		{"newline_in_cookie", transaction.Malformed, func(_ *site, b *browser, mine, _ transaction.Transaction) (string, string) {
			b.values[b.names[0]] = b.values[b.names[0]][:8] + "\n" + b.values[b.names[0]][8:]
			return "acme", mine.State
		}},
		{"cut_cookie", transaction.Unsealed, func(_ *site, b *browser, mine, _ transaction.Transaction) (string, string) {
			b.values[b.names[0]] = b.values[b.names[0]][:len(b.values[b.names[0]])-4]
			return "acme", mine.State
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, b := newSite(t, nil), &browser{}
			mine := s.begin(b, transaction.Params{Provider: "acme", ReturnTo: "/mine/of/length1"})
			another := s.begin(b, transaction.Params{Provider: "acme", ReturnTo: "/another"})
			provider, state := c.attack(s, b, mine, another)
			got, err := s.finish(b, provider, state)
			refused(t, c.name, err, c.why)
			if got.State != "" || got.Verifier != "" || got.Nonce != "" {
				t.Error("a refused attempt is handed out")
			}
		})
	}
}

// TestEveryByte: no character of a cookie can be changed.
func TestEveryByte(t *testing.T) {
	s, b := newSite(t, nil), &browser{}
	mine := s.begin(b, transaction.Params{Provider: "acme", ReturnTo: "/a"})
	good, name := b.values[b.names[0]], b.names[0]
	for i := range good {
		for _, c := range []byte{'A', 'B', '_', '.'} {
			if good[i] == c {
				continue
			}
			b.set(name, good[:i]+string(c)+good[i+1:])
			if _, err := s.finish(b, "acme", mine.State); latchkey.CodeOf(err) != latchkey.CodeDenied {
				t.Fatalf("character %d can be changed: %v", i, err)
			}
		}
	}
	b.set(name, good)
	if _, err := s.finish(b, "acme", mine.State); err != nil {
		t.Error("what was refused was spent:", err)
	}
}

func TestReplay(t *testing.T) {
	s, b := newSite(t, nil), &browser{}
	mine := s.begin(b, transaction.Params{Provider: "acme"})
	name, value := b.names[0], b.values[b.names[0]]
	if _, err := s.finish(b, "acme", mine.State); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var copied browser
		copied.set(name, value)
		_, err := s.finish(&copied, "acme", mine.State)
		refused(t, "a copied cookie", err, transaction.Replayed)
		if len(copied.values) != 0 {
			t.Error("the copy is not deleted")
		}
		s.clock.Advance(3 * time.Minute)
	}
	s.clock.Advance(transaction.DefaultLifetime)
	b.set(name, value)
	_, err := s.finish(b, "acme", mine.State)
	refused(t, "when it is forgotten", err, transaction.Expired)
}

// TestTwoNodes: of many callbacks for one attempt, on two nodes with one SQLite file,
// one is let in; a restart does not forget it.
func TestTwoNodes(t *testing.T) {
	clock := latchkeytest.NewClock(time.Time{})
	keys, err := keyring.Generate(clock.Time())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "latchkey.db")
	node := func() *site {
		store, err := sqlite.Open(sqlite.Config{Path: path, Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		k, err := transaction.New(transaction.Config{Keys: keys, Spender: store, Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		return &site{Keeper: k, t: t, clock: clock, keys: keys}
	}
	nodes, b := []*site{node(), node()}, &browser{}
	mine := nodes[0].begin(b, transaction.Params{Provider: "acme"})
	var wait sync.WaitGroup
	results := make(chan error, 20)
	for i := range cap(results) {
		wait.Go(func() {
			_, err := nodes[i%2].Finish(t.Context(), httptest.NewRecorder(), b.request(), "acme", mine.State)
			results <- err
		})
	}
	wait.Wait()
	close(results)
	in := 0
	for err := range results {
		if err == nil {
			in++
			continue
		}
		refused(t, "a second callback", err, transaction.Replayed)
	}
	if in != 1 {
		t.Errorf("%d were let in", in)
	}
	_, err = node().finish(b, "acme", mine.State)
	refused(t, "after a restart", err, transaction.Replayed)
}

// TestStoreAhead: a store whose clock is ahead remembers for as long as the nodes would
// open the cookie; beyond that nobody gets in.
func TestStoreAhead(t *testing.T) {
	for _, c := range []struct {
		ahead time.Duration
		code  latchkey.Code
	}{{-time.Hour, ""}, {59 * time.Minute, ""}, {71 * time.Minute, latchkey.CodeStoreUnavailable}} {
		ahead := latchkeytest.NewClock(latchkeytest.NewClock(time.Time{}).Time().Add(c.ahead))
		store, err := memory.New(memory.Config{Clock: ahead})
		if err != nil {
			t.Fatal(err)
		}
		s, b := newSite(t, func(cfg *transaction.Config) { cfg.Spender = untimed{store} }), &browser{}
		mine := s.begin(b, transaction.Params{Provider: "acme"})
		name, value := b.names[0], b.values[b.names[0]]
		if _, err := s.finish(b, "acme", mine.State); latchkey.CodeOf(err) != c.code {
			t.Errorf("%v ahead: %v", c.ahead, err)
		}
		if c.code != "" {
			continue
		}
		s.clock.Advance(transaction.DefaultLifetime - time.Second)
		ahead.Advance(transaction.DefaultLifetime - time.Second)
		b.set(name, value)
		_, err = s.finish(b, "acme", mine.State)
		refused(t, c.ahead.String(), err, transaction.Replayed)
	}
}

// served is a store in memory whose clock is that of a server, as far ahead of the
// node's as by says.
type served struct {
	*memory.Store
	by time.Duration
}

func (s *served) StoreTime(at latchkey.Moment) int64 { return at.Time().Add(s.by).UnixMicro() }

// TestOvertaken: however far apart the clocks of a node and of the store's server are, a
// logout ends the sign-ins that began before it and none that began later.
func TestOvertaken(t *testing.T) {
	for _, by := range []time.Duration{-5 * time.Minute, -2 * time.Second, 0, 2 * time.Second, 2 * time.Hour} {
		server := latchkeytest.NewClock(latchkeytest.NewClock(time.Time{}).Time().Add(by))
		inner, err := memory.New(memory.Config{Clock: server})
		if err != nil {
			t.Fatal(err)
		}
		store := &served{inner, by}
		s, b := newSite(t, func(cfg *transaction.Config) { cfg.Spender = store }), &browser{}
		m, _ := latchkeytest.NewManager(t, func(cfg *latchkey.Config) { cfg.Store, cfg.Keys, cfg.Clock = store, s.keys, s.clock })
		pass := func() { s.clock.Advance(time.Second); server.Advance(time.Second) }
		early := s.begin(b, transaction.Params{Provider: "acme"})
		pass()
		if _, err := m.Revoke(t.Context(), latchkey.Revocation{Provider: "acme", Subject: "ann"}); err != nil {
			t.Fatal(err)
		}
		pass()
		late := s.begin(b, transaction.Params{Provider: "acme"})
		for _, c := range []struct {
			attempt transaction.Transaction
			want    latchkey.Code
		}{{early, latchkey.CodeDenied}, {late, ""}} {
			finished, err := s.finish(b, "acme", c.attempt.State)
			if err != nil {
				t.Fatalf("the server %v ahead: %v", by, err)
			}
			_, err = m.Issue(t.Context(), latchkey.SignIn{Provider: "acme", Subject: "ann", Began: finished.Began})
			if got := latchkey.CodeOf(err); got != c.want {
				t.Errorf("the server %v ahead: %q (%v), want %q", by, got, err, c.want)
			}
		}
	}
}

func TestKeyRotation(t *testing.T) {
	s, b := newSite(t, nil), &browser{}
	first, second := keyring.NewKey(1, [32]byte{1}, s.clock.Time()), keyring.NewKey(2, [32]byte{2}, s.clock.Time().Add(time.Minute))
	set := func(keys ...keyring.Key) {
		t.Helper()
		if _, err := s.keys.Set(keys...); err != nil {
			t.Fatal(err)
		}
	}
	set(first)
	under1, lost := s.begin(b, transaction.Params{Provider: "acme"}), s.begin(b, transaction.Params{Provider: "acme"})
	set(first, second)
	s.clock.Advance(2 * time.Minute)
	under2 := s.begin(b, transaction.Params{Provider: "acme"})
	for _, name := range b.names {
		raw, _ := base64.RawURLEncoding.DecodeString(b.values[name])
		t.Logf("%s is under key %d", name, raw[1])
	}
	if _, err := s.finish(b, "acme", under1.State); err != nil {
		t.Error("a rotation ends what is under way:", err)
	}
	set(second)
	if _, err := s.finish(b, "acme", under2.State); err != nil {
		t.Error("under the new key:", err)
	}
	_, err := s.finish(b, "acme", lost.State)
	refused(t, "a retired key", err, transaction.Unsealed)
}

func TestStoreAway(t *testing.T) {
	s, b := newSite(t, nil), &browser{}
	mine := s.begin(b, transaction.Params{Provider: "acme"})
	s.store.Fail(storetest.NotPersisted)
	for range 2 {
		_, err := s.finish(b, "acme", mine.State)
		if !errors.Is(err, latchkey.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	s.store.Fail(nil)
	if _, err := s.finish(b, "acme", mine.State); err != nil {
		t.Error("an outage ends the sign-in:", err)
	}
	// When the answer is lost, nobody gets in.
	mine = s.begin(b, transaction.Params{Provider: "acme"})
	s.store.Fail(storetest.PersistedLost)
	if _, err := s.finish(b, "acme", mine.State); !errors.Is(err, latchkey.ErrUnavailable) {
		t.Error(err)
	}
	s.store.Fail(nil)
	_, err := s.finish(b, "acme", mine.State)
	refused(t, "spent without an answer", err, transaction.Replayed)
	// What a store answers that is out of the ordinary lets nobody in.
	mine = s.begin(b, transaction.Params{Provider: "acme"})
	s.store.Fail(func(storetest.Op) (bool, error) { return false, errors.New("odd") })
	if _, err := s.finish(b, "acme", mine.State); !errors.Is(err, latchkey.ErrUnavailable) || strings.Contains(err.Error(), "odd") {
		t.Error(err)
	}
	// Only what is good so far costs a trip to the store.
	trips := 0
	s.store.Fail(func(storetest.Op) (bool, error) { trips++; return true, nil })
	_, _ = s.finish(b, "evil", mine.State)
	_, _ = s.finish(b, "acme", strings.Repeat("A", 43))
	if trips != 0 {
		t.Errorf("%d trips for requests that cannot be good", trips)
	}
}

func TestAbandon(t *testing.T) {
	s, b := newSite(t, nil), &browser{}
	mine := s.begin(b, transaction.Params{Provider: "acme", ReturnTo: "/mine"})
	w := httptest.NewRecorder()
	got, err := s.Abandon(w, b.request(), "acme", mine.State)
	if err != nil || got.ReturnTo != "/mine" {
		t.Error(got, err)
	}
	b.take(t, w)
	if len(b.names) != 0 {
		t.Errorf("the browser keeps %v", b.names)
	}
	_, err = s.Abandon(httptest.NewRecorder(), b.request(), "acme", mine.State)
	refused(t, "an error that nobody asked for", err, transaction.Missing)
}

// TestHostGone: an address is judged again at the end, by the list of then.
func TestHostGone(t *testing.T) {
	s := newSite(t, func(c *transaction.Config) { c.AllowedHosts = []string{"docs.example"} })
	later, err := transaction.New(transaction.Config{Keys: s.keys, Spender: s.store, Clock: s.clock})
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{}
	mine := s.begin(b, transaction.Params{Provider: "acme", ReturnTo: "https://docs.example/a"})
	if mine.ReturnTo != "https://docs.example/a" {
		t.Errorf("returns to %q", mine.ReturnTo)
	}
	got, err := later.Finish(t.Context(), httptest.NewRecorder(), b.request(), "acme", mine.State)
	if err != nil || got.ReturnTo != "" {
		t.Errorf("returns to %q, %v", got.ReturnTo, err)
	}
}
