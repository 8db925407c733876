package sqlite

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

// A change whose caller leaves before it was begun is not made.
func TestTakenBack(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t)})
	release := occupy(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	c := signIn(s, "ann")
	failed := make(chan error)
	go func() {
		_, err := s.Create(ctx, c)
		failed <- err
	}()
	fixture.Eventually(t, "the queue", func() bool { return len(s.ops) == 1 })
	cancel()
	fixture.Unavailable(t, <-failed, context.Canceled.Error())
	release()
	add(t, s, "bob") // behind it in the queue
	if _, err := s.Get(t.Context(), c.Record.ID); latchkey.CodeOf(err) != latchkey.CodeNoSuchSession {
		t.Errorf("made all the same: %v", err)
	}
}

// Close finishes what was accepted, whichever the writer meets first.
func TestCloseFinishes(t *testing.T) {
	path := newPath(t)
	for range 10 {
		closeFinishes(t, path)
	}
}

func closeFinishes(t *testing.T, path string) {
	t.Helper()
	s := mustOpen(t, Config{Path: path})
	release := occupy(t, s)
	const n = 20
	ids := make(chan latchkey.ID, n)
	for range n {
		c := signIn(s, "ann")
		go func() {
			_, err := s.Create(context.Background(), c)
			if err != nil {
				t.Errorf("Create: %v", err)
			}
			ids <- c.Record.ID
		}()
	}
	fixture.Eventually(t, "the queue", func() bool { return len(s.ops) == n })
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	<-s.closing
	release()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	_, err := s.Create(t.Context(), signIn(s, "bob"))
	fixture.Unavailable(t, err, "closed")
	again := mustOpen(t, Config{Path: path})
	for range n {
		fixture.Get(t, again, <-ids)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// A position in the trail is given once, even if a purge that removed the last
// event was broken off before it recorded itself.
func TestPositionsOnce(t *testing.T) {
	path := newPath(t)
	s := mustOpen(t, Config{Path: path})
	for range 3 {
		add(t, s, "ann")
	}
	n, err := do(t.Context(), s, func(t *tx) (int, error) { return t.removeEvents([]int64{1, 2, 3}) })
	if err != nil || n != 3 {
		t.Fatalf("removed %d, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, Config{Path: path})
	add(t, s, "ann")
	page, err := s.Audit(t.Context(), audit.Query{})
	if err != nil || len(page.Events) != 1 || page.Events[0].Seq != 4 {
		t.Errorf("events %v, %v; want one at position 4", page.Events, err)
	}
}

// A lock that another holds does not keep a program from stopping.
func TestCloseLocked(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t), Wait: time.Minute})
	hold := raw(t, s.path)
	if err := hold.script("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, err := s.Create(context.Background(), signIn(s, "ann"))
		failed <- err
	}()
	start := time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fixture.Unavailable(t, <-failed, "")
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("closing took %v", took)
	}
	if err := hold.script("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
}

// The write-ahead log is moved into the database when nobody writes.
func TestIdleCheckpoint(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t)})
	add(t, s, "ann")
	fixture.Eventually(t, "the log to be emptied", func() bool {
		info, err := os.Stat(s.path + "-wal")
		return err == nil && info.Size() == 0
	})
	add(t, s, "ann")
}

