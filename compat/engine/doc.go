// Package engine runs SQL on other systems' tables, in SQLite, in PostgreSQL and,
// for those that say so, in MariaDB. It imports no driver: a [DB] is made of the pool
// that the program has anyway, so that whoever only reads cookies links none of them.
//
//	db := engine.SQLite(pool)     // *sqlitex.Pool of zombiezen.com/go/sqlite
//	db := engine.PostgreSQL(pool) // *pgxpool.Pool of github.com/jackc/pgx/v5
//	db := engine.MariaDB(pool)    // *sql.DB of github.com/go-sql-driver/mysql
//
// Rows come as [Row]: columns by name, values of a few kinds. Tables that others made
// have columns that are missing or of another type; a Row says so, where scanning into
// variables would convert in silence. Statements number their parameters ?1, ?2 and
// so on, in all engines.
package engine
