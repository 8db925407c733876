package latchkey_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

// patience bounds what a test waits for that must happen anyway.
const patience = 20 * time.Second

// commit saves, and fails the test if that takes for ever.
func commit(t *testing.T, s latchkey.Session) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := s.Commit(ctx)
	if ctx.Err() != nil {
		t.Fatal("the commit hangs")
	}
	return err
}

// A connection that lives long holds the row as it was when it began. By that row
// the session has long been idle, but others have kept it alive.
func TestOldRowDoesNotRefuseCommit(t *testing.T) {
	m, _, clock := setup(t, func(c *latchkey.Config) { c.Idle, c.Absolute = 10*time.Minute, time.Hour })
	ctx := context.Background()
	token := issue(t, m, "ann")
	old := lookup(t, m, token)
	for range 4 {
		clock.Advance(4 * time.Minute)
		if _, err := m.Lookup(ctx, latchkey.Lookup{Token: token}); err != nil {
			t.Fatal(err)
		}
		if err := m.FlushTouches(ctx); err != nil { // nothing of it is known here any more
			t.Fatal(err)
		}
	}
	saveMotto(t, old, "x")
	holds(t, lookup(t, m, token), "x", 0)

	clock.Advance(10 * time.Minute)
	if err := motto.Set(old, "y"); err != nil {
		t.Fatal(err)
	}
	if err := commit(t, old); latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
		t.Errorf("commit in a session that has ended: %v", err)
	}
}

// A function given to Update may read the session it changes, at once and at commit.
func TestUpdateReadsOtherKey(t *testing.T) {
	m, _, _ := setup(t, nil)
	token := issue(t, m, "ann")
	s := lookup(t, m, token)
	done := make(chan error, 1)
	go func() {
		if err := motto.Set(s, "four"); err != nil {
			done <- err
			return
		}
		if err := visits.Update(s, func(n int) (int, error) {
			text, err := motto.Get(s)
			return n + len(text), err
		}); err != nil {
			done <- err
			return
		}
		done <- s.Commit(context.Background())
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the session is locked against its own function")
	}
	holds(t, lookup(t, m, token), "four", 4)
}

// A function that breaks off at commit, in the goroutine that writes for everybody,
// is its own request's failure; the session can be written to afterwards.
func TestUpdateThatBreaksOffAtCommit(t *testing.T) {
	for name, breakOff := range map[string]func(){"goexit": runtime.Goexit, "panic": func() { panic("boom") }} {
		t.Run(name, func(t *testing.T) {
			m, _, _ := setup(t, nil)
			token := issue(t, m, "ann")
			s := lookup(t, m, token)
			calls := 0
			if err := visits.Update(s, func(n int) (int, error) {
				if calls++; calls > 1 {
					breakOff()
				}
				return n + 1, nil
			}); err != nil {
				t.Fatal(err)
			}
			if err := commit(t, s); err == nil || calls != 2 {
				t.Errorf("after %d calls: %v", calls, err)
			}
			holds(t, lookup(t, m, token), "", 0)

			next := lookup(t, m, token)
			if err := visits.Set(next, 2); err != nil {
				t.Fatal(err)
			}
			if err := commit(t, next); err != nil {
				t.Error("the next commit:", err)
			}
			holds(t, lookup(t, m, token), "", 2)
			if err := m.Close(t.Context()); err != nil {
				t.Error("close:", err)
			}
		})
	}
}
