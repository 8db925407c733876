package storetest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
)

// site is a Manager over the store of an env, as one node runs it.
type site struct {
	*env
	faulty *Faulty
	keys   *keyring.Ring
	edit   func(*latchkey.Config)
	cached bool

	m     *latchkey.Manager
	cache *nearcache.Cache
}

// testManager attacks a Manager over the store, without a near cache and with one.
func testManager(t *testing.T, h Harness) {
	for _, mode := range []struct {
		name   string
		cached bool
	}{{"CacheOff", false}, {"CacheOn", true}} {
		t.Run(mode.name, func(t *testing.T) {
			if mode.cached && h.NoFeed {
				t.Skip("the harness excepts the feed, without which there is no near cache")
			}
			for _, tests := range []map[string]func(*testing.T, func(edit) *site){attacks, limits, rotations, faults} {
				for name, run := range tests {
					t.Run(name, func(t *testing.T) {
						run(t, func(edit edit) *site { return newSite(open(t, h), mode.cached, edit) })
					})
				}
			}
		})
	}
}

// edit changes the configuration of a test's Manager; nil leaves the defaults.
type edit = func(*latchkey.Config)

func newSite(e *env, cached bool, edit func(*latchkey.Config)) *site {
	e.t.Helper()
	keys, err := keyring.Generate(e.clock.Time())
	if err != nil {
		e.t.Fatal(err)
	}
	s := &site{env: e, faulty: NewFaulty(e.store), keys: keys, edit: edit, cached: cached}
	s.begin()
	return s
}

// node is another node: a Manager of its own, with a near cache of its own, over
// the same store and keys.
func (s *site) node() *site {
	other := *s
	other.begin()
	return &other
}

// begin makes the Manager and, where there is to be one, its near cache.
func (s *site) begin() {
	s.t.Helper()
	cfg := latchkey.Config{Store: s.faulty, Keys: s.keys, Clock: s.clock}
	if s.cached {
		cache, err := nearcache.New(nearcache.Config{Store: s.faulty, Clock: s.clock})
		if err != nil {
			s.t.Fatal(err)
		}
		cache.Start()
		s.t.Cleanup(cache.Stop)
		s.cache, cfg.Cache = cache, cache
		s.lease()
	}
	if s.edit != nil {
		s.edit(&cfg)
	}
	m, err := latchkey.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.m = m
	s.t.Cleanup(func() {
		s.faulty.Fail(nil)
		if err := m.Close(context.Background()); err != nil {
			s.t.Errorf("Manager.Close: %v", err)
		}
	})
}

// lease waits until the near cache answers.
func (s *site) lease() {
	s.t.Helper()
	if s.cache == nil {
		return
	}
	eventually(s.t, "the near cache has a lease", func() bool {
		age := s.cache.Stats().LeaseAge
		return age >= 0 && age < s.cache.Staleness()
	})
}

// eventually waits for something that other goroutines bring about.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline, tick := time.NewTimer(patience), time.NewTicker(time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// issue signs somebody in, without a handler.
func (s *site) issue(in latchkey.SignIn) latchkey.Issued {
	s.t.Helper()
	if in.Subject == "" {
		in.Provider, in.Subject = ann.Provider, ann.Subject
	}
	issued, err := s.m.Issue(s.t.Context(), in)
	if err != nil {
		s.t.Fatalf("Issue: %v", err)
	}
	return issued
}

// request is one with a session cookie for each token.
func request(tokens ...string) *http.Request {
	r := httptest.NewRequest("GET", "https://app.example/", nil)
	for _, token := range tokens {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: token})
	}
	return r
}

const cookieName = "__Host-session"

// visit serves a request with the token ("" for none) by h inside the middleware.
func (s *site) visit(token string, h func(http.ResponseWriter, *http.Request, latchkey.Session)) *httptest.ResponseRecorder {
	r := request()
	if token != "" {
		r = request(token)
	}
	return s.serve(r, h)
}

func (s *site) serve(r *http.Request, h func(http.ResponseWriter, *http.Request, latchkey.Session)) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := latchkey.FromContext(r.Context())
		if err != nil {
			s.t.Errorf("FromContext: %v", err)
		}
		if h != nil {
			h(w, r, session)
		}
	})).ServeHTTP(w, r)
	return w
}

