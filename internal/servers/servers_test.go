//go:build unix

package servers

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ask sends one inline command to a Redis server and returns the first line of the answer.
func ask(addr, command string, patience time.Duration) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

func mustAsk(t *testing.T, addr, command, want string) {
	t.Helper()
	if got, err := ask(addr, command, 10*time.Second); err != nil || got != want {
		t.Fatalf("%s: %q, %v; want %q", command, got, err, want)
	}
}

func TestRedis(t *testing.T) {
	var dir, addr string
	t.Run("life", func(t *testing.T) {
		s := StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
		dir, addr = s.Dir, s.Addr
		mustAsk(t, s.Addr, "SET kept 1", "+OK")
		s.Restart(t) // killed, not asked to stop
		mustAsk(t, s.Addr, "EXISTS kept", ":1")

		s.Stop(t)
		if got, err := ask(s.Addr, "PING", 100*time.Millisecond); err == nil {
			t.Errorf("a stopped server answered %q", got)
		}
		s.Continue(t)
		mustAsk(t, s.Addr, "PING", "+PONG")

		s.Kill(t)
		if _, err := ask(s.Addr, "PING", time.Second); err == nil {
			t.Error("a killed server answered")
		}
		s.Restart(t)
		s.Terminate(t)
		s.Restart(t)
		mustAsk(t, s.Addr, "EXISTS kept", ":1")
	})
	if _, err := ask(addr, "PING", time.Second); err == nil {
		t.Error("the server outlived its test")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the server's files outlived its test: %v", err)
	}
}

func TestProxy(t *testing.T) {
	s := StartRedis(t)
	p := StartProxy(t, s.Addr)
	mustAsk(t, p.Addr, "PING", "+PONG")
	p.Stall()
	if got, err := ask(p.Addr, "PING", 100*time.Millisecond); err == nil {
		t.Errorf("through a stalled proxy: %q", got)
	}
	p.Resume()
	mustAsk(t, p.Addr, "PING", "+PONG")
	p.Cut()
	if got, err := ask(p.Addr, "PING", time.Second); err == nil {
		t.Errorf("through a cut proxy: %q", got)
	}
	p.Resume()
	mustAsk(t, p.Addr, "PING", "+PONG")
}

// What is delayed comes whole and in order, and a client is cut off by its address.
func TestProxyDelay(t *testing.T) {
	s := StartRedis(t)
	p := StartProxy(t, s.Addr)
	p.Delay(1, 0, 40*time.Millisecond)
	began := time.Now()
	for i := range 20 {
		mustAsk(t, p.Addr, fmt.Sprintf("RPUSH delayed %d", i), fmt.Sprintf(":%d", i+1))
	}
	if took := time.Since(began); took < 40*time.Millisecond {
		t.Errorf("forty ways of 10 ms on average took %v together", took)
	}
	p.Delay(0, 0, 0)
	p.CutFrom("127.0.0.9")
	mustAsk(t, p.Addr, "LLEN delayed", ":20")
	p.CutFrom("127.0.0.9", "127.0.0.1")
	if got, err := ask(p.Addr, "PING", time.Second); err == nil {
		t.Errorf("from a host that is cut off: %q", got)
	}
	p.Resume()
	mustAsk(t, p.Addr, "PING", "+PONG")
}

// A child is stopped, goes on, ends by itself and is killed.
func TestChild(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cat := exec.Command("cat")
	cat.Stdin = in
	c, err := Spawn(cat)
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	c.Stop()
	out.Close()
	if c.Wait(50 * time.Millisecond) {
		t.Error("a stopped program ended")
	}
	c.Continue()
	if !c.Wait(patience) {
		t.Error("the program did not end")
	}
	c.Kill()
	c.Stop() // nobody
	sleep, err := Spawn(exec.Command("sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	sleep.Stop()
	sleep.Kill()
	if sleep.Wait(0) {
		t.Error("a killed program ended well")
	}
}

// psql runs one statement and returns its output.
func psql(t *testing.T, url, statement string) string {
	t.Helper()
	out, err := exec.Command(binary(t, "psql", "postgresql-client"), "-XAtq", url, "-c", statement).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", statement, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestPostgres(t *testing.T) {
	pg := StartPostgres(t, "synchronous_commit=local")
	if got := psql(t, pg.URL, "SHOW synchronous_commit"); got != "local" {
		t.Errorf("the setting is %q", got)
	}
	psql(t, pg.URL, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
	pg.Restart(t)
	if got := psql(t, pg.URL, "SELECT n FROM kept"); got != "7" {
		t.Errorf("after a kill: %q", got)
	}
	bouncer := StartPgBouncer(t, pg)
	if got := psql(t, bouncer.URL, "SELECT n FROM kept"); got != "7" {
		t.Errorf("through the pooler: %q", got)
	}
	pg.Terminate(t)
	if redisReady(t.Context(), pg.Addr) {
		t.Error("the port is still answered")
	}
}

// recorder is a TB that notes how it was ended.
type recorder struct {
	mainTB
	how string
}

func (r *recorder) Skipf(format string, args ...any) { r.how = "skip: " + fmt.Sprintf(format, args...) }
func (r *recorder) Fatalf(format string, args ...any) {
	r.how = "fail: " + fmt.Sprintf(format, args...)
}

func TestMissingBinary(t *testing.T) {
	for _, c := range []struct{ ci, want string }{
		{"true", "fail: no-such-server is not installed (Debian: apt-get install nothing)"},
		{"", "skip: no-such-server is not installed (Debian: apt-get install nothing)"},
	} {
		t.Setenv("CI", c.ci)
		var r recorder
		if binary(&r, "no-such-server", "nothing"); r.how != c.want {
			t.Errorf("CI=%q: %q", c.ci, r.how)
		}
	}
}

// TestParentKilled kills a test program that has a server, and the server goes too.
func TestParentKilled(t *testing.T) {
	if file := os.Getenv("SERVERS_TEST_ORPHAN"); file != "" {
		s := StartRedis(t)
		if err := os.WriteFile(file+".tmp", []byte(s.Addr+" "+s.Dir), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".tmp", file); err != nil {
			t.Fatal(err)
		}
		select {} // until killed
	}
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("no parent-death signal on this system")
	}
	binary(t, "redis-server", "redis-server")
	file := filepath.Join(t.TempDir(), "addr")
	cmd := exec.Command(os.Args[0], "-test.run=^TestParentKilled$")
	cmd.Env = append(os.Environ(), "SERVERS_TEST_ORPHAN="+file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var text []byte
	until(t, "the program has a server", func() bool {
		var err error
		text, err = os.ReadFile(file)
		return err == nil
	})
	addr, dir, _ := strings.Cut(string(text), " ")
	t.Cleanup(func() { os.RemoveAll(dir) })
	mustAsk(t, addr, "PING", "+PONG")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	until(t, "the server is gone", func() bool { return !redisReady(t.Context(), addr) })
}

// until asks again and again, for another process does not say when it is done.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}
