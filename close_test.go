package latchkey_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// Close waits for what is being saved, or for its context.
func TestCloseWaitsForCommit(t *testing.T) {
	var store *storetest.Faulty
	m, _, _ := setup(t, func(c *latchkey.Config) {
		store = storetest.NewFaulty(c.Store)
		c.Store = store
	})
	token := issue(t, m, "ann")
	s := lookup(t, m, token)
	begun, hold := make(chan struct{}), make(chan struct{})
	store.Fail(storetest.Only(storetest.MethodPatch, func(storetest.Op) (bool, error) {
		close(begun)
		<-hold
		return true, nil
	}))
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { saveMotto(t, s, "late") })
	<-begun
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := m.Close(over); !errors.Is(err, context.Canceled) {
		t.Errorf("closed while a change is being saved: %v", err)
	}
	close(hold)
	if err := m.Close(context.Background()); err != nil {
		t.Error(err)
	}
	holds(t, lookup(t, m, token), "late", 0)
}

// Requests may still come in while a program closes. Mostly for the race detector.
func TestCloseWhileCommitting(t *testing.T) {
	m, _, _ := setup(t, nil)
	const writers, rounds = 4, 200
	tokens := make([]string, writers)
	for i := range tokens {
		tokens[i] = issue(t, m, fmt.Sprint("user", i))
	}
	var wg sync.WaitGroup
	for _, token := range tokens {
		wg.Go(func() {
			for range rounds {
				s := lookup(t, m, token)
				if err := visits.Update(s, func(n int) (int, error) { return n + 1, nil }); err != nil {
					t.Error(err)
				}
				if err := s.Commit(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range rounds {
				if err := m.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, token := range tokens {
		holds(t, lookup(t, m, token), "", rounds)
	}
}
