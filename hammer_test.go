package latchkey_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-go/latchkey"
)

// uses is everything that can be done with a session. What it answers does not
// matter here.
func uses(ctx context.Context, s latchkey.Session) []func() {
	return []func(){
		func() { _ = visits.Set(s, 1) }, func() { _, _ = visits.Get(s) }, func() { _, _ = motto.Get(s) },
		func() { _ = motto.Set(s, "x") }, func() { _ = motto.Delete(s) }, func() { _, _ = s.Data() },
		func() { _ = visits.Update(s, func(n int) (int, error) { return n + 1, nil }) },
		func() { _, _ = s.Renew(ctx, latchkey.Renewal{}) }, func() { _ = s.End(ctx) }, func() { _ = s.Commit(ctx) },
		func() { _ = s.SignIn(ctx, latchkey.SignIn{Subject: "ann", KeepData: true}) },
		func() { _ = s.Token() }, func() { _ = s.Info() }, func() { _ = s.Roles() }, func() { _ = s.Subject() },
		func() { _ = s.HasRole("x") }, func() { _ = s.IdleExpiresAt() }, func() { _ = s.Version() },
		func() { _, _ = s.Sessions(ctx) }, func() { _, _ = s.RevokeOthers(ctx) }, func() { _ = s.RevokeOne(ctx, latchkey.ID{}) },
	}
}

// One Session used by many goroutines at once, before and after the response has
// begun. Mostly for the race detector; and nothing hangs.
func TestSessionInManyGoroutines(t *testing.T) {
	for name, change := range map[string]func(*latchkey.Config){
		"stored": nil,
		"cached": withCache(t),
		"sealed": func(c *latchkey.Config) { withCache(t)(c); c.SealedCache = true },
	} {
		t.Run(name, func(t *testing.T) {
			m, _, _ := setup(t, change)
			token := issue(t, m, "ann")
			saveMotto(t, lookup(t, m, token), "m")
			h := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s := mustSession(t, r)
				var wg sync.WaitGroup
				for _, use := range uses(r.Context(), s) {
					wg.Go(func() {
						for range 20 {
							use()
						}
					})
				}
				wg.Wait()
				_, _ = w.Write([]byte("x"))
				for _, use := range uses(r.Context(), s) {
					use()
				}
			}))
			for range 3 {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, request(token))
				if n := len(w.Result().Cookies()); n > 1 {
					t.Errorf("%d session cookies", n)
				}
			}
		})
	}
}

// A Session that can only be read, and one from nowhere, take every call.
func TestReadOnlySessionTakesEveryCall(t *testing.T) {
	m, _, _ := setup(t, nil)
	read, err := m.Read(httptest.NewRecorder(), request(issue(t, m, "ann")))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []latchkey.Session{read, {}} {
		for _, use := range uses(t.Context(), s) {
			use()
		}
	}
}

// Sign-in, logout, renewal and changes of data in any order in one request: at
// most one cookie, and what the browser is left with is the only live session.
func TestSequencesOfChanges(t *testing.T) {
	for _, before := range []string{"", "ann"} {
		for _, limit := range []int{0, 1} {
			for _, steps := range []string{"S", "E", "R", "D", "SS", "SE", "SED", "ED", "RS", "SR", "DS", "DK", "DKD", "SDE", "SDED", "RDS",
				"RDK", "ESD", "ESK", "DR", "DSRD", "EE", "SEED"} {
				t.Run("had-"+before+"/limit-"+string(rune('0'+limit))+"/"+steps, func(t *testing.T) { sequence(t, before, limit, steps) })
			}
		}
	}
}

// sequence takes steps S (sign-in), K (sign-in that keeps data), E (end), R
// (renewal) and D (data) for a visitor who is signed in before or not.
func sequence(t *testing.T, before string, limit int, steps string) {
	m, _, _ := setup(t, func(c *latchkey.Config) { c.Limit, c.LimitPolicy = limit, latchkey.RefuseNew })
	token := ""
	if before != "" {
		token = issue(t, m, before)
	}
	live, data := before != "", 0
	w := httptest.NewRecorder()
	m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s := mustSession(t, r)
		signedIn := live
		for i, step := range steps {
			var err error
			switch step {
			case 'S', 'K':
				err = s.SignIn(r.Context(), latchkey.SignIn{Subject: "ann", KeepData: step == 'K'})
				if step == 'S' && signedIn {
					data = 0
				}
				live, signedIn = true, true
			case 'E':
				err = s.End(r.Context())
				live, signedIn, data = false, false, 0
			case 'R':
				if _, err = s.Renew(r.Context(), latchkey.Renewal{}); !signedIn && latchkey.CodeOf(err) == latchkey.CodeInvalidSession {
					err = nil // there is nothing to renew
				}
			case 'D':
				err = visits.Set(s, i+1)
				live, data = true, i+1
			}
			if err != nil {
				t.Errorf("step %d: %v", i, err)
			}
		}
	})).ServeHTTP(w, request(token))
	cookies := w.Result().Header["Set-Cookie"]
	if len(cookies) > 1 {
		t.Errorf("%d cookies", len(cookies))
	}
	if len(cookies) == 1 {
		token = strings.TrimPrefix(strings.Split(cookies[0], ";")[0], "__Host-session=")
	}
	infos, _, err := m.List(t.Context(), latchkey.ListQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if !live {
		if refused(t, m, token); len(infos) != 0 {
			t.Errorf("%d live sessions, want none", len(infos))
		}
		return
	}
	if len(infos) != 1 {
		t.Errorf("%d live sessions, want one", len(infos))
	}
	holds(t, lookup(t, m, token), "", data)
}
