package latchkey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// ended waits for the end of a watched context and returns its code.
func ended(t *testing.T, ctx context.Context) latchkey.Code {
	t.Helper()
	select {
	case <-ctx.Done():
		return latchkey.CodeOf(context.Cause(ctx))
	case <-time.After(10 * time.Second):
		t.Fatal("the stream goes on")
		return ""
	}
}

func goesOn(t *testing.T, ctx context.Context) {
	t.Helper()
	select {
	case <-ctx.Done():
		t.Fatalf("the stream ended: %v", context.Cause(ctx))
	case <-time.After(300 * time.Millisecond): // several rounds of the watcher
	}
}

func watch(t *testing.T, m *latchkey.Manager, token string) context.Context {
	t.Helper()
	ctx, cancel, err := lookup(t, m, token).Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	return ctx
}

func TestWatchEnds(t *testing.T) {
	ctx := context.Background()
	id := func(m *latchkey.Manager, token string) latchkey.Session { return lookup(t, m, token) }
	for name, end := range map[string]func(m *latchkey.Manager, clock *latchkeytest.Clock, token string) error{
		"revoked": func(m *latchkey.Manager, _ *latchkeytest.Clock, token string) error {
			_, err := m.Revoke(ctx, latchkey.Revocation{ID: id(m, token).ID(), By: "admin"})
			return err
		},
		"everything": func(m *latchkey.Manager, _ *latchkeytest.Clock, _ string) error {
			_, err := m.Revoke(ctx, latchkey.Revocation{All: true, By: "admin"})
			return err
		},
		"logout": func(m *latchkey.Manager, _ *latchkeytest.Clock, token string) error { return id(m, token).End(ctx) },
		"idle": func(_ *latchkey.Manager, clock *latchkeytest.Clock, _ string) error {
			clock.Advance(time.Hour)
			return nil
		},
		"absolute": func(_ *latchkey.Manager, clock *latchkeytest.Clock, _ string) error {
			clock.Advance(24 * time.Hour)
			return nil
		},
		"roles": func(m *latchkey.Manager, _ *latchkeytest.Clock, token string) error {
			_, err := id(m, token).Renew(ctx, latchkey.Renewal{Roles: []string{"less"}})
			return err
		},
		"erased": func(m *latchkey.Manager, _ *latchkeytest.Clock, _ string) error {
			_, err := m.Purge(ctx, latchkey.Purge{Erase: latchkey.Identity{Provider: "local", Subject: "ann"}})
			return err
		},
	} {
		for kind, change := range map[string]func(*latchkey.Config){"plain": nil, "cached": withCache(t), "stateless": stateless(t)} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				m, _, clock := setup(t, change)
				token, other := issue(t, m, "ann"), issue(t, m, "bob")
				first, second := watch(t, m, token), watch(t, m, token)
				bystander := watch(t, m, other)
				goesOn(t, first)
				if err := end(m, clock, token); err != nil {
					t.Fatal(err)
				}
				for _, stream := range []context.Context{first, second} {
					if code := ended(t, stream); code != latchkey.CodeInvalidSession {
						t.Errorf("ended with %q: %v", code, context.Cause(stream))
					}
				}
				switch name {
				case "everything", "idle", "absolute":
					ended(t, bystander)
				default:
					goesOn(t, bystander)
				}
			})
		}
	}
}

// Requests keep a session alive, and with it its streams; changes of data do nothing to them.
func TestWatchGoesOn(t *testing.T) {
	m, _, clock := setup(t, withCache(t))
	token := issue(t, m, "ann")
	ctx := watch(t, m, token)
	for range 3 {
		clock.Advance(40 * time.Minute)
		s, err := m.Lookup(t.Context(), latchkey.Lookup{Token: token})
		if err != nil {
			t.Fatal(err)
		}
		saveMotto(t, s, "still here")
		if _, err := s.Renew(t.Context(), latchkey.Renewal{}); err != nil {
			t.Fatal(err)
		}
		token = s.Token()
		goesOn(t, ctx)
	}
}

