package edge_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/needs"
	"github.com/latchkey-go/latchkey/server/edge"
	"github.com/latchkey-go/latchkey/server/edge/assertion"
)

// echo is the service behind a proxy: it remembers what reached it, and answers with it.
type echo struct {
	*httptest.Server
	live http.Handler // answers below /live/, when it is set before the first request
	busy atomic.Int32 // requests that are being read
	mu   sync.Mutex
	seen []seen
}

type seen struct {
	Method, URI, Host string
	Header            http.Header
	Body              string
}

func newEcho(t *testing.T) *echo {
	e := &echo{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.live != nil && strings.HasPrefix(r.URL.Path, "/live/") {
			e.live.ServeHTTP(w, r)
			return
		}
		if protocol := r.Header.Get("Upgrade"); protocol != "" && !strings.EqualFold(protocol, "websocket") {
			e.switchTo(protocol, w)
			return
		}
		e.busy.Add(1)
		defer e.busy.Add(-1)
		body, _ := io.ReadAll(r.Body)
		s := seen{r.Method, r.RequestURI, r.Host, r.Header, string(body)}
		e.mu.Lock()
		e.seen = append(e.seen, s)
		e.mu.Unlock()
		if r.URL.Path == "/own-401" {
			w.Header().Set("X-Own", "401")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-Service", "reached")
		_ = json.NewEncoder(w).Encode(s)
	}))
	t.Cleanup(e.Close)
	return e
}

// switchTo does as a service that speaks h2c: what comes over the connection from now
// on are requests that no proxy looks at.
func (e *echo) switchTo(protocol string, w http.ResponseWriter) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	line, _ := rw.ReadString('\n')
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = append(e.seen, seen{Method: "SMUGGLED", URI: line})
}

// take returns what reached the service since it was last asked. A client may have
// its answer while the service reads what a proxy breaks off.
func (e *echo) take() []seen {
	for range 5000 {
		if e.busy.Load() == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.seen
	e.seen = nil
	return out
}

// front is a real proxy before a service, configured as its page says.
type front struct {
	t     *testing.T
	b     *bench
	echo  *echo
	addr  string // where it takes TLS
	roots *x509.CertPool
	log   func() string
}

// rules of the services behind proxies in tests.
func proxyRules(c *config) {
	c.policy.Rules = []edge.Rule{
		{Hosts: []string{"app.example.com"}, Paths: []string{"/public/*"}, Require: edge.RequirePublic},
		{Hosts: []string{"app.example.com"}, Paths: []string{"/admin/*"}, Roles: []string{"admin"}},
		{Hosts: []string{"app.example.com"}, Paths: []string{"/live/guarded/*"}, Methods: []string{"GET"}, Roles: []string{"admin"}},
	}
}

func newFront(t *testing.T) *front {
	t.Helper()
	f := &front{t: t, echo: newEcho(t)}
	f.b = newEdge(t, func(c *config) {
		proxyRules(c)
		signer, err := assertion.New(assertion.Config{Keys: c.manager.Keys, Issuer: "https://auth.example.com"})
		must(t, err)
		c.edge.Assertions, c.edge.Timeout = signer, 200*time.Millisecond
	})
	return f
}

// program finds a proxy's binary.
func program(t *testing.T, name string) string {
	t.Helper()
	return needs.Program(t, name)
}

// built finds the binary of a proxy that Debian does not have, or not of today: a
// target of the Makefile builds it and names it. Building takes minutes, so that
// without the target there is none.
func built(t *testing.T, name string) string {
	t.Helper()
	path := os.Getenv("LATCHKEY_TEST_" + strings.ToUpper(name))
	if path == "" {
		t.Skipf("make edge-%s builds a current %s and runs this", name, name)
	}
	if err := exec.Command(path, "version").Run(); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return path
}

// fence returns the n-th block of a language on a page.
func fence(t *testing.T, page, language string, n int) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "edge", page))
	must(t, err)
	blocks := regexp.MustCompile("(?s)\n```"+language+"\n(.*?)\n```").FindAllSubmatch(text, -1)
	if len(blocks) <= n {
		t.Fatalf("docs/edge/%s has %d blocks of %s", page, len(blocks), language)
	}
	return string(blocks[n][1]) + "\n"
}

// replaced changes a page's configuration where it has to be for a test. Each text
// must be there.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the page has no %q any more", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// run starts a proxy and waits until it takes connections at addr.
func (f *front) run(argv ...string) {
	f.t.Helper()
	var mu sync.Mutex
	var output bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+f.t.TempDir())
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	must(f.t, cmd.Start())
	go func() {
		lines := bufio.NewScanner(reader)
		for lines.Scan() {
			mu.Lock()
			output.WriteString(lines.Text() + "\n")
			mu.Unlock()
		}
		_, _ = io.Copy(io.Discard, reader)
	}()
	f.log = func() string {
		mu.Lock()
		defer mu.Unlock()
		return output.String()
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	f.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		_ = writer.Close()
	})
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(30 * time.Second)
	for {
		if conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.roots, ServerName: "app.example.com"}); err == nil {
			conn.Close()
			return
		}
		select {
		case <-exited:
			f.t.Fatalf("%s ended: %s", argv[0], f.log())
		case <-deadline:
			f.t.Fatalf("%s does not answer: %s", argv[0], f.log())
		case <-ticker.C:
		}
	}
}

