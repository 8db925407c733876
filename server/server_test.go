package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/server"
)

func TestOutage(t *testing.T) {
	h := start(t, nil)
	i := h.issue("alice", "")
	h.store.down.Store(true)
	token := `{"token":"` + i.token + `"}`
	for _, c := range []call{
		{path: "/v1/sessions", body: `{"subject":"a"}`, bearer: adminKey}, {path: "/v1/sessions", bearer: adminKey}, {path: "/v1/sessions?provider=p", bearer: adminKey},
		{path: "/v1/sessions/lookup", body: token, bearer: adminKey}, {path: "/v1/sessions/renew", body: token, bearer: adminKey},
		{path: "/v1/sessions/" + i.id, bearer: adminKey}, {method: "PATCH", path: "/v1/sessions/" + i.id, body: token, bearer: adminKey},
		{method: "DELETE", path: "/v1/sessions/" + i.id, bearer: adminKey}, {method: "DELETE", path: "/v1/sessions?all=true", bearer: adminKey},
		{path: "/v1/audit", bearer: adminKey}, {path: "/v1/introspect", body: "token=" + i.token, ctype: "application/x-www-form-urlencoded", bearer: adminKey},
		{path: "/v1/me", cookies: []string{i.token}}, {path: "/v1/me?passive=1", cookies: []string{i.token}}, {path: "/v1/me/sessions", bearer: i.token},
		{method: "DELETE", path: "/v1/me/sessions/" + i.id, bearer: i.token}, {method: "POST", path: "/v1/me/revoke-others", bearer: i.token},
		{method: "POST", path: "/logout", cookies: []string{i.token}, header: sameOrigin}, {path: "/readyz"},
	} {
		if a := h.do(c); a.status != 503 {
			t.Errorf("%s %s: %d", c.method, c.path, a.status)
		} else {
			h.problem(a, 503, "store_unavailable")
		}
	}
	for _, c := range []call{{path: "/healthz"}, {path: "/metrics"}, {path: "/openapi.json"}, {method: "POST", path: "/logout"}, {method: "POST", path: "/v1/keys/reload", bearer: adminKey}} {
		if a := h.do(c); a.status >= 300 {
			t.Errorf("%s: %d", c.path, a.status)
		}
	}
	h.problem(h.do(call{path: "/v1/me", cookies: []string{i.token[:90] + flip(i.token[90:])}}), 401, "invalid_session")
	h.store.down.Store(false)
	for _, path := range []string{"/readyz", "/v1/me"} {
		if a := h.do(call{path: path, bearer: i.token}); a.status != 200 {
			t.Errorf("%s afterwards: %d", path, a.status)
		}
	}
	if !strings.Contains(h.logs.String(), errDown.Error()) {
		t.Error("the log does not say why")
	}
}

// A store that hangs is an outage as soon as the deadline is over.
func TestHangingStore(t *testing.T) {
	h := start(t, func(m *latchkey.Config, s *server.Config) {
		m.Store, s.StoreTimeout = hanging{m.Store}, 20*time.Millisecond
	})
	h.problem(h.admin("GET", "/v1/sessions/019b7c00-0000-7000-8000-000000000000", ""), 503, "store_unavailable")
	h.problem(h.do(call{path: "/readyz"}), 503, "store_unavailable")
}

type hanging struct{ latchkey.Store }

