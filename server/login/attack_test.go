package login_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/optest"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/internal/htmlcheck"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
	"github.com/latchkey-go/latchkey/server/login"
	"github.com/latchkey-go/latchkey/server/login/oidc"
	"github.com/latchkey-go/latchkey/store/memory"
)

// TestMixUp: the answer of one provider at the callback of another.
func TestMixUp(t *testing.T) {
	var evil *optest.Provider
	var at string
	r := newRig(t, rigOptions{oidc: func(c *oidc.Config) { at, _, _ = strings.Cut(c.RedirectURL, "/callback/") }, login: func(cfg *login.Config) {
		evil = optest.Start(t, optest.Config{Clients: []optest.Client{{ID: "app", Secret: clientSecret, RedirectURIs: []string{at + "/callback/evil", at + "/callback/op"}}}})
		p, err := oidc.New(oidc.Config{ID: "evil", Issuer: evil.Issuer, ClientID: "app", ClientSecret: clientSecret, RedirectURL: at + "/callback/evil"})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Providers = append(cfg.Providers, p)
	}})
	v := r.visitor(t)
	honest := v.begin(nil)
	crooked := v.Post("/login/evil", nil).Header.Get("Location")
	path := func(p *optest.Provider, address string) string {
		return strings.TrimPrefix(p.Login(t, v.idp, address, "ada", nil), r.URL)
	}
	// The right answer at the other's callback.
	toOther := strings.Replace(path(r.op, honest), "/callback/op", "/callback/evil", 1)
	want(t, v.arrive(toOther), http.StatusForbidden)
	// With the issuer rewritten to fit, or taken out: the transaction is the other's.
	for _, iss := range []string{"&iss=" + url.QueryEscape(evil.Issuer), ""} {
		query := strings.Replace(path(r.op, v.begin(nil)), "/callback/op", "/callback/evil", 1)
		query, _, _ = strings.Cut(query, "&iss=")
		want(t, v.arrive(query+iss), http.StatusForbidden)
	}
	// The evil one's code with the state of a sign-in at the honest one.
	code := strings.Split(strings.Split(path(evil, crooked), "code=")[1], "&")[0]
	u, err := url.Parse(v.begin(nil))
	if err != nil {
		t.Fatal(err)
	}
	want(t, v.arrive("/callback/op?code="+code+"&state="+u.Query().Get("state")+"&iss="+url.QueryEscape(r.op.Issuer)), http.StatusForbidden)
	if v.Cookie() != "" {
		t.Error("signed in by a mix-up")
	}
	// And each at its own place is good, with a subject of its own provider.
	wantRedirect(t, v.arrive(path(evil, v.Post("/login/evil", nil).Header.Get("Location"))), "/account")
	if s := v.Session(); s.Provider() != "evil" || s.Subject() != "ada" {
		t.Errorf("session of %v", s.Identity())
	}
	// Its logout tokens end nobody's sessions of the first.
	wantRedirect(t, v.signIn("ada", ""), "/account")
	token := logoutToken(t, evil.SignKey(), r.op.Issuer, map[string]any{"sub": "ada"})
	if status, body := r.sendLogout(t, "op", token); status != http.StatusBadRequest || !strings.Contains(body, "unknown_key") {
		t.Errorf("status %d: %s", status, body)
	}
	if !v.Session().Live() {
		t.Error("ended by another provider's key")
	}
}

