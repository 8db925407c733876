// Package edge measures what the check of a reverse proxy costs: 64 connections to a
// real nginx, which asks for each request, and answers it itself when it may pass.
package edge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/bench/internal/paired"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/server"
	"github.com/latchkey-go/latchkey/server/edge"
	"github.com/latchkey-go/latchkey/server/edge/assertion"
	"github.com/latchkey-go/latchkey/store/memory"
)

const (
	hotSet      = 4096
	connections = 64
)

// checker is a server that nginx asks, and the cookies of those whom it knows.
type checker struct {
	name    string
	handler http.Handler
	cookies []string
}

// BenchmarkNginx asks Latchkey, a server that answers the same without a look at
// anything, and one that looks sessions up by scs, each behind the same nginx.
func BenchmarkNginx(b *testing.B) {
	known := latchkeyChecker(b)
	checkers := []checker{unchecked(b, known), known, scsChecker(b)}
	addresses := startNginx(b, checkers)
	var subjects []paired.Subject
	for i, c := range checkers {
		subjects = append(subjects, clients(b, c, addresses[i]))
	}
	paired.Compare(b, paired.Plan{Rounds: 11, Turn: time.Second}, subjects...)
}

// BenchmarkAlone asks the same servers without nginx in between, one caller, so that
// what the check itself takes shows.
func BenchmarkAlone(b *testing.B) {
	known := latchkeyChecker(b)
	var subjects []paired.Subject
	for _, c := range []checker{unchecked(b, known), known, scsChecker(b)} {
		requests := make([]*http.Request, len(c.cookies))
		for i, cookie := range c.cookies {
			requests[i] = question(cookie)
		}
		w := &writer{}
		subjects = append(subjects, paired.Compute(c.name, func(i int) error {
			w.h, w.status = make(http.Header, 16), 0
			c.handler.ServeHTTP(w, requests[i%len(requests)])
			if w.status != http.StatusNoContent {
				return fmt.Errorf("%s answers %d", c.name, w.status)
			}
			return nil
		}))
	}
	paired.Compare(b, paired.Plan{}, subjects...)
}

// writer is a ResponseWriter that costs nothing.
type writer struct {
	h      http.Header
	status int
}

func (w *writer) Header() http.Header         { return w.h }
func (w *writer) Write(p []byte) (int, error) { return len(p), nil }
func (w *writer) WriteHeader(status int)      { w.status = status }

// question is what nginx asks.
func question(cookie string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/auth/nginx", nil)
	r.RemoteAddr = "127.0.0.1:1234"
	r.Header.Set("X-Original-Url", "https://app.example.com/page")
	r.Header.Set("X-Original-Method", "GET")
	r.Header.Set("Cookie", cookie)
	return r
}

// latchkeyChecker is the daemon's handler over a near cache that holds everybody.
func latchkeyChecker(b *testing.B) checker {
	b.Helper()
	ring, err := keyring.Generate(time.Now().Add(-time.Minute))
	must(b, err)
	store, err := memory.New(memory.Config{})
	must(b, err)
	cache, err := nearcache.New(nearcache.Config{Store: store, Staleness: time.Second})
	must(b, err)
	cache.Start()
	m, err := latchkey.New(latchkey.Config{Store: store, Keys: ring, Cache: cache, Passive: edge.Passive})
	must(b, err)
	b.Cleanup(func() {
		cache.Stop()
		must(b, m.Close(context.Background()))
		must(b, store.Close())
	})
	public := &url.URL{Scheme: "https", Host: "auth.example.com"}
	policy, err := edge.NewPolicy(edge.PolicyConfig{PublicURL: public, ProtectedHosts: []string{"app.example.com"}, Rules: []edge.Rule{
		{Hosts: []string{"app.example.com"}, Paths: []string{"/static/*"}, Require: edge.RequirePublic}, {Hosts: []string{"app.example.com"}, Roles: []string{"staff"}}}})
	must(b, err)
	signer, err := assertion.New(assertion.Config{Keys: ring, Issuer: public.String()})
	must(b, err)
	e, err := edge.New(edge.Config{Manager: m, Policy: policy, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Assertions: signer})
	must(b, err)
	srv, err := server.New(server.Config{Manager: m, Store: store, Keys: ring, PublicURL: public, Edge: e, Assertions: signer, CacheStats: cache.Stats})
	must(b, err)
	c := checker{name: "latchkey", handler: srv.Handler()}
	for i := range hotSet {
		issued, err := m.Issue(context.Background(), latchkey.SignIn{Provider: "corp", Subject: fmt.Sprintf("user-%07d", i), Email: "user@example.com", Name: "User", Roles: []string{"staff", "editor"}})
		must(b, err)
		c.cookies = append(c.cookies, "theme=dark; __Host-session="+issued.Token)
	}
	return c
}

// unchecked answers everybody what Latchkey answers somebody.
func unchecked(b *testing.B, known checker) checker {
	b.Helper()
	w := httptest.NewRecorder()
	known.handler.ServeHTTP(w, question(known.cookies[0]))
	if w.Code != http.StatusNoContent {
		b.Fatal(w.Code)
	}
	answer := w.Header()
	return checker{"unchecked", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for name, values := range answer {
			h[name] = values
		}
		w.WriteHeader(http.StatusNoContent)
	}), known.cookies}
}