func (hanging) Get(ctx context.Context, _ latchkey.ID) (*latchkey.Record, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestUnknownRoutesAndMethods(t *testing.T) {
	h := start(t, nil)
	for _, path := range []string{"/", "/v1", "/v2/me", "/v1/me/", "//v1/me", "/v1//me", "/v1/./me", "/v1/me/../me", "/v1/sessions/a/b", "/login", "/auth/nginx", "/V1/me", "/v1/upstream/lookup"} {
		a := h.do(call{path: path, bearer: adminKey})
		if a.status != 404 || a.code() != "not_found" || a.header.Get("Location") != "" {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	for r, allow := range map[string]string{"PUT /v1/sessions": "DELETE, GET, HEAD, POST", "GET /v1/sessions/lookup": "POST", "POST /v1/me": "GET, HEAD",
		"OPTIONS /v1/sessions/x": "DELETE, GET, HEAD, PATCH", "GET /logout": "POST", "BREW /healthz": "GET, HEAD", "POST /metrics": "GET, HEAD", "TRACE /openapi.json": "GET, HEAD"} {
		method, path, _ := strings.Cut(r, " ")
		a := h.do(call{method: method, path: path, bearer: adminKey})
		if a.status != 404 || a.code() != "not_found" || a.header.Get("Allow") != allow {
			t.Errorf("%s: %d %s, Allow %q", r, a.status, a.code(), a.header.Get("Allow"))
		}
	}
	if a := h.do(call{method: "HEAD", path: "/healthz"}); a.status != 200 || len(a.body) != 0 {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
	if a := h.do(call{path: "/healthz?verbose"}); a.status != 200 || string(a.body) != "{\"status\":\"ok\"}\n" {
		t.Errorf("%d %q", a.status, a.body)
	}
	for _, line := range []string{"OPTIONS * HTTP/1.1", "GET http://other.example/v1/nothing HTTP/1.1", "CONNECT evil.example:443 HTTP/1.1"} {
		conn, err := net.Dial("tcp", h.web.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s\r\nHost: x\r\nConnection: close\r\n\r\n", line)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != 404 && line[:7] != "OPTIONS" || res.StatusCode >= 500 {
			t.Errorf("%s: %v %v", line, res, err)
		}
		conn.Close()
	}
}

func TestSecurityHeaders(t *testing.T) {
	for _, public := range []string{"http://127.0.0.1:8420", "https://auth.example.com"} {
		h := start(t, func(_ *latchkey.Config, s *server.Config) { s.PublicURL = mustURL(public) })
		for _, path := range []string{"/healthz", "/v1/me", "/nothing", "/metrics", "/openapi.json", "/v1/sessions"} {
			a := h.do(call{path: path})
			want := map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
				"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Strict-Transport-Security": ""}
			if strings.HasPrefix(public, "https") {
				want["Strict-Transport-Security"] = "max-age=31536000"
			}
			for name, v := range want {
				if a.header.Get(name) != v {
					t.Errorf("%s %s: %q, want %q", path, name, a.header.Get(name), v)
				}
			}
		}
	}
}

func TestDemoGuard(t *testing.T) {
	h := start(t, func(_ *latchkey.Config, s *server.Config) {
		s.Demo, s.PublicURL = true, mustURL("http://localhost:8420")
	})
	ok := call{path: "/healthz", host: "localhost:8420"}
	if a := h.do(ok); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, host := range []string{"evil.example", "127.0.0.1:8420", "localhost", "localhost:8421", "localhost:8420.evil.example"} {
		for _, path := range []string{"/healthz", "/v1/me", "/nothing", "/metrics", "/logout"} {
			h.problem(h.do(call{path: path, host: host}), 421, "misdirected")
		}
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Anything", "X-Real-IP", "X-Original-URL"} {
		ok.header = map[string]string{name: "x"}
		h.problem(h.do(ok), 421, "misdirected")
	}
	h.problem(h.do(call{path: "/healthz", host: "LOCALHOST:8420", header: map[string]string{"forwarded": "for=x"}}), 421, "misdirected")
	if a := h.do(call{path: "/healthz", host: "LOCALHOST:8420"}); a.status != 200 {
		t.Errorf("upper case: %d", a.status)
	}
	metrics := httptest.NewServer(h.srv.MetricsHandler())
	defer metrics.Close()
	own := metrics.Listener.Addr().String()
	_, port, err := net.SplitHostPort(own)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host, header string
		want         int
	}{{own, "", 200}, {"localhost:" + port, "", 200}, {"localhost:8420", "", 200}, {"evil.example:" + port, "", 421}, {"evil.example", "", 421}, {"127.0.0.1", "", 421},
		{"192.0.2.1:" + port, "", 421}, {"localhost:1", "", 421}, {own, "Forwarded", 421}, {own, "X-Forwarded-For", 421}, {"localhost:8420", "X-Real-IP", 421}} {
		for _, path := range []string{"/metrics", "/nothing"} {
			r, err := http.NewRequest("GET", metrics.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Host = c.host; c.header != "" {
				r.Header.Set(c.header, "x")
			}
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if want := map[bool]int{true: 404, false: c.want}[path == "/nothing" && c.want == 200]; res.StatusCode != want {
				t.Errorf("metrics at %s%s with %q: %d, want %d", c.host, path, c.header, res.StatusCode, want)
			}
		}
	}
	port80 := start(t, func(_ *latchkey.Config, s *server.Config) { s.Demo, s.PublicURL = true, mustURL("http://localhost:80") })
	if a := port80.do(call{path: "/healthz", host: "localhost"}); a.status != 200 {
		t.Errorf("the scheme's own port: %d", a.status)
	}
}

func TestPrefixAndPages(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
		fmt.Fprint(w, "page ", r.Method, " ", r.URL.Path)
	})
	h := start(t, func(_ *latchkey.Config, s *server.Config) {
		s.Prefix = "/_latchkey"
		s.Pages = []server.Page{{Path: "/login", Handler: page}, {Path: "/account/", Handler: page}, {Path: "/jwks.json", Handler: page, Unprefixed: true}}
	})
	i := h.issue("alice", "")
	for path, want := range map[string]string{"/_latchkey/login": "page GET /login", "/_latchkey/account/x": "page GET /account/x",
		"/_latchkey/jwks.json": "page GET /jwks.json", "/jwks.json": "page GET /jwks.json"} {
		if a := h.do(call{path: path}); string(a.body) != want || a.header.Get("Content-Security-Policy") != "default-src 'self'" || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	for _, path := range []string{"/login", "/account/x", "/_latchkey", "/_latchkey/", "/_latchkey/v1/sessions", "/_latchkey/healthz"} {
		h.problem(h.do(call{path: path, bearer: adminKey}), 404, "not_found")
	}
	h.problem(h.do(call{method: "POST", path: "/logout"}), 404, "not_found")
	for _, path := range []string{"/v1/me", "/_latchkey/v1/me", "/_latchkey/v1/me/sessions"} {
		if a := h.do(call{path: path, bearer: i.token}); a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	h.problem(h.do(call{method: "POST", path: "/_latchkey/login", header: map[string]string{"Sec-Fetch-Site": "cross-site"}}), 403, "csrf_refused")
	h.problem(h.do(call{method: "POST", path: "/_latchkey/login", cookies: []string{i.token}}), 403, "csrf_refused")
	if a := h.do(call{method: "POST", path: "/_latchkey/login", header: sameOrigin}); a.status != 200 {
		t.Errorf("POST: %d", a.status)
	}
	a := h.do(call{method: "POST", path: "/_latchkey/logout", cookies: []string{i.token}, header: map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}})
	if a.status != 303 || a.header.Get("Location") != "/_latchkey/login" || a.header.Get("Set-Cookie") != deleted {
		t.Errorf("%d %v", a.status, a.header)
	}
}

func TestPanics(t *testing.T) {
	const canary = "canary-in-a-panic"
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", cookieName+"=lk_x")
		w.Header().Add("Set-Cookie", "theme=dark")
		switch r.URL.Path {
		case "/late":
			fmt.Fprint(w, "half")
			_ = http.NewResponseController(w).Flush()
		case "/abort":
			panic(http.ErrAbortHandler)
		}
		panic(errors.New(canary))
	})
	h := start(t, func(_ *latchkey.Config, s *server.Config) {
		s.Pages = []server.Page{{Path: "/early", Handler: page}, {Path: "/late", Handler: page}, {Path: "/abort", Handler: page}}
	})
	a := h.do(call{path: "/early"})
	h.problem(a, 500, "internal")
	if got := a.header.Values("Set-Cookie"); !slices.Equal(got, []string{"theme=dark"}) {
		t.Errorf("%q", got)
	}
	for _, path := range []string{"/late", "/abort"} {
		res, err := h.web.Client().Get(h.web.URL + path)
		if err == nil {
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: half an answer passed for a whole one", path)
		}
	}
	logs := h.logs.String()
	if strings.Contains(logs, canary) || strings.Contains(string(a.body), canary) {
		t.Error("the panic's value is told")
	}
	if !strings.Contains(logs, "*errors.errorString") || !strings.Contains(logs, "TestPanics") {
		t.Errorf("neither type nor place is told: %s", logs)
	}
	if m := string(h.do(call{path: "/metrics"}).body); !strings.Contains(m, "latchkey_http_panics_total 2") || !strings.Contains(m, "latchkey_http_requests_in_flight 1") {
		t.Error(m)
	}
}

func TestKeysReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latchkey.keys")
	now := time.Date(2026, 1, 1, 11, 0, 0, 0, time.UTC)
	ring, err := keyring.Open(path, keyring.Options{CreateIfMissing: true, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, func(m *latchkey.Config, _ *server.Config) { m.Keys = ring })
	i := h.issue("alice", "")
	if _, err := keyring.Rotate(path, now, time.Minute); err != nil {
		t.Fatal(err)
	}
	if a := h.admin("POST", "/v1/keys/reload", ""); a.status != 204 || len(ring.Keys(now)) != 2 {
		t.Errorf("%d %s", a.status, a.body)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.keys")
	if _, err := keyring.Create(other, keyring.Options{Clock: func() time.Time { return now }}); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text   []byte
		mode   os.FileMode
		detail string
	}{
		"broken":   {[]byte("canary-broken"), 0o600, "line 1: must be "},
		"lines":    {append(slices.Clone(good), "canary-broken\n"...), 0o600, "line 4: has 1 fields"},
		"readable": {good, 0o644, "make it a file of mode 0600"},
		"foreign":  {foreign, 0o600, "none of the keys in use would remain"},
		"gone":     {nil, 0, "there is no such file"},
	} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if c.text != nil {
			if err := errors.Join(os.WriteFile(path, c.text, 0o600), os.Chmod(path, c.mode)); err != nil {
				t.Fatal(err)
			}
		}
		a := h.admin("POST", "/v1/keys/reload", "")
		h.problem(a, 422, "invalid_request")
		if a.fields() != "keys" || !strings.Contains(string(a.body), c.detail) || strings.Contains(string(a.body), filepath.Dir(path)) || strings.Contains(string(a.body), "canary") {
			t.Errorf("%s: %s", name, a.body)
		}
		if h.lookup(i.token).status != 200 || len(ring.Keys(now)) != 2 {
			t.Errorf("%s: a failed reading changed the keys", name)
		}
		if err := errors.Join(os.WriteFile(path, good, 0o600), os.Chmod(path, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if a := h.admin("POST", "/v1/keys/reload", ""); a.status != 204 {
		t.Errorf("afterwards: %d %s", a.status, a.body)
	}
	if logs := h.logs.String(); strings.Contains(logs, "canary-broken") || !strings.Contains(logs, "none of the keys in use would remain") {
		t.Error("the log tells the text, or does not tell the problem")
	}
}

func TestMetrics(t *testing.T) {
	h := start(t, func(_ *latchkey.Config, s *server.Config) {
		s.MetricsElsewhere = true
		s.CacheStats = func() nearcache.Stats { return nearcache.Stats{Entries: 7, Trips: 9} }
	})
	i := h.issue("alice", `,"ip":"203.0.113.77"`)
	h.lookup("lk_x")
	h.do(call{path: "/v1/sessions/" + i.id, bearer: adminKey})
	h.do(call{method: "BREW", path: "/canary-path"})
	h.problem(h.do(call{path: "/metrics"}), 404, "not_found")
	web := httptest.NewServer(h.srv.MetricsHandler())
	defer web.Close()
	res, err := http.Get(web.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
		t.Fatal(err, res.Header)
	}
	for _, want := range []string{`latchkey_http_requests_total{method="POST",route="POST /v1/sessions",status="201"} 1`, `latchkey_lookups_total{outcome="invalid"} 1`,
		`latchkey_http_requests_total{method="GET",route="GET /v1/sessions/{id}",status="200"} 1`, `latchkey_http_requests_total{method="other",route="none",status="404"} 1`,
		"latchkey_sessions_created_total 1", "latchkey_cache_entries 7", "latchkey_cache_trips_total 9", `latchkey_build_info{version="test"} 1`,
		`latchkey_http_request_duration_seconds_count{route="POST /v1/sessions"} 1`} {
		if !strings.Contains(string(body), want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	for _, bad := range []string{"alice", i.id, "203.0.113.77", "canary-path", "BREW"} {
		if strings.Contains(string(body), bad) {
			t.Errorf("%s is told", bad)
		}
	}
	other, err := http.Get(web.URL + "/v1/me")
	if err != nil || other.StatusCode != 404 {
		t.Errorf("%v %v", other, err)
	}
	other.Body.Close()
}

func TestDocumentMatchesRoutes(t *testing.T) {
	h := start(t, nil)
	want := "DELETE /v1/me/sessions/{id} DELETE /v1/sessions DELETE /v1/sessions/{id} GET /healthz GET /metrics GET /openapi.json GET /readyz GET /v1/audit GET /v1/me GET /v1/me/sessions " +
		"GET /v1/sessions GET /v1/sessions/{id} PATCH /v1/sessions/{id} POST /logout POST /v1/introspect POST /v1/keys/reload POST /v1/me/revoke-others " +
		"POST /v1/sessions POST /v1/sessions/lookup POST /v1/sessions/renew"
	var got []string
	for path, methods := range h.doc {
		for method := range methods {
			got = append(got, strings.ToUpper(method)+" "+path)
			if a := h.do(call{method: strings.ToUpper(method), path: strings.ReplaceAll(path, "{id}", "x"), bearer: adminKey}); a.code() == "not_found" {
				t.Errorf("%s %s is in the document only", method, path)
			}
		}
	}
	if slices.Sort(got); strings.Join(got, " ") != want {
		t.Errorf("%s", strings.Join(got, " "))
	}
	a := h.do(call{path: "/openapi.json"})
	var doc struct {
		OpenAPI    string `json:"openapi"`
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct {
					Type any `json:"type"`
				} `json:"properties"`
				Required             []string `json:"required"`
				AdditionalProperties *bool    `json:"additionalProperties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(a.body, &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatal(err, doc.OpenAPI)
	}
	session, create := doc.Components.Schemas["Session"], doc.Components.Schemas["CreateSession"]
	if slices.Sort(session.Required); !slices.Equal(session.Required, sessionMembers) || session.AdditionalProperties != nil {
		t.Errorf("%v %v", session.Required, session.AdditionalProperties)
	}
	if fmt.Sprintf("%v %v", session.Properties["auth_time"].Type, session.Properties["roles"].Type) != "[string null] array" {
		t.Error(session.Properties)
	}
	if !slices.Equal(create.Required, []string{"subject"}) || create.AdditionalProperties == nil || *create.AdditionalProperties {
		t.Errorf("%v %v", create.Required, create.AdditionalProperties)
	}
}

// Without an admin key the admin routes are not found, and not in the document; a
// /metrics that is elsewhere is not in it either.
func TestDocumentWithoutAdmins(t *testing.T) {
	h := start(t, func(_ *latchkey.Config, s *server.Config) { s.AdminKeys, s.MetricsElsewhere = nil, true })
	var got []string
	for path, methods := range h.doc {
		for method := range methods {
			method = strings.ToUpper(method)
			got = append(got, method+" "+path)
			if a := h.do(call{method: method, path: strings.ReplaceAll(path, "{id}", "x"), bearer: adminKey}); a.code() == "not_found" {
				t.Errorf("%s %s is in the document only", method, path)
			}
		}
	}
	if slices.Sort(got); strings.Join(got, " ") != "DELETE /v1/me/sessions/{id} GET /healthz GET /openapi.json GET /readyz GET /v1/me GET /v1/me/sessions POST /logout POST /v1/me/revoke-others" {
		t.Error(got)
	}
	text := string(h.do(call{path: "/openapi.json"}).body)
	if strings.Contains(text, `"CreateSession"`) || strings.Contains(text, `"admin":`) || !strings.Contains(text, "no admin key is configured") {
		t.Error(text)
	}
}

func TestConfigReportsEveryProblem(t *testing.T) {
	_, err := server.New(server.Config{Demo: true, Prefix: "x/", StoreTimeout: time.Hour, AdminKeys: []server.AdminKey{{Name: "a,b", Key: "canary-short"},
		{Name: "ok", Key: strings.Repeat("k", 32)}, {Name: "ok", Key: strings.Repeat("k", 32)}, {Name: "sp", Key: strings.Repeat("é ", 32)}}, Pages: []server.Page{{Path: "x"}}})
	var e *latchkey.Error
	if !errors.As(err, &e) || e.Code != latchkey.CodeInvalidRequest {
		t.Fatal(err)
	}
	var names []string
	for _, f := range e.Fields {
		names = append(names, f.Field)
	}
	if got := strings.Join(names, " "); got != "Manager Store Keys AdminKeys[0] AdminKeys[0] AdminKeys[2] AdminKeys[2] AdminKeys[3] PublicURL Prefix Pages[0] StoreTimeout" {
		t.Error(got)
	}
	if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "kkk") {
		t.Error("a key is told")
	}
	if text := fmt.Sprintf("%v %+v %#v %s", server.AdminKey{Name: "n", Key: "canary"}, server.AdminKey{Key: "canary"}, server.AdminKey{Key: "canary"}, server.AdminKey{Key: "canary"}); strings.Contains(text, "canary") {
		t.Error(text)
	}
}

func TestPagesMayNotCollide(t *testing.T) {
	h := start(t, nil)
	for _, path := range []string{"/v1/me", "/healthz", "/{", "/{x}/{x}"} {
		_, err := server.New(server.Config{Manager: h.m, Store: h.store, Keys: h.ring, Pages: []server.Page{{Path: path, Handler: http.NotFoundHandler()}}})
		if latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestClientIP(t *testing.T) {
	ip := server.ClientIP([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")})
	for _, c := range []struct{ peer, forwarded, want string }{
		{"192.0.2.1:5", "", "192.0.2.1"}, {"192.0.2.1:5", "203.0.113.9", "192.0.2.1"}, {"10.0.0.1:5", "203.0.113.9", "203.0.113.9"},
		{"10.0.0.1:5", "1.1.1.1, 203.0.113.9, 10.2.2.2", "203.0.113.9"}, {"10.0.0.1:5", "", "10.0.0.1"}, {"10.0.0.1:5", "junk", "10.0.0.1"},
		{"10.0.0.1:5", "203.0.113.9, junk, 10.3.3.3", "10.3.3.3"}, {"[fd00::1]:5", "2001:db8::1", "2001:db8::1"}, {"[::ffff:10.0.0.1]:5", "203.0.113.9", "203.0.113.9"},
		{"10.0.0.1:5", "10.0.0.2,10.0.0.3", "10.0.0.2"}, {"@", "203.0.113.9", ""},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := ip(r); got != c.want {
			t.Errorf("%v: %s", c, got)
		}
	}
}