// logoutToken makes a good logout token for the client, with claims of its own.
func logoutToken(t *testing.T, key jose.JSONWebKey, issuer string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, (&jose.SignerOptions{}).WithType("logout+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	all := map[string]any{"iss": issuer, "aud": "app", "iat": now, "exp": now + 120, "jti": newID(), "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}
	for k, v := range claims {
		all[k] = v
	}
	token, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

var ids atomic.Int64

func newID() string { return "jti-" + time.Unix(ids.Add(1), 0).Format(time.RFC3339) }

// sendLogout posts a logout token as a provider does, and returns status and body.
func (r *rig) sendLogout(t *testing.T, provider, token string) (int, string) {
	t.Helper()
	w := r.post(provider, "application/x-www-form-urlencoded", url.Values{"logout_token": {token}}.Encode())
	if w.Header().Get("Cache-Control") != "no-store" || w.Header()["Set-Cookie"] != nil {
		t.Errorf("headers %v", w.Header())
	}
	return w.Code, w.Body.String()
}

func (r *rig) post(provider, contentType, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, r.Prefix+"/backchannel-logout/"+provider, strings.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	r.Handler.ServeHTTP(w, req)
	return w
}

func TestLogoutRequests(t *testing.T) {
	r := newRig(t, rigOptions{page: pagetest.Options{Whole: true}})
	one, two, bob := r.visitor(t), r.visitor(t), r.visitor(t)
	for v, name := range map[*visitor]string{one: "ada", two: "ada", bob: "bob"} {
		wantRedirect(t, v.signIn(name, ""), "/account")
	}
	token := func(claims map[string]any) string { return logoutToken(t, r.op.SignKey(), r.op.Issuer, claims) }
	for name, c := range map[string]struct{ contentType, body string }{
		"json":    {"application/json", `{"logout_token":"x"}`},
		"no_type": {"", "logout_token=x"},
		"empty":   {"application/x-www-form-urlencoded", ""},
		"two":     {"application/x-www-form-urlencoded", "logout_token=a&logout_token=b"},
		"broken":  {"application/x-www-form-urlencoded", "logout_token=%zz"},
		"large":   {"application/x-www-form-urlencoded", "logout_token=" + strings.Repeat("x", 200<<10)},
		"garbage": {"application/x-www-form-urlencoded", "logout_token=x"},
	} {
		t.Run(name, func(t *testing.T) {
			w := r.post("op", c.contentType, c.body)
			var said struct{ Error, Error_description string }
			if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || w.Code != http.StatusBadRequest || said.Error != "invalid_request" || said.Error_description == "" ||
				w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("status %d, %v: %s", w.Code, w.Header(), w.Body)
			}
		})
	}
	if w := r.post("other", "application/x-www-form-urlencoded", "logout_token=x"); w.Code != http.StatusNotFound {
		t.Errorf("status %d for a provider that is not there", w.Code)
	}
	// Unknown sessions and users are a success.
	for _, claims := range []map[string]any{{"sid": "unknown"}, {"sub": "nobody"}, {"sid": "unknown", "sub": "ada"}} {
		if status, body := r.sendLogout(t, "op", token(claims)); status != http.StatusOK || body != "" {
			t.Errorf("%v: status %d: %s", claims, status, body)
		}
	}
	if !one.Session().Live() || !two.Session().Live() {
		t.Fatal("a session was ended that was not meant")
	}
	// A sub alone is all of the user's, and nobody else's. A browser's headers change nothing.
	all := token(map[string]any{"sub": "ada"})
	req := httptest.NewRequest(http.MethodPost, "/backchannel-logout/op", strings.NewReader(url.Values{"logout_token": {all}}.Encode()))
	req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {"https://op.example"}, "Sec-Fetch-Site": {"cross-site"}, "Cookie": {"session=" + bob.Cookie()}}
	w := httptest.NewRecorder()
	r.Handler.ServeHTTP(w, req)
	if w.Code != http.StatusOK || one.Session().Live() || two.Session().Live() || !bob.Session().Live() {
		t.Errorf("status %d; live: %v %v %v", w.Code, one.Session().Live(), two.Session().Live(), bob.Session().Live())
	}
	// Played again it ends nothing that was made since.
	wantRedirect(t, one.signIn("ada", ""), "/account")
	for range 12 {
		if status, body := r.sendLogout(t, "op", all); status != http.StatusBadRequest || !strings.Contains(body, "replayed") {
			t.Errorf("status %d: %s", status, body)
		}
	}
	if !one.Session().Live() {
		t.Error("a logout token worked twice")
	}
}

// TestLogoutOvertakes: a logout that comes between the provider's answer and the
// callback, which then signs nobody in.
func TestLogoutOvertakes(t *testing.T) {
	r := newRig(t, rigOptions{})
	v := r.visitor(t)
	wantRedirect(t, v.signIn("ada", ""), "/account")
	sid := v.Session().SID()
	for name, claims := range map[string]map[string]any{"sid": {"sid": sid}, "sub": {"sub": "ada"}} {
		t.Run(name, func(t *testing.T) {
			path := v.atProvider(v.begin(nil), "ada") // the provider knows her: its session is the same
			if status, body := r.sendLogout(t, "op", logoutToken(t, r.op.SignKey(), r.op.Issuer, claims)); status != http.StatusOK {
				t.Fatal(status, body)
			}
			want(t, v.arrive(path), http.StatusForbidden)
			if v.Session().Live() {
				t.Error("signed in after the logout")
			}
		})
	}
}

