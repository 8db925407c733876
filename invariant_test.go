package latchkey_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/memory"
)

// counting counts the trips to a store.
type counting struct {
	*memory.Store
	reads, writes atomic.Int64
}

func (c *counting) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	c.reads.Add(1)
	return c.Store.Get(ctx, id)
}

func (c *counting) Create(ctx context.Context, in latchkey.Create) (latchkey.Created, error) {
	c.writes.Add(1)
	return c.Store.Create(ctx, in)
}

func (c *counting) Patch(ctx context.Context, p latchkey.Patch) error {
	c.writes.Add(1)
	return c.Store.Patch(ctx, p)
}

func (c *counting) Revoke(ctx context.Context, r latchkey.Revocation) (latchkey.RevokeResult, error) {
	c.writes.Add(1)
	return c.Store.Revoke(ctx, r)
}

func counted(t testing.TB) (*latchkey.Manager, *counting, *latchkeytest.Clock, *keyring.Ring) {
	t.Helper()
	clock := latchkeytest.NewClock(time.Time{})
	inner, err := memory.New(memory.Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Generate(clock.Time().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	store := &counting{Store: inner}
	m, err := latchkey.New(latchkey.Config{Store: store, Keys: ring, Clock: clock, AcceptBearer: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(context.Background()); _ = inner.Close() })
	return m, store, clock, ring
}

// Nothing a client sends causes a panic, a 5xx, a touched cookie, more than one
// read or any write.
func FuzzRequest(f *testing.F) {
	m, store, clock, _ := counted(f)
	live, ended := issue(f, m, "alice"), issue(f, m, "bob")
	s := lookup(f, m, ended)
	if _, err := m.Revoke(context.Background(), latchkey.Revocation{ID: s.ID(), By: "admin:test"}); err != nil {
		f.Fatal(err)
	}
	_ = clock
	for _, token := range []string{live, ended, "", "lk_", strings.Repeat("A", 5000), live[:80] + "AAAAAAAAAAA"} {
		f.Add("__Host-session="+token, "Bearer "+token)
		f.Add("__Host-session="+token+"; __Host-session="+token, "")
		f.Add("a=b; __Host-session="+token, "bearer "+live)
	}
	h := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := latchkey.FromContext(r.Context())
		if err != nil {
			f.Error(err)
		}
		if s.Live() && s.Subject() != "alice" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	f.Fuzz(func(t *testing.T, cookie, auth string) {
		reads, writes := store.reads.Load(), store.writes.Load()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Cookie"] = []string{cookie}
		if auth != "" {
			r.Header["Authorization"] = []string{auth}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK || w.Header()["Set-Cookie"] != nil {
			t.Fatalf("status %d, cookies %q", w.Code, w.Header()["Set-Cookie"])
		}
		if n := store.reads.Load() - reads; n > 1 {
			t.Fatalf("%d reads", n)
		}
		if n := store.writes.Load() - writes; n > 0 {
			t.Fatalf("%d writes", n)
		}
	})
}

// A token that is not genuine costs no trip at all.
func TestForgedTokenCostsNoTrip(t *testing.T) {
	m, store, _, _ := counted(t)
	token := issue(t, m, "alice")
	other, _, _, _ := counted(t)
	foreign := issue(t, other, "alice")
	before := store.reads.Load()
	for _, bad := range []string{foreign, token[:88] + "AAA", "lk_" + strings.Repeat("A", 88), "", "x"} {
		refused(t, m, bad)
	}
	if n := store.reads.Load() - before; n != 0 {
		t.Errorf("%d trips", n)
	}
}

// A thousand reads of a live session write nothing on their path, and the
// activity they stand for is one write beside it.
func TestReadsWriteNothing(t *testing.T) {
	m, store, clock, _ := counted(t)
	token := issue(t, m, "alice")
	clock.Advance(10 * time.Minute)
	before := store.writes.Load()
	for range 1000 {
		if _, err := m.Lookup(context.Background(), latchkey.Lookup{Token: token}); err != nil {
			t.Fatal(err)
		}
	}
	if n := store.writes.Load() - before; n != 0 {
		t.Errorf("%d writes", n)
	}
	if err := m.FlushTouches(context.Background()); err != nil {
		t.Fatal(err)
	}
	if seen := lookup(t, m, token).LastSeenAt(); !seen.Equal(clock.Time()) {
		t.Errorf("last seen %v, now %v", seen, clock.Time())
	}
	if n := m.Stats().Touches; n != 1 {
		t.Errorf("%d touches", n)
	}
}

// Keys rotate without signing anybody out: a token under the old key is answered
// with the same secret under the new one, and a retired key is refused.
func TestKeyRotation(t *testing.T) {
	clock := latchkeytest.NewClock(time.Time{})
	first, err := keyring.GenerateKey(1, clock.Time().Add(-time.Hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := keyring.GenerateKey(2, clock.Time().Add(10*time.Minute), nil)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(first)
	if err != nil {
		t.Fatal(err)
	}
	m, _, _ := setup(t, func(cfg *latchkey.Config) {
		cfg.Keys, cfg.Clock = ring, clock
		store, err := memory.New(memory.Config{Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Store = store
	})
	old := issue(t, m, "alice")
	if _, err := ring.Set(first, second); err != nil {
		t.Fatal(err)
	}
	h := m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if mustSession(t, r).Subject() != "alice" {
			t.Error("signed out by a rotation of keys")
		}
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(old))
	if c := w.Header()["Set-Cookie"]; c != nil {
		t.Errorf("cookie before the new key is active: %q", c)
	}
	clock.Advance(11 * time.Minute)
	w = httptest.NewRecorder()
	h.ServeHTTP(w, request(old))
	fresh := cookieOf(t, w)
	if fresh == old {
		t.Error("token was not put under the new key")
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, request(fresh))
	if c := w.Header()["Set-Cookie"]; c != nil {
		t.Errorf("cookie although the key is the active one: %q", c)
	}
	if _, err := ring.Set(second); err != nil {
		t.Fatal(err)
	}
	refused(t, m, old)
	if lookup(t, m, fresh).Subject() != "alice" {
		t.Error("the new token does not stand")
	}
}

// Sign-ins, whoever they are for and wherever they end, leave nothing of the
// token in what is stored.
func TestStoredRowIsOfNoUse(t *testing.T) {
	m, store, _ := setup(t, nil)
	issued, err := m.Issue(context.Background(), latchkey.SignIn{Subject: "alice", Data: map[string]json.RawMessage{"motto": json.RawMessage(`"plaintext-canary"`)}})
	if err != nil {
		t.Fatal(err)
	}
	rec, err := store.Get(context.Background(), issued.Record.ID)
	if err != nil {
		t.Fatal(err)
	}
	packed := string(latchkey.AppendRecord(nil, rec))
	if strings.Contains(packed, "plaintext-canary") {
		t.Error("session data is stored in the clear")
	}
	for i := 0; i+8 <= len(issued.Token); i++ {
		if strings.Contains(packed, issued.Token[i:i+8]) {
			t.Error("a piece of the token is stored")
		}
	}
	if v, _ := motto.Get(lookup(t, m, issued.Token)); v != "plaintext-canary" {
		t.Errorf("motto %q", v)
	}
}