// live reports whether the token stands, asked as a handler would.
func (s *site) live(token string) bool {
	live := false
	w := s.visit(token, func(_ http.ResponseWriter, _ *http.Request, session latchkey.Session) { live = session.Live() })
	if w.Code != http.StatusOK {
		s.t.Errorf("a handler that reads was answered %d: %s", w.Code, w.Body)
	}
	return live
}

// wantLive checks a token by the middleware, by Lookup and by Read.
func (s *site) wantLive(what, token string, want bool) {
	s.t.Helper()
	if got := s.live(token); got != want {
		s.t.Errorf("%s: live is %v by the middleware, want %v", what, got, want)
	}
	_, err := s.m.Lookup(s.t.Context(), latchkey.Lookup{Token: token, Passive: true})
	if got := err == nil; got != want {
		s.t.Errorf("%s: Lookup answered %v, want a session to be %v", what, err, want)
	}
	if err != nil {
		wantCode(s.t, err, latchkey.CodeInvalidSession)
	}
	session, err := s.m.Read(httptest.NewRecorder(), request(token))
	if err != nil || session.Live() != want {
		s.t.Errorf("%s: Read answered %v, %v, want %v", what, session.Live(), err, want)
	}
}

// problem is the code of a response's problem body, "" if it is none.
func problem(w *httptest.ResponseRecorder) latchkey.Code {
	var p latchkey.Problem
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/problem+json") || json.Unmarshal(w.Body.Bytes(), &p) != nil {
		return ""
	}
	return p.Code
}

// wantProblem checks an error answer. None of them touches the cookie.
func wantProblem(t *testing.T, w *httptest.ResponseRecorder, code latchkey.Code) {
	t.Helper()
	if got := problem(w); got != code || w.Code != code.Status() {
		t.Errorf("answered %d with problem %q, want %d with %q: %s", w.Code, got, code.Status(), code, w.Body)
	}
	wantNoCookie(t, w)
}

func wantNoCookie(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if lines := w.Header()["Set-Cookie"]; len(lines) > 0 {
		t.Errorf("the response touches the cookie: %d lines", len(lines))
	}
}

// given is the token that a response hands out, "" if none. deleted tells whether
// it deletes the cookie.
func given(t *testing.T, w *httptest.ResponseRecorder) (token string, deleted bool) {
	t.Helper()
	lines := w.Header()["Set-Cookie"]
	if len(lines) > 1 {
		t.Errorf("%d Set-Cookie lines", len(lines))
	}
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		if err != nil || c.Name != cookieName {
			t.Errorf("Set-Cookie of another kind: %v", err)
			continue
		}
		if c.MaxAge < 0 { // how net/http shows Max-Age=0
			return "", true
		}
		token = c.Value
	}
	return token, false
}

// row reads the session past the faults.
func (s *site) row(id latchkey.ID) *latchkey.Record {
	s.t.Helper()
	return s.get(id)
}

// data reads the session's values by a fresh read of the store.
func (s *site) data(token string) map[string]json.RawMessage {
	s.t.Helper()
	session, err := s.m.Lookup(s.t.Context(), latchkey.Lookup{Token: token, Passive: true, AskStore: true})
	if err != nil {
		s.t.Fatalf("Lookup: %v", err)
	}
	raw, err := session.Data()
	if err != nil {
		s.t.Fatalf("Data: %v", err)
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil {
		s.t.Fatal(err)
	}
	return values
}

// tally counts calls of the store by method.
type tally struct {
	gets, creates, patches, revokes, touches atomic.Int64
}

// count counts calls from now on and lets them pass.
func (s *site) count() *tally {
	c := &tally{}
	s.faulty.Fail(func(op Op) (bool, error) {
		switch op.Method {
		case MethodGet:
			c.gets.Add(1)
		case MethodCreate:
			c.creates.Add(1)
		case MethodPatch:
			c.patches.Add(1)
		case MethodRevoke:
			c.revokes.Add(1)
		case MethodTouch:
			c.touches.Add(int64(len(op.Touches)))
		}
		return true, nil
	})
	return c
}

// writes is how many calls changed something at once, touches aside.
func (c *tally) writes() int64 { return c.creates.Load() + c.patches.Load() + c.revokes.Load() }
