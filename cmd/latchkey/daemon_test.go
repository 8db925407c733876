//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const adminSecret = "canary-admin-key-0123456789abcdef"

// process is a running daemon.
type process struct {
	t   *testing.T
	dir string
	cmd *exec.Cmd
	url string // where it listens
	// metrics is the address of the metrics, if they have one.
	metrics string
	// listening is what the log said then.
	listening map[string]any
	logs      chan map[string]any
	exited    chan error

	mu  sync.Mutex
	log bytes.Buffer // everything on standard error
	out bytes.Buffer
}

// start runs the daemon in dir and waits until it listens.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{t: t, dir: dir, logs: make(chan map[string]any, 1000), exited: make(chan error, 2)}
	p.cmd = exec.Command(builtBinary, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), "LATCHKEY_ADMIN_KEY=ops:"+adminSecret)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout = &locked{mu: &p.mu, to: &p.out}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(stderr)
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		_ = p.cmd.Process.Kill()
		<-p.exited
	})
	line := p.await("listening")
	p.url, p.listening = "http://"+line["address"].(string), line
	p.metrics, _ = line["metrics_address"].(string)
	return p
}

// locked writes under a lock.
type locked struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(b)
}

// read keeps the log and hands its lines out, until the daemon has exited.
func (p *process) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		p.mu.Lock()
		p.log.Write(append(lines.Bytes(), '\n'))
		p.mu.Unlock()
		var v map[string]any
		if json.Unmarshal(lines.Bytes(), &v) == nil {
			select {
			case p.logs <- v:
			default:
			}
		}
	}
	close(p.logs)
	err := p.cmd.Wait()
	p.exited <- err // for ended
	p.exited <- err // for the cleanup
}

// await waits for a log line with the given message.
func (p *process) await(msg string) map[string]any {
	p.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-p.logs:
			if !ok {
				p.t.Fatalf("the daemon ended before it logged %q:\n%s", msg, p.all())
			}
			if line["msg"] == msg {
				return line
			}
		case <-limit:
			p.t.Fatalf("no %q in the log:\n%s", msg, p.all())
		}
	}
}

func (p *process) all() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String() + p.out.String()
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// patience is far beyond what the daemon promises (five seconds for a stop), so
// that a loaded machine fails nothing, and far below what a hang would take.
const patience = 25 * time.Second

// stop ends the daemon by SIGTERM and wants status 0.
func (p *process) stop() {
	p.t.Helper()
	began := time.Now()
	p.signal(syscall.SIGTERM)
	p.ended(began)
}

func (p *process) ended(began time.Time) {
	p.t.Helper()
	for range p.logs { // its end is the end of the process
	}
	err := <-p.exited
	if took := time.Since(began); err != nil || took > patience {
		p.t.Errorf("the daemon ended after %v with %v:\n%s", took, err, p.all())
	}
}

// cli runs a command in the daemon's folder.
func cli(t *testing.T, dir string, want int, args ...string) string {
	t.Helper()
	cmd := exec.Command(builtBinary, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
		t.Fatalf("latchkey %s: %v, want status %d\n%s%s", strings.Join(args, " "), err, want, out.String(), errs.String())
	}
	return out.String()
}

// call makes a request with headers given in pairs.
func (p *process) call(method, path, body string, headers ...string) (*http.Response, string) {
	p.t.Helper()
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		} else {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp, string(text)
}

// issue makes a session by the API and returns its token and ID.
func (p *process) issue(subject string) (token, id string) {
	p.t.Helper()
	resp, body := p.call("POST", "/v1/sessions", `{"subject":"`+subject+`"}`, "Authorization", "Bearer "+adminSecret, "Content-Type", "application/json")
	var out struct {
		Token   string
		Session struct{ ID string }
	}
	if err := json.Unmarshal([]byte(body), &out); err != nil || resp.StatusCode != 201 {
		p.t.Fatalf("%d %s %v", resp.StatusCode, body, err)
	}
	return out.Token, out.Session.ID
}

// me is the status of GET /v1/me.
func (p *process) me(token string) int {
	p.t.Helper()
	resp, _ := p.call("GET", "/v1/me", "", "Authorization", "Bearer "+token)
	return resp.StatusCode
}

// refusedSoon asks until the session is refused, which must be within the staleness and
// a margin for a slow machine.
func (p *process) refusedSoon(token string) {
	p.t.Helper()
	for began := time.Now(); p.me(token) != 401; {
		if time.Since(began) > patience {
			p.t.Fatal("an ended session is still granted")
		}
	}
}

