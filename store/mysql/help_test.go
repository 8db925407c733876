package mysql

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// now is the store's time.
func (s *Store) now() time.Time { return timeOf(s.clock.at(s.clock.Now())) }

// signIn is a Create for a subject at the store's time.
func signIn(s *Store, subject string) latchkey.Create {
	now := s.now()
	var id latchkey.ID
	_, _ = rand.Read(id[:]) // never fails
	binary.BigEndian.PutUint64(id[:8], uint64(now.UnixMilli())<<16|uint64(id[6])<<8|uint64(id[7]))
	id[6], id[8] = 0x70|id[6]&0x0f, 0x80|id[8]&0x3f
	rec := latchkey.Record{ID: id, Provider: "idp", Subject: subject, CreatedAt: now, LastSeenAt: now, RotatedAt: now, AuthTime: now,
		Idle: time.Hour, Lifetime: 24 * time.Hour, ExpiresAt: now.Add(24 * time.Hour), UserAgent: "Firefox on Linux"}
	_, _ = rand.Read(rec.SecretHash[:])
	return latchkey.Create{Record: rec, Event: audit.Event{Time: now, Action: audit.Create, Actor: "user", Session: id.String(),
		Provider: "idp", Subject: subject, Outcome: audit.Done}}
}

// add signs a subject in.
func add(t testing.TB, s *Store, subject string) latchkey.ID {
	t.Helper()
	c := signIn(s, subject)
	if _, err := s.Create(t.Context(), c); err != nil {
		t.Fatalf("Create: %v", whole(err))
	}
	return c.Record.ID
}

// whole is an error with its cause.
func whole(err error) string {
	if cause := errors.Unwrap(err); cause != nil {
		return err.Error() + ": " + cause.Error()
	}
	return err.Error()
}

// revocation ends one session.
func revocation(id latchkey.ID) latchkey.Revocation {
	return latchkey.Revocation{ID: id, By: "admin:ada", Reason: "test",
		Event: audit.Event{Action: audit.Revoke, Actor: "admin:ada", Session: id.String(), Outcome: audit.Done}}
}

func revoke(t testing.TB, s *Store, id latchkey.ID) {
	t.Helper()
	if _, err := s.Revoke(t.Context(), revocation(id)); err != nil {
		t.Fatalf("Revoke: %v", whole(err))
	}
}

func get(t testing.TB, s *Store, id latchkey.ID) *latchkey.Record {
	t.Helper()
	rec, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("Get: %v", whole(err))
	}
	return rec
}

// wantUnavailable checks an error's code and that it or its cause says what to do.
func wantUnavailable(t testing.TB, err error, say string) {
	t.Helper()
	if latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Fatalf("error is %q (%v), want %q", latchkey.CodeOf(err), err, latchkey.CodeStoreUnavailable)
	}
	if text := whole(err); !strings.Contains(text, say) {
		t.Errorf("error is %q, want it to say %q", text, say)
	}
}

// eventually waits for something that another goroutine or process does.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
