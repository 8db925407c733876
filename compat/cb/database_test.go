package cb_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/cb"
	"github.com/latchkey-go/latchkey/compat/engine"
	"github.com/latchkey-go/latchkey/compat/internal/databasetest"
)

var databases = databasetest.Databases{WithMariaDB: true}

func TestMain(m *testing.M) { os.Exit(databases.Main(m)) }

type (
	database = databasetest.Database
	object   = map[string]any
)

func same(a, b time.Time) bool                  { return a.Equal(b) && a.Location() == b.Location() }
func isInvalid(err error) bool                  { return err == cb.ErrInvalid }
func text(format string, a ...any) engine.Value { return engine.TextValue(fmt.Sprintf(format, a...)) }

func newService(t testing.TB, db *engine.DB, now func() time.Time, change func(*cb.ServiceConfig)) *cb.Service {
	t.Helper()
	codec, err := cb.New(cb.Config{Secrets: []string{secret}, Days: 30, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	config := cb.ServiceConfig{Codec: codec, DB: db}
	if change != nil {
		change(&config)
	}
	s, err := cb.NewService(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// made is a service whose table is made.
func made(t testing.TB, db *engine.DB, now func() time.Time) *cb.Service {
	t.Helper()
	s := newService(t, db, now, nil)
	for range 2 {
		if err := s.CreateTable(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}
