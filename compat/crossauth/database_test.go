package crossauth_test

import (
	"os"
	"testing"

	"github.com/latchkey-go/latchkey/compat/crossauth"
	"github.com/latchkey-go/latchkey/compat/engine"
	"github.com/latchkey-go/latchkey/compat/internal/databasetest"
)

var databases databasetest.Databases

func TestMain(m *testing.M) { os.Exit(databases.Main(m)) }

type (
	database = databasetest.Database
	object   = map[string]any
)

// made is the key table of a database, made.
func made(t testing.TB, db *engine.DB, change func(*crossauth.KeyTableConfig)) *crossauth.KeyTable {
	t.Helper()
	config := crossauth.KeyTableConfig{DB: db}
	if change != nil {
		change(&config)
	}
	k, err := crossauth.NewKeyTable(config)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := k.CreateTable(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// eachStorage runs a test on every kind of storage. The table has a column note of the
// program's own.
func eachStorage(t *testing.T, test func(t *testing.T, storage crossauth.KeyStorage)) {
	t.Run("memory", func(t *testing.T) { test(t, &crossauth.MemoryKeys{}) })
	databases.Each(t, func(t *testing.T, db database) {
		k := made(t, db.DB, nil)
		databasetest.Execute(t, db.DB, "ALTER TABLE Key ADD COLUMN note TEXT")
		test(t, k)
	})
}
