package engine_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/compat/engine"
	"github.com/latchkey-go/latchkey/compat/internal/databasetest"
)

var databases = databasetest.Databases{WithMariaDB: true}

func TestMain(m *testing.M) { os.Exit(databases.Main(m)) }

func eachEngine(t *testing.T, test func(t *testing.T, db *engine.DB)) {
	databases.Each(t, func(t *testing.T, db databasetest.Database) { test(t, db.DB) })
}

func TestValues(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *engine.DB) {
		ctx := t.Context()
		if _, err := db.Exec(ctx, "CREATE TABLE v (i INTEGER, r REAL, t TEXT, b BOOLEAN, n TEXT)"); err != nil {
			t.Fatal(err)
		}
		in := []engine.Value{engine.IntValue(-7), engine.RealValue(0.5), engine.TextValue("Zoë $1 \"\\"), engine.BoolValue(true), engine.NullValue()}
		if n, err := db.Exec(ctx, "INSERT INTO v VALUES (?1, ?2, ?3, ?4, ?5)", in...); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		rows := 0
		err := db.Query(ctx, "SELECT * FROM v WHERE i = ?1 AND t = ?2", []engine.Value{in[0], in[2]}, func(r *engine.Row) error {
			rows++
			for i, name := range []string{"i", "R", "T", "b", "n"} {
				got, ok := r.Get(name)
				want := in[i]
				if name == "b" && !db.IsPostgreSQL() {
					want = engine.IntValue(1)
				}
				if !ok || got != want {
					t.Errorf("%s: %v %v", name, got, ok)
				}
			}
			if _, ok := r.Get("absent"); ok || len(r.Names()) != 5 {
				t.Error(r.Names())
			}
			return nil
		})
		if rows != 1 || err != nil {
			t.Error(rows, err)
		}
		own := errors.New("own")
		if err := db.Query(ctx, "SELECT 1 AS one", nil, func(*engine.Row) error { return own }); !errors.Is(err, own) {
			t.Error(err)
		}
		returned := int64(0)
		statement := "UPDATE v SET i = i + 1 RETURNING i"
		if db.IsMariaDB() { // which has it in INSERT and DELETE
			statement = "INSERT INTO v (i) VALUES (-6) RETURNING i"
		}
		if err := db.Query(ctx, statement, nil, func(r *engine.Row) error {
			v, _ := r.Get("i")
			returned, _ = v.Int()
			return nil
		}); err != nil || returned != -6 {
			t.Error(returned, err)
		}
	})
}

// The table's owner may change it at any time.
func TestChangedTable(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *engine.DB) {
		ctx := t.Context()
		read := func() (names string) {
			t.Helper()
			if err := db.Query(ctx, "SELECT * FROM c", nil, func(r *engine.Row) error {
				for _, n := range r.Names() {
					v, _ := r.Get(n)
					text, _ := v.Text()
					names += n + "=" + text + " "
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return names
		}
		for _, c := range []struct{ statement, want string }{
			{"CREATE TABLE c (x TEXT, y TEXT, z TEXT)", ""},
			{"INSERT INTO c VALUES ('1', '2', '3')", "x=1 y=2 z=3 "},
			{"ALTER TABLE c DROP COLUMN y", "x=1 z=3 "},
			{"ALTER TABLE c ADD COLUMN y TEXT", "x=1 z=3 y= "},
			{"ALTER TABLE c RENAME COLUMN x TO w", "w=1 z=3 y= "},
		} {
			if _, err := db.Exec(ctx, c.statement); err != nil {
				t.Fatal(err)
			}
			for range 3 { // of the pool's connections
				if got := read(); got != c.want {
					t.Errorf("%s: %s", c.statement, got)
				}
			}
		}
	})
}

func TestFailures(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *engine.DB) {
		ctx := t.Context()
		none := func(*engine.Row) error { return nil }
		if err := db.Query(ctx, "SELECT * FROM absent", nil, none); err == nil || !strings.Contains(err.Error(), "absent") {
			t.Error(err)
		}
		if _, err := db.Exec(ctx, "CREATE TABLE u (x INTEGER UNIQUE)"); err != nil {
			t.Fatal(err)
		}
		for i := range 2 { // the connection is usable after a failed step
			if _, err := db.Exec(ctx, "INSERT INTO u VALUES (1)"); (err == nil) != (i == 0) {
				t.Error(err)
			}
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := db.Exec(ended, "INSERT INTO u VALUES (2)"); err == nil {
			t.Error("run in an ended context")
		}
		big := engine.TextValue(strings.Repeat("x", engine.MaxText+1))
		statement := "SELECT CAST(?1 AS text) AS big"
		if db.IsMariaDB() {
			statement = "SELECT CAST(?1 AS char) AS big"
		}
		err := db.Query(ctx, statement, []engine.Value{big}, func(r *engine.Row) error {
			if v, _ := r.Get("big"); v.Kind() != engine.Other {
				t.Error("read:", v.Kind())
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	if err := (*engine.DB)(nil).Query(t.Context(), "SELECT 1", nil, nil); err == nil {
		t.Error("no database, and no error")
	}
	if _, err := (*engine.DB)(nil).Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("no database, and no error")
	}
}

func FuzzParseRow(f *testing.F) {
	f.Add(`{"id":1,"value":"s:x","created":"2026-01-02T03:04:05.6","expires":null,"n":1.5,"b":true,"j":{"a":[]}}`)
	f.Add(`{"n":1e999,"m":123456789012345678901234567890,"s":"\ud800"}`)
	f.Fuzz(func(t *testing.T, text string) {
		row, err := engine.ParseRow(text)
		if err != nil {
			return
		}
		for _, name := range row.Names() {
			v, ok := row.Get(name)
			s, isText := v.Text()
			if !ok || isText && len(s) > engine.MaxText {
				t.Fatalf("%q", name)
			}
		}
	})
}