// scsChecker looks sessions up by scs in its store in memory, as its documentation has it.
func scsChecker(b *testing.B) checker {
	b.Helper()
	gob.Register([]string{})
	sm := scs.New()
	c := checker{name: "scs"}
	for i := range hotSet {
		ctx, err := sm.Load(context.Background(), "")
		must(b, err)
		for name, value := range map[string]string{"subject": fmt.Sprintf("user-%07d", i), "provider": "corp", "email": "user@example.com", "name": "User", "id": "01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f"} {
			sm.Put(ctx, name, value)
		}
		sm.Put(ctx, "roles", []string{"staff", "editor"})
		token, _, err := sm.Commit(ctx)
		must(b, err)
		c.cookies = append(c.cookies, "theme=dark; session="+token)
	}
	c.handler = sm.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, h := r.Context(), w.Header()
		roles, _ := sm.Get(ctx, "roles").([]string)
		subject := sm.GetString(ctx, "subject")
		if subject == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.Set("X-Auth-Subject", subject)
		h.Set("X-Auth-Provider", sm.GetString(ctx, "provider"))
		h.Set("X-Auth-Email", sm.GetString(ctx, "email"))
		h.Set("X-Auth-Name", sm.GetString(ctx, "name"))
		h.Set("X-Auth-Session", sm.GetString(ctx, "id"))
		h.Set("X-Auth-Roles", strings.Join(roles, ","))
		h.Set("X-Auth-Assertion", strings.Repeat("x", 700)) // as long as ours, and unsigned
		h.Set("Cookie", "theme=dark")
		w.WriteHeader(http.StatusNoContent)
	}))
	return c
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// startNginx runs one nginx with a site for each checker, and returns their addresses.
func startNginx(b *testing.B, checkers []checker) (addresses []string) {
	b.Helper()
	bin, err := exec.LookPath("nginx")
	if err != nil {
		if bin = "/usr/sbin/nginx"; exec.Command("test", "-x", bin).Run() != nil {
			b.Skip("nginx is missing; scripts/setup installs it")
		}
	}
	dir := b.TempDir()
	var conf strings.Builder
	fmt.Fprintf(&conf, "daemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr warn;\nevents { worker_connections 1024; }\nhttp {\naccess_log off;\nkeepalive_requests 1000000000;\n", dir)
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&conf, "%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	for _, c := range checkers {
		srv := httptest.NewServer(c.handler)
		b.Cleanup(srv.Close)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(b, err)
		address := l.Addr().String()
		must(b, l.Close())
		addresses = append(addresses, address)
		fmt.Fprintf(&conf, site, c.name, strings.TrimPrefix(srv.URL, "http://"), address, c.name)
	}
	conf.WriteString("}\n")
	path := filepath.Join(dir, "nginx.conf")
	must(b, os.WriteFile(path, []byte(conf.String()), 0o600))
	var log bytes.Buffer
	cmd := exec.Command(bin, "-p", dir, "-c", path, "-e", "stderr")
	cmd.Stderr = &log
	must(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b.Failed() {
			b.Log(log.String())
		}
	})
	for _, address := range addresses {
		for began := time.Now(); ; {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				must(b, conn.Close())
				break
			}
			if time.Since(began) > 10*time.Second {
				b.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond) // it is starting
		}
	}
	return addresses
}

// site is a site of docs/edge/nginx.md in which nginx itself is the service.
const site = `
upstream %s { server %s; keepalive 64; }
server {
    listen %s;
    location / {
        auth_request     /_latchkey_auth;
        auth_request_set $auth_cookies   $upstream_http_cookie;
        auth_request_set $auth_subject   $upstream_http_x_auth_subject;
        auth_request_set $auth_provider  $upstream_http_x_auth_provider;
        auth_request_set $auth_email     $upstream_http_x_auth_email;
        auth_request_set $auth_name      $upstream_http_x_auth_name;
        auth_request_set $auth_roles     $upstream_http_x_auth_roles;
        auth_request_set $auth_session   $upstream_http_x_auth_session;
        auth_request_set $auth_assertion $upstream_http_x_auth_assertion;
        empty_gif;
    }
    location = /_latchkey_auth {
        internal;
        proxy_pass              http://%s/auth/nginx;
        proxy_http_version      1.1;
        proxy_set_header        Connection        "";
        proxy_set_header        X-Original-URL    https://$host$request_uri;
        proxy_set_header        X-Original-Method $request_method;
        proxy_pass_request_body off;
        proxy_set_header        Content-Length    "";
        proxy_buffer_size       32k;
        proxy_buffers           4 32k;
    }
}
`

// clients are connections that each ask for a page as soon as they have the last one.
func clients(b *testing.B, c checker, address string) paired.Subject {
	b.Helper()
	type client struct {
		conn net.Conn
		in   *bufio.Reader
	}
	all := make([]client, connections)
	for i := range all {
		conn, err := net.Dial("tcp", address)
		must(b, err)
		b.Cleanup(func() { _ = conn.Close() })
		all[i] = client{conn, bufio.NewReaderSize(conn, 4096)}
	}
	requests := make([][]byte, len(c.cookies))
	for i, cookie := range c.cookies {
		requests[i] = []byte("GET /page HTTP/1.1\r\nHost: app.example.com\r\nAccept: */*\r\nCookie: " + cookie + "\r\n\r\n")
	}
	return paired.Callers(c.name, connections, func(caller, i int) error {
		me := all[caller]
		if _, err := me.conn.Write(requests[(caller*61+i)%len(requests)]); err != nil {
			return err
		}
		return readPage(me.in)
	})
}

var errNotServed = errors.New("the page is not served")

// readPage reads an answer of nginx's: 200 with the gif.
func readPage(in *bufio.Reader) error {
	length := 0
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")):
			return fmt.Errorf("%w: %s", errNotServed, line)
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			for _, digit := range bytes.TrimSpace(line[len("Content-Length: "):]) {
				length = length*10 + int(digit-'0')
			}
		case len(line) == 2:
			_, err := in.Discard(length)
			return err
		}
	}
}
