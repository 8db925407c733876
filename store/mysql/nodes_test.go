package mysql

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

func two(t *testing.T) (a, b *Store) {
	t.Helper()
	url := newURL(t, shared)
	return mustOpen(t, Config{URL: url}), mustOpen(t, Config{URL: url})
}

// What one node changes the other sees at once, and its followers soon.
func TestTwoNodes(t *testing.T) {
	before := time.Now().Add(-time.Minute)
	a, b := two(t)
	w := fixture.Follow(t, b, 20*time.Millisecond)
	id, other := add(t, a, "ann"), add(t, b, "ann")
	// By the clock: above all of a store that was there before, under the same name.
	if first := fixture.Get(t, b, id).Generation; first < uint64(before.UnixMicro()) || first != fixture.Get(t, a, other).Generation {
		t.Errorf("the first generation is %d", first)
	}
	fixture.Revoke(t, a, id)
	if fixture.Get(t, b, id).RevokedBy != "admin:ada" {
		t.Error("the other node does not see the revocation")
	}
	fixture.Eventually(t, "the revocation", func() bool { return w.Saw(id) })
	if _, err := a.Revoke(t.Context(), latchkey.Revocation{All: true, By: "admin:ada", Event: audit.Event{Action: audit.RevokeAll}}); err != nil {
		t.Fatal(fixture.Chain(err))
	}
	if rec := fixture.Get(t, b, other); rec.StateAt(b.now()) != latchkey.Revoked || rec.RevokedBy != "admin:ada" {
		t.Errorf("after everything was ended the session is %+v", rec)
	}
	fixture.Eventually(t, "the end of everything", func() bool {
		return slices.ContainsFunc(w.All(), func(b latchkey.Batch) bool { return b.All })
	})
	if n := w.Resets(); n != 1 {
		t.Errorf("%d resets, want the first only", n)
	}
	if d := time.Duration(a.StoreTime(latchkey.SystemClock().Now())-b.StoreTime(latchkey.SystemClock().Now())) * time.Microsecond; d.Abs() > time.Second {
		t.Errorf("the nodes' times differ by %v", d)
	}
}

// A proof is never ahead of what another node has committed.
func TestProofHoldsAcrossNodes(t *testing.T) {
	a, b := two(t)
	w := fixture.Follow(t, b, 4*time.Millisecond)
	clock := latchkey.SystemClock()
	acknowledged := make(map[latchkey.ID]latchkey.Moment)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for range 15 {
				c := signIn(a, fmt.Sprint("subject-", n))
				if _, err := a.Create(t.Context(), c); err != nil {
					t.Error(fixture.Chain(err))
					return
				}
				if _, err := a.Revoke(t.Context(), fixture.Revocation(c.Record.ID)); err != nil {
					t.Error(fixture.Chain(err))
					return
				}
				mu.Lock()
				acknowledged[c.Record.ID] = clock.Now()
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	w.Proven(t)
	delivered := make(map[latchkey.ID]bool)
	for _, batch := range w.All() {
		for _, id := range batch.IDs {
			delivered[id] = true
		}
		for id, at := range acknowledged {
			if at.Mono < batch.Sent.Mono && !delivered[id] {
				t.Fatal("a proof was sent after a revocation that it does not hold")
			}
		}
	}
	if len(delivered) != len(acknowledged) || w.Resets() != 1 {
		t.Errorf("%d of %d delivered, %d resets", len(delivered), len(acknowledged), w.Resets())
	}
}

// A follower that the log was pruned behind forgets everything; one that was told
// of all loses nothing by it.
func TestPrunedLog(t *testing.T) {
	a, b := two(t)
	w := fixture.Follow(t, b, 20*time.Millisecond)
	for range 5 {
		fixture.Revoke(t, a, add(t, a, "ann"))
	}
	w.Proven(t)
	a.prune(t.Context()) // notes where the log ends
	a.prune(t.Context())
	var n, newest int
	if err := a.scans.QueryRow("SELECT count(*), max(seq) FROM latchkey_change").Scan(&n, &newest); err != nil || n != 1 || newest != 6 {
		t.Errorf("%d entries are left, the newest is %d, %v; want the sixth alone", n, newest, err)
	}
	w.Proven(t)
	if w.Resets() != 1 {
		t.Error("a follower that is told of all was told to forget everything")
	}
	behind := logPlace{seq: 2, origin: a.origin}
	batch, err := b.poll(t.Context(), &behind)
	if err != nil || !batch.Reset || behind.seq != 6 {
		t.Errorf("a follower behind the log: %+v, %v", batch, err)
	}
	// A database that was put back, and has come to the same number again.
	other := logPlace{seq: 6, origin: 4711}
	if batch, err := b.poll(t.Context(), &other); err != nil || !batch.Reset {
		t.Errorf("another entry of the same number: %+v, %v", batch, err)
	}
	missing := logPlace{seq: 99}
	if batch, err := b.poll(t.Context(), &missing); err != nil || !batch.Reset {
		t.Errorf("a place beyond the log: %+v, %v", batch, err)
	}
}

// The log and what counts for a time only are pruned in bounded batches.
func TestPruneBounded(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t, shared)})
	if _, err := s.scans.Exec(`INSERT INTO latchkey_change (seq, origin, at, every, ids) SELECT 1+d.n, 0, 0, 0, '' FROM
		(SELECT a.n*1024+b.n+1 AS n FROM latchkey_lock a, latchkey_lock b WHERE a.n<3) d`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.scans.Exec("UPDATE latchkey_counter SET change_seq=3073"); err != nil {
		t.Fatal(err)
	}
	n, err := change(t.Context(), s, func(tx *tx) (int64, error) { return tx.pruneLog(1 << 40) })
	if err != nil || n != forgetAtOnce {
		t.Errorf("one batch removed %d, %v", n, err)
	}
	s.prune(t.Context())
	s.prune(t.Context())
	var left int
	if err := s.scans.QueryRow("SELECT count(*) FROM latchkey_change").Scan(&left); err != nil || left != 1 {
		t.Errorf("%d entries are left, %v", left, err)
	}
	fixture.Revoke(t, s, add(t, s, "ann")) // the next entry follows
}

