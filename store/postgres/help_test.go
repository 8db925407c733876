package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/internal/servers"
)

// pg is the server that tests share which leave it running.
var pg *servers.Server

func TestMain(m *testing.M) {
	os.Exit(servers.Main(m, func(t servers.TB) { pg = servers.StartPostgres(t) }))
}

var schemas atomic.Int64

// newSchema is a schema of the shared server that nobody uses, and the URL of a
// store in it. It is dropped when the test ends.
func newSchema(t testing.TB) (name, url string) {
	t.Helper()
	name = fmt.Sprintf("s%d", schemas.Add(1))
	t.Cleanup(func() { tamper(t, pg.URL, `SET client_min_messages=error; DROP SCHEMA IF EXISTS `+name+` CASCADE`) })
	return name, pg.URL + "?schema=" + name
}

// newURL is the URL of a store in a schema of its own.
func newURL(t testing.TB) string {
	t.Helper()
	_, url := newSchema(t)
	return url
}

// mustOpen opens a store that is closed when the test ends.
func mustOpen(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// tamper runs statements past the store.
func tamper(t testing.TB, url, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.PgConn().Exec(ctx, text).ReadAll(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// query reads one number past the store.
func query(t testing.TB, url, text string) (n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, text).Scan(&n); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return n
}

// storeNow is the store's time.
func storeNow(s *Store) time.Time { return timeOf(s.StoreTime(s.clock.Now())) }

// signIn is a Create for a subject at the store's time.
func signIn(s *Store, subject string) latchkey.Create {
	now := storeNow(s)
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
	if _, err := s.Create(context.Background(), c); err != nil {
		t.Fatalf("Create: %v", chain(err))
	}
	return c.Record.ID
}

// revocation ends one session.
func revocation(id latchkey.ID) latchkey.Revocation {
	return latchkey.Revocation{ID: id, By: "admin:ada", Reason: "test",
		Event: audit.Event{Action: audit.Revoke, Actor: "admin:ada", Session: id.String(), Outcome: audit.Done}}
}

func revoke(t testing.TB, s *Store, id latchkey.ID) {
	t.Helper()
	if _, err := s.Revoke(context.Background(), revocation(id)); err != nil {
		t.Fatalf("Revoke: %v", chain(err))
	}
}

func get(t testing.TB, s *Store, id latchkey.ID) *latchkey.Record {
	t.Helper()
	rec, err := s.Get(context.Background(), id)
	if err != nil {
		t.Fatalf("Get: %v", chain(err))
	}
	return rec
}

// chain is an error with all its causes, in one line.
func chain(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	for err = errors.Unwrap(err); err != nil; err = errors.Unwrap(err) {
		if !strings.Contains(text, err.Error()) {
			text += ": " + err.Error()
		}
	}
	return text
}

// wantUnavailable checks an error's code and that it or its cause says what to do.
func wantUnavailable(t testing.TB, err error, say string) {
	t.Helper()
	if latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Fatalf("error is %q (%v), want %q", latchkey.CodeOf(err), err, latchkey.CodeStoreUnavailable)
	}
	if told := chain(err); !strings.Contains(told, say) {
		t.Errorf("error is %q, want it to say %q", told, say)
	}
}

// eventually waits for something that another goroutine or program does.
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
