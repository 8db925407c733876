package engine_test

import (
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/compat/engine"
)

// Columns of types that only MariaDB has, as others made them.
func TestMariaDBTypes(t *testing.T) {
	db := databases.MariaDB(t)
	ctx := t.Context()
	for _, statement := range []string{
		"CREATE TABLE k (d DATETIME(6), s TIMESTAMP NULL, e ENUM('a','b'), n DECIMAL(20,4), u BIGINT UNSIGNED, f FLOAT, b BLOB, x BIT(8), c CHAR(3), y DATE, h BIGINT UNSIGNED)",
		"INSERT INTO k VALUES ('2026-01-02 03:04:05.678901', '2026-01-02 03:04:05', 'b', 12.5, 7, 0.5, x'ff', b'1', 'abc', '2026-01-02', 18446744073709551615)",
	} {
		if _, err := db.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]engine.Value{"d": engine.TextValue("2026-01-02T03:04:05.678901"), "s": engine.TextValue("2026-01-02T03:04:05"), "e": engine.TextValue("b"),
		"n": engine.RealValue(12.5), "u": engine.IntValue(7), "f": engine.RealValue(0.5), "c": engine.TextValue("abc"), "y": engine.TextValue("2026-01-02")}
	for name, args := range map[string][]engine.Value{"text": nil, "prepared": {engine.IntValue(1)}} {
		statement := "SELECT * FROM k" + strings.Repeat(" WHERE 1 = ?1", len(args))
		if err := db.Query(ctx, statement, args, func(r *engine.Row) error {
			for _, column := range r.Names() {
				got, _ := r.Get(column)
				if w, ok := want[column]; ok && got != w || !ok && got.Kind() != engine.Other {
					t.Errorf("%s: %s is %v", name, column, got)
				}
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	// Parameters come in any order, and as often as the statement wants them.
	if err := db.Query(ctx, "SELECT CONCAT(?2, ?1, ?2) AS x", []engine.Value{engine.TextValue("a"), engine.TextValue("b?1")}, func(r *engine.Row) error {
		if v, _ := r.Get("x"); v != engine.TextValue("b?1ab?1") {
			t.Error(v)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	for _, statement := range []string{"SELECT ?2", "SELECT ?", "SELECT ?0", "SELECT ?1; SELECT 1"} {
		if err := db.Query(ctx, statement, []engine.Value{engine.IntValue(1)}, func(*engine.Row) error { return nil }); err == nil {
			t.Errorf("%s: no error", statement)
		}
	}
}
