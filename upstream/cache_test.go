package upstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLookup(t *testing.T) {
	a := newAccounts(t)
	a.set(token(1), player("u1", "Zoë"))
	c, clock := newCache(t, a, nil)
	u := lookup(t, c, token(1))
	want := upstream.User{ID: "u1", Email: "u1@example.com", Name: "Zoë", EmailVerified: true, Tier: "premium", Claims: `{"labels":["admin"]}`,
		CreatedAt: time.Date(2025, 11, 14, 12, 0, 0, 0, time.UTC), UpdatedAt: time.Date(2025, 11, 15, 12, 0, 0, 123e6, time.UTC), CheckedAt: start}
	if u != want {
		t.Fatalf("%+v", u)
	}
	clock.Advance(upstream.DefaultTTL - 1)
	if again := lookup(t, c, token(1)); again != want {
		t.Fatalf("from the cache: %+v", again)
	}
	wantCalls(t, a, 1)
	clock.Advance(1)
	want.CheckedAt = clock.Time().Truncate(time.Microsecond)
	if u = lookup(t, c, token(1)); u != want {
		t.Fatalf("after its time: %+v", u)
	}
	wantCalls(t, a, 2)
	if s := c.Stats(); s.Hits != 1 || s.Misses != 2 || s.Calls != 2 || s.Entries != 1 {
		t.Errorf("%+v", s)
	}
	text, err := json.Marshal(upstream.User{ID: "u", ExpiresAt: start})
	if want := `{"id":"u","email":"","name":"","email_verified":false,"tier":"","claims":{},"created_at":null,"updated_at":null,"expires_at":"` +
		start.Format("2006-01-02T15:04:05.000000Z") + `","checked_at":null,"stale":false}`; err != nil || string(text) != want {
		t.Errorf("%s %v", text, err)
	}
}

func TestRefusalsAreRemembered(t *testing.T) {
	a := newAccounts(t)
	c, clock := newCache(t, a, nil)
	refusedLookup(t, c, token(1))
	a.set(token(1), player("u1", "A"))
	clock.Advance(upstream.DefaultNegativeTTL - 1)
	refusedLookup(t, c, token(1))
	wantCalls(t, a, 1)
	clock.Advance(1)
	lookup(t, c, token(1))

	always, _ := newCache(t, a, func(cfg *upstream.Config) { cfg.NegativeTTL = -1 })
	refusedLookup(t, always, token(2))
	refusedLookup(t, always, token(2))
	wantCalls(t, a, 4)

	for _, junk := range []string{"", "a b", "a\n", "ü", strings.Repeat("x", upstream.MaxToken+1)} {
		refusedLookup(t, c, junk)
	}
	wantCalls(t, a, 4)
}

func TestSessionsEnd(t *testing.T) {
	a := newAccounts(t)
	user := player("u1", "A")
	user["expire"] = start.Add(10 * time.Second).Format(time.RFC3339)
	a.set(token(1), user)
	c, clock := newCache(t, a, func(cfg *upstream.Config) { cfg.ServeStale = time.Hour })
	lookup(t, c, token(1))
	clock.Advance(10*time.Second - 1)
	lookup(t, c, token(1))
	wantCalls(t, a, 1)
	clock.Advance(1)
	refusedLookup(t, c, token(1)) // although the upstream still says so
	wantCalls(t, a, 2)
	a.behave(broken)
	clock.Advance(time.Minute)
	_, err := c.Lookup(context.Background(), token(1))
	wantCode(t, err, latchkey.CodeStoreUnavailable) // and not a stale yes
}

func TestClockSteps(t *testing.T) {
	a := newAccounts(t)
	a.set(token(1), player("u1", "A"))
	c, clock := newCache(t, a, nil)
	lookup(t, c, token(1))
	clock.StepWall(-24 * time.Hour)
	clock.Advance(upstream.DefaultTTL)
	lookup(t, c, token(1)) // the wall clock alone would have kept it for a day
	wantCalls(t, a, 2)
	clock.Suspend(upstream.DefaultTTL)
	lookup(t, c, token(1)) // as the monotonic one would have
	wantCalls(t, a, 3)
	refusedLookup(t, c, token(2))
	clock.StepWall(-24 * time.Hour)
	clock.Advance(upstream.DefaultNegativeTTL)
	refusedLookup(t, c, token(2))
	wantCalls(t, a, 5)
}

