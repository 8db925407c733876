package edge_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/edge"
	"github.com/latchkey-go/latchkey/store/memory"
)

// faulty is a real store that can be cut off, or made to hang.
type faulty struct {
	*memory.Store
	down, hangs atomic.Bool
}

func (f *faulty) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	if f.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if f.down.Load() {
		return nil, errors.New("connection refused")
	}
	return f.Store.Get(ctx, id)
}

// bench is an edge over real HTTP.
type bench struct {
	tb    testing.TB
	m     *latchkey.Manager
	clock *latchkeytest.Clock
	ring  *keyring.Ring
	key   keyring.Key
	store *faulty
	edge  *edge.Edge
	web   *httptest.Server
	// absent makes answers lack the identity headers that are empty.
	absent atomic.Bool
}

type config struct {
	policy  edge.PolicyConfig
	edge    edge.Config
	manager latchkey.Config
}

func newEdge(tb testing.TB, adjust func(*config)) *bench {
	tb.Helper()
	b := &bench{tb: tb, clock: latchkeytest.NewClock(time.Time{})}
	mem, err := memory.New(memory.Config{Clock: b.clock})
	must(tb, err)
	b.store = &faulty{Store: mem}
	b.key, err = keyring.GenerateKey(1, b.clock.Time(), nil)
	must(tb, err)
	b.ring, err = keyring.New(b.key)
	must(tb, err)
	cfg := config{
		policy:  edge.PolicyConfig{PublicURL: &url.URL{Scheme: "https", Host: "auth.example.com"}, ProtectedHosts: []string{"app.example.com"}},
		edge:    edge.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		manager: latchkey.Config{Store: b.store, Keys: b.ring, Clock: b.clock, Passive: edge.Passive},
	}
	if adjust != nil {
		adjust(&cfg)
	}
	b.m, err = latchkey.New(cfg.manager)
	must(tb, err)
	cfg.edge.Policy, err = edge.NewPolicy(cfg.policy)
	must(tb, err)
	cfg.edge.Manager = b.m
	b.edge, err = edge.New(cfg.edge)
	must(tb, err)
	b.web = httptest.NewUnstartedServer(absent{b.edge, &b.absent})
	b.web.Config.MaxHeaderBytes = 64 << 10 // the daemon's
	b.web.Start()
	tb.Cleanup(func() {
		b.web.Close()
		must(tb, b.m.Close(context.Background()))
		must(tb, mem.Close())
	})
	return b
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func (b *bench) signIn(in latchkey.SignIn) latchkey.Issued {
	b.tb.Helper()
	issued, err := b.m.Issue(context.Background(), in)
	must(b.tb, err)
	return issued
}

// rotateKeys makes a new key the active one; the first is accepted still.
func (b *bench) rotateKeys() {
	b.tb.Helper()
	next, err := keyring.GenerateKey(2, b.clock.Time(), nil)
	must(b.tb, err)
	_, err = b.ring.Set(b.key, next)
	must(b.tb, err)
	b.clock.Advance(time.Second)
}

// ask sends a request as it is written, lines without their ends, and reads the answer.
func (b *bench) ask(lines ...string) *http.Response {
	b.tb.Helper()
	return roundTrip(b.tb, b.web.Listener.Addr().String(), strings.Join(append(lines, "Connection: close", "", ""), "\r\n"))
}

func roundTrip(tb testing.TB, addr, raw string) *http.Response {
	tb.Helper()
	conn, err := net.Dial("tcp", addr)
	must(tb, err)
	defer conn.Close()
	must(tb, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = io.WriteString(conn, raw)
	must(tb, err)
	method, _, _ := strings.Cut(raw, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	must(tb, err)
	body, err := io.ReadAll(res.Body)
	must(tb, err)
	if len(body) > 0 && res.StatusCode != 400 { // net/http's own

		tb.Errorf("the answer has a body: %q", body)
	}
	return res
}

const navigation = "Sec-Fetch-Mode: navigate"

// speaker asks in one dialect: about a request with a method, for an origin and a target.
type speaker struct {
	name string
	ask  func(method, scheme, host, target string, more ...string) []string
	// what is answered
	grant, signIn int // to a navigation
	location      string
}

func speakers() []speaker {
	return []speaker{
		{"nginx", func(method, scheme, host, target string, more ...string) []string {
			return append([]string{"GET /auth/nginx HTTP/1.1", "Host: latchkey", "X-Original-URL: " + scheme + "://" + host + target, "X-Original-Method: " + method}, more...)
		}, 204, 401, "X-Auth-Location"},
		{"forward", func(method, scheme, host, target string, more ...string) []string {
			return append([]string{"GET /auth/forward HTTP/1.1", "Host: latchkey", "X-Forwarded-Method: " + method, "X-Forwarded-Proto: " + scheme, "X-Forwarded-Host: " + host, "X-Forwarded-Uri: " + target}, more...)
		}, 204, 302, "Location"},
		{"envoy", func(method, scheme, host, target string, more ...string) []string {
			return append([]string{method + " /auth/envoy" + target + " HTTP/1.1", "Host: " + host, "X-Forwarded-Proto: " + scheme, "Content-Length: 0"}, more...)
		}, 200, 302, "Location"},
	}
}

func eachSpeaker(t *testing.T, f func(t *testing.T, s speaker)) {
	for _, s := range speakers() {
		t.Run(s.name, func(t *testing.T) { f(t, s) })
	}
}

// checkAnswer is what holds for every answer.
func checkAnswer(t *testing.T, res *http.Response) {
	t.Helper()
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	granted := res.StatusCode < 300
	if !granted && len(res.Header["Set-Cookie"]) > 0 {
		t.Errorf("%d sets a cookie", res.StatusCode)
	}
	if len(res.Header["Set-Cookie"]) > 1 {
		t.Errorf("%d cookies", len(res.Header["Set-Cookie"]))
	}
	for _, name := range edge.IdentityHeaders() {
		if got := len(res.Header[name]); got != map[bool]int{true: 1, false: 0}[granted] {
			t.Errorf("%d has %d of %s", res.StatusCode, got, name)
		}
	}
	if (res.StatusCode == 503) != (res.Header.Get("Retry-After") != "") {
		t.Errorf("%d with Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
}

func TestGrant(t *testing.T) {
	b := newEdge(t, nil)
	i := b.signIn(latchkey.SignIn{Provider: "corp", Subject: "al%ice", Email: "a@example.com", Name: " Álice, \"A\" ", Roles: []string{"staff", "admin x"}})
	eachSpeaker(t, func(t *testing.T, s speaker) {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "M-SEARCH"} {
			res := b.ask(s.ask(method, "https", "app.example.com", "/x/..//%2f?a=%00", "Cookie: a=1; __Host-session="+i.Token+"; b=2")...)
			checkAnswer(t, res)
			if res.StatusCode != s.grant {
				t.Fatalf("%s: %d", method, res.StatusCode)
			}
			for name, want := range map[string]string{"Subject": "al%25ice", "Provider": "corp", "Email": "a@example.com", "Name": `%20%C3%81lice, "A"%20`, "Roles": "staff,admin x", "Session": i.Record.ID.String(), "Assertion": ""} {
				if got := res.Header.Get("X-Auth-" + name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if len(res.Header["Set-Cookie"]) > 0 {
				t.Errorf("a cookie without need: %q", res.Header["Set-Cookie"])
			}
			if s.name == "envoy" && (res.Header.Get("Content-Length") != "0" || !strings.Contains(res.Header.Get("X-Envoy-Auth-Headers-To-Remove"), "x_auth_subject,x_auth-subject,x-auth_subject")) {
				t.Errorf("%v", res.Header)
			}
			if want := []string{"a=1; b=2"}; !slices.Equal(res.Header["Cookie"], want) {
				t.Errorf("the service's cookies: %q", res.Header["Cookie"])
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	b := newEdge(t, func(c *config) {
		c.policy.Rules = []edge.Rule{{Paths: []string{"/admin/*"}, Roles: []string{"admin"}}, {Paths: []string{"/public/*"}, Require: edge.RequirePublic}, {Paths: []string{"/fresh"}, Fresh: time.Minute}, {Paths: []string{"/strong"}, Assurance: "aal3"}}
	})
	i := b.signIn(latchkey.SignIn{Subject: "alice", Assurance: "aal2"})
	b.clock.Advance(2 * time.Minute)
	cookie := "Cookie: __Host-session=" + i.Token
	ended := b.signIn(latchkey.SignIn{Subject: "bob"})
	_, err := b.m.Revoke(context.Background(), latchkey.Revocation{ID: ended.Record.ID})
	must(t, err)
	eachSpeaker(t, func(t *testing.T, s speaker) {
		for _, c := range []struct {
			name, target string
			more         []string
			status       int
			location     string
		}{
			{"fetch", "/x", nil, 401, ""},
			{"navigation", "/x?y=1&z=%20", []string{navigation}, s.signIn, "https://auth.example.com/login?rd=https%3A%2F%2Fapp.example.com%2Fx%3Fy%3D1%26z%3D%2520"},
			{"accepts-html", "/x", []string{"Accept: text/html,*/*"}, s.signIn, "https://auth.example.com/login?rd=https%3A%2F%2Fapp.example.com%2Fx"},
			{"script-accepts-html", "/x", []string{"Accept: text/html", "X-Requested-With: XMLHttpRequest"}, 401, ""},
			{"fetch-accepts-html", "/x", []string{"Accept: text/html", "Sec-Fetch-Mode: cors"}, 401, ""},
			{"websocket", "/x", []string{"Upgrade: WebSocket", "Accept: text/html"}, 401, ""},
			{"websocket-behind-traefik", "/x", []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Accept: text/html"}, 401, ""},
			{"garbage", "/x", []string{"Cookie: __Host-session=lk_garbage"}, 401, ""},
			{"two-cookies", "/x", []string{cookie + "; __Host-session=" + i.Token}, 401, ""},
			{"ended", "/x", []string{"Cookie: __Host-session=" + ended.Token}, 401, ""},
			{"role", "/admin/x", []string{cookie, navigation}, 403, ""},
			{"path", "/public/..%2fadmin", []string{cookie, navigation}, 403, ""},
			{"not-fresh", "/fresh", []string{cookie}, 401, ""},
			{"not-fresh-navigation", "/fresh", []string{cookie, navigation}, s.signIn, "https://auth.example.com/login?rd=https%3A%2F%2Fapp.example.com%2Ffresh&prompt=login&max_age=60"},
			{"strong", "/strong", []string{cookie, navigation}, s.signIn, "https://auth.example.com/login?rd=https%3A%2F%2Fapp.example.com%2Fstrong&prompt=login&acr_values=aal3"},
			{"public", "/public/x", nil, s.grant, ""},
			{"public-garbage", "/public/x", []string{"Cookie: __Host-session=lk_garbage"}, s.grant, ""},
		} {
			t.Run(c.name, func(t *testing.T) {
				res := b.ask(s.ask("GET", "https", "app.example.com", c.target, c.more...)...)
				checkAnswer(t, res)
				location := res.Header.Get(s.location)
				if s.name == "nginx" { // is told each time, and what people do apart
					if (location != "") != (c.status == 401) || (res.Header.Get("X-Auth-Navigation") == "1") != (c.location != "") {
						t.Errorf("%d: %v", res.StatusCode, res.Header)
					}
					if c.location == "" {
						location = ""
					}
				}
				if res.StatusCode != c.status || location != c.location {
					t.Errorf("%d %q, want %d %q", res.StatusCode, location, c.status, c.location)
				}
				stepUp := strings.HasPrefix(c.name, "not-fresh") || c.name == "strong"
				if got := res.Header.Get("WWW-Authenticate"); strings.HasPrefix(got, `Bearer error="insufficient_user_authentication", `) != stepUp {
					t.Errorf("WWW-Authenticate %q", got)
				}
			})
		}
		for _, host := range []string{"evil.example.com", "app.example.com.", "app.example.com@evil.com", "app.example.com:444"} {
			res := b.ask(s.ask("GET", "https", host, "/public/x", cookie, navigation)...)
			if res.StatusCode == 400 {
				continue // net/http itself refuses some
			}
			if checkAnswer(t, res); res.StatusCode != 403 {
				t.Errorf("%s: %d", host, res.StatusCode)
			}
		}
		if res := b.ask(s.ask("get", "https", "app.example.com", "/x", cookie)...); res.StatusCode != 403 {
			t.Errorf("method get: %d", res.StatusCode)
		}
	})
}

// A question is believed only when everything is there, once, and from a network
// that may ask.
func TestQuestions(t *testing.T) {
	b := newEdge(t, nil)
	token := "Cookie: __Host-session=" + b.signIn(latchkey.SignIn{Subject: "alice"}).Token
	eachSpeaker(t, func(t *testing.T, s speaker) {
		whole := s.ask("GET", "https", "app.example.com", "/x", token)
		if res := b.ask(whole...); res.StatusCode != s.grant {
			t.Fatal(res.Status)
		}
		for i, line := range whole {
			if !strings.HasPrefix(line, "X-") {
				continue
			}
			without := slices.Delete(slices.Clone(whole), i, i+1)
			name, value, _ := strings.Cut(line, ": ")
			for what, lines := range map[string][]string{
				"missing": without, "twice": append(slices.Clone(whole), line), "other-case-twice": append(slices.Clone(whole), strings.ToLower(name)+": "+value),
				"empty": append(slices.Clone(without), name+":"), "joined": append(slices.Clone(without), line+", "+value),
			} {
				want := 403
				if s.name == "envoy" && what == "missing" { // as Envoy does unless it is told otherwise
					want = s.grant
				}
				res := b.ask(lines...)
				if checkAnswer(t, res); res.StatusCode != want {
					t.Errorf("%s %s: %d", name, what, res.StatusCode)
				}
			}
		}
		if s.name == "envoy" {
			res := b.ask("GET /auth/envoy/x HTTP/1.1", "Host: app.example.com", navigation)
			if got := res.Header.Get("Location"); got != "https://auth.example.com/login?rd=https%3A%2F%2Fapp.example.com%2Fx" {
				t.Errorf("without a scheme: %d to %q", res.StatusCode, got)
			}
		}
		// What proxies do not set decides nothing.
		res := b.ask(append(slices.Clone(whole[:len(whole)-1]), "Forwarded: host=auth.example.com", "X-Forwarded-Prefix: /public", "X-Forwarded-Port: 80", "X-Rewrite-Url: /", navigation)...)
		if checkAnswer(t, res); res.StatusCode != s.signIn || !strings.HasSuffix(res.Header.Get(s.location), "rd=https%3A%2F%2Fapp.example.com%2Fx") {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
		long := s.ask("GET", "https", "app.example.com", "/"+strings.Repeat("x", 33<<10), token)
		if res := b.ask(long...); res.StatusCode != 403 {
			t.Errorf("a target of 33 KiB: %d", res.StatusCode)
		}
	})
	for _, address := range []string{"app.example.com/x", "//app.example.com/x", "https:/app.example.com/x", "https:///x", "https://", "https://app.example.com", "https://app.example.com?x", "ftp://app.example.com/", "HTTPS://app.example.com/", "https://a@app.example.com/x", "https://app.example.com\\@evil.example.com/x", "https://app.example.com#/x"} {
		res := b.ask("GET /auth/nginx HTTP/1.1", "Host: x", "X-Original-Method: GET", "X-Original-URL: "+address, token)
		if checkAnswer(t, res); res.StatusCode != 403 {
			t.Errorf("%s: %d", address, res.StatusCode)
		}
	}
	for name, networks := range map[string][]netip.Prefix{"none": nil, "others": {netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}} {
		t.Run("networks-"+name, func(t *testing.T) {
			b := newEdge(t, func(c *config) {
				c.edge.TrustedProxies = networks
				c.policy.Rules = []edge.Rule{{Require: edge.RequirePublic}}
			})
			eachSpeaker(t, func(t *testing.T, s speaker) {
				res := b.ask(s.ask("GET", "https", "app.example.com", "/x", "X-Forwarded-For: 10.0.0.1")...)
				if checkAnswer(t, res); res.StatusCode != 403 {
					t.Errorf("%d for a stranger", res.StatusCode)
				}
			})
		})
	}
}

func TestRoutes(t *testing.T) {
	b := newEdge(t, func(c *config) { c.policy.Rules = []edge.Rule{{Require: edge.RequirePublic}} })
	for target, owned := range map[string]bool{
		"/auth/nginx": true, "/auth/nginx?x": true, "/auth/nginx/": false, "/auth/nginxx": false, "/auth/forward": true, "/auth/envoy/": true, "/auth/envoy/../v1/sessions": true,
		"/auth/envoy//x": true, "/auth/envoy": false, "/auth/envoyx": false, "/auth/envoy?x": false, "/auth%2fenvoy/x": false, "//auth/envoy/x": false, "/auth/": false, "/": false, "*": false,
		"http://app.example.com/auth/envoy/x": false,
	} {
		r := &http.Request{Method: "GET", RequestURI: target, Header: http.Header{}}
		if got := b.edge.Owns(r); got != owned {
			t.Errorf("%s: %v", target, got)
		}
	}
	for method, owned := range map[string]bool{"GET": true, "HEAD": true, "POST": false} {
		if got := b.edge.Owns(&http.Request{Method: method, RequestURI: "/auth/nginx"}); got != owned {
			t.Errorf("%s: %v", method, got)
		}
	}
	if res := b.ask("GET /other HTTP/1.1", "Host: x"); res.StatusCode != 403 {
		t.Errorf("no route: %s", res.Status)
	}
}

func TestStoreDown(t *testing.T) {
	b := newEdge(t, func(c *config) {
		c.policy.Rules = []edge.Rule{{Paths: []string{"/public/*"}, Require: edge.RequirePublic}}
		c.edge.Timeout = 50 * time.Millisecond
	})
	i := b.signIn(latchkey.SignIn{Subject: "alice"})
	cookie := "Cookie: __Host-session=" + i.Token
	for name, fault := range map[string]*atomic.Bool{"refusing": &b.store.down, "hanging": &b.store.hangs} {
		t.Run(name, func(t *testing.T) {
			fault.Store(true)
			defer fault.Store(false)
			eachSpeaker(t, func(t *testing.T, s speaker) {
				res := b.ask(s.ask("GET", "https", "app.example.com", "/x", cookie, navigation)...)
				if checkAnswer(t, res); res.StatusCode != 503 {
					t.Errorf("%d", res.StatusCode)
				}
				res = b.ask(s.ask("GET", "https", "app.example.com", "/public/x", cookie)...)
				if checkAnswer(t, res); res.StatusCode != s.grant || res.Header.Get("X-Auth-Subject") != "" {
					t.Errorf("public: %d %v", res.StatusCode, res.Header)
				}
				res = b.ask(s.ask("GET", "https", "app.example.com", "/x", navigation)...)
				if checkAnswer(t, res); res.StatusCode != s.signIn {
					t.Errorf("without a cookie: %d", res.StatusCode)
				}
			})
		})
	}
}

// After a change of keys a grant carries the token under the new one, once; no other
// verdict does, and a passive request does not.
func TestCookieOnlyOnGrant(t *testing.T) {
	b := newEdge(t, func(c *config) {
		c.policy.Rules = []edge.Rule{{Paths: []string{"/admin"}, Roles: []string{"admin"}}, {Paths: []string{"/poll"}, Passive: true}, {Paths: []string{"/public"}, Require: edge.RequirePublic}}
	})
	i := b.signIn(latchkey.SignIn{Subject: "alice"})
	b.rotateKeys()
	eachSpeaker(t, func(t *testing.T, s speaker) {
		for target, want := range map[string]int{"/x": 1, "/admin": 0, "/poll": 0, "/public": 1} {
			res := b.ask(s.ask("GET", "https", "app.example.com", target, "Cookie: __Host-session="+i.Token)...)
			checkAnswer(t, res)
			if got := len(res.Header["Set-Cookie"]); got != want {
				t.Errorf("%s: %d cookies, want %d", target, got, want)
			}
			if want == 1 && !strings.HasPrefix(res.Header.Get("Set-Cookie"), "__Host-session=lk_") {
				t.Errorf("%s: %q", target, res.Header["Set-Cookie"])
			}
		}
		res := b.ask(s.ask("GET", "https", "app.example.com", "/x", "Cookie: __Host-session="+i.Token, "X-Latchkey-Passive: 1")...)
		if checkAnswer(t, res); res.StatusCode != s.grant || len(res.Header["Set-Cookie"]) > 0 {
			t.Errorf("passive: %d %v", res.StatusCode, res.Header)
		}
	})
}

// Passive requests keep nobody signed in.
func TestPassiveIsNoActivity(t *testing.T) {
	b := newEdge(t, func(c *config) {
		c.manager.Idle = 10 * time.Minute
		c.policy.Rules = []edge.Rule{{Paths: []string{"/poll"}, Passive: true}}
	})
	s := speakers()[1]
	for name, c := range map[string]struct {
		target, header string
		want           int
	}{"rule": {"/poll", "X-A: b", 401}, "header": {"/x", "X-Latchkey-Passive: 1", 401}, "active": {"/x", "X-A: b", 204}} {
		i := b.signIn(latchkey.SignIn{Subject: name})
		var last int
		for range 5 {
			b.clock.Advance(3 * time.Minute)
			last = b.ask(s.ask("GET", "https", "app.example.com", c.target, "Cookie: __Host-session="+i.Token, c.header)...).StatusCode
		}
		if last != c.want {
			t.Errorf("%s: %d after 15 minutes, want %d", name, last, c.want)
		}
	}
}

func TestLocations(t *testing.T) {
	secure, plain := &url.URL{Scheme: "https", Host: "auth.example.com"}, &url.URL{Scheme: "http", Host: "localhost:8420"}
	for _, c := range []struct {
		name   string
		policy edge.PolicyConfig
		asked  [3]string // scheme, host, target
		want   string
	}{
		{"listed", edge.PolicyConfig{PublicURL: secure, ProtectedHosts: []string{"app.example.com"}}, [3]string{"https", "app.example.com", "/a?b"}, "https://auth.example.com/login?rd=https%3A%2F%2Fapp.example.com%2Fa%3Fb"},
		{"listed-over-http", edge.PolicyConfig{PublicURL: secure, ProtectedHosts: []string{"app.example.com"}}, [3]string{"http", "app.example.com", "/a"}, "https://auth.example.com/login"},
		{"http-listed", edge.PolicyConfig{PublicURL: secure, ProtectedHosts: []string{"http://app.example.com"}}, [3]string{"http", "app.example.com", "/a"}, "https://auth.example.com/login?rd=http%3A%2F%2Fapp.example.com%2Fa"},
		{"insecure", edge.PolicyConfig{PublicURL: plain, ProtectedHosts: []string{"app.localhost:8080"}}, [3]string{"http", "app.localhost:8080", "/a"}, "http://localhost:8420/login?rd=http%3A%2F%2Fapp.localhost%3A8080%2Fa"},
		{"no-list", edge.PolicyConfig{PublicURL: secure}, [3]string{"https", "app.example.com", "/a"}, "https://auth.example.com/login?rd=https%3A%2F%2Fapp.example.com%2Fa"},
		{"no-list-own-host", edge.PolicyConfig{PublicURL: secure}, [3]string{"https", "auth.example.com", "/a"}, "https://auth.example.com/login?rd=https%3A%2F%2Fauth.example.com%2Fa"},
		{"prefix", edge.PolicyConfig{PublicURL: secure, Prefix: "/_lk", ProtectedHosts: []string{"app.example.com"}}, [3]string{"https", "app.example.com", "/a"}, "https://auth.example.com/_lk/login?rd=https%3A%2F%2Fapp.example.com%2Fa"},
		{"per-host", edge.PolicyConfig{PublicURL: secure, Prefix: "/_lk", PerHost: true, ProtectedHosts: []string{"app.example.com"}}, [3]string{"https", "app.example.com", "/a?b"}, "https://app.example.com/_lk/login?rd=%2Fa%3Fb"},
		{"per-host-no-list", edge.PolicyConfig{PublicURL: secure, Prefix: "/_lk", PerHost: true}, [3]string{"https", "app.example.com", "/a"}, "https://auth.example.com/_lk/login?rd=https%3A%2F%2Fapp.example.com%2Fa"},
		{"no-list-tricks", edge.PolicyConfig{PublicURL: secure}, [3]string{"https", "app.example.com", "//evil.example.com/"}, "https://auth.example.com/login"},
		{"tricks", edge.PolicyConfig{PublicURL: secure, ProtectedHosts: []string{"app.example.com"}}, [3]string{"https", "app.example.com", "//evil.example.com/"}, "https://auth.example.com/login"},
		{"per-host-tricks", edge.PolicyConfig{PublicURL: secure, Prefix: "/_lk", PerHost: true, ProtectedHosts: []string{"app.example.com"}}, [3]string{"https", "app.example.com", "/%5cevil.example.com/"}, "https://app.example.com/_lk/login"},
		{"too-long", edge.PolicyConfig{PublicURL: secure, ProtectedHosts: []string{"app.example.com"}}, [3]string{"https", "app.example.com", "/" + strings.Repeat("x", 3000)}, "https://auth.example.com/login"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newEdge(t, func(cfg *config) { cfg.policy = c.policy })
			eachSpeaker(t, func(t *testing.T, s speaker) {
				res := b.ask(s.ask("GET", c.asked[0], c.asked[1], c.asked[2], navigation)...)
				if checkAnswer(t, res); res.StatusCode != s.signIn || res.Header.Get(s.location) != c.want {
					t.Errorf("%d %q, want %q", res.StatusCode, res.Header.Get(s.location), c.want)
				}
			})
		})
	}
}

func TestTraefikWebSocket(t *testing.T) {
	b := newEdge(t, nil)
	i := b.signIn(latchkey.SignIn{Subject: "alice"})
	s := speakers()[1]
	for scheme, want := range map[string]int{"wss": 204, "ws": 204, "ftp": 403, "HTTPS": 403} {
		if res := b.ask(s.ask("GET", scheme, "app.example.com", "/", "Cookie: __Host-session="+i.Token)...); res.StatusCode != want {
			t.Errorf("%s: %d", scheme, res.StatusCode)
		}
	}
	if res := b.ask(s.ask("GET", "wss", "app.example.com", "/", navigation)...); res.StatusCode != 401 {
		t.Errorf("a WebSocket without a session: %d", res.StatusCode)
	}
}

func TestConfiguration(t *testing.T) {
	_, err := edge.New(edge.Config{TrustedProxies: []netip.Prefix{{}}, Timeout: -1})
	if latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
		t.Fatal(err)
	}
	for _, want := range []string{"Manager", "Policy", "TrustedProxies", "Timeout"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not told: %s", want)
		}
	}
}

func TestStats(t *testing.T) {
	b := newEdge(t, nil)
	for _, s := range speakers() {
		b.ask(s.ask("GET", "https", "app.example.com", "/")...)
		b.ask(s.ask("GET", "https", "other.example.com", "/")...)
	}
	b.ask("GET /auth/nginx HTTP/1.1", "Host: x")
	got := ""
	for _, c := range b.edge.Stats() {
		if c.Count > 0 {
			got += fmt.Sprintf("%s %s %d\n", c.Dialect, c.Verdict, c.Count)
		}
	}
	if want := "nginx deny 1\nnginx sign_in 1\nnginx refused 1\nforward deny 1\nforward sign_in 1\nenvoy deny 1\nenvoy sign_in 1\n"; got != want {
		t.Errorf("%s", got)
	}
}

// Envoy is told to drop what a service may take for an identity header, in whatever
// spelling it comes.
func TestEnvoyAliases(t *testing.T) {
	b := newEdge(t, nil)
	i := b.signIn(latchkey.SignIn{Provider: "corp", Subject: "alice"})
	listed := strings.Join(edge.Aliases(), ",")
	for line, want := range map[string]string{
		"X.Auth.Subject: root": ",x.auth.subject", "X-Auth.Roles: root": ",x-auth.roles", "x~auth`email: root": ",x~auth`email", "X_Auth_Name: root": ",x_auth_name", "X!AUTH!SESSION: root": ",x!auth!session",
		"X-Auth-Subject: root": "", "X-Auth-Other: root": "", "X.Auth.Other: root": "", "XxAuthxSubject: root": "", "X0Auth0Subject: root": "", "X.Auth.": "", "X.Auth.Subject2: root": "", "Y.Auth.Subject: root": "",
	} {
		if !strings.Contains(line, ":") {
			line += ": root"
		}
		res := b.ask("GET /auth/envoy/page HTTP/1.1", "Host: app.example.com", "X-Forwarded-Proto: https", line, sessionCookie+i.Token)
		if got := res.Header.Get("X-Envoy-Auth-Headers-To-Remove"); res.StatusCode != 200 || got != listed+want {
			t.Errorf("%s: %d %q", line, res.StatusCode, got)
		}
	}
}
