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

// Requests may still come in while a program closes. For the race detector: what
// the commits answer does not matter here.
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
			for i := range rounds {
				s, err := m.Lookup(context.Background(), latchkey.Lookup{Token: token})
				if err != nil {
					t.Error(err)
					return
				}
				_ = visits.Set(s, i)
				_ = s.Commit(context.Background())
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
}