func TestStale(t *testing.T) {
	a := newAccounts(t)
	a.set(token(1), player("u1", "A"))
	a.set(token(2), player("u2", "B"))
	c, clock := newCache(t, a, func(cfg *upstream.Config) { cfg.ServeStale = time.Minute })
	lookup(t, c, token(1))
	lookup(t, c, token(2))
	a.behave(broken)
	clock.Advance(upstream.DefaultTTL)
	if u := lookup(t, c, token(1)); !u.Stale || u.ID != "u1" || !u.CheckedAt.Equal(start) {
		t.Fatalf("%+v", u)
	}
	wantCalls(t, a, 3)
	for range 10 {
		lookup(t, c, token(1))
	}
	wantCalls(t, a, 3) // a dead upstream is not asked for each
	if err := c.Health(context.Background()); !errors.Is(err, latchkey.ErrUnavailable) {
		t.Error("healthy:", err)
	}
	if err := c.InvalidateUser(context.Background(), "u1"); err != nil {
		t.Fatal(err)
	}
	_, err := c.Lookup(context.Background(), token(1))
	wantCode(t, err, latchkey.CodeStoreUnavailable) // what was invalidated is not served stale
	clock.Advance(time.Minute)
	_, err = c.Lookup(context.Background(), token(2))
	wantCode(t, err, latchkey.CodeStoreUnavailable) // nor what is too old
	a.behave(nil)
	if u := lookup(t, c, token(2)); u.Stale {
		t.Fatal("still stale")
	}
	if err := c.Health(context.Background()); err != nil || c.Stats().UpstreamDown {
		t.Error(err)
	}
	none, clock := newCache(t, a, nil)
	lookup(t, none, token(1))
	a.behave(broken)
	clock.Advance(upstream.DefaultTTL)
	_, err = none.Lookup(context.Background(), token(1))
	wantCode(t, err, latchkey.CodeStoreUnavailable)
}

// A refusal ends what could be served stale.
func TestRefusedIsNotStale(t *testing.T) {
	a := newAccounts(t)
	a.set(token(1), player("u1", "A"))
	c, clock := newCache(t, a, func(cfg *upstream.Config) { cfg.ServeStale = time.Hour })
	lookup(t, c, token(1))
	a.set(token(1), nil)
	clock.Advance(upstream.DefaultTTL)
	refusedLookup(t, c, token(1))
	a.behave(broken)
	clock.Advance(upstream.DefaultNegativeTTL)
	_, err := c.Lookup(context.Background(), token(1))
	wantCode(t, err, latchkey.CodeStoreUnavailable)
}

func TestStampede(t *testing.T) {
	a := newAccounts(t)
	a.set(token(1), player("u1", "A"))
	c, _ := newCache(t, a, nil)
	entered := a.hold()
	var waiters sync.WaitGroup
	errs := make(chan error, 1000)
	for range 1000 {
		waiters.Go(func() {
			u, err := c.Lookup(context.Background(), token(1))
			if err == nil && u.ID != "u1" {
				err = errors.New("somebody else")
			}
			errs <- err
		})
	}
	<-entered
	eventually(t, "all wait", func() bool { return c.Stats().Joined == 999 })
	a.release()
	waiters.Wait()
	for range 1000 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	wantCalls(t, a, 1)
}

