package login_test

import (
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/internal/htmlcheck"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
	"github.com/latchkey-go/latchkey/server/login"
	"github.com/latchkey-go/latchkey/server/login/password"
)

const secret = "correct horse battery staple"

// passwordSite is a site with the user ada, and eve, who has no password.
func passwordSite(t *testing.T, o pagetest.Options, limits login.Limits) (*pagetest.Site, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	hash, err := password.NewHash(secret)
	if err != nil {
		t.Fatal(err)
	}
	err = password.Change(path, func([]password.User) ([]password.User, error) {
		return []password.User{{Name: "ada", Hash: hash, Display: "Ada Lovelace", Email: "ada@example.com", Roles: []string{"admin"}}, {Name: "eve"}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	users, err := password.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	o.NoLogin = true
	o.Login = func(_ string, cfg *login.Config) { cfg.Users, cfg.Limits = users, limits }
	return pagetest.New(t, o), path
}

func TestPassword(t *testing.T) {
	site, path := passwordSite(t, pagetest.Options{Whole: true}, login.Limits{})
	b := site.Browser(t)
	want(t, b.Get("/login?rd=/reports"), http.StatusOK, htmlcheck.In("input[name=username]", htmlcheck.HasAttr("autocomplete", "username")),
		htmlcheck.In("input[name=password]", htmlcheck.HasAttr("type", "password")), htmlcheck.In("input[name=rd]", htmlcheck.HasAttr("value", "/reports")))
	for name, form := range map[string]url.Values{
		"wrong": {"username": {"ada"}, "password": {"x"}}, "unknown": {"username": {"bob"}, "password": {secret}}, "no_password": {"username": {"eve"}, "password": {""}},
		"nothing": {}, "hostile": {"username": {`"><script>`}, "password": {secret}}, "not_utf8": {"username": {"a\xff"}, "password": {secret}},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.Post("/login", form)
			want(t, a, http.StatusForbidden, htmlcheck.In("p[role=alert]", htmlcheck.HasExactText("The name or the password is wrong.")))
			if b.Cookie() != "" || strings.Contains(a.Body, secret) {
				t.Error("signed in, or the password is shown")
			}
		})
	}
	wantRedirect(t, b.Post("/login", url.Values{"username": {" ada "}, "password": {secret}, "rd": {"/reports"}}), "/reports")
	s := b.Session()
	if s.Provider() != "local" || s.Subject() != "ada" || s.Name() != "Ada Lovelace" || !s.HasRole("admin") || strings.Join(s.Methods(), "") != "pwd" {
		t.Errorf("%+v", s.Info())
	}
	want(t, b.PostFrom("https://evil.example", "/login", url.Values{"username": {"ada"}, "password": {secret}}), http.StatusForbidden, htmlcheck.In("h1", htmlcheck.HasExactText("Request refused")))
	// A user who is taken away signs in no more.
	err := password.Change(path, func([]password.User) ([]password.User, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	want(t, site.Browser(t).Post("/login", url.Values{"username": {"ada"}, "password": {secret}}), http.StatusForbidden)
}

// TestPasswordLimit: guesses are limited for each address, and those who know are not.
func TestPasswordLimit(t *testing.T) {
	clock := latchkeytest.NewClock(time.Now())
	site, _ := passwordSite(t, pagetest.Options{Clock: clock}, login.Limits{Passwords: 3})
	b := site.Browser(t)
	good, bad := url.Values{"username": {"ada"}, "password": {secret}}, url.Values{"username": {"ada"}, "password": {"x"}}
	for range 5 {
		wantRedirect(t, b.Post("/login", good), "/account")
	}
	for range 3 {
		want(t, b.Post("/login", bad), http.StatusForbidden)
	}
	a := b.Post("/login", good)
	want(t, a, http.StatusTooManyRequests, htmlcheck.In("h1", htmlcheck.HasText("Too many attempts")))
	if a.Header.Get("Retry-After") != "20" {
		t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
	}
	// A check of the session is never limited.
	want(t, b.Get("/account"), http.StatusOK)
	clock.Advance(20 * time.Second)
	wantRedirect(t, b.Post("/login", good), "/account")
}