// switchable is a store that can be away, for changes of each kind.
type switchable struct {
	*memory.Store
	create, revoke, spend atomic.Bool
}

func (s *switchable) Create(ctx context.Context, c latchkey.Create) (latchkey.Created, error) {
	if s.create.Load() {
		return latchkey.Created{}, latchkey.ErrUnavailable
	}
	return s.Store.Create(ctx, c)
}

func (s *switchable) Revoke(ctx context.Context, r latchkey.Revocation) (latchkey.RevokeResult, error) {
	if s.revoke.Load() {
		return latchkey.RevokeResult{}, latchkey.ErrUnavailable
	}
	return s.Store.Revoke(ctx, r)
}

func (s *switchable) Spend(ctx context.Context, key [32]byte, until time.Time) error {
	if s.spend.Load() {
		return latchkey.ErrUnavailable
	}
	return s.Store.Spend(ctx, key, until)
}

// TestStoreAwayAtEachStep: 503, nothing lost that can be kept, and nobody let in.
func TestStoreAwayAtEachStep(t *testing.T) {
	var store *switchable
	r := newRig(t, rigOptions{page: pagetest.Options{Store: func(s *memory.Store) latchkey.Store { store = &switchable{Store: s}; return store }},
		login: func(cfg *login.Config) { cfg.Spender = store }})
	v := r.visitor(t)
	store.spend.Store(true)
	path := v.atProvider(v.begin(url.Values{"rd": {"/reports"}}), "ada") // begins without the store
	a := v.arrive(path)
	want(t, a, http.StatusServiceUnavailable, htmlcheck.In("section", htmlcheck.HasText("Sessions cannot be reached")))
	if a.Header["Set-Cookie"] != nil || a.Header.Get("Retry-After") == "" {
		t.Errorf("headers %v", a.Header)
	}
	store.spend.Store(false)
	wantRedirect(t, v.arrive(path), "/reports") // the same callback, once the store is back
	store.create.Store(true)
	before := v.Session().ID()
	a = v.signIn("bob", "/x")
	want(t, a, http.StatusServiceUnavailable, htmlcheck.In("a.button", htmlcheck.HasAttr("href", "/login?rd=%2Fx")))
	if v.Session().ID() != before {
		t.Error("the session changed")
	}
	store.create.Store(false)

	// A logout that was not done may come again, as often as it takes.
	token := logoutToken(t, r.op.SignKey(), r.op.Issuer, map[string]any{"sub": "ada"})
	store.revoke.Store(true)
	for range 3 {
		if status, _ := r.sendLogout(t, "op", token); status != http.StatusServiceUnavailable || !v.Session().Live() {
			t.Fatalf("status %d", status)
		}
	}
	store.revoke.Store(false)
	store.spend.Store(true)
	if status, _ := r.sendLogout(t, "op", token); status != http.StatusServiceUnavailable {
		t.Fatalf("status %d", status)
	}
	store.spend.Store(false)
	if status, body := r.sendLogout(t, "op", token); status != http.StatusOK || v.Session().Live() {
		t.Fatalf("status %d: %s", status, body)
	}
	if status, _ := r.sendLogout(t, "op", token); status != http.StatusBadRequest {
		t.Errorf("status %d for a repetition", status)
	}
}

