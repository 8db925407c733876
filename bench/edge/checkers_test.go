package edge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
)

// checker is a server that nginx asks, and the cookies of those whom it knows.
type checker struct {
	name    string
	address string // host and port
	pid     int
	cookies []string
	path    string // what nginx asks for
	// headers are those of an answer that nginx passes on, in lower case.
	headers []string
}

// identity are the headers of Latchkey's answers, as docs/edge/nginx.md has them.
var identity = []string{"cookie", "x-auth-subject", "x-auth-provider", "x-auth-email", "x-auth-name", "x-auth-roles", "x-auth-session", "x-auth-assertion"}

// environment names the server that this program is to be, instead of a benchmark.
const environment = "LATCHKEY_BENCH_CHECKER"

func TestMain(m *testing.M) {
	name := os.Getenv(environment)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := serve(name); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// served is what a server tells of itself on its standard output.
type served struct {
	Address string
	Cookies []string
}

// serve is a peer's process. It has the settings of the daemon's server and, but for
// scs_default, as much headroom before a collection. It ends with its standard input.
func serve(name string) error {
	if name != "scs_default" {
		defer runtime.KeepAlive(make([]byte, 32<<20))
	}
	in := bufio.NewReader(os.Stdin)
	var handler http.Handler
	var told served
	switch name {
	case "unchecked":
		var answer http.Header
		line, err := in.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &answer)
		}
		if err != nil {
			return err
		}
		handler = unchecked(answer)
	case "scs", "scs_default":
		var err error
		if handler, told.Cookies, err = scsChecker(); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	told.Address = l.Addr().String()
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		return err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	go func() { _ = srv.Serve(l) }()
	_, err = io.Copy(io.Discard, in)
	return err
}

// unchecked answers everybody the same, as fast as a handler of net/http can.
func unchecked(answer http.Header) http.Handler {
	type field struct {
		name   string
		values []string
	}
	var fields []field
	for name, values := range answer {
		fields = append(fields, field{name, values})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for i := range fields {
			h[fields[i].name] = fields[i].values
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// scsChecker looks sessions up by scs in its store in memory, as its documentation has it.
func scsChecker() (http.Handler, []string, error) {
	gob.Register([]string{})
	sm := scs.New()
	var cookies []string
	for i := range hotSet {
		ctx, err := sm.Load(context.Background(), "")
		if err != nil {
			return nil, nil, err
		}
		for name, value := range map[string]string{"subject": fmt.Sprintf("user-%07d", i), "provider": "corp", "email": "user@example.com", "name": "User", "id": "01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f"} {
			sm.Put(ctx, name, value)
		}
		sm.Put(ctx, "roles", []string{"staff", "editor"})
		token, _, err := sm.Commit(ctx)
		if err != nil {
			return nil, nil, err
		}
		cookies = append(cookies, "theme=dark; session="+token)
	}
	assertion := strings.Repeat("x", 700) // as long as ours, and unsigned
	return sm.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		h.Set("X-Auth-Assertion", assertion)
		h.Set("Cookie", "theme=dark")
		w.WriteHeader(http.StatusNoContent)
	})), cookies, nil
}

// startPeer runs a server of this program in a process of its own. input is a line
// that it is told.
func startPeer(b *testing.B, name string, input any) checker {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), environment+"="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(b, err)
	out, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := json.Marshal(input)
	must(b, err)
	_, err = in.Write(append(line, '\n'))
	must(b, err)
	var told served
	must(b, json.NewDecoder(out).Decode(&told))
	return checker{name: name, address: told.Address, pid: cmd.Process.Pid, cookies: told.Cookies, path: "/auth/nginx", headers: identity}
}

// daemon is the program itself, with sessions of so many users in its near cache.
type daemon struct {
	checker
	admin string // the Authorization of requests to its API
}

