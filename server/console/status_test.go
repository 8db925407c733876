package console_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/console"
	"github.com/latchkey-go/latchkey/server/internal/htmlcheck"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func newRequest(method, path string) *http.Request { return httptest.NewRequest(method, path, nil) }

func TestStatusCounts(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{Prefix: "/auth", NearCache: true})
	b := site.Browser(t)
	site.Browser(t).SignIn("bob")
	ended := site.Browser(t)
	ended.SignIn("eve")
	ended.Post("/logout", url.Values{})
	b.SignIn("ada")
	anonymous(t, site)
	figure := func(name, value string) htmlcheck.Checker {
		return htmlcheck.In("main", htmlcheck.HasText(name+" "+value))
	}
	want(t, b.Get("/status"), http.StatusOK, htmlcheck.In("h1", htmlcheck.HasExactText("Status")), htmlcheck.Count("dl.figures dt", 7),
		figure("Live sessions", "3"), figure("Identities", "2"), figure("Anonymous", "1"), figure("Ended, still kept", "1"),
		htmlcheck.In("main", htmlcheck.HasText("Answered from memory"), htmlcheck.HasText("Sessions in memory"), htmlcheck.HasText("Memory in use")),
		htmlcheck.Count("table caption", 2), htmlcheck.Count("tbody th[scope=row]", 7), htmlcheck.NotIn("p.note"),
		htmlcheck.In("nav a[aria-current=page]", htmlcheck.HasExactText("Status")))
}

func TestStatusWithoutCounterOrCache(t *testing.T) {
	b := pagetest.New(t, pagetest.Options{NoCounter: true}).Browser(t)
	b.SignIn("ada")
	want(t, b.Get("/status"), http.StatusOK, htmlcheck.In("p.empty", htmlcheck.HasText("does not count")), htmlcheck.NotIn("dl.figures"), htmlcheck.NotIn("h2#cache"))
}

func TestStatusRenewsItselfPassively(t *testing.T) {
	clock := latchkeytest.NewClock(time.Time{})
	site := pagetest.New(t, pagetest.Options{Clock: clock, Prefix: "/auth"})
	b := site.Browser(t)
	b.SignIn("ada")
	refresh := htmlcheck.In("meta[http-equiv=refresh]", htmlcheck.HasAttr("content", "5; url=/auth/status?passive=1"))
	pause := htmlcheck.In("a[href=/auth/status?updates=off]", htmlcheck.HasExactText("Pause updates"))
	want(t, b.Get("/status"), http.StatusOK, refresh, pause)
	want(t, b.Get("/status?passive=1"), http.StatusOK, refresh, pause)
	want(t, b.Get("/status?updates=off"), http.StatusOK, htmlcheck.NotIn("meta[http-equiv]"), htmlcheck.In("main a[href=/auth/status]", htmlcheck.HasExactText("Resume updates")))
	// An hour of a page that renews itself is an hour of nobody being there.
	for range 11 {
		clock.Advance(5 * time.Minute)
		want(t, b.Get("/status?passive=1"), http.StatusOK)
	}
	clock.Advance(6 * time.Minute)
	wantRedirect(t, b.Get("/status?passive=1"), "/auth/login?rd=%2Fauth%2Fstatus")
}

func TestActivityCountsWhereThePersonActs(t *testing.T) {
	clock := latchkeytest.NewClock(time.Time{})
	site := pagetest.New(t, pagetest.Options{Clock: clock})
	b := site.Browser(t)
	b.SignIn("ada")
	for range 3 {
		clock.Advance(50 * time.Minute)
		want(t, b.Get("/status"), http.StatusOK)
		if err := site.Manager.FlushTouches(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPassive(t *testing.T) {
	for target, want := range map[string]bool{"/status?passive=1": true, "/status": false, "/status?passive=0": false, "/status?passive=": false, "/x?a=b&passive=1": true} {
		for method, safe := range map[string]bool{"GET": true, "HEAD": true, "POST": false, "DELETE": false} {
			if got := console.Passive(newRequest(method, target)); got != (want && safe) {
				t.Errorf("%s %s: %v", method, target, got)
			}
		}
	}
}

// counter counts how often it is asked, and fails when told to.
type counter struct {
	mu    sync.Mutex
	asked int
	err   error
}

func (c *counter) Count(context.Context) (latchkey.Counts, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return latchkey.Counts{Live: c.asked}, c.err
}

func TestOpenPagesShareACount(t *testing.T) {
	clock, count := latchkeytest.NewClock(time.Time{}), new(counter)
	site := pagetest.New(t, pagetest.Options{Clock: clock, Counter: count})
	b := site.Browser(t)
	b.SignIn("ada")
	for second := 1; second <= 3; second++ {
		for range 5 {
			want(t, b.Get("/status"), http.StatusOK)
		}
		if count.asked != second {
			t.Fatalf("asked %d times in %d seconds", count.asked, second)
		}
		clock.Advance(time.Second)
	}
	clock.StepWall(-time.Hour) // a clock set back must not freeze the count
	want(t, b.Get("/status"), http.StatusOK)
	if count.asked != 4 {
		t.Errorf("asked %d times, want 4", count.asked)
	}
}

func TestStatusOutlivesTheStore(t *testing.T) {
	clock, count := latchkeytest.NewClock(time.Time{}), &counter{err: latchkey.ErrUnavailable}
	b := pagetest.New(t, pagetest.Options{Clock: clock, Counter: count}).Browser(t)
	b.SignIn("ada")
	a := b.Get("/status")
	want(t, a, http.StatusServiceUnavailable, htmlcheck.In("p.note[role=alert]", htmlcheck.HasText("gives no answer")), htmlcheck.NotIn("dl.figures"),
		htmlcheck.Count("table", 2), htmlcheck.In("meta[http-equiv=refresh]"))
	if a.Header.Get("Retry-After") == "" || a.Header.Get("Set-Cookie") != "" {
		t.Errorf("headers %v", a.Header)
	}
	count.err = nil
	clock.Advance(time.Second)
	want(t, b.Get("/status"), http.StatusOK, htmlcheck.Count("dl.figures dt", 4))
}
