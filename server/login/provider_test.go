package login_test

import (
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/internal/optest"
	"github.com/latchkey-go/latchkey/server/internal/htmlcheck"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
	"github.com/latchkey-go/latchkey/server/login"
	"github.com/latchkey-go/latchkey/server/login/oidc"
)

const clientSecret = "for tests only, and long enough to be one"

// rig is a site whose visitors sign in at a certified provider.
type rig struct {
	*pagetest.Site
	op *optest.Provider
	// provider is the site's side of it.
	provider *oidc.Provider
}

// rigOptions say how a rig differs from the usual one.
type rigOptions struct {
	op     optest.Config
	client func(*optest.Client)
	oidc   func(*oidc.Config)
	login  func(*login.Config)
	page   pagetest.Options
}

func newRig(t *testing.T, o rigOptions) *rig {
	t.Helper()
	r := new(rig)
	o.page.NoLogin = true
	o.op.Port = freePort(t)
	o.page.FormTargets = []string{"https:", "http://127.0.0.1:" + strconv.Itoa(o.op.Port)}
	o.page.Login = func(site string, cfg *login.Config) {
		at := site + o.page.Prefix
		client := optest.Client{ID: "app", Secret: clientSecret, RedirectURIs: []string{at + "/callback/op"}, PostLogoutURIs: []string{at + "/login"},
			BackChannel: at + "/backchannel-logout/op", BackChannelSID: true, GrantTypes: []string{"authorization_code", "refresh_token"}}
		if o.client != nil {
			o.client(&client)
		}
		o.op.Clients = append(o.op.Clients, client)
		r.op = optest.Start(t, o.op)
		config := oidc.Config{ID: "op", Name: "The Provider", Issuer: r.op.Issuer, ClientID: client.ID, ClientSecret: client.Secret, RedirectURL: client.RedirectURIs[0],
			PostLogoutURL: client.PostLogoutURIs[0], Claims: oidc.Claims{Roles: []string{"groups"}}, Clock: cfg.Clock}
		if o.oidc != nil {
			o.oidc(&config)
		}
		var err error
		if r.provider, err = oidc.New(config); err != nil {
			t.Fatal(err)
		}
		cfg.Providers = []*oidc.Provider{r.provider}
		if o.login != nil {
			o.login(cfg)
		}
	}
	r.Site = pagetest.New(t, o.page)
	return r
}

// freePort finds a port for the provider, whose address the pages' policy names.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// visitor is a person's browser: what it shows the site, and what the provider.
type visitor struct {
	*pagetest.Browser
	t   *testing.T
	rig *rig
	idp *http.Client
}

