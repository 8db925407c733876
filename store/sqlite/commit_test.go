package sqlite

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// revokeUnconfirmed revokes a session in a transaction that takes effect and whose
// COMMIT answers an error all the same, as after a disk that did not confirm it.
// also runs in the same group.
func revokeUnconfirmed(t *testing.T, s *Store, id latchkey.ID, also func(*tx) (int, error)) {
	t.Helper()
	release := occupy(t, s)
	failed := make(chan error)
	r := fixture.Revocation(id)
	run := func(f func(*tx) (int, error)) {
		_, err := do(context.Background(), s, f)
		failed <- err
	}
	go run(also)
	fixture.Eventually(t, "the first of the group", func() bool { return len(s.ops) == 1 })
	go run(func(t *tx) (int, error) {
		if _, err := t.revokeOne(&r); err != nil {
			return 0, err
		}
		if err := t.flush(); err != nil {
			return 0, err
		}
		return 0, t.c.query("COMMIT").run() // the writer's own finds none to commit
	})
	fixture.Eventually(t, "the group", func() bool { return len(s.ops) == 2 })
	release()
	for range 2 {
		fixture.Unavailable(t, <-failed, errCommit.Error())
	}
	if fixture.Get(t, s, id).RevokedAt.IsZero() {
		t.Fatal("the commit had no effect; the test is of no use")
	}
}

// A commit that was not confirmed may be in effect: followers are told of it, what
// it held is not run again, and the next commit does not hide its place in the log.
func TestUnconfirmedCommit(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t)})
	id, next := add(t, s, "ann"), add(t, s, "bob")
	w := fixture.Follow(t, s, 2*time.Second) // so that no poll makes up for it before it should have been told
	var ran atomic.Int32
	revokeUnconfirmed(t, s, id, func(*tx) (int, error) { ran.Add(1); return 0, nil })
	if n := ran.Load(); n != 1 {
		t.Errorf("a change that may be in effect was run %d times", n)
	}
	fixture.Eventually(t, "the notice", func() bool { return w.Saw(id) })
	fixture.Revoke(t, s, next)
	if !w.Saw(next) {
		t.Error("an own revocation was not delivered before it was acknowledged")
	}
	before := s.clock.Now()
	w.ProvenSince(t, before)
	if n := w.Resets(); n != 1 {
		t.Errorf("everything was forgotten %d times, want only at the start", n)
	}
}

// Until a commit is confirmed its place in the log is not taken for delivered: a
// poll tells of it once more.
func TestUnconfirmedPosition(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t)})
	id := add(t, s, "ann")
	ctx, stop := context.WithCancel(t.Context())
	positions, told, ended := make(chan int64), make(chan latchkey.Batch), make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.hub.Follow(ctx, time.Millisecond, func(published int64) (latchkey.Batch, error) {
			select {
			case positions <- published:
			case <-ctx.Done():
			}
			return latchkey.Batch{}, nil
		}, func(b latchkey.Batch) {
			if len(b.IDs) > 0 {
				told <- b
			}
		})
	}()
	defer func() { stop(); <-ended }()
	<-positions
	var at cursor
	if _, err := s.poll(t.Context(), 0, &at); err != nil {
		t.Fatal(err)
	}
	revokeUnconfirmed(t, s, id, func(*tx) (int, error) { return 0, nil })
	var published int64
	for polls, waiting := 0, true; waiting; polls++ {
		select {
		case b := <-told:
			if waiting = false; b.IDs[0] != id {
				t.Errorf("published %v, want the session", b.IDs)
			}
		case published = <-positions:
			if polls > 10 { // what was published before is delivered with the next
				t.Fatal("nothing was published")
			}
		}
	}
	if published = max(published, <-positions); published > at.seq {
		t.Errorf("position %d, behind %d of what is known to be committed", published, at.seq)
	}
	if b, err := s.poll(t.Context(), published, &at); err != nil || len(b.IDs) != 1 || b.IDs[0] != id {
		t.Errorf("polled %+v, %v; want the session once more", b, err)
	}
}

// A change that is rolled back for another reason is told to nobody.
func TestRolledBackUntold(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t)})
	id := add(t, s, "ann")
	w := fixture.Follow(t, s, 20*time.Millisecond)
	_, err := do(t.Context(), s, func(t *tx) (int, error) {
		r := fixture.Revocation(id)
		if _, err := t.revokeOne(&r); err != nil {
			return 0, err
		}
		return 0, errDamaged
	})
	fixture.Unavailable(t, err, errDamaged.Error())
	fixture.Revoke(t, s, add(t, s, "bob")) // delivered behind whatever came before
	if w.Saw(id) || !fixture.Get(t, s, id).RevokedAt.IsZero() {
		t.Error("what was rolled back was told, or is there")
	}
}
