package latchkey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/latchkeytest"
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
	clock.Advance(latchkey.StreamGrace - 2*time.Second)
	goesOn(t, away)
	clock.Advance(3 * time.Second)
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
