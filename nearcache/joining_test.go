package nearcache_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/store/memory"
)

// across holds a read back that has seen the row, makes a change, and asks for the
// token that change returns, twice. It returns the two answers.
//
// The clock stands still meanwhile, so that the times of departure and arrival
// do not tell that the read departed before the change. Of two callers who come
// after it one sends the next trip and the other joins that; were they to share
// the trip under way, both would join. Either way one has joined before the read
// is let go.
func across(t *testing.T, f *fixture, token string, change func() string) [2]error {
	t.Helper()
	hold, begun := make(chan struct{}), make(chan struct{}, 1)
	f.set(func(g *gated) { g.hold, g.begun = hold, begun })
	var wg sync.WaitGroup
	wg.Go(func() { // it began before the change: either answer is right
		_, _ = f.m.Lookup(context.Background(), latchkey.Lookup{Token: token, AskStore: true})
	})
	<-begun
	f.set(func(g *gated) { g.hold = nil })
	after := change()
	joined := f.cache.Stats().Joined
	var answers [2]error
	for i := range answers {
		wg.Go(func() { answers[i] = f.lookup(after) })
	}
	for f.cache.Stats().Joined == joined {
		time.Sleep(time.Millisecond)
	}
	close(hold)
	wg.Wait()
	return answers
}

// On its own node a change counts at once: who comes after it shares no read that
// departed before it, however little time has passed.
func TestNoJoiningAcrossChange(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, f *fixture, s latchkey.Session){
		"revoke": func(t *testing.T, f *fixture, s latchkey.Session) {
			if n, err := f.m.Revoke(t.Context(), latchkey.Revocation{ID: s.ID(), By: "admin:x"}); n != 1 || err != nil {
				t.Error(n, err)
			}
		},
		"revoke-all": func(t *testing.T, f *fixture, _ latchkey.Session) {
			if _, err := f.m.Revoke(t.Context(), latchkey.Revocation{All: true, By: "admin:x"}); err != nil {
				t.Error(err)
			}
		},
		"renew": func(t *testing.T, _ *fixture, s latchkey.Session) {
			if _, err := s.Renew(t.Context(), latchkey.Renewal{Roles: []string{"admin"}}); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, nil)
			token, _ := f.signIn(t)
			s, err := f.m.Lookup(t.Context(), latchkey.Lookup{Token: token, AskStore: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range across(t, f, token, func() string { change(t, f, s); return token }) {
				if latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
					t.Errorf("granted by a read that departed before the change: %v", err)
				}
			}
		})
	}
}

// A renewed token that was judged by a row from before its renewal would look like
// a thief's, and end the session.
func TestRenewedTokenAtTheSameInstant(t *testing.T) {
	f := setup(t, nil)
	token, _ := f.signIn(t)
	s, err := f.m.Lookup(t.Context(), latchkey.Lookup{Token: token, AskStore: true})
	if err != nil {
		t.Fatal(err)
	}
	answers := across(t, f, token, func() string {
		issued, err := s.Renew(t.Context(), latchkey.Renewal{})
		if err != nil {
			t.Error(err)
		}
		return issued.Token
	})
	for _, err := range answers {
		if err != nil {
			t.Errorf("the renewed token: %v", err)
		}
	}
	if n := f.m.Stats().Thefts; n != 0 {
		t.Errorf("%d thefts", n)
	}
}

// panicking is a store with a defect: its next read panics, when told to.
type panicking struct {
	*memory.Store
	next  atomic.Bool
	begun chan struct{}
	hold  chan struct{}
}

func (p *panicking) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	if p.next.CompareAndSwap(true, false) {
		close(p.begun)
		<-p.hold
		panic("store")
	}
	return p.Store.Get(ctx, id)
}

// A trip that panics is its sender's panic and an outage for those who joined it;
// the session can be read afterwards.
func TestPanickingStoreLeavesNobodyWaiting(t *testing.T) {
	inner, err := memory.New(memory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = inner.Close() }()
	store := &panicking{Store: inner, begun: make(chan struct{}), hold: make(chan struct{})}
	// Not started: without a lease every lookup is a trip.
	cache, err := nearcache.New(nearcache.Config{Store: store, Staleness: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Generate(time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	m, err := latchkey.New(latchkey.Config{Store: store, Keys: ring, Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close(context.Background()) }()
	issued, err := m.Issue(t.Context(), latchkey.SignIn{Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	look := func(l latchkey.Lookup) error {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		l.Token = issued.Token
		_, err := m.Lookup(ctx, l)
		if ctx.Err() != nil {
			t.Error("still waiting for a trip that panicked")
		}
		return err
	}
	store.next.Store(true)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			if recover() == nil {
				t.Error("the store's panic was swallowed")
			}
		}()
		_ = look(latchkey.Lookup{})
	})
	<-store.begun
	wg.Go(func() {
		if err := look(latchkey.Lookup{}); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
			t.Errorf("who joined the trip: %v", err)
		}
	})
	for cache.Stats().Joined == 0 {
		time.Sleep(time.Millisecond)
	}
	close(store.hold)
	wg.Wait()
	for _, l := range []latchkey.Lookup{{}, {AskStore: true}} {
		if err := look(l); err != nil {
			t.Errorf("after the panic: %v", err)
		}
	}
}
