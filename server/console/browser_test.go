package console_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/latchkey-go/latchkey/internal/browsertest"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
)

// TestScriptSwitch: the switch that the next tests rely on works.
func TestScriptSwitch(t *testing.T) {
	browsertest.Find(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!DOCTYPE html><link rel="icon" href="data:,"><title>asleep</title><script>document.title="ran"</script>`))
	}))
	defer server.Close()
	for scripts, want := range map[bool]string{true: "ran", false: "asleep"} {
		p := browsertest.Open(t, server.URL, scripts)
		p.Visit("/")
		if title := browsertest.See(p, chromedp.Title()); title != want {
			t.Errorf("scripts %v: the title is %q", scripts, title)
		}
	}
}

// TestBrowserComplains: what these tests fail for does reach them.
func TestBrowserComplains(t *testing.T) {
	browsertest.Find(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		_, _ = w.Write([]byte(`<!DOCTYPE html><title>x</title><style>p { color: red }</style><img src="/x.png" alt="">`))
	}))
	defer server.Close()
	p := browsertest.Open(t, server.URL, true)
	p.Visit("/")
	if all := strings.Join(p.Problems(), "\n"); !strings.Contains(all, "style") || !strings.Contains(all, "x.png") {
		t.Errorf("the browser did not complain of inline style and a foreign image, but of %q", all)
	}
}

// TestTwoBrowsers: two people's browsers, or one person's two, and what one does to
// the other, as in life.
func TestTwoBrowsers(t *testing.T) {
	browsertest.Find(t)
	for name, tc := range map[string]struct {
		prefix  string
		scripts bool
		whole   bool
	}{"with_scripts": {"", true, false}, "without_scripts": {"/auth", false, false}, "whole_server": {"/auth", false, true}} {
		t.Run(name, func(t *testing.T) {
			site := pagetest.New(t, pagetest.Options{Prefix: tc.prefix, NearCache: true, Whole: tc.whole})
			twoBrowsers(t, site.URL+tc.prefix, tc.scripts)
		})
	}
}

// twoBrowsers visits the site at url with two browsers.
func twoBrowsers(t *testing.T, url string, scripts bool) {
	one, two := browsertest.Open(t, url, scripts), browsertest.Open(t, url, scripts)
	one.Visit("/account") // leads to the sign-in page and back
	signIn(t, one, "Ada")
	one.WantPath("/account")
	wantSessions(t, one, 1)
	two.Visit("/status")
	signIn(t, two, "Ada")
	two.WantPath("/status")

	one.Click("nav a[href$=account]")
	wantSessions(t, one, 2)
	one.WantText("li.current", "Chrome on Linux")
	one.Click("form[action$=end] button")
	one.WantPath("/account")
	one.WantText("p.note", "The session has ended")
	wantSessions(t, one, 1)

	two.Click("nav a[href$=account]") // its next click
	two.WantPath("/login")
	signIn(t, two, "Ada")
	two.WantPath("/account")
	wantSessions(t, two, 2)
	two.Click("form[action$=revoke-others] button")
	two.WantText("p.note", "All other sessions have ended")
	wantSessions(t, two, 1)

	one.Click("nav a[href$=status]")
	one.WantPath("/login")

	two.Click("form[action$=logout] button")
	two.WantPath("/login")
	two.Visit("/account")
	two.WantPath("/login")
}

// signIn fills the form in as a person does. The browser must be at it.
func signIn(t *testing.T, p *browsertest.Profile, name string) {
	t.Helper()
	p.WantPath("/login")
	p.Do(chromedp.SendKeys(chromedp.CSS("#name"), name))
	p.Click("main button")
}

// wantSessions fails the test unless the account page lists so many sessions.
func wantSessions(t *testing.T, p *browsertest.Profile, want int) {
	t.Helper()
	if got := p.Count("ul.sessions > li"); got != want {
		t.Fatalf("%d sessions are listed, want %d", got, want)
	}
}

// TestStatusRenewsItselfInBrowser: without script, and without anybody's doing.
func TestStatusRenewsItselfInBrowser(t *testing.T) {
	browsertest.Find(t)
	site := pagetest.New(t, pagetest.Options{})
	p := browsertest.Open(t, site.URL, false)
	p.Visit("/status")
	signIn(t, p, "Ada")
	ctx, cancel := context.WithTimeout(p.Ctx, browsertest.Patience)
	defer cancel()
	res, err := chromedp.RunResponse(ctx) // no step: whatever page comes next
	if err != nil {
		t.Fatal(err)
	}
	if res.URL != site.URL+"/status?passive=1" || res.Status != http.StatusOK {
		t.Errorf("status %d at %s", res.Status, res.URL)
	}
	p.WantText("h1", "Status")
}

// TestScreenshots shows the pages to people: it writes pictures into the folder
// that LATCHKEY_SHOTS names.
func TestScreenshots(t *testing.T) {
	folder := os.Getenv("LATCHKEY_SHOTS")
	if folder == "" {
		t.Skip("LATCHKEY_SHOTS names no folder for pictures")
	}
	clock := latchkeytest.NewClock(time.Now())
	site := pagetest.New(t, pagetest.Options{Clock: clock, NearCache: true})
	for _, other := range []struct {
		userAgent string
		later     time.Duration
	}{{edge, 26 * time.Minute}, {safari, 11 * time.Minute}, {firefox, 3 * time.Minute}} {
		b := site.Browser(t)
		b.UserAgent = other.userAgent
		b.SignIn("Ada Lovelace")
		clock.Advance(other.later)
	}
	p := browsertest.Open(t, site.URL, false)
	looks := []struct {
		name, scheme string
		width        int64
	}{{"light", "light", 1100}, {"dark", "dark", 1100}, {"narrow", "light", 390}, {"narrow-dark", "dark", 390}}
	shoot := func(name string) {
		for _, look := range looks {
			p.Show(look.width, look.scheme)
			picture := browsertest.See(p, chromedp.FullScreenshot(100))
			if err := os.WriteFile(filepath.Join(folder, name+"-"+look.name+".png"), picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.Visit("/account")
	shoot("login")
	p.Do(chromedp.RemoveAttribute(chromedp.CSS("#name"), "required"))
	p.Click("main button")
	shoot("login-error")
	p.Do(chromedp.SendKeys(chromedp.CSS("#name"), "Ada Lovelace"))
	p.Click("main button")
	shoot("account")
	p.Visit("/status?updates=off")
	shoot("status")
	p.Visit("/account")
	p.Click("form[action$=revoke-others] button")
	shoot("account-alone")
	p.Visit("/static/nothing.css")
	shoot("not-found")
	p.Problems() // the pages that are not there, and the form refused, were asked for on purpose
}
