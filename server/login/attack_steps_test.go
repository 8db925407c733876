package login_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/optest"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/internal/htmlcheck"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
	"github.com/latchkey-go/latchkey/server/login"
	"github.com/latchkey-go/latchkey/server/login/oidc"
	"github.com/latchkey-go/latchkey/store/memory"
)

// failing breaks what a provider answers at one path.
type failing struct {
	path atomic.Value // string
	how  func(*http.Request) (*http.Response, error)
}

// RoundTrip implements http.RoundTripper.
func (f *failing) RoundTrip(r *http.Request) (*http.Response, error) {
	if path, _ := f.path.Load().(string); path != "" && strings.HasPrefix(r.URL.Path, path) {
		return f.how(r)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestProviderFailsAtEachStep: a provider that gives no usable answer, at each of the
// requests that a sign-in needs. It is 503 with a page, nobody is signed in or out, and
// it works again as soon as the provider does.
func TestProviderFailsAtEachStep(t *testing.T) {
	answer := func(status int, body string) func(*http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		}
	}
	ways := map[string]func(*http.Request) (*http.Response, error){
		"no_connection": func(*http.Request) (*http.Response, error) { return nil, errors.New("canary: connection refused") },
		"failing":       answer(500, "canary"),
		"empty":         answer(200, ""),
	}
	for how, way := range ways {
		t.Run(how, func(t *testing.T) {
			clock := latchkeytest.NewClock(time.Now())
			f := &failing{how: way}
			r := newRig(t, rigOptions{page: pagetest.Options{Clock: clock}, oidc: func(c *oidc.Config) { c.Transport = f }})
			v := r.visitor(t)
			for _, path := range []string{"/.well-known/", "/jwks", "/token", "/me"} {
				before := v.Cookie()
				f.path.Store(path)
				a := v.Post("/login/op", url.Values{"rd": {"/x"}})
				if path != "/.well-known/" {
					a = v.arrive(v.atProvider(a.Header.Get("Location"), "ada"))
				}
				status := http.StatusServiceUnavailable
				if path == "/token" && how == "empty" {
					status = http.StatusForbidden // it answered, and nothing that could be accepted
				}
				want(t, a, status)
				if status == http.StatusServiceUnavailable && a.Header.Get("Retry-After") == "" {
					t.Errorf("%s: headers %v", path, a.Header)
				}
				for _, line := range a.Header["Set-Cookie"] {
					if strings.HasPrefix(line, "session=") {
						t.Errorf("%s: %s", path, line)
					}
				}
				if v.Cookie() != before || strings.Contains(a.Body, "canary") {
					t.Errorf("%s: the session changed, or %s", path, a.Body)
				}
				f.path.Store("")
				clock.Advance(31 * time.Second) // attempts that fail are spaced
				if path != "/.well-known/" {    // what is known of keys then would do for the next step
					wantRedirect(t, v.signIn("ada", "/x"), "/x")
				}
			}
		})
	}
}

// readable is a store whose reads can be away.
type readable struct {
	*memory.Store
	away atomic.Bool
}

func (s *readable) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	if s.away.Load() {
		return nil, latchkey.ErrUnavailable
	}
	return s.Store.Get(ctx, id)
}

// TestStoreUnreadable: somebody who is signed in, while the store cannot be read: no page
// lets them in or out, or takes the cookie away.
func TestStoreUnreadable(t *testing.T) {
	var store *readable
	r := newRig(t, rigOptions{page: pagetest.Options{Whole: true, Store: func(s *memory.Store) latchkey.Store { store = &readable{Store: s}; return store }}})
	v := r.visitor(t)
	wantRedirect(t, v.signIn("ada", ""), "/account")
	id, cookie := v.Session().ID(), v.Cookie()
	path := v.atProvider(v.begin(url.Values{"prompt": {"login"}}), "ada")
	store.away.Store(true)
	for name, a := range map[string]pagetest.Answer{"page": v.Get("/login"), "callback": v.arrive(path), "account": v.Get("/account"), "logout": v.Post("/logout", nil)} {
		if a.Status != http.StatusServiceUnavailable || a.Header["Set-Cookie"] != nil || a.Header.Get("Location") != "" {
			t.Errorf("%s: status %d, %v", name, a.Status, a.Header)
		}
	}
	store.away.Store(false)
	if v.Cookie() != cookie || v.Session().ID() != id {
		t.Error("the session changed")
	}
	wantRedirect(t, v.arrive(path), "/account") // the attempt was not spent
	if v.Session().ID() == id {
		t.Error("not signed in once the store was back")
	}
}

