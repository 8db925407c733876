package login_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/internal/htmlcheck"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
	"github.com/latchkey-go/latchkey/server/login"
)

// TestPasswordAgain: a page that asks for a fresh sign-in has the password asked for once
// more, and one that asks for more than a password can be is told so.
func TestPasswordAgain(t *testing.T) {
	clock := latchkeytest.NewClock(time.Now())
	site, _ := passwordSite(t, pagetest.Options{Clock: clock}, login.Limits{})
	b := site.Browser(t)
	good := url.Values{"username": {"ada"}, "password": {secret}, "rd": {"/vault"}}
	wantRedirect(t, b.Post("/login", good), "/vault")
	first := b.Session()
	if first.Assurance() != "aal1" {
		t.Errorf("class %q", first.Assurance())
	}
	clock.Advance(20 * time.Minute)
	wantRedirect(t, b.Get("/login?rd=/vault&max_age=3600&acr_values=aal1"), "/vault") // it is recent enough
	const ask = "/login?rd=/vault&prompt=login&max_age=900&acr_values=aal1"
	kept := []htmlcheck.Checker{htmlcheck.In("input[name=username]", htmlcheck.HasAttr("value", "ada")), htmlcheck.In("input[name=rd]", htmlcheck.HasAttr("value", "/vault")),
		htmlcheck.In("input[name=prompt]", htmlcheck.HasAttr("value", "login")), htmlcheck.In("input[name=max_age]", htmlcheck.HasAttr("value", "900")),
		htmlcheck.In("input[name=acr_values]", htmlcheck.HasAttr("value", "aal1"))}
	want(t, b.Get(ask), http.StatusOK, append(kept, htmlcheck.In("section", htmlcheck.HasText("needs a fresh sign-in")))...)
	want(t, b.Get("/login?rd=/vault&max_age=900"), http.StatusOK)
	// A mistake on the way loses nothing, and leaves the session as it is.
	more := url.Values{"prompt": {"login"}, "max_age": {"900"}, "acr_values": {"aal1"}}
	for name, values := range good {
		more[name] = values
	}
	more.Set("password", "x")
	want(t, b.Post("/login", more), http.StatusForbidden, kept...)
	if b.Session().ID() != first.ID() {
		t.Error("the session changed")
	}
	more.Set("password", secret)
	wantRedirect(t, b.Post("/login", more), "/vault")
	again := b.Session()
	if again.ID() == first.ID() || !again.AuthTime().Equal(first.AuthTime().Add(20*time.Minute)) {
		t.Errorf("signed in at %v, at first at %v", again.AuthTime(), first.AuthTime())
	}
	if info, err := site.Manager.Get(t.Context(), first.ID()); err != nil || info.State != latchkey.Revoked {
		t.Errorf("the session before is %q (%v)", info.State, err)
	}
	// A higher class than a password is of: there is no form, and what is sent without it
	// is refused, a right password too.
	want(t, b.Get("/login?rd=/vault&prompt=login&acr_values=aal2"), http.StatusOK, htmlcheck.NotIn("input[name=password]"),
		htmlcheck.In("section", htmlcheck.HasText("No way to sign in that is strong enough")))
	more.Set("acr_values", "aal2")
	want(t, b.Post("/login", more), http.StatusForbidden, htmlcheck.In("p[role=alert]", htmlcheck.HasText("A password alone is not enough")))
	if b.Session().ID() != again.ID() {
		t.Error("the session changed")
	}
}

// TestTooLittle: a provider that answers with an old sign-in, or a weak one, although it
// was asked for another. The visitor is told so by a page, which leads nowhere by itself.
func TestTooLittle(t *testing.T) {
	r := newRig(t, rigOptions{})
	v := r.visitor(t)
	wantRedirect(t, v.signIn("ada", ""), "/account")
	before := v.Session().ID()
	old := strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10)
	for _, c := range []struct {
		name         string
		ask, answers url.Values
		text         string
	}{
		{"old", url.Values{"rd": {"/x?y=z"}, "prompt": {"login"}, "max_age": {"60"}}, url.Values{"ts": {old}}, "earlier sign-in"},
		{"weak", url.Values{"rd": {"/x?y=z"}, "prompt": {"login"}, "acr_values": {"aal2"}}, url.Values{"acr": {"aal1"}}, "less strongly"},
		{"untold", url.Values{"rd": {"/x?y=z"}, "prompt": {"login"}, "acr_values": {"aal2"}}, url.Values{"acr": {""}}, "less strongly"},
	} {
		t.Run(c.name, func(t *testing.T) {
			back := r.op.Login(t, v.idp, v.begin(c.ask), "ada", c.answers)
			a := v.arrive(strings.TrimPrefix(back, r.URL))
			want(t, a, http.StatusForbidden, htmlcheck.In("h1", htmlcheck.HasExactText("This sign-in is not enough")), htmlcheck.In("section", htmlcheck.HasText(c.text)),
				htmlcheck.In("a.button", htmlcheck.HasAttr("href", "/login?"+c.ask.Encode())))
			if a.Header["Location"] != nil || v.Session().ID() != before {
				t.Errorf("sent to %q with session %v", a.Header["Location"], v.Session().ID())
			}
		})
	}
	// A higher level than the one that was asked for will do.
	back := r.op.Login(t, v.idp, v.begin(url.Values{"prompt": {"login"}, "acr_values": {"aal2"}}), "ada", url.Values{"acr": {"aal3"}})
	wantRedirect(t, v.arrive(strings.TrimPrefix(back, r.URL)), "/account")
	if s := v.Session(); s.Assurance() != "aal3" || s.ID() == before {
		t.Errorf("class %q", s.Assurance())
	}
}
