package postgres

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
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
func signIn(s *Store, subject string) latchkey.Create { return fixture.SignIn(storeNow(s), subject) }

// add signs a subject in.
func add(t testing.TB, s *Store, subject string) latchkey.ID {
	t.Helper()
	return fixture.Add(t, s, signIn(s, subject))
}