// certificate writes a certificate for the names of the pages.
func (f *front) certificate(dir string) (cert, key string) {
	f.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(f.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"app.example.com", "auth.example.com", "other.example.com"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(f.t, err)
	encoded, err := x509.MarshalECPrivateKey(private)
	must(f.t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	must(f.t, os.WriteFile(cert, certPEM, 0o600))
	must(f.t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}), 0o600))
	f.roots = x509.NewCertPool()
	f.roots.AppendCertsFromPEM(certPEM)
	return cert, key
}

// send writes a request as it stands and reads the answers until the proxy closes
// the connection, which the request should ask for.
func (f *front) send(raw string) []*http.Response {
	f.t.Helper()
	conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.roots, ServerName: "app.example.com", NextProtos: []string{"http/1.1"}})
	must(f.t, err)
	defer conn.Close()
	must(f.t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, _ = io.WriteString(conn, raw) // a proxy may close before the end
	method, _, _ := strings.Cut(raw, " ")
	var all []*http.Response
	for reader := bufio.NewReader(conn); ; {
		res, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil {
			return all
		}
		body, _ := io.ReadAll(res.Body)
		res.Body = io.NopCloser(bytes.NewReader(body))
		all = append(all, res)
		if res.Close || res.StatusCode == http.StatusSwitchingProtocols {
			return all
		}
	}
}

// get asks for a page of the protected host. more are header lines.
func (f *front) get(target string, more ...string) *http.Response {
	f.t.Helper()
	return f.request("GET", target, more...)
}

func (f *front) request(method, target string, more ...string) *http.Response {
	f.t.Helper()
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: app.example.com"}, more...)
	all := f.send(strings.Join(append(lines, "Connection: close", "", ""), "\r\n"))
	if len(all) != 1 {
		f.t.Fatalf("%d answers to %s: %s", len(all), target, f.log())
	}
	return all[0]
}

// odd marks requests that a proxy may break off, and of which the service may hear
// when the client has long had its answer.
const odd = "X-Odd: 1\r\n"

// reached is the one request that came to the service, or nil, of those that are not odd.
func (f *front) reached() *seen {
	f.t.Helper()
	list := slices.DeleteFunc(f.echo.take(), func(s seen) bool { return len(s.Header["X-Odd"]) > 0 })
	if len(list) > 1 {
		f.t.Errorf("%d requests reached the service", len(list))
	}
	if len(list) == 0 {
		return nil
	}
	return &list[0]
}

// identityOf is what a service reads of who is there, of all headers that could be
// taken for identity headers.
func identityOf(s *seen) string {
	names := map[string]bool{}
	for name := range s.Header {
		if strings.HasPrefix(likeCGI(name), "x-auth-") {
			names[name] = true
		}
	}
	out := ""
	for _, name := range edge.IdentityHeaders() {
		if values := s.Header[name]; len(values) > 0 && strings.Join(values, "") != "" {
			value := strings.Join(values, "|")
			if name == edge.HeaderAssertion && strings.Count(value, ".") == 2 {
				value = "signed"
			}
			out += strings.TrimPrefix(name, "X-Auth-") + "=" + value + " "
		}
		delete(names, name)
	}
	for name := range names {
		out += "STRAY " + name + " "
	}
	return strings.TrimSpace(out)
}

// likeCGI is a header's name as those see it who take anything but letters and digits
// for the same sign.
func likeCGI(name string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(name))
}

func (f *front) alice() latchkey.Issued {
	return f.b.signIn(latchkey.SignIn{Provider: "corp", Subject: "alice", Email: "a@example.com", Roles: []string{"staff"}})
}

const sessionCookie = "Cookie: __Host-session="

// everyProxy is what holds behind every proxy that is configured as its page says.
func everyProxy(t *testing.T, f *front) {
	t.Run("journey", func(t *testing.T) { f.in(t).journey() })
	t.Run("spoofed-identity", func(t *testing.T) { f.in(t).spoofedIdentity() })
	t.Run("spoofed-questions", func(t *testing.T) { f.in(t).spoofedQuestions() })
	t.Run("paths", func(t *testing.T) { f.in(t).paths() })
	t.Run("smuggling", func(t *testing.T) { f.in(t).smuggling() })
	t.Run("bombs", func(t *testing.T) { f.in(t).bombs() })
	t.Run("slow-client", func(t *testing.T) { f.in(t).slowClient() })
	t.Run("store-down", func(t *testing.T) { f.in(t).storeDown() })
	t.Run("outside", func(t *testing.T) { f.in(t).outside() })
	everyAttack(t, f)
	if t.Failed() {
		t.Log(f.log())
	}
}

// in is f for a subtest.
func (f *front) in(t *testing.T) *front {
	sub := *f
	sub.t = t
	f.echo.take()
	return &sub
}

// want fails unless the answer has the status, and the service was reached or not.
func (f *front) want(what string, res *http.Response, status int, reached bool) *seen {
	f.t.Helper()
	s := f.reached()
	if res.StatusCode != status || (s != nil) != reached {
		f.t.Errorf("%s: %d, service reached: %v; want %d, %v", what, res.StatusCode, s != nil, status, reached)
	}
	if status >= 300 && len(res.Header["Set-Cookie"]) > 0 {
		f.t.Errorf("%s: sets a cookie: %q", what, res.Header["Set-Cookie"])
	}
	if s == nil {
		return &seen{}
	}
	return s
}

func (f *front) describe(i latchkey.Issued) string {
	return fmt.Sprintf("Subject=alice Provider=corp Email=a@example.com Roles=staff Session=%s Assertion=signed", i.Record.ID)
}
