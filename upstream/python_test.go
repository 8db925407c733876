package upstream_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/needs"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/upstream"
)

// service is the Python SessionCacheService in a process of its own.
type service struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

func startService(t testing.TB, url string) *service {
	t.Helper()
	cmd := exec.Command(needs.Python(t, "redis"), "testdata/session_cache_service.py", url)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &service{in: in, out: bufio.NewScanner(out)}
}

func (s *service) ask(t testing.TB, question map[string]any) any {
	t.Helper()
	if err := json.NewEncoder(s.in).Encode(question); err != nil || !s.out.Scan() {
		t.Fatal("python:", err, s.out.Err())
	}
	var answer any
	if err := json.Unmarshal(s.out.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestPythonShares lets both fill, read, end and invalidate in one Redis.
func TestPythonShares(t *testing.T) {
	server := servers.StartRedis(t)
	py := startService(t, server.URL+"/2")
	a := newAccounts(t)
	clock := &monoAhead{}
	c, err := upstream.New(upstream.Config{Upstream: a.check(t), Clock: clock, ProcessTTL: time.Millisecond,
		Redis: upstream.RedisConfig{URL: server.URL + "/2", Format: upstream.FormatSessionCache, Timeout: 5 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	aged := func() { clock.ahead.Add(int64(time.Second)) } // beyond ProcessTTL
	get := func(n int) any { return py.ask(t, map[string]any{"op": "get", "token": token(n)}) }

	// Go fills, Python reads.
	user := player("u1", "Zoë \U0001F511")
	expire := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	user["expire"] = expire.Format(time.RFC3339)
	a.set(token(1), user)
	lookup(t, c, token(1))
	want := map[string]any{"id": "u1", "email": "u1@example.com", "name": "Zoë \U0001F511", "email_verified": true, "tier": "premium",
		"created_at": "2025-11-14T12:00:00+00:00", "updated_at": "2025-11-15T12:00:00.123000+00:00"}
	if got := get(1); !reflect.DeepEqual(got, want) {
		t.Fatal(got)
	}

	// Python fills, Go reads.
	py.ask(t, map[string]any{"op": "set", "token": token(2), "user": want, "expire": expire.Format("2006-01-02T15:04:05+00:00")})
	u := lookup(t, c, token(2))
	if u.ID != "u1" || u.Name != "Zoë \U0001F511" || !u.ExpiresAt.Equal(expire) || u.UpdatedAt.Nanosecond() != 123e6 || u.Tier != "premium" || !u.EmailVerified {
		t.Fatalf("%+v", u)
	}
	wantCalls(t, a, 1)

	// Python invalidates the user: Go asks anew, and is refused for the second.
	py.ask(t, map[string]any{"op": "invalidate_user", "user": "u1"})
	aged()
	calls := a.calls.Load()
	lookup(t, c, token(1))
	refusedLookup(t, c, token(2))
	wantCalls(t, a, calls+2)

	// Go invalidates: Python finds nothing that was cached before.
	if get(1) == nil {
		t.Fatal("what Go filed after the marker does not count in Python")
	}
	if err := c.InvalidateUser(ctx, "u1"); err != nil {
		t.Fatal(err)
	}
	if got := get(1); got != nil {
		t.Fatal(got)
	}

	// Go ends a token: Python finds nothing, and if it files it again Go refuses it still.
	a.set(token(3), player("u3", "C"))
	lookup(t, c, token(3))
	if err := c.InvalidateToken(ctx, token(3)); err != nil {
		t.Fatal(err)
	}
	if got := get(3); got != nil {
		t.Fatal(got)
	}
	py.ask(t, map[string]any{"op": "set", "token": token(3), "user": want, "expire": nil})
	aged()
	_, err = c.Lookup(ctx, token(3))
	wantCode(t, err, latchkey.CodeInvalidSession)

	// Python ends a token: Go asks the upstream, which has the say.
	a.set(token(4), player("u4", "D"))
	lookup(t, c, token(4))
	a.set(token(4), nil)
	if got := py.ask(t, map[string]any{"op": "invalidate_token", "token": token(4)}); got != true {
		t.Fatal(got)
	}
	aged()
	_, err = c.Lookup(ctx, token(4))
	wantCode(t, err, latchkey.CodeInvalidSession)
}

// monoAhead is the system's clock, whose monotonic part can be advanced; Python has
// the system's wall clock too.
type monoAhead struct{ ahead atomic.Int64 }

func (m *monoAhead) Now() latchkey.Moment {
	now := latchkey.SystemClock().Now()
	now.Mono += m.ahead.Load()
	return now
}
