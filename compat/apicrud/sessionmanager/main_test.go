package sessionmanager_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/compat/apicrud"
	"github.com/latchkey-go/latchkey/compat/apicrud/sessionmanager"
	"github.com/latchkey-go/latchkey/internal/needs"
	"github.com/latchkey-go/latchkey/internal/servers"
)

const (
	aesSecret = "CANARY-aes-secret-0123456789abcdefgh"
	jwtSecret = "CANARY-jwt-secret-0123456789abcdefgh"
	issuer    = "dev.example.com"
)

// redis is the server of this package's tests. Tests that stop it start their own.
var redis *servers.Server

func TestMain(m *testing.M) {
	os.Exit(servers.Main(m, func(t servers.TB) { redis = servers.StartRedis(t) }))
}

// connect is a client of a server, closed with the test.
func connect(t testing.TB, addr string) rueidis.Client {
	t.Helper()
	client, err := sessionmanager.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func newCipher(t testing.TB, secret string) *apicrud.Cipher {
	t.Helper()
	c, err := apicrud.NewCipher(apicrud.Config{Secret: secret, MaxValue: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// open makes a manager over the given server.
func open(t testing.TB, addr string, edit func(*sessionmanager.Config)) *sessionmanager.Manager {
	t.Helper()
	cfg := sessionmanager.Config{Client: connect(t, addr), Cipher: newCipher(t, aesSecret), Issuer: issuer}
	if edit != nil {
		edit(&cfg)
	}
	m, err := sessionmanager.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// command runs one command on a Redis server; a nil answer is no failure.
func command(t testing.TB, client rueidis.Client, words ...string) rueidis.RedisResult {
	t.Helper()
	r := client.Do(t.Context(), client.B().Arbitrary(words...).Build())
	if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%s: %v", words[0], err)
	}
	return r
}

func textOf(t testing.TB, client rueidis.Client, key string) string {
	t.Helper()
	s, _ := command(t, client, "GET", key).ToString()
	return s
}

func ttlOf(t testing.TB, client rueidis.Client, key string) time.Duration {
	t.Helper()
	ms, err := command(t, client, "PTTL", key).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(ms) * time.Millisecond
}

func wantCode(t testing.TB, err error, code latchkey.Code) {
	t.Helper()
	if latchkey.CodeOf(err) != code {
		t.Errorf("error %v of code %q, want %q", err, latchkey.CodeOf(err), code)
	}
}

// python is the original in a process of its own, with its Flask application.
type python struct {
	t     *testing.T
	in    io.Writer
	lines *bufio.Reader
	url   string // of the application
}

func startPython(t *testing.T) *python {
	t.Helper()
	interpreter := needs.Python(t, "redis, jwt, cryptography, flask")
	host, port, err := net.SplitHostPort(redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(interpreter, "-W", "ignore", "testdata/session_manager.py", host, port, aesSecret, jwtSecret, issuer, "1200")
	cmd.Env = append(os.Environ(), "TZ=UTC")
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // it ends with its input
	})
	p := &python{t: t, in: in, lines: bufio.NewReader(out)}
	p.do(&p.url, "url")
	return p
}

// do runs an operation there and decodes its result.
func (p *python) do(into any, call ...any) {
	p.t.Helper()
	line, err := json.Marshal(call)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		p.t.Fatal(err)
	}
	answer, err := p.lines.ReadBytes('\n')
	if err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		p.t.Fatalf("%v: %s", err, answer)
	}
}