// TestAttemptCookies: the cookie of an attempt that was changed, exchanged for another
// tab's, taken to another provider's callback, or kept for too long.
func TestAttemptCookies(t *testing.T) {
	clock := latchkeytest.NewClock(time.Now())
	r := newRig(t, rigOptions{page: pagetest.Options{Clock: clock}})
	// attempt begins a sign-in in a browser of its own, and returns its cookie and callback.
	attempt := func() (name, value, callback string) {
		req := httptest.NewRequest(http.MethodPost, "/login/op", nil)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		w := httptest.NewRecorder()
		r.Handler.ServeHTTP(w, req)
		line := w.Header().Get("Set-Cookie")
		name, value, _ = strings.Cut(strings.Split(line, ";")[0], "=")
		return name, value, r.visitor(t).atProvider(w.Header().Get("Location"), "ada")
	}
	arrive := func(callback, cookie string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(http.MethodGet, callback, nil)
		req.Header.Set("Cookie", cookie)
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		w := httptest.NewRecorder()
		r.Handler.ServeHTTP(w, req)
		return w
	}
	refused := func(what string, w *httptest.ResponseRecorder) {
		t.Helper()
		if w.Code != http.StatusForbidden || strings.Contains(strings.Join(w.Header()["Set-Cookie"], "\n"), "session=lk_") {
			t.Errorf("%s: status %d, %v", what, w.Code, w.Header())
		}
	}
	name, value, callback := attempt()
	otherName, otherValue, _ := attempt()
	refused("none", arrive(callback, ""))
	refused("changed", arrive(callback, name+"="+value[:len(value)-6]+"AAAAAA"))
	refused("another tab's value", arrive(callback, name+"="+otherValue+"; "+otherName+"="+value))
	refused("another tab's alone", arrive(callback, otherName+"="+otherValue))
	refused("twice", arrive(callback, name+"="+value+"; "+name+"="+value))
	if w := arrive(callback, name+"="+value); w.Code != http.StatusSeeOther {
		t.Errorf("as it is: status %d: %s", w.Code, w.Body)
	}
	refused("again", arrive(callback, name+"="+value))
	name, value, callback = attempt()
	clock.Advance(10 * time.Minute)
	refused("expired", arrive(callback, name+"="+value))
}