// startDaemon runs the daemon with its usual store, an SQLite file: the program in LATCHKEY_BENCH_DAEMON,
// or that of this source.
func startDaemon(b *testing.B, users int) daemon {
	b.Helper()
	dir := b.TempDir()
	program := os.Getenv("LATCHKEY_BENCH_DAEMON")
	if program == "" {
		program = filepath.Join(dir, "latchkey")
		build := exec.Command("go", "build", "-o", program, "./cmd/latchkey")
		build.Dir = filepath.Join("..", "..")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
	config := `store: "sqlite:` + filepath.Join(dir, "latchkey.db") + `"
keys: ` + filepath.Join(dir, "keys") + `
admin-key: "bench:0123456789abcdef0123456789abcdef"
public-url: https://auth.example.com
trusted-proxies: [127.0.0.0/8]
protected-hosts: [app.example.com, wiki.example.com]
log-level: warn
rules:
  - {hosts: [app.example.com], paths: [/static/*], require: public}
  - {hosts: [app.example.com, wiki.example.com], roles: [staff]}
`
	path := filepath.Join(dir, "latchkey.yaml")
	must(b, os.WriteFile(path, []byte(config), 0o600))
	if out, err := exec.Command(program, "key", "generate", "--keys", filepath.Join(dir, "keys")).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	address := freeAddress(b)
	cmd := exec.Command(program, "serve", "--config", path, "--listen", address)
	background(b, cmd)
	waitFor(b, address)
	d := daemon{checker{name: "latchkey", address: address, pid: cmd.Process.Pid, path: "/auth/nginx", headers: identity}, "Bearer 0123456789abcdef0123456789abcdef"}
	d.cookies = make([]string, users)
	const issuers = 16
	var work sync.WaitGroup
	for k := range issuers {
		work.Go(func() {
			for i := k; i < users && !b.Failed(); i += issuers {
				d.cookies[i] = d.issue(b, i)
			}
		})
	}
	if work.Wait(); b.Failed() {
		b.FailNow()
	}
	return d
}

// issue signs a user in and returns the cookies of a browser then.
func (d daemon) issue(b *testing.B, user int) string {
	body, err := json.Marshal(map[string]any{"subject": fmt.Sprintf("user-%07d", user), "provider": "corp", "email": "user@example.com", "name": "User", "roles": []string{"staff", "editor"}})
	var issued struct{ Token string }
	if err == nil {
		body, err = d.call(http.MethodPost, "/v1/sessions", bytes.NewReader(body))
	}
	if err == nil {
		err = json.Unmarshal(body, &issued)
	}
	if err != nil {
		b.Error(err)
	}
	return "theme=dark; __Host-session=" + issued.Token
}

// call makes a request to the daemon's API.
func (d daemon) call(method, path string, body io.Reader) ([]byte, error) {
	r, err := http.NewRequest(method, "http://"+d.address+path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", d.admin)
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s: %d %s", path, resp.StatusCode, text)
	}
	return text, err
}

// answer is what the daemon tells nginx of a user, without what net/http adds.
func (d daemon) answer(b *testing.B) http.Header {
	b.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+d.address+d.path, nil)
	must(b, err)
	r.Header = question(d.cookies[0]).Header
	resp, err := http.DefaultClient.Do(r)
	must(b, err)
	must(b, resp.Body.Close())
	if resp.StatusCode != http.StatusNoContent {
		b.Fatal(resp.Status)
	}
	resp.Header.Del("Date")
	return resp.Header
}

// background runs a program until the benchmark ends, and tells what it said if that fails.
func background(b *testing.B, cmd *exec.Cmd) {
	b.Helper()
	log := new(lockedBuffer)
	cmd.Stdout, cmd.Stderr = log, log
	must(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b.Failed() {
			b.Log(filepath.Base(cmd.Path), ": ", log.String())
		}
	})
}

// lockedBuffer holds what a program says, its first 64 KiB.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() < 64<<10 {
		l.buf.Write(p)
	}
	return len(p), nil
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	defer l.Close()
	return l.Addr().String()
}

// waitFor waits until a server takes connections.
func waitFor(b *testing.B, address string) {
	b.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			must(b, conn.Close())
			return
		}
		if time.Since(began) > 20*time.Second {
			b.Fatal(err)
		}
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
