//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/latchkey-go/latchkey/internal/needs"
	"github.com/latchkey-go/latchkey/internal/servers"
)

// service is one in another language, as far as the daemon is concerned: it knows
// nothing of sessions, shows who it is told about, and verifies that by the key set.
type service struct {
	*httptest.Server
	keys func() string // where the key set is
}

func newService(t *testing.T) *service {
	s := &service{}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *service) serve(w http.ResponseWriter, r *http.Request) {
	text := "page " + r.URL.RequestURI() + "\n"
	for _, name := range []string{"Subject", "Provider", "Email", "Roles"} {
		text += strings.ToLower(name) + " " + strings.Join(r.Header.Values("X-Auth-"+name), "|") + "\n"
	}
	for _, c := range r.Cookies() {
		if strings.Contains(c.Name, "session") {
			text += "SESSION COOKIE\n" // it is not the service's
		}
	}
	text += "assertion " + s.verify(r.Header.Get("X-Auth-Assertion"), "https://"+r.Host) + "\n"
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><title>Service</title><link rel="icon" href="data:,"><main><pre>%s</pre><a href="?again">again</a></main>`, html.EscapeString(text))
}

// verify does what docs/edge/assertion.md asks of a service.
func (s *service) verify(token, audience string) string {
	if token == "" {
		return "none"
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return err.Error()
	}
	res, err := http.Get(s.keys())
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	var keys jose.JSONWebKeySet
	if err := json.NewDecoder(res.Body).Decode(&keys); err != nil {
		return err.Error()
	}
	key := keys.Key(parsed.Headers[0].KeyID)
	if len(key) != 1 {
		return "unknown key"
	}
	var claims struct {
		jwt.Claims
		Provider string `json:"provider"`
		Class    string `json:"acr"`
		AuthTime int64  `json:"auth_time"`
	}
	if err := parsed.Claims(key[0], &claims); err != nil {
		return err.Error()
	}
	if err := claims.Validate(jwt.Expected{Issuer: "https://auth.example.com", AnyAudience: jwt.Audience{audience}, Time: time.Now()}); err != nil {
		return err.Error()
	}
	age := time.Since(time.Unix(claims.AuthTime, 0)).Truncate(time.Hour)
	return fmt.Sprintf("of %s/%s, class %s, authenticated %v ago", claims.Provider, claims.Subject, claims.Class, age)
}

// nginxPage is the n-th configuration of docs/edge/nginx.md.
func nginxPage(t *testing.T, n int) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "edge", "nginx.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)\n```nginx\n(.*?)\n```").FindAllSubmatch(text, -1)
	if len(blocks) <= n {
		t.Fatalf("the page has %d configurations", len(blocks))
	}
	return string(blocks[n][1]) + "\n"
}

// startFront runs nginx as its page says, before a service and a daemon, and returns
// where it takes TLS. Each text of pairs must be on the page, and is replaced.
func startFront(t *testing.T, daemon, service string, pairs ...string) string {
	t.Helper()
	bin := needs.Program(t, "nginx")
	dir, addr := t.TempDir(), freeAddress(t)
	own := servers.NewCertificate(t, dir, time.Hour, "*.example.com")
	site := nginxPage(t, 0)
	pairs = append([]string{"server 127.0.0.1:8420;", "server " + daemon + ";", "http://127.0.0.1:3000;", service + ";", "listen 443 ssl;", "listen " + addr + " ssl;",
		"/etc/ssl/app.example.com.pem", own.Cert, "/etc/ssl/app.example.com.key", own.Key, "/etc/ssl/auth.example.com.pem", own.Cert, "/etc/ssl/auth.example.com.key", own.Key}, pairs...)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(site, pairs[i]) {
			t.Fatalf("the page has no %q any more", pairs[i])
		}
		site = strings.ReplaceAll(site, pairs[i], pairs[i+1])
	}
	config := "daemon off;\nmaster_process off;\npid " + dir + "/pid;\nerror_log stderr warn;\nevents { worker_connections 512; }\nhttp {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		config += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(config+site+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run, err := servers.Spawn(exec.Command(bin, "-p", dir, "-c", path, "-e", "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if run.Kill(); t.Failed() {
			t.Logf("nginx said:\n%s", run.Output())
		}
	})
	for began := time.Now(); time.Since(began) < patience; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return addr
		}
		if run.Wait(10*time.Millisecond) || strings.Contains(run.Output(), "[emerg]") {
			break
		}
	}
	t.Fatalf("nginx does not answer: %s", run.Output())
	return ""
}

// freeAddress is an address of this machine that nothing listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
