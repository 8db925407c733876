package server_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/server"
)

func auditQuery(session string) audit.Query { return audit.Query{Session: session, Limit: 1} }

var sameOrigin = map[string]string{"Sec-Fetch-Site": "same-origin"}

func TestMeCredentials(t *testing.T) {
	h := start(t, nil)
	a, b := h.issue("alice", `,"data":{"k":1}`), h.issue("bob", "")
	for name, c := range map[string]struct {
		call   call
		status int
	}{
		"cookie":              {call{cookies: []string{a.token}}, 200},
		"bearer":              {call{bearer: a.token}, 200},
		"both":                {call{cookies: []string{a.token}, bearer: a.token}, 200},
		"both-different":      {call{cookies: []string{a.token}, bearer: b.token}, 401},
		"both-garbage-bearer": {call{cookies: []string{a.token}, bearer: "x"}, 401},
		"both-garbage-cookie": {call{cookies: []string{"x"}, bearer: a.token}, 401},
		"empty-cookie":        {call{cookies: []string{""}, bearer: a.token}, 401},
		"two-cookies":         {call{cookies: []string{a.token + "; " + cookieName + "=" + b.token}}, 401},
		"two-equal":           {call{cookies: []string{a.token + "; " + cookieName + "=" + a.token}}, 401},
		"two-and-bearer":      {call{cookies: []string{a.token + "; " + cookieName + "=" + a.token}, bearer: a.token}, 401},
		"two-one-empty":       {call{cookies: []string{a.token + "; " + cookieName + "="}}, 401},
		"none":                {call{}, 401},
		"garbage":             {call{cookies: []string{"lk_x"}}, 401},
		"forged":              {call{bearer: a.token[:90] + flip(a.token[90:])}, 401},
		"admin":               {call{bearer: adminKey}, 401},
		"quoted":              {call{cookies: []string{`"` + a.token + `"`}}, 401},
		"basic-beside":        {call{cookies: []string{a.token}, header: map[string]string{"Authorization": "Basic eDp5"}}, 200},
	} {
		for _, path := range []string{"/v1/me", "/v1/me?passive=1", "/v1/me/sessions"} {
			c.call.path = path
			got := h.do(c.call)
			if got.status != c.status || c.status == 401 && got.code() != "invalid_session" {
				t.Errorf("%s %s: %d %s", name, path, got.status, got.body)
			}
			if got.header.Get("Set-Cookie") != "" || (got.header.Get("WWW-Authenticate") != "") != (c.status == 401) {
				t.Errorf("%s %s: %v", name, path, got.header)
			}
		}
	}
	o := h.object(h.do(call{path: "/v1/me", cookies: []string{a.token}}), 200)
	checkSession(t, o["session"].(map[string]any))
	if fmt.Sprintf("%v %d", o["data"], len(o)) != "map[k:1] 2" {
		t.Error(o)
	}
	h.problem(h.do(call{path: "/v1/me?passive=yes", cookies: []string{a.token}}), 422, "invalid_request")
	h.problem(h.do(call{path: "/v1/me?x=1", cookies: []string{a.token}}), 422, "invalid_request")
}

func TestMePassive(t *testing.T) {
	h := start(t, nil)
	i := h.issue("alice", "")
	seen := func() any {
		return h.object(h.admin("GET", "/v1/sessions/"+i.id, ""), 200)["session"].(map[string]any)["last_seen_at"]
	}
	h.clock.Advance(20 * time.Minute)
	h.do(call{path: "/v1/me?passive=1", cookies: []string{i.token}})
	if seen() != "2026-01-01T12:00:00.000000Z" {
		t.Errorf("passive: %v", seen())
	}
	for _, header := range []map[string]string{{"X-Latchkey-Passive": "1"}, {"x-latchkey-passive": "1"}} {
		for _, c := range []call{{path: "/v1/me"}, {path: "/v1/me?passive=0"}, {path: "/v1/me/sessions"}, {method: "POST", path: "/v1/me/revoke-others"},
			{method: "DELETE", path: "/v1/me/sessions/" + h.issue("alice", "").id}} {
			if c.bearer, c.header = i.token, header; h.do(c).status >= 300 {
				t.Errorf("%s is refused when passive", c.path)
			}
			if seen() != "2026-01-01T12:00:00.000000Z" {
				t.Errorf("%s with the header: %v", c.path, seen())
			}
		}
	}
	h.do(call{path: "/v1/me?passive=0", cookies: []string{i.token}, header: map[string]string{"X-Latchkey-Passive": "0"}})
	if seen() != "2026-01-01T12:20:00.000000Z" {
		t.Errorf("active: %v", seen())
	}
}

