//go:build unix

package main

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
)

// Hosts that do not get the session cookie are told of: people would be sent to and fro
// between them and the sign-in page.
func TestHostsApart(t *testing.T) {
	for name, c := range map[string]struct {
		public, hosts, domain, prefix string
		apart                         []string
	}{
		"own_host":       {"https://auth.example.com", "auth.example.com,auth.example.com:8443", "", "", nil},
		"another":        {"https://auth.example.com", "app.example.com,auth.example.com", "", "", []string{"app.example.com"}},
		"domain":         {"https://auth.example.com", "app.example.com,example.com", "example.com", "", nil},
		"other_domain":   {"https://auth.example.com", "app.example.com,app.example.org:444,badexample.com", "example.com", "", []string{"app.example.org:444", "badexample.com"}},
		"page_apart":     {"https://auth.example.org", "app.example.com", "example.com", "", []string{"auth.example.org"}},
		"pages_on_each":  {"https://auth.example.com", "app.example.net", "", "/_latchkey", nil},
		"domain_capital": {"https://auth.example.com", "app.example.com", "Example.com", "", nil},
		"none":           {"https://auth.example.com", "", "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			public, err := url.Parse(c.public)
			if err != nil {
				t.Fatal(err)
			}
			s := &settings{public: public, protectedHosts: c.hosts, cookieDomain: c.domain, prefix: c.prefix, trustedProxies: "127.0.0.0/8"}
			if got := s.hostsApart(); !slices.Equal(got, c.apart) {
				t.Errorf("%q, want %q", got, c.apart)
			}
			if got := s.edgeWarnings(); c.hosts != "" && len(got) != min(len(c.apart), 1) {
				t.Errorf("warnings %q", got)
			}
		})
	}
}

// The daemon answers proxies, over HTTP and over gRPC, by the rules of its file, and
// refuses an ended session at once.
func TestEdge(t *testing.T) {
	dir := t.TempDir()
	cli(t, dir, 0, "key", "generate")
	config := "public-url: https://auth.example.com\ntrusted-proxies: [127.0.0.0/8]\nprotected-hosts: [app.example.com]\nassertion-algorithm: EdDSA\n" +
		"rules:\n  - paths: [/public/*]\n    require: public\n  - paths: /admin/*\n    roles: [admin]\n    audience: admin-service\n"
	if err := os.WriteFile(filepath.Join(dir, "c.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, dir, "--config", "c.yaml", "--ext-authz-listen", "127.0.0.1:0")
	token, id := p.issue("alice")
	cookie := "__Host-session=" + token

	ask := func(target string, more ...string) (int, map[string][]string) {
		resp, body := p.call("GET", "/auth/forward", "", append([]string{"X-Forwarded-Method", "GET", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "app.example.com", "X-Forwarded-Uri", target}, more...)...)
		if body != "" {
			t.Errorf("an answer with a body: %s", body)
		}
		return resp.StatusCode, resp.Header
	}
	if status, h := ask("/x", "Cookie", cookie); status != 204 || h["X-Auth-Subject"][0] != "alice" || strings.Count(h["X-Auth-Assertion"][0], ".") != 2 {
		t.Errorf("%d %v", status, h)
	}
	if status, h := ask("/x", "Sec-Fetch-Mode", "navigate"); status != 302 || h["Location"][0] != "https://auth.example.com/login?rd=https%3A%2F%2Fapp.example.com%2Fx" {
		t.Errorf("%d %v", status, h)
	}
	if status, _ := ask("/admin/x", "Cookie", cookie); status != 403 {
		t.Errorf("role: %d", status)
	}
	if status, _ := ask("/public/..%2fadmin/x"); status != 403 {
		t.Errorf("path: %d", status)
	}
	if resp, body := p.call("GET", "/jwks.json", ""); resp.StatusCode != 200 || !strings.Contains(body, `"alg":"EdDSA"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}

	conn, err := grpc.NewClient(p.listening["ext_authz_address"].(string), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	check := func() *authv3.CheckResponse {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		res, err := authv3.NewAuthorizationClient(conn).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Scheme: "https", Host: "app.example.com", Path: "/x", Headers: map[string]string{"cookie": cookie}}}}})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := check(); codes.Code(res.GetStatus().GetCode()) != codes.OK || !slices.ContainsFunc(res.GetOkResponse().GetHeaders(), func(h *corev3.HeaderValueOption) bool {
		return h.Header.Key == "x-auth-subject" && h.Header.Value == "alice"
	}) {
		t.Errorf("%v", res)
	}
	if resp, body := p.call("DELETE", "/v1/sessions/"+id, "", "Authorization", "Bearer "+adminSecret); resp.StatusCode != 204 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if status, _ := ask("/x", "Cookie", cookie); status != 401 {
		t.Errorf("ended: %d", status)
	}
	if res := check(); codes.Code(res.GetStatus().GetCode()) != codes.Unauthenticated {
		t.Errorf("ended: %v", res)
	}
	p.stop()
	if strings.Contains(p.all(), token) {
		t.Error("a token in the log")
	}
}

// Nobody may ask a daemon that was not told who its proxies are.
func TestEdgeOfStrangers(t *testing.T) {
	dir := t.TempDir()
	cli(t, dir, 0, "key", "generate")
	p := start(t, dir, "--public-url", "https://auth.example.com")
	token, _ := p.issue("alice")
	resp, _ := p.call("GET", "/auth/nginx", "", "X-Original-URL", "https://auth.example.com/", "X-Original-Method", "GET", "Cookie", "__Host-session="+token)
	if resp.StatusCode != 403 || resp.Header.Get("X-Auth-Subject") != "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	p.stop()
}
