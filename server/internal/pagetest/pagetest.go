// Package pagetest puts the web pages together as the daemon does, over a store in
// memory, and gives tests browsers to visit them with.
package pagetest

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/csrf"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/server"
	"github.com/latchkey-go/latchkey/server/console"
	"github.com/latchkey-go/latchkey/server/login"
	"github.com/latchkey-go/latchkey/server/page"
	"github.com/latchkey-go/latchkey/store/memory"
)

// Options say how the site differs from the usual one.
type Options struct {
	// Prefix is the path below which the pages are.
	Prefix string
	// Clock is one to turn by hand; nil is the machine's.
	Clock *latchkeytest.Clock
	// Change may change the Manager's configuration.
	Change func(*latchkey.Config)
	// Store may put something before the store.
	Store func(*memory.Store) latchkey.Store
	// Counter replaces the store as what counts; NoCounter leaves it out.
	Counter   latchkey.Counter
	NoCounter bool
	// NearCache puts the near cache before the store.
	NearCache bool
	// NoLogin leaves the sign-in page without any way to sign in.
	NoLogin bool
	// Login may change the sign-in page's configuration; url is where the site will be.
	Login func(url string, cfg *login.Config)
	// FormTargets are the pages' (see page.Config).
	FormTargets []string
	// Whole mounts the pages in the daemon's whole server, whose logout is the API's.
	Whole bool
}

// Site is a running site.
type Site struct {
	URL     string // of the host, without prefix
	Prefix  string
	Manager *latchkey.Manager
	Store   *memory.Store
	Handler http.Handler
}