func TestMeSessions(t *testing.T) {
	h := start(t, nil)
	a1, a2 := h.issue("alice", `,"provider":"p"`), h.issue("alice", `,"provider":"p"`)
	foreign, elsewhere := h.issue("bob", `,"provider":"p"`), h.issue("alice", `,"provider":"q"`)
	o := h.object(h.do(call{path: "/v1/me/sessions", cookies: []string{a1.token}}), 200)
	current := map[string]bool{}
	for _, s := range o["sessions"].([]any) {
		m := s.(map[string]any)
		checkSession(t, m, "current")
		current[m["id"].(string)] = m["current"].(bool)
	}
	if len(o) != 1 || len(current) != 2 || !current[a1.id] || current[a2.id] {
		t.Error(current)
	}
	del := func(id string) answer {
		return h.do(call{method: "DELETE", path: "/v1/me/sessions/" + id, cookies: []string{a1.token}, header: sameOrigin})
	}
	for _, id := range []string{foreign.id, elsewhere.id, "019b7c00-0000-7000-8000-000000000000", "x"} {
		h.problem(del(id), 404, "no_such_session")
	}
	for range 2 {
		if a := del(a2.id); a.status != 204 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	for token, want := range map[string]int{a1.token: 200, a2.token: 401, foreign.token: 200, elsewhere.token: 200} {
		if a := h.lookup(token); a.status != want {
			t.Errorf("%d, want %d", a.status, want)
		}
	}
	if a := del(a1.id); a.status != 204 || a.header.Get("Set-Cookie") != "" {
		t.Errorf("own: %d %v", a.status, a.header)
	}
	h.problem(del(a1.id), 401, "invalid_session")
}

func TestRevokeOthers(t *testing.T) {
	h := start(t, nil)
	a1, a2, a3 := h.issue("alice", ""), h.issue("alice", ""), h.issue("alice", "")
	bob := h.issue("bob", "")
	o := h.object(h.do(call{method: "POST", path: "/v1/me/revoke-others", bearer: a1.token}), 200)
	if fmt.Sprint(o) != "map[revoked:2]" {
		t.Error(o)
	}
	for token, want := range map[string]int{a1.token: 200, a2.token: 401, a3.token: 401, bob.token: 200} {
		if a := h.lookup(token); a.status != want {
			t.Errorf("%d, want %d", a.status, want)
		}
	}
	got, _ := h.pages("/v1/audit?subject=alice&limit=1", "events", "actor")
	if got[0] != "user" {
		t.Error(got)
	}
}

// Every session is listed, however many there are.
func TestMeSessionsListsAll(t *testing.T) {
	h := start(t, nil)
	first := h.issue("alice", "")
	const more = 2 * latchkey.MaxListLimit
	for range more {
		h.clock.Advance(time.Millisecond)
		if _, err := h.m.Issue(t.Context(), latchkey.SignIn{Provider: "api", Subject: "alice"}); err != nil {
			t.Fatal(err)
		}
	}
	list := h.object(h.do(call{path: "/v1/me/sessions", bearer: first.token}), 200)["sessions"].([]any)
	if len(list) != more+1 {
		t.Fatalf("%d sessions are listed", len(list))
	}
	for n, s := range list {
		if m := s.(map[string]any); m["current"].(bool) != (n == more) || (m["id"] == first.id) != (n == more) {
			t.Errorf("%d: %v", n, m)
		}
	}
}

// ended is a store whose lists already leave a session out that a lookup still
// grants, as happens within the staleness.
type ended struct {
	latchkey.Store
	id string
}

func (e *ended) List(ctx context.Context, q latchkey.ListQuery) (latchkey.ListPage, error) {
	page, err := e.Store.List(ctx, q)
	page.Records = slices.DeleteFunc(page.Records, func(r *latchkey.Record) bool { return r.ID.String() == e.id })
	return page, err
}

func TestMeSessionsHasTheCurrent(t *testing.T) {
	e := new(ended)
	h := start(t, func(m *latchkey.Config, _ *server.Config) {
		e.Store = m.Store
		m.Store = e
	})
	var all []issued
	for range 3 {
		all = append(all, h.issue("alice", ""))
		h.clock.Advance(time.Second)
	}
	for n, i := range all {
		e.id = i.id
		var got []string
		for _, s := range h.object(h.do(call{path: "/v1/me/sessions", bearer: i.token}), 200)["sessions"].([]any) {
			m := s.(map[string]any)
			got = append(got, m["id"].(string))
			if m["current"].(bool) != (m["id"] == i.id) {
				t.Errorf("%d: %v", n, m)
			}
		}
		if !slices.Equal(got, []string{all[2].id, all[1].id, all[0].id}) {
			t.Errorf("%d: %v", n, got)
		}
	}
}

// An anonymous session knows only itself.
func TestAnonymous(t *testing.T) {
	var h *harness
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if s, err := latchkey.FromContext(r.Context()); err != nil || latchkey.NewKey[int]("n").Set(s, 1) != nil {
				t.Error(err)
			}
		})).ServeHTTP(w, r)
	})
	h = start(t, func(_ *latchkey.Config, s *server.Config) { s.Pages = []server.Page{{Path: "/visit", Handler: page}} })
	visit := func() string {
		value, _, _ := strings.Cut(strings.TrimPrefix(h.do(call{path: "/visit"}).header.Get("Set-Cookie"), cookieName+"="), ";")
		return value
	}
	own, other, alice := visit(), visit(), h.issue("alice", "")
	idOf := func(token string) string {
		return h.object(h.lookup(token), 200)["session"].(map[string]any)["id"].(string)
	}
	o := h.object(h.do(call{path: "/v1/me/sessions", cookies: []string{own}}), 200)
	if list := o["sessions"].([]any); len(list) != 1 || list[0].(map[string]any)["id"] != idOf(own) || list[0].(map[string]any)["subject"] != "" {
		t.Error(o)
	}
	for _, id := range []string{idOf(other), alice.id} {
		h.problem(h.do(call{method: "DELETE", path: "/v1/me/sessions/" + id, bearer: own}), 404, "no_such_session")
	}
	if o := h.object(h.do(call{method: "POST", path: "/v1/me/revoke-others", bearer: own}), 200); fmt.Sprint(o["revoked"]) != "0" {
		t.Error(o)
	}
	if h.lookup(other).status != 200 || h.lookup(alice.token).status != 200 {
		t.Error("an anonymous visitor ended another's session")
	}
	a := h.do(call{method: "DELETE", path: "/v1/me/sessions/" + idOf(own), bearer: own})
	if a.status != 204 || a.header.Get("Set-Cookie") != "" || h.lookup(own).status != 401 {
		t.Errorf("own: %d %v", a.status, a.header)
	}
}