// A stranger's first minute: the demo, a sign-in, the command line beside it, the end.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "--demo", "--metrics-listen", "127.0.0.1:0")
	host := strings.TrimPrefix(p.url, "http://")

	form := []string{"Content-Type", "application/x-www-form-urlencoded", "Origin", p.url}
	resp, _ := p.call("POST", "/login", url.Values{"name": {"alice"}}.Encode(), form...)
	if resp.StatusCode != 303 || len(resp.Cookies()) != 1 || resp.Cookies()[0].Name != "session" || resp.Cookies()[0].Secure {
		t.Fatalf("sign-in: %d, %v", resp.StatusCode, resp.Header)
	}
	token := resp.Cookies()[0].Value
	if resp, body := p.call("GET", "/account", "", "Cookie", "session="+token); resp.StatusCode != 200 || !strings.Contains(body, "alice") {
		t.Errorf("account page: %d\n%s", resp.StatusCode, body)
	}
	for _, headers := range [][]string{{"Host", "evil.example"}, {"X-Forwarded-For", "10.0.0.1"}, {"Host", strings.Replace(host, "127.0.0.1", "localhost", 1)}} {
		if resp, _ := p.call("GET", "/login", "", headers...); resp.StatusCode != 421 {
			t.Errorf("%v: %d, want 421", headers, resp.StatusCode)
		}
	}
	if resp, _ := p.call("GET", "/metrics", ""); resp.StatusCode != 404 {
		t.Errorf("/metrics has a listener of its own and answers %d here", resp.StatusCode)
	}
	for host, want := range map[string]int{p.metrics: 200, "evil.example": 421, "evil.example" + p.metrics[strings.LastIndexByte(p.metrics, ':'):]: 421, "127.0.0.1:1": 421} {
		main := p.url
		p.url = "http://" + p.metrics
		if resp, _ := p.call("GET", "/metrics", "", "Host", host); resp.StatusCode != want {
			t.Errorf("metrics by the name %s: %d, want %d", host, resp.StatusCode, want)
		}
		if resp, _ := p.call("GET", "/metrics", "", "Host", host, "X-Forwarded-For", "10.0.0.1"); resp.StatusCode != 421 {
			t.Errorf("metrics behind a proxy: %d", resp.StatusCode)
		}
		p.url = main
	}
	p.mu.Lock()
	banner := p.out.String()
	p.mu.Unlock()
	if !strings.Contains(banner, p.url+"/login") || !strings.Contains(banner, "latchkey-demo.db") {
		t.Errorf("the demo says %q", banner)
	}

	// A second process on the same store.
	if out := cli(t, dir, 0, "session", "list", "--demo"); !strings.Contains(out, "demo/alice") {
		t.Errorf("session list:\n%s", out)
	}
	cli(t, dir, 0, "session", "revoke", "--demo", "--subject", "alice")
	p.refusedSoon(token)
	p.stop()

	// The demo's store is refused in earnest, and serves the demo again.
	cli(t, dir, 0, "key", "generate")
	cli(t, dir, 2, "serve", "--store", "sqlite:latchkey-demo.db", "--listen", "127.0.0.1:0")
	again := start(t, dir, "--demo", "--prefix", "/_latchkey")
	if resp, _ := again.call("GET", "/_latchkey/login", ""); resp.StatusCode != 200 {
		t.Errorf("the sign-in page below a prefix: %d", resp.StatusCode)
	}
	again.stop()
	if strings.Contains(p.all(), token) || strings.Contains(p.all(), adminSecret) {
		t.Errorf("a secret is in the log:\n%s", p.all())
	}
}

// prepare makes keys and a store.
func prepare(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cli(t, dir, 0, "key", "generate")
	cli(t, dir, 0, "migrate")
	return dir
}

// SIGTERM finishes the requests that are under way.
func TestGracefulStop(t *testing.T) {
	dir := prepare(t)
	p := start(t, dir)
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"subject":"late"}`
	fmt.Fprintf(conn, "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		adminSecret, len(body), body[:5])
	p.issue("early") // so that the connection above has been accepted
	began := time.Now()
	p.signal(syscall.SIGTERM)
	p.await("stopping")
	fmt.Fprint(conn, body[5:])
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 201 {
		t.Fatalf("the request under way got %v, %v", resp, err)
	}
	resp.Body.Close()
	p.ended(began)
	if out := cli(t, dir, 0, "session", "list"); !strings.Contains(out, "api/late") || !strings.Contains(out, "api/early") {
		t.Errorf("session list:\n%s", out)
	}
}

// A client that never finishes does not hold the daemon up for more than five seconds.
func TestStopDespiteClient(t *testing.T) {
	p := start(t, prepare(t))
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", adminSecret)
	p.issue("early")
	p.stop()
}

// A process that was stopped while a session ended does not grant it from memory
// when it goes on.
func TestStoppedProcess(t *testing.T) {
	const staleness = 100 * time.Millisecond
	dir := prepare(t)
	p := start(t, dir, "--staleness", staleness.String())
	token, id := p.issue("alice")
	for range 3 {
		if got := p.me(token); got != 200 {
			t.Fatalf("a live session got %d", got)
		}
	}
	p.signal(syscall.SIGSTOP)
	cli(t, dir, 0, "session", "revoke", id)
	for revoked := time.Now(); time.Since(revoked) < staleness; {
		cli(t, dir, 0, "session", "show", id)
	}
	p.signal(syscall.SIGCONT)
	if got := p.me(token); got != 401 {
		t.Errorf("an ended session got %d", got)
	}
	p.stop()
}

// Keys rotate under a running daemon; nobody is signed out and new tokens bear the new key.
func TestKeyRotation(t *testing.T) {
	dir := prepare(t)
	p := start(t, dir)
	token, _ := p.issue("alice")
	cli(t, dir, 0, "key", "rotate", "--delay", "0")
	p.signal(syscall.SIGHUP)
	p.await("the keyring changed")
	resp, _ := p.call("GET", "/v1/me", "", "Cookie", "__Host-session="+token)
	if len(resp.Cookies()) != 1 || resp.StatusCode != 200 {
		t.Fatalf("%d with %d cookies, want 200 with a token under the new key", resp.StatusCode, len(resp.Cookies()))
	}
	next := resp.Cookies()[0].Value
	if next == token || p.me(token) != 200 || p.me(next) != 200 {
		t.Error("the token under the new key, or the one under the old, is not granted")
	}
	if err := os.WriteFile(filepath.Join(dir, "latchkey.keys"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	p.await("the keyring stays as it was")
	if p.me(next) != 200 {
		t.Error("a broken keyring file ended a session")
	}
	p.stop()
}

// A taken port fails with status 1 before anything is made.
func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	cli(t, dir, 1, "serve", "--demo", "--listen", l.Addr().String())
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("there is %v, %v", entries, err)
	}
}