// Callers that race with Close get an answer, all of them, and a true one.
func TestCloseRace(t *testing.T) {
	path := newPath(t)
	for range 20 {
		s := mustOpen(t, Config{Path: path})
		type result struct {
			id  latchkey.ID
			err error
		}
		results := make(chan result)
		for range 8 {
			c := signIn(s, "ann")
			go func() {
				_, err := s.Create(context.Background(), c)
				results <- result{c.Record.ID, err}
			}()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		again := mustOpen(t, Config{Path: path})
		for range 8 {
			r := <-results
			_, err := again.Get(t.Context(), r.id)
			if r.err == nil && err != nil {
				t.Fatalf("an acknowledged session is lost: %v", err)
			}
			if r.err != nil {
				fixture.Unavailable(t, r.err, "closed")
			}
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Stepping the wall clock changes nothing while the store is open; opening it
// again takes the clock as it then is.
func TestClockStepped(t *testing.T) {
	path := newPath(t)
	clock := latchkeytest.NewClock(time.Time{})
	s := mustOpen(t, Config{Path: path, Clock: clock})
	id := add(t, s, "ann") // idle limit of an hour
	for _, step := range []time.Duration{48 * time.Hour, -96 * time.Hour} {
		before := s.now()
		clock.StepWall(step)
		if now := s.now(); !now.Equal(before) {
			t.Errorf("store time went from %v to %v", before, now)
		}
		if st := fixture.Get(t, s, id).StateAt(s.now()); st != latchkey.Live {
			t.Errorf("after a step of %v the session is %s", step, st)
		}
	}
	clock.Advance(time.Hour)
	if st := fixture.Get(t, s, id).StateAt(s.now()); st != latchkey.Idle {
		t.Errorf("after its idle limit the session is %s", st)
	}
	if s.Ahead() != 0 {
		t.Errorf("ahead %v", s.Ahead())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, Config{Path: path, Clock: clock})
	if got, want := again.now(), clock.Time().Truncate(time.Microsecond); !got.Equal(want) {
		t.Errorf("store time is %v, want the wall clock's %v", got, want)
	}
	// The wall clock was set back by two days since the session was made.
	if d := again.Ahead(); d < 46*time.Hour || d > 48*time.Hour {
		t.Errorf("ahead %v, want 47h", d)
	}
	// A touch never moves a session's activity back.
	seen := fixture.Get(t, again, id).LastSeenAt
	if err := again.Touch(t.Context(), []latchkey.Touch{{ID: id, At: again.now()}}); err != nil {
		t.Fatal(err)
	}
	if !fixture.Get(t, again, id).LastSeenAt.Equal(seen) {
		t.Error("a touch moved the activity back")
	}
}

// Time that the machine was suspended counts.
func TestClockSuspended(t *testing.T) {
	k := newClock(nil)
	if _, ok := suspension(); !ok {
		t.Skip("suspension is not known on this system")
	}
	m := k.Now()
	before := k.at(m)
	k.sample()
	if now := k.at(m); now != before {
		t.Errorf("time went by %d us without a suspension", now-before)
	}
	k.awake -= int64(5 * time.Hour) // as if the machine had slept since
	k.sample()
	if slept := time.Duration(k.at(m)-before) * time.Microsecond; slept < 5*time.Hour-time.Second || slept > 5*time.Hour+time.Second {
		t.Errorf("time went by %v, want 5h", slept)
	}
}

// Sign-ins that go on for long under a limit cost no more than the first ones:
// what has ended is not looked at again.
func TestLimitForgetsEnded(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t)})
	for range 50 {
		c := signIn(s, "ann")
		c.Limit = 3
		if _, err := s.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	n, _, err := raw(t, s.path).query("SELECT count(*) FROM by_subject WHERE ended=0").number()
	if err != nil || n > 4 {
		t.Errorf("%d of 50 sessions are still looked at (%v), want at most 4", n, err)
	}
	page, err := s.List(t.Context(), latchkey.ListQuery{Provider: "idp", Subject: "ann", State: latchkey.AnyState, Limit: 100})
	if err != nil || len(page.Records) != 50 {
		t.Errorf("listed %d of 50, %v", len(page.Records), err)
	}
}

// Two subjects under one key are kept apart.
func TestCollidingKeys(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t)})
	ann, bob := add(t, s, "ann"), add(t, s, "bob")
	c := raw(t, s.path)
	if err := c.query("UPDATE by_subject SET key=?1").int(pack.SubjectKey("ann")).run(); err != nil {
		t.Fatal(err)
	}
	if err := c.query("UPDATE session SET who=?1").int(pack.WhoKey("idp", "ann")).run(); err != nil {
		t.Fatal(err)
	}
	page, err := s.List(t.Context(), latchkey.ListQuery{Provider: "idp", Subject: "ann"})
	if err != nil || len(page.Records) != 1 || page.Records[0].ID != ann {
		t.Errorf("listed %d, %v", len(page.Records), err)
	}
	trail, err := s.Audit(t.Context(), audit.Query{Subject: "ann"})
	if err != nil || len(trail.Events) != 1 {
		t.Errorf("%d events, %v", len(trail.Events), err)
	}
	limited := signIn(s, "ann")
	limited.Limit, limited.Policy = 2, latchkey.RefuseNew
	if _, err := s.Create(t.Context(), limited); err != nil {
		t.Errorf("another's session was counted: %v", err)
	}
	result, err := s.Revoke(t.Context(), latchkey.Revocation{Provider: "idp", Subject: "ann", By: "admin:ada", Event: audit.Event{Action: audit.RevokeIdentity}})
	if err != nil || result.Count != 2 {
		t.Errorf("revoked %d, %v", result.Count, err)
	}
	if !fixture.Get(t, s, bob).RevokedAt.IsZero() {
		t.Error("another subject's session was revoked")
	}
	if _, err := s.Purge(t.Context(), latchkey.Purge{Erase: latchkey.Identity{Provider: "idp", Subject: "ann"}, Event: audit.Event{Action: audit.Purge}}); err != nil {
		t.Fatal(err)
	}
	fixture.Get(t, s, bob)
}

// An erased name is nowhere in the files any more.
func TestEraseLeavesNothing(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t)})
	const name = "canary-ann-7b1f"
	for i := range 50 {
		c := signIn(s, name)
		c.Record.Email = name + "@example.com"
		c.Record.SID = "sid" + strconv.Itoa(i)
		if _, err := s.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		add(t, s, "bob")
	}
	if !inFiles(t, s.path, name) {
		t.Fatal("the name is not in the files in the first place")
	}
	n, err := s.Purge(t.Context(), latchkey.Purge{Erase: latchkey.Identity{Provider: "idp", Subject: name},
		Event: audit.Event{Action: audit.Purge, Provider: "idp", Subject: name}})
	if err != nil || n != 50 {
		t.Fatalf("erased %d, %v", n, err)
	}
	if inFiles(t, s.path, name) {
		t.Error("the name is still in the files")
	}
}