// TestProviderAwayAtEachStep: 503 with a page that says so, and it works again as soon
// as the provider does.
func TestProviderAwayAtEachStep(t *testing.T) {
	clock := latchkeytest.NewClock(time.Now())
	r := newRig(t, rigOptions{page: pagetest.Options{Clock: clock}})
	v := r.visitor(t)
	r.op.Stop(t)
	a := v.Post("/login/op", url.Values{"rd": {"/reports"}})
	want(t, a, http.StatusServiceUnavailable, htmlcheck.In("section", htmlcheck.HasText("The Provider cannot be reached right now")), htmlcheck.In("a.button", htmlcheck.HasAttr("href", "/login?rd=%2Freports")))
	if a.Header["Set-Cookie"] != nil {
		t.Error("an attempt was begun")
	}
	// Before anything of a logout token is known it is not refused.
	if status, _ := r.sendLogout(t, "op", logoutToken(t, r.op.SignKey(), r.op.Issuer, map[string]any{"sub": "ada"})); status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	r.op.Restart(t, false)
	clock.Advance(31 * time.Second) // attempts that fail are spaced
	// Between the provider's answer and the exchange.
	path := v.atProvider(v.begin(url.Values{"rd": {"/reports"}}), "ada")
	r.op.Stop(t)
	want(t, v.arrive(path), http.StatusServiceUnavailable)
	if v.Cookie() != "" {
		t.Error("signed in without the provider")
	}
	// Back with other keys: they are looked for.
	r.op.Restart(t, true)
	wantRedirect(t, v.signIn("ada", ""), "/account")
	r.op.Restart(t, true)
	clock.Advance(6 * time.Second) // and so are looks for a key
	wantRedirect(t, v.signIn("ada", ""), "/account")
	// Signing out here works while it is away.
	r.op.Stop(t)
	if a := v.Post("/logout", nil); a.Status != http.StatusSeeOther || v.Session().Live() {
		t.Errorf("status %d", a.Status)
	}
}

// TestCallbackQueries: answers that are none.
func TestCallbackQueries(t *testing.T) {
	r := newRig(t, rigOptions{})
	v := r.visitor(t)
	good := v.atProvider(v.begin(nil), "ada")
	state := strings.Split(strings.Split(good, "state=")[1], "&")[0]
	iss := "&iss=" + url.QueryEscape(r.op.Issuer)
	for name, c := range map[string]struct {
		query string
		want  int
	}{
		"nothing":       {"", 400},
		"no_state":      {"?code=x", 400},
		"no_code":       {"?state=" + state, 400},
		"both":          {"?state=" + state + "&code=x&error=access_denied", 400},
		"two_states":    {"?state=" + state + "&state=x&code=x", 400},
		"two_codes":     {"?state=" + state + "&code=x&code=y", 400},
		"broken":        {"?state=" + state + "&code=%zz", 400},
		"long":          {"?state=" + state + "&code=" + strings.Repeat("x", 9000), 400},
		"unknown_state": {"?code=x&state=" + strings.Repeat("A", 43) + iss, 403},
		"short_state":   {"?code=x&state=A" + iss, 403},
		"forged_error":  {"?error=%3Cscript%3E&error_description=phish&state=" + strings.Repeat("A", 43) + iss, 403},
	} {
		t.Run(name, func(t *testing.T) {
			a := v.arrive("/callback/op" + c.query)
			want(t, a, c.want)
			if strings.Contains(a.Body, "phish") || strings.Contains(a.Body, "script>") || v.Cookie() != "" {
				t.Errorf("%s", a.Body)
			}
		})
	}
	if a := v.Do(http.MethodHead, good, nil, nil); a.Status != http.StatusNotFound || v.Cookie() != "" {
		t.Errorf("HEAD: status %d", a.Status)
	}
	wantRedirect(t, v.arrive(good), "/account") // none of these spent it
}

// TestLoginCSRF: another site's form begins nothing.
func TestLoginCSRF(t *testing.T) {
	r := newRig(t, rigOptions{})
	v := r.visitor(t)
	a := v.PostFrom("https://evil.example", "/login/op", nil)
	want(t, a, http.StatusForbidden, htmlcheck.In("h1", htmlcheck.HasExactText("Request refused")))
	if a.Header["Set-Cookie"] != nil {
		t.Error("an attempt was begun")
	}
}

// TestReturnAddresses: a sign-in leads to this host, to those that are listed, and
// nowhere else.
func TestReturnAddresses(t *testing.T) {
	r := newRig(t, rigOptions{login: func(cfg *login.Config) { cfg.ReturnTo = []string{"app.example.com"} }})
	v := r.visitor(t)
	for rd, to := range map[string]string{"https://app.example.com/x?y=1": "https://app.example.com/x?y=1", "https://app.example.com.evil.example/": "/account", "//evil.example": "/account",
		`/\evil.example`: "/account", "https://evil.example": "/account", "http://app.example.com/": "/account", "/callback/op?code=x": "/account", "/login/op": "/account", "/logout": "/account"} {
		wantRedirect(t, v.signIn("ada", rd), to)
	}
}