// A revocation that the feed does not bring is found within the bound; an outage
// is none until the grace is over.
func TestWatchUnderFaults(t *testing.T) {
	var faulty *storetest.Faulty
	m, store, clock := setup(t, func(c *latchkey.Config) {
		faulty = storetest.NewFaulty(c.Store)
		c.Store = faulty
	})
	cut, away := watch(t, m, issue(t, m, "ann")), watch(t, m, issue(t, m, "bob"))
	goesOn(t, cut)
	faulty.CutFeed(true)
	if _, err := store.Revoke(t.Context(), latchkey.Revocation{Provider: "local", Subject: "ann", By: "elsewhere"}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(600 * time.Millisecond) // the lease is over
	ended(t, cut)

	faulty.Fail(storetest.NotPersisted)
	clock.Advance(latchkey.StreamGrace / 2)
	goesOn(t, away)
	faulty.Fail(nil)
	clock.Advance(time.Second)
	goesOn(t, away)
	faulty.Fail(storetest.NotPersisted)
	clock.Advance(time.Second)
	goesOn(t, away)
	clock.Advance(latchkey.StreamGrace - 3*time.Second)
	goesOn(t, away)
	clock.Advance(4 * time.Second)
	if code := ended(t, away); code != latchkey.CodeStoreUnavailable {
		t.Errorf("ended with %q", code)
	}
}

// Nothing is left running when the last stream is over, nor after Close.
func TestWatchLeavesNothing(t *testing.T) {
	m, _, _ := setup(t, nil)
	token := issue(t, m, "ann")
	quiet := goleak.IgnoreCurrent()
	ctx, cancel, err := lookup(t, m, token).Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Error(ctx.Err())
	}
	goleak.VerifyNone(t, quiet)
	again := watch(t, m, token)
	goesOn(t, again)
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code := ended(t, again); code != latchkey.CodeStoreUnavailable {
		t.Errorf("closed: %q", code)
	}
	if _, _, err := (latchkey.Session{}).Watch(t.Context()); !errors.Is(err, latchkey.ErrNoSession) {
		t.Error(err)
	}
}

func ExampleSession_Watch() {
	m, _ := program(nil)
	defer m.Close(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(_ http.ResponseWriter, r *http.Request) {
		_ = session(r).SignIn(r.Context(), latchkey.SignIn{Subject: "alice"})
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel, err := session(r).Watch(r.Context())
		if err != nil {
			latchkey.WriteProblem(w, r, err)
			return
		}
		defer cancel()
		fmt.Fprint(w, "data: hello;")
		// Somebody ends the session while the stream is open.
		_, _ = m.Revoke(r.Context(), latchkey.Revocation{Provider: "local", Subject: "alice", By: "admin"})
		<-ctx.Done()
		fmt.Fprint(w, " closed: ", latchkey.CodeOf(context.Cause(ctx)))
	})
	site := m.Middleware(mux)

	var b browser
	b.get(site, "/login")
	fmt.Println(b.get(site, "/events"))
	// Output:
	// 200 data: hello; closed: invalid_session
}

// slow is a store whose reads take their time.
type slow struct {
	*memory.Store
	pause atomic.Int64
}

func (s *slow) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	time.Sleep(time.Duration(s.pause.Load()))
	return s.Store.Get(ctx, id)
}

// While everything is read again, slowly, what the feed names goes first.
func TestWatchNamedFirst(t *testing.T) {
	var store *slow
	var feed *storetest.Faulty
	m, _, _ := setup(t, func(c *latchkey.Config) {
		store = &slow{Store: c.Store.(*memory.Store)}
		feed = storetest.NewFaulty(store)
		c.Store = feed
	})
	var victim context.Context
	for i := range 600 {
		ctx := watch(t, m, issue(t, m, fmt.Sprintf("user-%d", i)))
		if i == 599 {
			victim = ctx
		}
	}
	goesOn(t, victim)
	store.pause.Store(int64(400 * time.Millisecond))
	// The feed breaks and is opened again, so that every session is doubtful: seven
	// seconds of reading.
	feed.CutFeed(true)
	feed.CutFeed(false)
	time.Sleep(1300 * time.Millisecond)
	if _, err := m.Revoke(t.Context(), latchkey.Revocation{Provider: "local", Subject: "user-599", By: "admin"}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	ended(t, victim)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("ended after %v", took)
	}
}

// One stream's end and the next one's beginning lose nothing in between.
func TestWatchTurnover(t *testing.T) {
	m, _, _ := setup(t, nil)
	for range 200 {
		one, two := issue(t, m, "ann"), issue(t, m, "bob")
		_, cancel, err := lookup(t, m, one).Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s := lookup(t, m, two)
		if _, err := m.Revoke(t.Context(), latchkey.Revocation{ID: s.ID(), By: "admin"}); err != nil {
			t.Fatal(err)
		}
		cancel()
		ctx, stop, err := s.Watch(t.Context()) // found before it was ended
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("an ended session's stream goes on")
		}
		stop()
	}
}
