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

	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
)

// TestScriptSwitch: the switch that the next tests rely on works.
func TestScriptSwitch(t *testing.T) {
	findChromium(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!DOCTYPE html><link rel="icon" href="data:,"><title>asleep</title><script>document.title="ran"</script>`))
	}))
	defer server.Close()
	for scripts, want := range map[bool]string{true: "ran", false: "asleep"} {
		p := openProfile(t, server.URL, scripts)
		p.visit("/")
		if title := see(p, chromedp.Title()); title != want {
			t.Errorf("scripts %v: the title is %q", scripts, title)
		}
	}
}

// TestBrowserComplains: what these tests fail for does reach them.
func TestBrowserComplains(t *testing.T) {
	findChromium(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		_, _ = w.Write([]byte(`<!DOCTYPE html><title>x</title><style>p { color: red }</style><img src="/x.png" alt="">`))
	}))
	defer server.Close()
	p := openProfile(t, server.URL, true)
	p.visit("/")
	p.mu.Lock()
	defer p.mu.Unlock()
	if all := strings.Join(p.problems, "\n"); !strings.Contains(all, "style") || !strings.Contains(all, "x.png") {
		t.Errorf("the browser did not complain of inline style and a foreign image, but of %q", all)
	}
	p.problems = nil
}

// TestTwoBrowsers: two people's browsers, or one person's two, and what one does to
// the other, as in life.
func TestTwoBrowsers(t *testing.T) {
	findChromium(t)
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
	one, two := openProfile(t, url, scripts), openProfile(t, url, scripts)
	one.visit("/account") // leads to the sign-in page and back
	one.signIn("Ada")
	one.wantPath("/account")
	one.wantSessions(1)
	two.visit("/status")
	two.signIn("Ada")
	two.wantPath("/status")

	one.click("nav a[href$=account]")
	one.wantSessions(2)
	one.wantText("li.current", "Chrome on Linux")
	one.click("form[action$=end] button")
	one.wantPath("/account")
	one.wantText("p.note", "The session has ended")
	one.wantSessions(1)

	two.click("nav a[href$=account]") // its next click
	two.wantPath("/login")
	two.signIn("Ada")
	two.wantPath("/account")
	two.wantSessions(2)
	two.click("form[action$=revoke-others] button")
	two.wantText("p.note", "All other sessions have ended")
	two.wantSessions(1)

	one.click("nav a[href$=status]")
	one.wantPath("/login")

	two.click("form[action$=logout] button")
	two.wantPath("/login")
	two.visit("/account")
	two.wantPath("/login")
}

// TestStatusRenewsItselfInBrowser: without script, and without anybody's doing.
func TestStatusRenewsItselfInBrowser(t *testing.T) {
	findChromium(t)
	site := pagetest.New(t, pagetest.Options{})
	p := openProfile(t, site.URL, false)
	p.visit("/status")
	p.signIn("Ada")
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	res, err := chromedp.RunResponse(ctx) // no step: whatever page comes next
	if err != nil {
		t.Fatal(err)
	}
	if res.URL != site.URL+"/status?passive=1" || res.Status != http.StatusOK {
		t.Errorf("status %d at %s", res.Status, res.URL)
	}
	p.wantText("h1", "Status")
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
	p := openProfile(t, site.URL, false)
	looks := []struct {
		name, scheme string
		width        int64
	}{{"light", "light", 1100}, {"dark", "dark", 1100}, {"narrow", "light", 390}, {"narrow-dark", "dark", 390}}
	shoot := func(name string) {
		for _, look := range looks {
			p.show(look.width, look.scheme)
			picture := see(p, chromedp.FullScreenshot(100))
			if err := os.WriteFile(filepath.Join(folder, name+"-"+look.name+".png"), picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.visit("/account")
	shoot("login")
	p.do(chromedp.RemoveAttribute(chromedp.CSS("#name"), "required"))
	p.click("main button")
	shoot("login-error")
	p.do(chromedp.SendKeys(chromedp.CSS("#name"), "Ada Lovelace"))
	p.click("main button")
	shoot("account")
	p.visit("/status?updates=off")
	shoot("status")
	p.visit("/account")
	p.click("form[action$=revoke-others] button")
	shoot("account-alone")
	p.visit("/static/nothing.css")
	shoot("not-found")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = nil // the pages that are not there, and the form refused, were asked for on purpose
}