func TestUnsafeCookieRoutesAreGuarded(t *testing.T) {
	h := start(t, func(_ *latchkey.Config, s *server.Config) { s.PublicURL = mustURL("https://auth.example.com") })
	for name, c := range map[string]struct {
		header map[string]string
		bearer bool
		pass   bool
	}{
		"same-origin":    {sameOrigin, false, true},
		"none":           {map[string]string{"Sec-Fetch-Site": "none"}, false, true},
		"cross-site":     {map[string]string{"Sec-Fetch-Site": "cross-site"}, false, false},
		"same-site":      {map[string]string{"Sec-Fetch-Site": "same-site"}, false, false},
		"nothing":        {nil, false, false},
		"null-origin":    {map[string]string{"Origin": "null"}, false, false},
		"other-origin":   {map[string]string{"Origin": "https://evil.example"}, false, false},
		"public-origin":  {map[string]string{"Origin": "https://auth.example.com"}, false, true},
		"public-cross":   {map[string]string{"Origin": "https://auth.example.com", "Sec-Fetch-Site": "cross-site"}, false, false},
		"public-sibling": {map[string]string{"Origin": "https://auth.example.com", "Sec-Fetch-Site": "same-site"}, false, false},
		"public-same":    {map[string]string{"Origin": "https://auth.example.com", "Sec-Fetch-Site": "same-origin"}, false, true},
		"bearer-nothing": {nil, true, true},
		"bearer-cross":   {map[string]string{"Sec-Fetch-Site": "cross-site"}, true, true},
	} {
		for _, r := range []string{"POST /v1/me/revoke-others", "DELETE /v1/me/sessions/ID", "POST /logout"} {
			i := h.issue("alice", "")
			method, path, _ := strings.Cut(strings.ReplaceAll(r, "ID", i.id), " ")
			req := call{method: method, path: path, header: c.header}
			if c.bearer {
				req.bearer = i.token
			} else {
				req.cookies = []string{i.token}
			}
			a := h.do(req)
			if c.pass && a.status >= 300 || !c.pass && (a.status != 403 || a.code() != "csrf_refused" || a.header.Get("Set-Cookie") != "") {
				t.Errorf("%s %s: %d %s", name, r, a.status, a.body)
			}
			if !c.pass && h.lookup(i.token).status != 200 {
				t.Errorf("%s %s: refused, and yet it had an effect", name, r)
			}
		}
	}
}