// New starts a site, and stops it when the test ends.
func New(t testing.TB, o Options) *Site {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var clock latchkey.Clock = latchkey.SystemClock()
	if o.Clock != nil {
		clock = o.Clock
	}
	store, err := memory.New(memory.Config{Clock: clock})
	check(err)
	keys, err := keyring.Generate(clock.Now().Time())
	check(err)
	site, err := page.New(page.Config{Prefix: o.Prefix, FormTargets: o.FormTargets})
	check(err)
	cfg := latchkey.Config{Store: store, Keys: keys, Clock: clock, Cookie: latchkey.Cookie{DangerouslyInsecure: true},
		OnError: site.WriteError, Passive: console.Passive}
	if o.Store != nil {
		cfg.Store = o.Store(store)
	}
	if o.Change != nil {
		o.Change(&cfg)
	}
	var cacheStats func() nearcache.Stats
	if o.NearCache {
		cache, err := nearcache.New(nearcache.Config{Store: store, Staleness: time.Second, Clock: clock})
		check(err)
		cache.Start()
		t.Cleanup(cache.Stop)
		cfg.Cache, cacheStats = cache, cache.Stats
	}
	m, err := latchkey.New(cfg)
	check(err)
	counter := o.Counter
	if counter == nil && !o.NoCounter {
		counter = store
	}
	running := httptest.NewUnstartedServer(nil)
	loginCfg := login.Config{Manager: m, Site: site, Keys: keys, Spender: store, Clock: clock, DangerouslyInsecureCookie: true, DangerouslyDemo: !o.NoLogin}
	if o.Login != nil {
		o.Login("http://"+running.Listener.Addr().String(), &loginCfg)
	}
	in, err := login.New(loginCfg)
	check(err)
	pages, err := console.New(console.Config{Manager: m, Site: site, Counter: counter, CacheStats: cacheStats})
	check(err)
	handler := assemble(t, o, &cfg, m, keys, site, in, pages)
	running.Config.Handler = handler
	running.Start()
	t.Cleanup(func() {
		running.Close()
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Site{running.URL, o.Prefix, m, store, handler}
}

// assemble mounts the pages: in the whole server, or by themselves.
func assemble(t testing.TB, o Options, cfg *latchkey.Config, m *latchkey.Manager, keys *keyring.Ring, site *page.Site, in *login.Login, pages *console.Console) http.Handler {
	t.Helper()
	mux := http.NewServeMux()
	site.Register(mux)
	in.Register(mux)
	pages.Register(mux)
	if !o.Whole {
		protection, err := csrf.New(csrf.Config{CookieName: "session", OnError: site.WriteError})
		if err != nil {
			t.Fatal(err)
		}
		addLogout(mux, site, m)
		return http.StripPrefix(o.Prefix, protection.Handler(mux))
	}
	whole := server.Config{Manager: m, Store: cfg.Store, Keys: keys, Prefix: o.Prefix, PageError: site.WriteError, LogoutTarget: in.LogoutTarget, SignIn: in}
	for _, path := range slices.Concat(site.Paths(), in.Paths(), pages.Paths()) {
		whole.Pages = append(whole.Pages, server.Page{Path: path, Handler: mux})
	}
	for _, path := range in.OpenPaths() {
		whole.Pages = append(whole.Pages, server.Page{Path: path, Handler: mux, Unprefixed: true, CrossSite: true})
	}
	s, err := server.New(whole)
	if err != nil {
		t.Fatal(err)
	}
	return s.Handler()
}

// addLogout stands in for the API's logout, which is not among the pages.
func addLogout(mux *http.ServeMux, site *page.Site, m *latchkey.Manager) {
	mux.Handle("POST /logout", site.WithSession(m, func(w http.ResponseWriter, r *http.Request, s latchkey.Session) {
		if err := s.End(r.Context()); err != nil {
			site.WriteError(w, r, err)
			return
		}
		page.Redirect(w, site.Path("/login"))
	}))
}

// Browser visits a site as a person's browser does: it keeps cookies, says where its
// requests come from, and does not follow redirects by itself.
type Browser struct {
	t    testing.TB
	site *Site
	http *http.Client
	// UserAgent is what it says it is.
	UserAgent string
}

// Browser opens a browser with no cookies.
func (s *Site) Browser(t testing.TB) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Browser{t: t, site: s, UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		http: &http.Client{Jar: jar, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Get visits a path, given without the prefix.
func (b *Browser) Get(path string) Answer {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil, http.Header{"Sec-Fetch-Site": {"none"}})
}

// Post sends a form of the site's own to a path, given without the prefix.
func (b *Browser) Post(path string, form url.Values) Answer {
	b.t.Helper()
	return b.do(http.MethodPost, path, form, http.Header{"Sec-Fetch-Site": {"same-origin"}})
}

// PostFrom sends a form that another site holds.
func (b *Browser) PostFrom(origin, path string, form url.Values) Answer {
	b.t.Helper()
	return b.do(http.MethodPost, path, form, http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {origin}})
}

// Follow visits where an answer leads, as part of the same navigation.
func (b *Browser) Follow(a Answer) Answer {
	b.t.Helper()
	if a.Status != http.StatusSeeOther {
		b.t.Fatalf("status %d leads nowhere: %s", a.Status, a.Body)
	}
	path, ok := strings.CutPrefix(a.Header.Get("Location"), b.site.Prefix)
	if !ok {
		b.t.Fatalf("redirected to %q, which is not below %q", a.Header.Get("Location"), b.site.Prefix)
	}
	return b.do(http.MethodGet, path, nil, http.Header{"Sec-Fetch-Site": {"same-origin"}})
}

// SignIn signs in and returns the session's ID.
func (b *Browser) SignIn(name string) latchkey.ID {
	b.t.Helper()
	if a := b.Post("/login", url.Values{"name": {name}}); a.Status != http.StatusSeeOther {
		b.t.Fatalf("sign-in as %q: status %d: %s", name, a.Status, a.Body)
	}
	return b.Session().ID()
}

// Session looks up what the browser's cookie stands for, without counting as activity.
// It is not live when the cookie stands for nothing.
func (b *Browser) Session() latchkey.Session {
	b.t.Helper()
	cookie := b.Cookie()
	if cookie == "" {
		return latchkey.Session{}
	}
	s, err := b.site.Manager.Lookup(context.Background(), latchkey.Lookup{Token: cookie, Passive: true})
	if err != nil && latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
		b.t.Fatal(err)
	}
	return s
}

// Cookie is the session cookie's value, or "".
func (b *Browser) Cookie() string {
	b.t.Helper()
	u, err := url.Parse(b.site.URL)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.http.Jar.Cookies(u) {
		if c.Name == "session" {
			return c.Value
		}
	}
	return ""
}

// Do sends a request for a path, given without the prefix, with headers over the
// browser's own; an empty value takes one away.
func (b *Browser) Do(method, path string, form url.Values, header http.Header) Answer {
	b.t.Helper()
	return b.do(method, path, form, header)
}

func (b *Browser) do(method, path string, form url.Values, header http.Header) Answer {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, b.site.URL+b.site.Prefix+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("User-Agent", b.UserAgent)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.site.URL)
	}
	for name, values := range header {
		r.Header[name] = values
		if len(values) == 1 && values[0] == "" {
			r.Header.Del(name)
		}
	}
	res, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return Answer{res.StatusCode, res.Header, string(out)}
}
