package sqlite

import (
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// twoClocks opens one file twice, by a clock that is right and by one that is
// ahead by more than any limit of a session.
func twoClocks(t *testing.T) (right, ahead *Store) {
	t.Helper()
	path, clock := newPath(t), latchkeytest.NewClock(time.Time{})
	right = mustOpen(t, Config{Path: path, Clock: clock})
	return right, mustOpen(t, Config{Path: path, Clock: latchkeytest.NewClock(clock.Time().Add(48 * time.Hour))})
}

func bySubject(subject string) latchkey.Revocation {
	return latchkey.Revocation{Provider: "idp", Subject: subject, By: "admin:ada", Reason: "test", Event: audit.Event{Action: audit.RevokeIdentity}}
}

// A session that is revoked by a process whose clock is ahead, and to which it
// looks expired, is revoked for those whose clock is right.
func TestRevokeClockAhead(t *testing.T) {
	right, ahead := twoClocks(t)
	w := fixture.Follow(t, right, 20*time.Millisecond)
	for name, r := range map[string]func(c *latchkey.Create) latchkey.Revocation{
		"id":      func(c *latchkey.Create) latchkey.Revocation { return fixture.Revocation(c.Record.ID) },
		"subject": func(c *latchkey.Create) latchkey.Revocation { return bySubject(c.Record.Subject) },
		"sid": func(c *latchkey.Create) latchkey.Revocation {
			return latchkey.Revocation{Provider: "idp", SID: c.Record.SID, By: "admin:ada", Event: audit.Event{Action: audit.RevokeSID}}
		},
	} {
		c := signIn(right, name)
		c.Record.SID = "sid-" + name
		if _, err := right.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		result, err := ahead.Revoke(t.Context(), r(&c))
		if err != nil || result.Count != 0 || len(result.IDs) != 0 {
			t.Errorf("%s: revoked %+v, %v; by that clock nothing was live", name, result, err)
		}
		if rec := fixture.Get(t, right, c.Record.ID); rec.StateAt(right.now()) != latchkey.Revoked || rec.RevokedBy != "admin:ada" {
			t.Errorf("%s: the session is %s, revoked by %q", name, rec.StateAt(right.now()), rec.RevokedBy)
		}
		fixture.Eventually(t, name+": the notice", func() bool { return w.Saw(c.Record.ID) })
	}
}

// What a process whose clock is ahead does with a subject hides no live session
// from those whose clock is right: not from revocation, lists or limits.
func TestClockAheadHidesNothing(t *testing.T) {
	for name, meet := range map[string]func(ahead *Store) error{
		"sign-in": func(ahead *Store) error {
			c := signIn(ahead, "ann")
			c.Limit = 5
			_, err := ahead.Create(t.Context(), c)
			return err
		},
		"revocation": func(ahead *Store) error {
			r := bySubject("ann")
			r.Provider = "another"
			_, err := ahead.Revoke(t.Context(), r)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			right, ahead := twoClocks(t)
			id := add(t, right, "ann")
			if err := meet(ahead); err != nil {
				t.Fatal(err)
			}
			page, err := right.List(t.Context(), latchkey.ListQuery{Provider: "idp", Subject: "ann"})
			if err != nil || len(page.Records) == 0 || page.Records[len(page.Records)-1].ID != id {
				t.Errorf("listed %v, %v; want the live session among them", page.Records, err)
			}
			c := signIn(right, "ann")
			c.Limit, c.Policy = len(page.Records), latchkey.RefuseNew
			if _, err := right.Create(t.Context(), c); latchkey.CodeOf(err) != latchkey.CodeLimitReached {
				t.Errorf("one more than the limit: %v", err)
			}
			if result, err := right.Revoke(t.Context(), bySubject("ann")); err != nil || result.Count != len(page.Records) {
				t.Errorf("revoked %+v, %v; want %d", result, err, len(page.Records))
			}
			if fixture.Get(t, right, id).RevokedAt.IsZero() {
				t.Error("the session is still live")
			}
		})
	}
}

// Only what is revoked is noted as ended. What has expired is still found by a
// purge, and by the lists that ask for it.
func TestExpiredNotNoted(t *testing.T) {
	right, ahead := twoClocks(t)
	for range 3 {
		add(t, right, "ann")
	}
	c := signIn(ahead, "ann")
	c.Limit = 5
	if _, err := ahead.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	noted, _, err := raw(t, right.path).query("SELECT count(*) FROM by_subject WHERE ended=1").number()
	if err != nil || noted != 0 {
		t.Errorf("%d sessions are noted as ended, %v; none was revoked", noted, err)
	}
	q := latchkey.ListQuery{Provider: "idp", Subject: "ann", State: latchkey.OnlyEnded}
	if page, err := ahead.List(t.Context(), q); err != nil || len(page.Records) != 3 {
		t.Errorf("listed %d, %v; want the 3 that have expired", len(page.Records), err)
	}
	n, err := ahead.Purge(t.Context(), latchkey.Purge{EndedBefore: ahead.now(), Event: audit.Event{Action: audit.Purge}})
	if err != nil || n != 3 {
		t.Errorf("purged %d, %v; want the 3 that have expired", n, err)
	}
}
