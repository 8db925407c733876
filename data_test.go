package latchkey_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// A request reads what is current, whatever it has done to its session so far.
func TestDataIsCurrent(t *testing.T) {
	ctx := context.Background()
	m, _, _ := setup(t, nil)
	s := lookup(t, m, issue(t, m, "alice"))
	check := func(step string, want int) {
		t.Helper()
		got, err := visits.Get(s)
		if data, dataErr := s.Data(); err != nil || dataErr != nil || got != want || string(data) != fmt.Sprintf(`{"visits":%d}`, want) {
			t.Errorf("%s: %d, %s, %v, %v", step, got, data, err, dataErr)
		}
	}
	if err := visits.Set(s, 1); err != nil {
		t.Fatal(err)
	}
	check("set", 1)
	if err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	check("commit", 1)
	if _, err := s.Renew(ctx, latchkey.Renewal{}); err != nil {
		t.Fatal(err)
	}
	check("renew", 1)
	if err := visits.Update(s, func(n int) (int, error) { return n + 1, nil }); err != nil {
		t.Fatal(err)
	}
	check("update", 2)
	if _, err := s.Renew(ctx, latchkey.Renewal{}); err != nil {
		t.Fatal(err)
	}
	check("renew with a change waiting", 2)
	if err := s.SignIn(ctx, latchkey.SignIn{Subject: "alice", KeepData: true}); err != nil {
		t.Fatal(err)
	}
	check("sign-in", 2)
	if err := s.SignIn(ctx, latchkey.SignIn{Subject: "alice"}); err != nil {
		t.Fatal(err)
	}
	if data, err := s.Data(); err != nil || string(data) != "{}" {
		t.Errorf("data of a new session: %s, %v", data, err)
	}
}

func TestDataBounds(t *testing.T) {
	m, _, _ := setup(t, func(cfg *latchkey.Config) { cfg.MaxData = 1000 })
	s := lookup(t, m, issue(t, m, "alice"))
	if err := motto.Set(s, strings.Repeat("x", 980)); err != nil {
		t.Fatal(err)
	}
	if err := visits.Set(s, 12345678); latchkey.CodeOf(err) != latchkey.CodeDataTooLarge {
		t.Errorf("over the cap: %v", err)
	}
	if err := motto.Set(s, "short"); err != nil { // the room comes back
		t.Error(err)
	}
	if err := visits.Set(s, 12345678); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", strings.Repeat("n", 129), "a\nb", "\xff"} {
		if err := s.SetJSON(name, []byte("1")); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for _, raw := range []string{"", "{", "\"\xff\"", "1 2"} {
		if err := s.SetJSON("x", []byte(raw)); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
			t.Errorf("value %q: %v", raw, err)
		}
	}
}

// A program's function that panics at commit costs its own request, and nobody else.
func TestUpdatePanics(t *testing.T) {
	m, _, _ := setup(t, nil)
	token := issue(t, m, "alice")
	s := lookup(t, m, token)
	calls := 0
	if err := visits.Update(s, func(int) (int, error) {
		if calls++; calls > 1 {
			panic("boom")
		}
		return 1, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(context.Background()); latchkey.CodeOf(err) != latchkey.CodeInternal {
		t.Errorf("commit: %v", err)
	}
	if _, found, _ := visits.Lookup(lookup(t, m, token)); found {
		t.Error("something was saved")
	}
}

// A session that was seen just before its idle limit may be changed, although the
// store has yet to be told that it was seen.
func TestChangeAfterPendingTouch(t *testing.T) {
	for name, act := range map[string]func(context.Context, latchkey.Session) error{
		"commit": func(_ context.Context, s latchkey.Session) error { return visits.Set(s, 1) },
		"renew": func(ctx context.Context, s latchkey.Session) error {
			_, err := s.Renew(ctx, latchkey.Renewal{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			var store *storetest.Faulty
			m, clock := latchkeytest.NewManager(t, func(c *latchkey.Config) {
				store = storetest.NewFaulty(c.Store)
				c.Store = store
			})
			cookie := latchkeytest.SignIn(t, m, latchkey.SignIn{Subject: "ann"})
			store.Fail(storetest.Only(storetest.MethodTouch, storetest.NotPersisted))
			clock.Advance(time.Hour - time.Second)
			if _, err := m.Lookup(t.Context(), latchkey.Lookup{Token: cookie.Value}); err != nil {
				t.Fatal(err)
			}
			store.Fail(nil)
			clock.Advance(2 * time.Second)
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.AddCookie(cookie)
			w := httptest.NewRecorder()
			m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if err := act(r.Context(), mustSession(t, r)); err != nil {
					t.Error(err)
				}
			})).ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

// A renewal within a rotation's grace does not make a late request with the first
// token look like a thief's; the same token later on does.
func TestLateTokenAfterRenewalInGrace(t *testing.T) {
	m, clock := latchkeytest.NewManager(t, func(c *latchkey.Config) { c.RotateEvery = 10 * time.Minute })
	first := latchkeytest.SignIn(t, m, latchkey.SignIn{Subject: "ann"}).Value
	clock.Advance(10 * time.Minute)
	s, err := m.Lookup(t.Context(), latchkey.Lookup{Token: first, Rotate: true})
	if err != nil || s.Token() == "" {
		t.Fatal(err)
	}
	if s, err = m.Lookup(t.Context(), latchkey.Lookup{Token: s.Token(), Rotate: true}); err != nil {
		t.Fatal(err)
	}
	issued, err := s.Renew(t.Context(), latchkey.Renewal{Assurance: "aal2"})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, m, first)
	if lookup(t, m, issued.Token).Assurance() != "aal2" {
		t.Error("the session is gone")
	}
	clock.Advance(11 * time.Second)
	refused(t, m, first)
	refused(t, m, issued.Token)
	info, err := m.Get(t.Context(), s.ID())
	if err != nil || info.RevokedReason != "theft" {
		t.Errorf("%+v, %v", info, err)
	}
}
