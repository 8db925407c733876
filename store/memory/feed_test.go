package memory_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/memory"
)

func open(t *testing.T, cfg memory.Config) *memory.Store {
	t.Helper()
	s, err := memory.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// add creates a session that lives for an hour from now.
func add(t *testing.T, s *memory.Store, clock *latchkeytest.Clock, n byte) latchkey.ID {
	t.Helper()
	id := latchkey.ID{6: 0x70, 8: 0x80, 15: n}
	now := clock.Time()
	_, err := s.Create(t.Context(), latchkey.Create{Record: latchkey.Record{ID: id, Provider: "p", Subject: "ann", CreatedAt: now,
		LastSeenAt: now, ExpiresAt: now.Add(time.Hour)}, Event: audit.Event{Action: audit.Create, Actor: "user", Session: id.String()}})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A follower that never comes back from deliver is cut off, and neither the
// change nor other followers are lost to it.
func TestBlockedFollowerIsCutOff(t *testing.T) {
	clock := latchkeytest.NewClock(time.Time{})
	s := open(t, memory.Config{Clock: clock})
	id := add(t, s, clock, 1)

	release, ready := make(chan struct{}), make(chan struct{}, 2)
	slow, good := make(chan error, 1), make(chan error, 1)
	go func() {
		slow <- s.Follow(t.Context(), time.Hour, func(b latchkey.Batch) {
			if b.Reset {
				ready <- struct{}{}
				return
			}
			<-release
		})
	}()
	var mu sync.Mutex
	var got []latchkey.ID
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		good <- s.Follow(ctx, time.Hour, func(b latchkey.Batch) {
			if b.Reset {
				ready <- struct{}{}
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, b.IDs...)
		})
	}()
	<-ready
	<-ready
	if _, err := s.Revoke(t.Context(), latchkey.Revocation{ID: id, By: "user"}); err != nil {
		t.Fatalf("Revoke with a blocked follower: %v", err)
	}
	mu.Lock()
	if !slices.Contains(got, id) {
		t.Error("the other follower was not told before Revoke returned")
	}
	mu.Unlock()
	close(release)
	if err := <-slow; !errors.Is(err, latchkey.ErrUnavailable) {
		t.Errorf("blocked Follow returned %v, want store_unavailable", err)
	}
	stop()
	if err := <-good; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow returned %v after cancel", err)
	}
}

// A deliver that changes the store waits for itself; it must not hang.
func TestDeliverThatChangesTheStore(t *testing.T) {
	clock := latchkeytest.NewClock(time.Time{})
	s := open(t, memory.Config{Clock: clock})
	first, second := add(t, s, clock, 1), add(t, s, clock, 2)
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.Follow(t.Context(), time.Hour, func(b latchkey.Batch) {
			switch {
			case b.Reset:
				close(ready)
			case slices.Contains(b.IDs, first):
				if _, err := s.Revoke(t.Context(), latchkey.Revocation{ID: second, By: "user"}); err != nil {
					t.Errorf("Revoke in deliver: %v", err)
				}
			}
		})
	}()
	<-ready
	if _, err := s.Revoke(t.Context(), latchkey.Revocation{ID: first, By: "user"}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, latchkey.ErrUnavailable) {
		t.Errorf("Follow returned %v", err)
	}
	if rec, err := s.Get(t.Context(), second); err != nil || rec.RevokedAt.IsZero() {
		t.Errorf("the change made in deliver is lost: %v", err)
	}
}

func TestCloseEndsFollow(t *testing.T) {
	s := open(t, memory.Config{})
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Follow(t.Context(), time.Hour, func(latchkey.Batch) { close(ready) }) }()
	<-ready
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, latchkey.ErrUnavailable) {
		t.Errorf("Follow returned %v", err)
	}
	if err := s.Follow(t.Context(), time.Hour, func(latchkey.Batch) {}); !errors.Is(err, latchkey.ErrUnavailable) {
		t.Errorf("Follow of a closed store returned %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestFollowRefusesNoInterval(t *testing.T) {
	s := open(t, memory.Config{})
	err := s.Follow(t.Context(), 0, func(latchkey.Batch) { t.Error("delivered") })
	if !errors.Is(err, latchkey.ErrInvalidRequest) {
		t.Errorf("got %v", err)
	}
}
