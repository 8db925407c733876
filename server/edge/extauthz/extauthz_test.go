package extauthz_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/edge"
	"github.com/latchkey-go/latchkey/server/edge/extauthz"
)

// fixture is the service on a port of its own, and a client of the published stubs.
type fixture struct {
	t      *testing.T
	m      *latchkey.Manager
	ring   *keyring.Ring
	key    keyring.Key
	clock  *latchkeytest.Clock
	edge   *edge.Edge
	client authv3.AuthorizationClient
	down   atomic.Bool
	panics atomic.Bool
}

// store is a real one that can be cut off.
type store struct {
	latchkey.Store
	down *atomic.Bool
}

func (s store) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	if s.down.Load() {
		return nil, errors.New("connection refused")
	}
	return s.Store.Get(ctx, id)
}

func start(t *testing.T, networks ...string) *fixture {
	t.Helper()
	f := &fixture{t: t}
	f.m, f.clock = latchkeytest.NewManager(t, func(c *latchkey.Config) {
		c.Store = store{c.Store, &f.down}
		c.Passive = func(r *http.Request) bool {
			return edge.Passive(r) || r.URL.Query().Has("passive") || r.FormValue("x") != ""
		}
		var err error
		f.key, err = keyring.GenerateKey(1, c.Clock.Now().Time(), nil)
		must(t, err)
		f.ring, err = keyring.New(f.key)
		must(t, err)
		c.Keys = f.ring
		c.Filter = func(latchkey.Session) bool {
			if f.panics.Load() {
				panic("canary")
			}
			return true
		}
	})
	p, err := edge.NewPolicy(edge.PolicyConfig{PublicURL: &url.URL{Scheme: "https", Host: "auth.example.com"}, ProtectedHosts: []string{"app.example.com"},
		Rules: []edge.Rule{{Paths: []string{"/public/*"}, Require: edge.RequirePublic}, {Paths: []string{"/admin/*"}, Roles: []string{"admin"}}, {Paths: []string{"/fresh"}, Fresh: time.Minute}}})
	must(t, err)
	var trusted []netip.Prefix
	for _, n := range networks {
		trusted = append(trusted, netip.MustParsePrefix(n))
	}
	f.edge, err = edge.New(edge.Config{Manager: f.m, Policy: p, TrustedProxies: trusted})
	must(t, err)
	s, err := extauthz.New(extauthz.Config{Edge: f.edge})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	f.client = authv3.NewAuthorizationClient(conn)
	t.Cleanup(func() {
		must(t, conn.Close())
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s.Stop(ctx)
		must(t, <-served)
	})
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// question is Envoy's about a GET of the protected host.
func question(path string, headers ...string) *authv3.CheckRequest {
	h := make(map[string]string)
	for i := 0; i < len(headers); i += 2 {
		h[headers[i]] = headers[i+1]
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
		Method: "GET", Scheme: "https", Host: "app.example.com", Path: path, Headers: h, Protocol: "HTTP/1.1"}}}}
}

func (f *fixture) check(q *authv3.CheckRequest) *authv3.CheckResponse {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	res, err := f.client.Check(ctx, q)
	must(f.t, err)
	if (codes.Code(res.GetStatus().GetCode()) == codes.OK) != (res.GetOkResponse() != nil) || (res.GetOkResponse() == nil) == (res.GetDeniedResponse() == nil) {
		f.t.Fatalf("an answer that is neither: %v", res)
	}
	for _, h := range res.GetDeniedResponse().GetHeaders() {
		if h.Header.Key == "set-cookie" {
			f.t.Errorf("a refusal sets a cookie: %v", res)
		}
	}
	if res.GetDeniedResponse().GetBody() != "" {
		f.t.Error("an answer with a body")
	}
	return res
}

