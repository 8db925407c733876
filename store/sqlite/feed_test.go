package sqlite

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// inFiles reports whether a text is anywhere in the files of a store.
func inFiles(t *testing.T, path, text string) bool {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		// The store is open in this process: reading and closing its file would drop
		// its locks. A copy by another name of the same file would, too; cat is
		// another process.
		b, err := readElsewhere(path + suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(text)) {
			return true
		}
	}
	return false
}

// A follower behind a pruned log is told to forget everything.
func TestFollowPruned(t *testing.T) {
	path := newPath(t)
	s, other := mustOpen(t, Config{Path: path}), mustOpen(t, Config{Path: path})
	w := fixture.Follow(t, s, 20*time.Millisecond)
	for range 3 {
		fixture.Revoke(t, other, add(t, other, "ann"))
	}
	release := holdPolls(t, s)
	fixture.Revoke(t, other, add(t, other, "ann"))
	last := add(t, other, "ann")
	fixture.Revoke(t, other, last)
	if err := raw(t, path).script("DELETE FROM change WHERE seq<(SELECT max(seq) FROM change);"); err != nil {
		t.Fatal(err)
	}
	release()
	fixture.Eventually(t, "a reset", func() bool { return w.Resets() == 2 })
	// And it goes on from there.
	id := add(t, other, "bob")
	fixture.Revoke(t, other, id)
	fixture.Eventually(t, "the next revocation", func() bool { return w.Saw(id) })
}

// So is one that finds a gap in the log.
func TestFollowGap(t *testing.T) {
	path := newPath(t)
	s, other := mustOpen(t, Config{Path: path}), mustOpen(t, Config{Path: path})
	w := fixture.Follow(t, s, 20*time.Millisecond)
	release := holdPolls(t, s)
	for range 3 {
		fixture.Revoke(t, other, add(t, other, "ann"))
	}
	if err := raw(t, path).script("DELETE FROM change WHERE seq=(SELECT max(seq)-1 FROM change);"); err != nil {
		t.Fatal(err)
	}
	release()
	fixture.Eventually(t, "a reset", func() bool { return w.Resets() == 2 })
}

// A file whose content was put back in place is noticed by its log.
func TestFollowRestored(t *testing.T) {
	for name, script := range map[string]string{
		"lower": "DELETE FROM change WHERE seq>1;",
		"other": "UPDATE change SET origin=origin+1 WHERE seq=(SELECT max(seq) FROM change);",
	} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, Config{Path: newPath(t)})
			fixture.Revoke(t, s, add(t, s, "ann"))
			w := fixture.Follow(t, s, 20*time.Millisecond)
			if err := raw(t, s.path).script(script); err != nil {
				t.Fatal(err)
			}
			fixture.Eventually(t, "a reset", func() bool { return w.Resets() == 2 })
		})
	}
}

// holdPolls keeps the feed from reading, as a disk that hangs does.
func holdPolls(t *testing.T, s *Store) (release func()) {
	t.Helper()
	c, err := s.polls.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func() { s.polls.give(c) }
}

// No proof is sent while the log cannot be read, and own changes come all the same.
func TestNoProofWithoutPoll(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t)})
	w := fixture.Follow(t, s, 10*time.Millisecond)
	id := add(t, s, "ann")
	c := raw(t, s.path)
	if err := c.script("ALTER TABLE change RENAME TO elsewhere;"); err != nil {
		t.Fatal(err)
	}
	broken := s.clock.Now()
	for range 20 { // each poll fails
		if _, err := s.poll(t.Context(), 0, &cursor{logPlace: logPlace{seq: 1}}); err == nil {
			t.Fatal("a poll without a log succeeded")
		}
	}
	if w.Proof().Mono > broken.Mono {
		t.Error("a proof was sent although the log could not be read")
	}
	if err := c.script("ALTER TABLE elsewhere RENAME TO change;"); err != nil {
		t.Fatal(err)
	}
	w.ProvenSince(t, broken)
	fixture.Revoke(t, s, id)
	if !w.Saw(id) {
		t.Error("an own revocation was not delivered before it was acknowledged")
	}
}

// Own changes are not delivered again by the poll, and none is left out when the
// poll finds one that the writer has yet to publish.
func TestOwnChangesOnce(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t)})
	var at cursor
	if b, err := s.poll(t.Context(), 0, &at); err != nil || !b.Reset {
		t.Fatalf("first poll: %+v, %v", b, err)
	}
	id := add(t, s, "ann")
	fixture.Revoke(t, s, id)
	unpublished := at
	b, err := s.poll(t.Context(), 0, &unpublished)
	if err != nil || len(b.IDs) != 1 || b.IDs[0] != id {
		t.Errorf("a change that is not published yet: %+v, %v", b, err)
	}
	b, err = s.poll(t.Context(), unpublished.seq, &at)
	if err != nil || len(b.IDs) != 0 || b.Reset {
		t.Errorf("a change that is published: %+v, %v", b, err)
	}
}

// Revocation of everything by another process is seen by reads at once, and by
// followers with their next proof.
func TestRaisedElsewhere(t *testing.T) {
	path := newPath(t)
	s, other := mustOpen(t, Config{Path: path}), mustOpen(t, Config{Path: path})
	id := add(t, s, "ann")
	w := fixture.Follow(t, s, 20*time.Millisecond)
	if _, err := other.Revoke(t.Context(), latchkey.Revocation{All: true, By: "admin:ada", Reason: "breach",
		Event: audit.Event{Action: audit.RevokeAll}}); err != nil {
		t.Fatal(err)
	}
	if rec := fixture.Get(t, s, id); rec.RevokedBy != "admin:ada" || rec.RevokedReason != "breach" {
		t.Errorf("not revoked: %+v", rec)
	}
	before := s.clock.Now()
	w.ProvenSince(t, before)
	if w.Raises() == 0 {
		t.Error("followers were not told")
	}
	if rec := fixture.Get(t, s, add(t, s, "bob")); !rec.RevokedAt.IsZero() {
		t.Error("a session of the new generation is ended")
	}
}

// The log and the marks do not grow for ever.
func TestPruned(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t)})
	for range 10 {
		fixture.Revoke(t, s, add(t, s, "ann"))
	}
	prune := func() {
		t.Helper()
		if _, err := do(t.Context(), s, func(t *tx) (int, error) { return 0, t.pruneAll() }); err != nil {
			t.Fatal(err)
		}
	}
	count := func() int64 {
		t.Helper()
		n, _, err := raw(t, s.path).query("SELECT count(*) FROM change").number()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	prune()
	if n := count(); n < 11 {
		t.Errorf("%d entries are left of those that followers may not have read yet, want 11", n)
	}
	prune()
	if n := count(); n != 1 {
		t.Errorf("%d entries are left, want the newest", n)
	}
	fixture.Revoke(t, s, add(t, s, "ann"))
	if n := count(); n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
}

func readElsewhere(path string) ([]byte, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return catFile(path)
}
