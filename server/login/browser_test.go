package login_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/latchkey-go/latchkey/internal/browsertest"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
)

// TestJourney: a browser asks for a page, signs in at the provider, comes back to that
// page, is signed out from elsewhere, and is out at its next click. The policy of the
// pages lets it: a browser holds the redirects of a form to form-action.
func TestJourney(t *testing.T) {
	browsertest.Find(t)
	for name, prefix := range map[string]string{"root": "", "prefix": "/auth"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{page: pagetest.Options{Prefix: prefix, Whole: true, NearCache: true}})
			site := r.URL + prefix
			one, two := browsertest.Open(t, site, false), browsertest.Open(t, site, true)
			for _, p := range []*browsertest.Profile{one, two} {
				p.Visit("/status?updates=off")
				p.WantPath("/login")
				p.Click("main button")
				atProvider(t, p, r.op.Issuer)
				p.Do(chromedp.SendKeys(chromedp.CSS("input[name=login]"), "ada"))
				p.Click("button:not([name])")
				p.WantPath("/status")
				p.WantText("header", "ada of the tests")
			}
			one.Click("nav a[href$=account]")
			one.WantText("li.current", "Chrome on Linux")
			one.Click("form[action$=revoke-others] button")
			two.Click("nav a[href$=account]") // its next click
			two.WantPath("/login")

			// Back by the provider's own session, which asks nothing.
			two.Click("main button")
			two.WantPath("/account")
			// Signing out leads through the provider's sign-out and back.
			two.Click("form[action$=logout] button")
			atProvider(t, two, r.op.Issuer)
			two.Click("button[name=logout][value=yes]")
			two.WantPath("/login")
			one.Click("nav a[href$=account]")
			one.WantPath("/account") // another session at the provider

			// Whoever cancels is told so, and can start again.
			two.Click("main button")
			atProvider(t, two, r.op.Issuer)
			two.Click("button[name=cancel]")
			two.WantText("main", "was cancelled or is not allowed")
			if problems := strings.Join(two.Problems(), "\n"); strings.Contains(problems, "Content Security Policy") {
				t.Error(problems)
			}
			two.Click("main a.button")
			two.WantPath("/login")
		})
	}
}

// atProvider fails the test unless the browser is at the provider.
func atProvider(t *testing.T, p *browsertest.Profile, issuer string) {
	t.Helper()
	u, err := url.Parse(browsertest.See(p, chromedp.Location()))
	if err != nil || u.Scheme+"://"+u.Host != issuer {
		t.Fatalf("the browser is at %v (%v)", u, err)
	}
}