func (r *rig) visitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{r.Browser(t), t, r, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// begin starts a sign-in and returns where the provider is.
func (v *visitor) begin(form url.Values) string {
	v.t.Helper()
	a := v.Post("/login/op", form)
	if a.Status != http.StatusSeeOther {
		v.t.Fatalf("status %d: %s", a.Status, a.Body)
	}
	return a.Header.Get("Location")
}

// atProvider signs in at the provider as name and returns the callback, without the
// site's address.
func (v *visitor) atProvider(address, name string) string {
	v.t.Helper()
	back := v.rig.op.Login(v.t, v.idp, address, name, nil)
	path, ok := strings.CutPrefix(back, v.rig.URL+v.rig.Prefix)
	if !ok {
		v.t.Fatalf("the provider sends people to %s", back)
	}
	return path
}

// arrive visits the callback as a navigation that the provider caused.
func (v *visitor) arrive(path string) pagetest.Answer {
	v.t.Helper()
	return v.Do(http.MethodGet, path, nil, http.Header{"Sec-Fetch-Site": {"cross-site"}})
}

// signIn goes the whole way.
func (v *visitor) signIn(name, rd string) pagetest.Answer {
	v.t.Helper()
	return v.arrive(v.atProvider(v.begin(url.Values{"rd": {rd}}), name))
}

func TestSignInAtProvider(t *testing.T) {
	for _, prefix := range []string{"", "/auth"} {
		t.Run("prefix"+strings.ReplaceAll(prefix, "/", "_"), func(t *testing.T) {
			r := newRig(t, rigOptions{page: pagetest.Options{Prefix: prefix, Whole: true}})
			v := r.visitor(t)
			want(t, v.Get("/login?rd=/reports"), http.StatusOK, htmlcheck.In("form", htmlcheck.HasAttr("action", prefix+"/login/op")),
				htmlcheck.In("button", htmlcheck.HasText("Continue with The Provider")), htmlcheck.In("input[name=rd]", htmlcheck.HasAttr("value", "/reports")))
			want(t, v.Get("/login/op?rd=/reports"), http.StatusOK, htmlcheck.In("form", htmlcheck.HasAttr("action", prefix+"/login/op")))
			want(t, v.Get("/login/other"), http.StatusNotFound)
			if v.Cookie() != "" {
				t.Error("a GET set a cookie")
			}
			wantRedirect(t, v.signIn("ada", "/reports?a=b"), "/reports?a=b")
			s := v.Session()
			if s.Provider() != "op" || s.Subject() != "ada" || s.Email() != "ada@example.com" || s.Name() != "ada of the tests" ||
				strings.Join(s.Roles(), " ") != "everybody" || strings.Join(s.Methods(), " ") != "pwd" || s.Assurance() != "urn:test:password" || s.SID() == "" || s.AuthTime().IsZero() {
				t.Errorf("session %+v", s.Info())
			}
			wantRedirect(t, v.Get("/login"), prefix+"/account")
			// Whoever is signed in can do it again, and is somebody else then if the provider says so.
			first := s.ID()
			wantRedirect(t, v.signIn("ada", ""), prefix+"/account")
			if again := v.Session(); again.ID() == first || again.Subject() != "ada" {
				t.Errorf("session %v of %q follows %v", again.ID(), again.Subject(), first)
			}
			if info, err := r.Manager.Get(t.Context(), first); err != nil || info.State != latchkey.Revoked {
				t.Errorf("the session before is %v (%v)", info.State, err)
			}
		})
	}
}

func TestTabs(t *testing.T) {
	r := newRig(t, rigOptions{})
	v := r.visitor(t)
	var addresses []string
	for _, rd := range []string{"/one", "/two", "/three"} {
		addresses = append(addresses, v.begin(url.Values{"rd": {rd}}))
	}
	for _, i := range []int{1, 2, 0} {
		wantRedirect(t, v.arrive(v.atProvider(addresses[i], "ada")), []string{"/one", "/two", "/three"}[i])
	}
}

// TestProviderRefuses: what the provider answers is told politely, without its words.
func TestProviderRefuses(t *testing.T) {
	r := newRig(t, rigOptions{})
	v := r.visitor(t)
	path := v.atProvider(v.begin(url.Values{"rd": {"/reports"}}), "")
	a := v.arrive(path)
	want(t, a, http.StatusForbidden, htmlcheck.In("section", htmlcheck.HasText("was cancelled or is not allowed")), htmlcheck.In("a.button", htmlcheck.HasAttr("href", "/login?rd=%2Freports")))
	if strings.Contains(a.Body, "said no") || v.Cookie() != "" {
		t.Error("the provider's words are shown, or a cookie is set")
	}
	want(t, v.arrive(path), http.StatusForbidden, htmlcheck.In("section", htmlcheck.HasText("cannot be finished")))
}

func TestCallbackTwice(t *testing.T) {
	r := newRig(t, rigOptions{})
	v := r.visitor(t)
	path := v.atProvider(v.begin(nil), "ada")
	wantRedirect(t, v.arrive(path), "/account")
	id := v.Session().ID()
	want(t, v.arrive(path), http.StatusForbidden)
	if v.Session().ID() != id {
		t.Error("a callback that came again changed the session")
	}
	// The same callback in another browser: a link that an attacker sends around.
	other := r.visitor(t)
	want(t, other.arrive(v.atProvider(v.begin(nil), "ada")), http.StatusForbidden)
	if other.Cookie() != "" {
		t.Error("signed in by another browser's callback")
	}
}

// TestBackChannelLogout: the user signs out at the provider, which tells the site.
func TestBackChannelLogout(t *testing.T) {
	r := newRig(t, rigOptions{page: pagetest.Options{Whole: true, NearCache: true}})
	one, two := r.visitor(t), r.visitor(t)
	wantRedirect(t, one.signIn("ada", ""), "/account")
	wantRedirect(t, two.signIn("ada", ""), "/account")
	if one.Session().SID() == two.Session().SID() {
		t.Fatal("two sessions at the provider have one sid")
	}
	one.signOutAtProvider()
	if one.Session().Live() || !two.Session().Live() {
		t.Errorf("live: %v and %v, want the second only", one.Session().Live(), two.Session().Live())
	}
	page, err := r.Store.Audit(t.Context(), audit.Query{})
	if err != nil || page.Events[0].Action != audit.RevokeSID || page.Events[0].Actor != "provider:op" || page.Events[0].Count != 1 {
		t.Errorf("the trail ends in %+v (%v)", page.Events[0], err)
	}
}

// signOutAtProvider ends the session at the provider, where its owner asks for it.
func (v *visitor) signOutAtProvider() {
	v.t.Helper()
	v.confirm(v.rig.op.Issuer + "/session/end")
}