const deleted = cookieName + "=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"

func TestLogout(t *testing.T) {
	h := start(t, nil)
	for name, c := range map[string]struct {
		header map[string]string
		status int
	}{
		"fetch":       {map[string]string{"Sec-Fetch-Mode": "cors", "Accept": "text/html"}, 204},
		"navigation":  {map[string]string{"Sec-Fetch-Mode": "navigate"}, 303},
		"old-browser": {map[string]string{"Accept": "application/xml, text/html;q=0.9"}, 303},
		"program":     {map[string]string{"Accept": "*/*"}, 204},
	} {
		i, ended := h.issue("alice", ""), h.issue("bob", "")
		h.admin("DELETE", "/v1/sessions/"+ended.id, "")
		c.header["Sec-Fetch-Site"] = "same-origin"
		for _, cookies := range [][]string{{i.token}, {i.token}, {ended.token}, {"lk_garbage"}, {""}, nil} {
			a := h.do(call{method: "POST", path: "/logout?whatever=%00", cookies: cookies, header: c.header})
			if a.status != c.status || a.header.Get("Set-Cookie") != deleted || len(a.body) != 0 || (a.header.Get("Location") == "/login") != (c.status == 303) {
				t.Errorf("%s %v: %d %v", name, len(cookies), a.status, a.header)
			}
		}
		h.problem(h.lookup(i.token), 401, "invalid_session")
		s := h.object(h.admin("GET", "/v1/sessions/"+i.id, ""), 200)["session"].(map[string]any)
		if s["revoked_reason"] != "logout" {
			t.Error(s)
		}
	}
	i := h.issue("alice", "")
	if a := h.do(call{method: "POST", path: "/logout", bearer: i.token}); a.status != 204 || h.lookup(i.token).status != 401 {
		t.Errorf("bearer: %d", a.status)
	}
	i = h.issue("alice", "")
	h.problem(h.do(call{method: "POST", path: "/logout", cookies: []string{i.token + "; " + cookieName + "=x"}, header: sameOrigin}), 401, "invalid_session")
	h.problem(h.do(call{method: "POST", path: "/logout", cookies: []string{i.token}, bearer: "x", header: sameOrigin}), 401, "invalid_session")
	h.problem(h.do(call{path: "/logout", cookies: []string{i.token}}), 404, "not_found")
	if h.lookup(i.token).status != 200 {
		t.Error("a refused logout ended the session")
	}
}

// After a change of keys the cookie is made anew by what is served, never by what is refused.
func TestChangedKeyTouchesTheCookieOnSuccessOnly(t *testing.T) {
	h := start(t, nil)
	i := h.issue("alice", "")
	next, err := keyring.GenerateKey(200, h.clock.Time(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.ring.Set(h.key, next); err != nil {
		t.Fatal(err)
	}
	a := h.do(call{path: "/v1/me", cookies: []string{i.token}})
	if a.status != 200 || !strings.HasPrefix(a.header.Get("Set-Cookie"), cookieName+"=lk_") {
		t.Fatalf("%d %v", a.status, a.header)
	}
	for _, c := range []call{{path: "/v1/me?passive=1"}, {method: "POST", path: "/v1/me/revoke-others", header: map[string]string{"Sec-Fetch-Site": "cross-site"}}} {
		c.cookies = []string{i.token}
		if a := h.do(c); a.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d sets the cookie", c.path, a.status)
		}
	}
	// The token is good and due for a new one when ending the session fails.
	h.store.revokeDown.Store(true)
	h.problem(h.do(call{method: "POST", path: "/logout", cookies: []string{i.token}, header: sameOrigin}), 503, "store_unavailable")
	h.store.down.Store(true)
	h.problem(h.do(call{method: "POST", path: "/logout", cookies: []string{i.token}, header: sameOrigin}), 503, "store_unavailable")
}