func text(list []*corev3.HeaderValueOption) string {
	var out []string
	for _, h := range list {
		out = append(out, h.Header.Key+"="+h.Header.Value)
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func (f *fixture) signIn(in latchkey.SignIn) latchkey.Issued {
	f.t.Helper()
	issued, err := f.m.Issue(f.t.Context(), in)
	must(f.t, err)
	return issued
}

func TestGrant(t *testing.T) {
	f := start(t, "127.0.0.0/8")
	i := f.signIn(latchkey.SignIn{Provider: "corp", Subject: "alice", Roles: []string{"staff"}})
	res := f.check(question("/x?a=%2f", "cookie", "a=1; __Host-session="+i.Token+"; b=2", "x-auth-subject", "root", "x.auth.subject", "root", "x-auth~roles", "root")).GetOkResponse()
	if got, want := text(res.GetHeaders()), fmt.Sprintf("cookie=a=1; b=2 x-auth-provider=corp x-auth-roles=staff x-auth-session=%s x-auth-subject=alice", i.Record.ID); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, name := range []string{"x-auth-email", "x-auth-name", "x-auth-assertion", "x_auth_subject", "x-auth_roles", "x_auth-assertion", "x.auth.subject", "x-auth~roles"} {
		if !slices.Contains(res.GetHeadersToRemove(), name) {
			t.Errorf("%s is not removed", name)
		}
	}
	if slices.Contains(res.GetHeadersToRemove(), "x-auth-subject") || len(res.GetResponseHeadersToAdd()) > 0 {
		t.Errorf("%v", res)
	}
	// Every identity header of a stranger on a public page is removed.
	res = f.check(question("/public/x", "x-auth-subject", "root")).GetOkResponse()
	for _, name := range append(edge.IdentityHeaders(), "Cookie") {
		if !slices.Contains(res.GetHeadersToRemove(), strings.ToLower(name)) || len(res.GetHeaders()) > 0 {
			t.Errorf("%s: %v", name, res)
		}
	}
}

func TestDenied(t *testing.T) {
	f := start(t, "127.0.0.0/8")
	i := f.signIn(latchkey.SignIn{Subject: "alice"})
	f.clock.Advance(2 * time.Minute)
	cookie := "__Host-session=" + i.Token
	for _, c := range []struct {
		name    string
		ask     *authv3.CheckRequest
		code    codes.Code
		status  int32
		headers string
	}{
		{"navigation", question("/x?y", "sec-fetch-mode", "navigate"), codes.Unauthenticated, 302, "location=https://auth.example.com/login?rd=https%3A%2F%2Fapp.example.com%2Fx%3Fy"},
		{"fetch", question("/x"), codes.Unauthenticated, 401, ""},
		{"websocket", question("/x", "upgrade", "websocket", "accept", "text/html"), codes.Unauthenticated, 401, ""},
		{"two-tokens", question("/x", "cookie", cookie+"; "+cookie), codes.Unauthenticated, 401, ""},
		{"joined-tokens", question("/x", "cookie", cookie+","+cookie), codes.Unauthenticated, 401, ""},
		{"role", question("/admin/x", "cookie", cookie), codes.PermissionDenied, 403, ""},
		{"path", question("/public/..%2fadmin/x"), codes.PermissionDenied, 403, ""},
		{"fresh", question("/fresh", "cookie", cookie), codes.Unauthenticated, 401, `www-authenticate=Bearer error="insufficient_user_authentication", max_age="60"`},
		{"empty", &authv3.CheckRequest{}, codes.PermissionDenied, 403, ""},
		{"no-path", question("", "cookie", cookie), codes.PermissionDenied, 403, ""},
		{"odd-path", question("x", "cookie", cookie), codes.PermissionDenied, 403, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := f.check(c.ask)
			got := strings.Trim(strings.ReplaceAll(" "+text(res.GetDeniedResponse().GetHeaders()), " cache-control=no-store", ""), " ")
			if codes.Code(res.GetStatus().GetCode()) != c.code || int32(res.GetDeniedResponse().GetStatus().GetCode()) != c.status || got != c.headers {
				t.Errorf("%v", res)
			}
		})
	}
	for name, change := range map[string]func(*authv3.AttributeContext_HttpRequest){"method": func(r *authv3.AttributeContext_HttpRequest) { r.Method = "" }, "scheme": func(r *authv3.AttributeContext_HttpRequest) { r.Scheme = "" },
		"host": func(r *authv3.AttributeContext_HttpRequest) { r.Host = "" }, "other-host": func(r *authv3.AttributeContext_HttpRequest) { r.Host = "evil.example.com" }} {
		q := question("/public/x", "cookie", cookie)
		change(q.GetAttributes().GetRequest().GetHttp())
		if res := f.check(q); res.GetDeniedResponse().GetStatus().GetCode() != 403 {
			t.Errorf("without %s: %v", name, res)
		}
	}
}

func TestStoreDown(t *testing.T) {
	f := start(t, "127.0.0.0/8")
	i := f.signIn(latchkey.SignIn{Subject: "alice"})
	f.down.Store(true)
	res := f.check(question("/x", "cookie", "__Host-session="+i.Token))
	if codes.Code(res.GetStatus().GetCode()) != codes.Unavailable || res.GetDeniedResponse().GetStatus().GetCode() != 503 || !strings.Contains(text(res.GetDeniedResponse().GetHeaders()), "retry-after=2") {
		t.Errorf("%v", res)
	}
	if f.check(question("/public/x", "cookie", "__Host-session="+i.Token)).GetOkResponse() == nil {
		t.Error("a public page needs the store")
	}
}

func TestStrangers(t *testing.T) {
	for _, networks := range [][]string{nil, {"10.0.0.0/8"}} {
		f := start(t, networks...)
		if res := f.check(question("/public/x", "x-forwarded-for", "10.0.0.1")); res.GetDeniedResponse().GetStatus().GetCode() != 403 {
			t.Errorf("%v: %v", networks, res)
		}
	}
}

// Envoy can be told to send headers as they came, twice where they came twice.
func TestRawHeaders(t *testing.T) {
	f := start(t, "127.0.0.0/8")
	i := f.signIn(latchkey.SignIn{Subject: "alice"})
	line := func(value string) *corev3.HeaderValue {
		return &corev3.HeaderValue{Key: "cookie", RawValue: []byte(value)}
	}
	q := question("/x")
	asked := q.GetAttributes().GetRequest().GetHttp()
	asked.Headers, asked.HeaderMap = nil, &corev3.HeaderMap{Headers: []*corev3.HeaderValue{line("a=1"), line("__Host-session=" + i.Token)}}
	if got := text(f.check(q).GetOkResponse().GetHeaders()); !strings.HasPrefix(got, "cookie=a=1 ") {
		t.Error(got)
	}
	asked.HeaderMap.Headers = append(asked.HeaderMap.Headers, line("__Host-session="+i.Token))
	if f.check(q).GetOkResponse() != nil {
		t.Error("two cookies of the name are taken")
	}
}

func TestRenewedCookie(t *testing.T) {
	f := start(t, "127.0.0.0/8")
	i := f.signIn(latchkey.SignIn{Subject: "alice"})
	cookie := "__Host-session=" + i.Token
	if res := f.check(question("/x", "cookie", cookie)).GetOkResponse(); len(res.GetResponseHeadersToAdd()) > 0 {
		t.Errorf("a cookie without need: %v", res)
	}
	next, err := keyring.GenerateKey(2, f.m.Now(), nil)
	must(t, err)
	_, err = f.ring.Set(f.key, next)
	must(t, err)
	f.clock.Advance(time.Second)
	added := f.check(question("/x", "cookie", cookie)).GetOkResponse().GetResponseHeadersToAdd()
	if len(added) != 1 || !strings.HasPrefix(text(added), "set-cookie=__Host-session=lk_") || added[0].AppendAction != corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD {
		t.Errorf("%v", added)
	}
	f.check(question("/admin/x", "cookie", cookie)) // looks for cookies itself
}

// A panic is a failed call, and never a grant.
func TestPanic(t *testing.T) {
	f := start(t, "127.0.0.0/8")
	i := f.signIn(latchkey.SignIn{Subject: "alice"})
	f.panics.Store(true)
	_, err := f.client.Check(t.Context(), question("/x", "cookie", "__Host-session="+i.Token))
	if grpcstatus.Code(err) != codes.Internal || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
	f.panics.Store(false)
	f.check(question("/x"))
}

func TestBounds(t *testing.T) {
	f := start(t, "127.0.0.0/8")
	_, err := f.client.Check(t.Context(), question("/public/x", "x-bomb", strings.Repeat("x", 1<<20)))
	if grpcstatus.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v", err)
	}
	if res := f.check(question("/public/" + strings.Repeat("x", 40<<10))); res.GetDeniedResponse() == nil {
		t.Errorf("%v", res)
	}
}

func TestConfiguration(t *testing.T) {
	if _, err := extauthz.New(extauthz.Config{}); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
		t.Error(err)
	}
}