// TestCodeOfAnotherClient: a code that the same provider gave to another client, such as
// one of the attacker's, is not this one's; nor is its state.
func TestCodeOfAnotherClient(t *testing.T) {
	var twin *oidc.Provider
	r := newRig(t, rigOptions{oidc: func(c *oidc.Config) {
		cfg := *c
		cfg.ID, cfg.ClientID, cfg.RedirectURL = "twin", "twin", strings.Replace(c.RedirectURL, "/callback/op", "/callback/twin", 1)
		var err error
		if twin, err = oidc.New(cfg); err != nil {
			t.Fatal(err)
		}
	}, client: func(c *optest.Client) {
		c.RedirectURIs = append(c.RedirectURIs, strings.Replace(c.RedirectURIs[0], "/callback/op", "/callback/twin", 1))
	},
		login: func(cfg *login.Config) { cfg.Providers = append(cfg.Providers, twin) }, op: optest.Config{Clients: []optest.Client{{ID: "twin", Secret: clientSecret,
			RedirectURIs: []string{"http://127.0.0.1:1/callback/twin"}}}}})
	v := r.visitor(t)
	parameters := func(path string) url.Values {
		u, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		return u.Query()
	}
	mine, stolen := parameters(v.atProvider(v.begin(nil), "ada")), parameters(r.visitor(t).atProvider(v.begin(nil), "eve"))
	// Eve's code under Ada's state, both of this client: PKCE and nonce are of the attempt.
	a := v.arrive("/callback/op?" + url.Values{"code": {stolen.Get("code")}, "state": {mine.Get("state")}, "iss": {r.op.Issuer}}.Encode())
	want(t, a, http.StatusForbidden)
	if v.Cookie() != "" {
		t.Error("signed in with another attempt's code")
	}
	// This client's attempt at the twin's callback: the same issuer, and another provider.
	next := parameters(v.atProvider(v.begin(nil), "ada"))
	want(t, v.arrive("/callback/twin?"+next.Encode()), http.StatusForbidden)
	if v.Cookie() != "" {
		t.Error("signed in at another client's callback")
	}
	// A logout token for the twin is not for this client.
	wantRedirect(t, v.signIn("ada", ""), "/account")
	if status, body := r.sendLogout(t, "op", logoutToken(t, r.op.SignKey(), r.op.Issuer, map[string]any{"sub": "ada", "aud": "twin"})); status != http.StatusBadRequest || !strings.Contains(body, "wrong_audience") {
		t.Errorf("status %d: %s", status, body)
	}
	if status, _ := r.sendLogout(t, "twin", logoutToken(t, r.op.SignKey(), r.op.Issuer, map[string]any{"sub": "ada", "aud": "twin"})); status != http.StatusOK || !v.Session().Live() {
		t.Errorf("status %d; another client's logout ended this one's session: %v", status, !v.Session().Live())
	}
}

// TestReturnAddressTwice: with several rd there is one answer, at the page, in the form
// and after the provider.
func TestReturnAddressTwice(t *testing.T) {
	r := newRig(t, rigOptions{login: func(cfg *login.Config) { cfg.ReturnTo = []string{"app.example.com"} }})
	v := r.visitor(t)
	for _, c := range []struct {
		query string
		form  url.Values
		to    string
	}{
		{"?rd=/a&rd=//evil.example", nil, "/a"},
		{"?rd=//evil.example&rd=/a", nil, "/account"},
		{"?rd=/q", url.Values{"rd": {"//evil.example", "/a"}}, "/account"},
		{"?rd=//evil.example", url.Values{"rd": {"/a", "//evil.example"}}, "/a"},
		{"?rd=/a;rd=//evil.example", nil, "/account"}, // a semicolon parts nothing
		{"?rd=https://app.example.com%2F..%2F%2Fevil.example", nil, "/account"},
		{"?rd=https://app.example.com.%2Fx", nil, "/account"},
		{"?rd=https://app.example.com:443%2Fx", nil, "/account"},
		{"?rd=https://app%E3%80%82example.com%2Fx", nil, "/account"},
		{"?rd=https://u:p@app.example.com%2Fx", nil, "/account"},
	} {
		a := v.Post("/login/op"+c.query, c.form)
		if a.Status != http.StatusSeeOther {
			t.Fatalf("%s: status %d", c.query, a.Status)
		}
		if got := v.arrive(v.atProvider(a.Header.Get("Location"), "ada")); got.Header.Get("Location") != c.to {
			t.Errorf("%s with %v leads to %q, want %q", c.query, c.form, got.Header.Get("Location"), c.to)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodOptions} { // form_post is not known
		if a := v.Do(method, "/callback/op?code=x&state=y", nil, http.Header{"Sec-Fetch-Site": {"same-origin"}}); a.Status != http.StatusNotFound && a.Status != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %d", method, a.Status)
		}
	}
	want(t, v.Get("/login?rd=//evil.example&rd=/a&prompt=login"), http.StatusOK, htmlcheck.NotIn("input[name=rd]"))
}