// Whoever leaves does not take the flight along; whoever waits is not kept beyond his context.
func TestWaitersLeave(t *testing.T) {
	a := newAccounts(t)
	a.set(token(1), player("u1", "A"))
	c, _ := newCache(t, a, nil)
	entered := a.hold()
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error)
	go func() {
		_, err := c.Lookup(ctx, token(1))
		left <- err
	}()
	<-entered
	cancel()
	wantCode(t, <-left, latchkey.CodeStoreUnavailable)
	a.release()
	lookup(t, c, token(1))
	wantCalls(t, a, 1)
}

// An answer that was under way while its user was invalidated is not kept, and who
// came after the invalidation does not get it.
func TestInvalidateInFlight(t *testing.T) {
	for name, invalidate := range map[string]func(*upstream.Cache) error{
		"user":  func(c *upstream.Cache) error { return c.InvalidateUser(context.Background(), "u1") },
		"token": func(c *upstream.Cache) error { return c.InvalidateToken(context.Background(), token(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccounts(t)
			a.set(token(1), player("u1", "before"))
			c, _ := newCache(t, a, nil)
			entered := a.hold()
			early, late := make(chan upstream.User), make(chan error)
			go func() {
				u, _ := c.Lookup(context.Background(), token(1))
				early <- u
			}()
			<-entered // it has read the account
			a.set(token(1), player("u1", "after"))
			if err := invalidate(c); err != nil {
				t.Fatal(err)
			}
			go func() {
				u, err := c.Lookup(context.Background(), token(1))
				if err == nil && u.Name != "after" {
					err = errors.New("granted what was before: " + u.Name)
				}
				late <- err
			}()
			if name == "user" {
				eventually(t, "the second waits", func() bool { return c.Stats().Joined == 1 })
			}
			a.release()
			if u := <-early; u.Name != "before" {
				t.Errorf("%+v", u)
			}
			err := <-late
			u, again := c.Lookup(context.Background(), token(1))
			if name == "token" {
				wantCode(t, err, latchkey.CodeInvalidSession)
				wantCode(t, again, latchkey.CodeInvalidSession)
				wantCalls(t, a, 1)
				return
			}
			if err != nil || again != nil || u.Name != "after" {
				t.Error(err, again, u.Name)
			}
			wantCalls(t, a, 2)
		})
	}
}

func TestInvalidate(t *testing.T) {
	a := newAccounts(t)
	for i := range 3 {
		a.set(token(i), player("u"+string(rune('0'+i/2)), "A")) // u0, u0, u1
	}
	c, clock := newCache(t, a, nil)
	for i := range 3 {
		lookup(t, c, token(i))
	}
	if err := c.InvalidateUser(context.Background(), "u0"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		lookup(t, c, token(i))
	}
	wantCalls(t, a, 5) // both of u0's anew
	if err := c.InvalidateToken(context.Background(), token(0)); err != nil {
		t.Fatal(err)
	}
	refusedLookup(t, c, token(0))
	lookup(t, c, token(1))
	wantCalls(t, a, 5)
	clock.Advance(time.Hour)
	lookup(t, c, token(0)) // the upstream has the last word, later
	for _, id := range []string{"", "a\nb", strings.Repeat("x", 513)} {
		wantCode(t, c.InvalidateUser(context.Background(), id), latchkey.CodeInvalidRequest)
	}
	if err := c.InvalidateToken(context.Background(), ""); err != nil {
		t.Error(err)
	}
}

func TestTurns(t *testing.T) {
	a := newAccounts(t)
	c, _ := newCache(t, a, func(cfg *upstream.Config) { cfg.MaxCalls, cfg.UpstreamTimeout = 2, time.Minute })
	entered := a.hold()
	errs := make(chan error, 8)
	for i := range 8 {
		go func() {
			_, err := c.Lookup(context.Background(), token(i))
			errs <- err
		}()
	}
	<-entered
	<-entered
	eventually(t, "all are under way", func() bool { return c.Stats().Misses == 8 })
	a.release()
	for range 8 {
		wantCode(t, <-errs, latchkey.CodeInvalidSession)
	}
	if wantCalls(t, a, 8); a.most != 2 {
		t.Errorf("%d calls at a time", a.most)
	}
}

func TestClose(t *testing.T) {
	a := newAccounts(t)
	a.set(token(1), player("u1", "A"))
	c, _ := newCache(t, a, nil)
	entered := a.hold()
	defer a.release()
	done := make(chan error)
	go func() {
		_, err := c.Lookup(context.Background(), token(1))
		done <- err
	}()
	<-entered
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, <-done, latchkey.CodeStoreUnavailable)
	_, err := c.Lookup(context.Background(), token(1))
	wantCode(t, err, latchkey.CodeStoreUnavailable)
}

