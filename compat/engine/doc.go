// Package engine runs SQL on other systems' tables, in SQLite and in PostgreSQL. It
// imports no driver: a [DB] is made of the pool that the program has anyway, so that
// whoever only reads cookies links neither engine.
//
//	db := engine.SQLite(pool)     // *sqlitex.Pool of zombiezen.com/go/sqlite
//	db := engine.PostgreSQL(pool) // *pgxpool.Pool of github.com/jackc/pgx/v5
//
// Rows come as [Row]: columns by name, values of a few kinds. Tables that others made
// have columns that are missing or of another type; a Row says so, where scanning into
// variables would convert in silence. Statements number their parameters ?1, ?2 and
// so on, in both engines.
package engine
