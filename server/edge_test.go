package server_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server"
	"github.com/latchkey-go/latchkey/server/edge"
	"github.com/latchkey-go/latchkey/server/edge/assertion"
)

// withEdge adds an edge that trusts loopback. The Manager is made later than the
// configuration, so the edge gets one of its own over the same parts.
func withEdge(t *testing.T, demo bool) func(*latchkey.Config, *server.Config) {
	return func(m *latchkey.Config, s *server.Config) {
		own, err := latchkey.New(*m)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = own.Close(t.Context()) })
		s.PublicURL = mustURL("https://auth.example.com")
		p, err := edge.NewPolicy(edge.PolicyConfig{PublicURL: s.PublicURL})
		if err != nil {
			t.Fatal(err)
		}
		if s.Assertions, err = assertion.New(assertion.Config{Keys: m.Keys, Issuer: "https://auth.example.com"}); err != nil {
			t.Fatal(err)
		}
		if s.Edge, err = edge.New(edge.Config{Manager: own, Policy: p, Assertions: s.Assertions, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}); err != nil {
			t.Fatal(err)
		}
		s.Demo = demo
	}
}

func TestEdgeRoutes(t *testing.T) {
	h := start(t, withEdge(t, false))
	i := h.issue("alice", "")
	asked := map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Method": "GET", "X-Forwarded-Host": "app.example.com", "X-Forwarded-Uri": "/x"}
	if a := h.do(call{path: "/auth/forward", cookies: []string{i.token}, header: asked}); a.status != 204 || a.header.Get("X-Auth-Subject") != "alice" || strings.Count(a.header.Get("X-Auth-Assertion"), ".") != 2 || len(a.body) > 0 {
		t.Errorf("%d %v", a.status, a.header)
	}
	// Any path, and no header but what a proxy needs.
	for _, path := range []string{"/auth/envoy/", "/auth/envoy//x/../v1/me", "/auth/envoy/a%2f..%2Fb", "/auth/envoy/v1/sessions"} {
		req := &http.Request{Method: "PURGE", URL: &url.URL{Scheme: "http", Host: h.web.Listener.Addr().String(), Opaque: path}, Host: "app.example.com",
			Header: http.Header{"X-Forwarded-Proto": {"https"}, "Cookie": {cookieName + "=" + i.token}}}
		res, err := h.web.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 200 || res.Header.Get("X-Auth-Subject") != "alice" || res.Header.Get("Content-Security-Policy") != "" {
			t.Errorf("%s: %d %v", path, res.StatusCode, res.Header)
		}
	}
	h.problem(h.do(call{path: "/auth/nginx", method: "POST"}), 404, "not_found")
	h.problem(h.do(call{path: "/auth/other"}), 404, "not_found")
	if a := h.do(call{path: "/jwks.json"}); a.status != 200 || !strings.HasPrefix(string(a.body), `{"keys":[{"alg":"ES256"`) || a.header.Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("key set: %d %v %s", a.status, a.header, a.body)
	}
	if a := h.do(call{path: "/openapi.json"}); !strings.Contains(string(a.body), `"/jwks.json":{"get"`) {
		t.Error("the document leaves the key set out")
	}
	metrics := string(h.do(call{path: "/metrics"}).body)
	for _, line := range []string{`latchkey_edge_decisions_total{dialect="forward",verdict="grant"} 1`, `latchkey_edge_decisions_total{dialect="envoy",verdict="grant"} 4`, `latchkey_edge_duration_seconds_count 5`,
		`latchkey_edge_assertions_total{outcome="signed"} 1`, `latchkey_edge_assertions_total{outcome="reused"} 4`} {
		if !strings.Contains(metrics, line) {
			t.Errorf("no metric %s", line)
		}
	}
	if strings.Contains(h.logs.String(), i.token) {
		t.Error("a token in the log")
	}
}

// Neither a demo nor a server without an edge answers proxies.
func TestNoEdge(t *testing.T) {
	asked := map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Method": "GET", "X-Forwarded-Host": "app.example.com", "X-Forwarded-Uri": "/x"}
	h := start(t, nil)
	h.problem(h.do(call{path: "/auth/forward", header: asked}), 404, "not_found")
	h = start(t, withEdge(t, true))
	h.problem(h.do(call{path: "/auth/forward", header: asked, host: "auth.example.com"}), 421, "misdirected")
	h.problem(h.do(call{path: "/auth/forward", host: "auth.example.com"}), 404, "not_found")
}

// A panic at the edge ends the connection: no proxy takes that for a grant.
func TestEdgePanic(t *testing.T) {
	var panics atomic.Bool
	h := start(t, func(m *latchkey.Config, s *server.Config) {
		m.Filter = func(latchkey.Session) bool {
			if panics.Load() {
				panic("canary-" + adminKey)
			}
			return true
		}
		withEdge(t, false)(m, s)
	})
	i := h.issue("alice", "")
	panics.Store(true)
	req, err := http.NewRequest("GET", h.web.URL+"/auth/envoy/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-Proto", "https")
	req.Header.Set("Cookie", cookieName+"="+i.token)
	if res, err := h.web.Client().Do(req); err == nil {
		res.Body.Close()
		t.Errorf("answered %d", res.StatusCode)
	}
	panics.Store(false)
	if metrics := string(h.do(call{path: "/metrics"}).body); strings.Contains(metrics, "latchkey_http_panics_total 0") { // a client may try again
		t.Error("not counted")
	}
	if logs := h.logs.String(); !strings.Contains(logs, "the edge panicked") || strings.Contains(logs, "canary") {
		t.Errorf("log: %s", logs)
	}
}