// odd is an Upstream that a program might write.
type odd func() (upstream.User, error)

func (o odd) Validate(context.Context, string) (upstream.User, error) { return o() }

func TestOddUpstreams(t *testing.T) {
	for name, c := range map[string]struct {
		answer odd
		code   latchkey.Code
	}{
		"panic":         {func() (upstream.User, error) { panic(canary) }, latchkey.CodeStoreUnavailable},
		"nobody":        {func() (upstream.User, error) { return upstream.User{}, nil }, latchkey.CodeStoreUnavailable},
		"control-id":    {func() (upstream.User, error) { return upstream.User{ID: "a\x00"}, nil }, latchkey.CodeStoreUnavailable},
		"long-email":    {func() (upstream.User, error) { return upstream.User{ID: "a", Email: strings.Repeat("x", 513)}, nil }, latchkey.CodeStoreUnavailable},
		"claims-list":   {func() (upstream.User, error) { return upstream.User{ID: "a", Claims: "[]"}, nil }, latchkey.CodeStoreUnavailable},
		"ended":         {func() (upstream.User, error) { return upstream.User{ID: "a", ExpiresAt: start}, nil }, latchkey.CodeInvalidSession},
		"far":           {func() (upstream.User, error) { return upstream.User{ID: "a", ExpiresAt: time.Unix(1<<50, 0)}, nil }, latchkey.CodeStoreUnavailable},
		"refused":       {func() (upstream.User, error) { return upstream.User{ID: "a"}, latchkey.ErrInvalidSession }, latchkey.CodeInvalidSession},
		"control-names": {func() (upstream.User, error) { return upstream.User{ID: "a", Name: "a\nb\x7f\xff"}, nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cache, _ := newCache(t, newAccounts(t), func(cfg *upstream.Config) { cfg.Upstream = c.answer })
			u, err := cache.Lookup(context.Background(), token(1))
			if wantCode(t, err, c.code); c.code == "" && u.Name != "ab" {
				t.Errorf("%q", u.Name)
			}
		})
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	a := newAccounts(t)
	a.set(token(1), player("u1", "A"))
	c, _ := newCache(t, a, nil)
	ctx := context.Background()
	lookup(t, c, token(1))
	key := token(1)
	if n := testing.AllocsPerRun(100, func() { _, _ = c.Lookup(ctx, key) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConfigurationProblemsTogether(t *testing.T) {
	_, err := upstream.New(upstream.Config{TTL: -1, ProcessTTL: -1, NegativeTTL: time.Hour, ServeStale: -1, UpstreamTimeout: time.Hour, MaxCalls: -1, MaxBytes: 1,
		Redis: upstream.RedisConfig{URL: "redis://:" + canary + "@h/x/y", Name: "A B", Format: 7, Timeout: -1, RetryEvery: time.Hour}})
	wantCode(t, err, latchkey.CodeInvalidRequest)
	for _, field := range []string{"Upstream:", "TTL:", "NegativeTTL:", "ServeStale:", "UpstreamTimeout:", "MaxCalls:", "MaxBytes:",
		"Redis.URL:", "Redis.Name:", "Redis.Format:", "Redis.Timeout:", "Redis.RetryEvery:"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not told: %v", field, err)
		}
	}
	_, err = upstream.New(upstream.Config{Upstream: odd(nil), Redis: upstream.RedisConfig{Name: "x"}})
	wantCode(t, err, latchkey.CodeInvalidRequest)
}