// TestAskedForMore: a page that needs a fresh sign-in, or a stronger one.
func TestAskedForMore(t *testing.T) {
	r := newRig(t, rigOptions{})
	v := r.visitor(t)
	wantRedirect(t, v.signIn("ada", ""), "/account")
	wantRedirect(t, v.Get("/login?rd=/x"), "/x")
	want(t, v.Get("/login?rd=/x&prompt=login&max_age=60&acr_values=urn:test:otp"), http.StatusOK, htmlcheck.In("input[name=prompt]", htmlcheck.HasAttr("value", "login")),
		htmlcheck.In("input[name=max_age]", htmlcheck.HasAttr("value", "60")), htmlcheck.In("input[name=acr_values]", htmlcheck.HasAttr("value", "urn:test:otp")))
	wantRedirect(t, v.Get("/login?prompt=none&max_age=-1&acr_values=a+b"), "/account")
	first := v.Session()
	fresh := url.Values{"rd": {"/x"}, "prompt": {"login"}, "max_age": {"60"}}
	address := v.begin(fresh)
	if q, err := url.Parse(address); err != nil || q.Query().Get("prompt") != "login" || q.Query().Get("max_age") != "60" {
		t.Errorf("%s", address)
	}
	wantRedirect(t, v.arrive(v.atProvider(address, "ada")), "/x")
	if s := v.Session(); !s.AuthTime().After(first.CreatedAt().Add(-time.Minute)) || s.ID() == first.ID() {
		t.Errorf("%+v", s.Info())
	}
	// The provider signs in by password, and one-time codes were asked for.
	before := v.Session().ID()
	want(t, v.arrive(v.atProvider(v.begin(url.Values{"prompt": {"login"}, "acr_values": {"urn:test:otp"}}), "ada")), http.StatusForbidden)
	if v.Session().ID() != before {
		t.Error("the session changed")
	}
	stronger := r.op.Login(t, v.idp, v.begin(url.Values{"prompt": {"login"}, "acr_values": {"urn:test:otp"}}), "ada", url.Values{"acr": {"urn:test:otp"}, "amr": {"pwd otp"}})
	wantRedirect(t, v.arrive(strings.TrimPrefix(stronger, r.URL)), "/account")
	if s := v.Session(); s.Assurance() != "urn:test:otp" || strings.Join(s.Methods(), " ") != "pwd otp" {
		t.Errorf("%+v", s.Info())
	}
}

// TestTokensStayHere: a browser's script reads its session's data, and the provider's
// tokens are not in it.
func TestTokensStayHere(t *testing.T) {
	r := newRig(t, rigOptions{page: pagetest.Options{Whole: true}, oidc: func(c *oidc.Config) { c.KeepTokens = true }})
	v := r.visitor(t)
	wantRedirect(t, v.signIn("ada", ""), "/account")
	a := v.Do(http.MethodGet, "/v1/me", nil, http.Header{"Sec-Fetch-Mode": {"cors"}})
	if a.Status != http.StatusOK || strings.Contains(a.Body, "token") || strings.Contains(a.Body, "eyJ") {
		t.Errorf("status %d: %s", a.Status, a.Body)
	}
	for _, page := range []string{"/account", "/status"} {
		if a := v.Get(page); strings.Contains(a.Body, "eyJ") {
			t.Errorf("%s holds a token", page)
		}
	}
}

func TestCallbackLimit(t *testing.T) {
	r := newRig(t, rigOptions{login: func(cfg *login.Config) { cfg.Limits = login.Limits{Callbacks: 3, SignIns: 4, BadLogouts: 2} }})
	v := r.visitor(t)
	for range 3 {
		want(t, v.arrive("/callback/op"), http.StatusBadRequest)
	}
	want(t, v.arrive("/callback/op"), http.StatusTooManyRequests)
	for range 4 {
		v.begin(nil)
	}
	want(t, v.Post("/login/op", nil), http.StatusTooManyRequests)
	// Of logouts only bad ones count.
	for range 5 {
		if status, _ := r.sendLogout(t, "op", logoutToken(t, r.op.SignKey(), r.op.Issuer, map[string]any{"sub": "ada"})); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	}
	for _, status := range []int{400, 400, 429} {
		if w := r.post("op", "application/x-www-form-urlencoded", "logout_token=x"); w.Code != status {
			t.Errorf("status %d, want %d", w.Code, status)
		}
	}
	want(t, v.Get("/login"), http.StatusOK)
}