// A store whose generation is missing has no answer, and not a wrong one.
func TestGenerationMissing(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t, shared)})
	id := add(t, s, "ann")
	rec := fixture.Get(t, s, id)
	if _, err := s.scans.Exec("DELETE FROM latchkey_counter"); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"get":     func() error { _, err := s.Get(t.Context(), id); return err },
		"unknown": func() error { _, err := s.Get(t.Context(), latchkey.ID{1}); return err },
		"create":  func() error { _, err := s.Create(t.Context(), signIn(s, "bob")); return err },
		"patch":   func() error { return s.Patch(t.Context(), latchkey.Patch{Record: *rec}) },
		"touch":   func() error { return s.Touch(t.Context(), []latchkey.Touch{{ID: id, At: s.now()}}) },
		"revoke":  func() error { _, err := s.Revoke(t.Context(), fixture.Revocation(id)); return err },
		"changed": func() error { _, err := s.Changed(t.Context(), latchkey.ID{}, 0); return err },
		// The row goes between the two trips of a change.
		"finish": func() error {
			_, err := change(t.Context(), s, func(tx *tx) (struct{}, error) {
				tx.generation, tx.now = 1, 1
				tx.out.add("UPDATE latchkey_session SET version=99")
				tx.record(&audit.Event{Action: audit.Purge})
				_, err := tx.c.ExecContext(tx.ctx, "START TRANSACTION")
				return struct{}{}, err
			})
			return err
		},
	} {
		if err := call(); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
			t.Errorf("%s: %v, want unavailable", name, err)
		}
	}
	page, err := s.List(t.Context(), latchkey.ListQuery{State: latchkey.AnyState})
	if err != nil || len(page.Records) != 0 {
		t.Errorf("listed %d, %v; nothing can be said of them", len(page.Records), err)
	}
	if _, err := s.scans.Exec("INSERT INTO latchkey_counter VALUES (1, 1, 1, 1)"); err != nil {
		t.Fatal(err)
	}
	if v := fixture.Get(t, s, id).Version; v != 1 {
		t.Errorf("version %d: a change without a position was committed", v)
	}
}

// Without its locks the store refuses to sign in, rather than to race.
func TestLocksMissing(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t, shared)})
	if _, err := s.scans.Exec("DELETE FROM latchkey_lock"); err != nil {
		t.Fatal(err)
	}
	c := signIn(s, "ann")
	c.Limit = 1
	_, err := s.Create(t.Context(), c)
	fixture.Unavailable(t, err, "damaged")
}

// The store's time follows the server's answers, as little as they demand.
func TestClock(t *testing.T) {
	hand := latchkeytest.NewClock(time.Time{})
	k := newClock(hand, false)
	at := func(server time.Duration, trip time.Duration) {
		sent := hand.Now()
		hand.Advance(trip)
		k.sample(sent, hand.Now(), hand.Time().Add(server).UnixMicro())
	}
	now := func() time.Duration {
		return (time.Duration(k.at(hand.Now())-hand.Time().UnixMicro()) * time.Microsecond).Round(time.Millisecond)
	}
	at(time.Hour, 0)
	if got := now(); got != time.Hour {
		t.Errorf("ahead by %v, want an hour", got)
	}
	at(time.Hour, 2*time.Second) // a slow trip that tells nothing new
	if got := now(); got != time.Hour {
		t.Errorf("after a slow trip ahead by %v, want an hour", got)
	}
	at(-time.Minute, time.Second)
	if got := now(); got < -time.Minute-time.Second || got > -time.Minute+time.Second {
		t.Errorf("after the server was put right ahead by %v, want minus a minute", got)
	}
	s := mustOpen(t, Config{URL: newURL(t, shared), Clock: latchkeytest.NewClock(time.Unix(1, 0))})
	if d := time.Since(s.now()).Abs(); d > 10*time.Second {
		t.Errorf("the store's time is %v off the server's", d)
	}
}
