package engine

import (
	"context"
	"errors"
	"strings"
)

// DB is a database of one of the engines. It is safe for concurrent use if its pool is.
type DB struct {
	run               runner
	postgres, mariadb bool
}

// runner is what an engine does.
type runner interface {
	query(ctx context.Context, statement string, args []Value, each func(*Row) error) error
	exec(ctx context.Context, statement string, args []Value) (int64, error)
}

// IsPostgreSQL tells the engines apart, for what they write differently.
func (db *DB) IsPostgreSQL() bool { return db.postgres }

// IsMariaDB tells the engines apart, for what they write differently.
func (db *DB) IsMariaDB() bool { return db.mariadb }

// Query hands each row of a SELECT, or of a statement with RETURNING, to each, which
// may keep it. An error of each ends the query and is returned as it is.
func (db *DB) Query(ctx context.Context, statement string, args []Value, each func(*Row) error) error {
	if db == nil {
		return errNoDB
	}
	return db.run.query(ctx, statement, args, each)
}

// Exec runs a statement and returns how many rows it changed.
func (db *DB) Exec(ctx context.Context, statement string, args ...Value) (int64, error) {
	if db == nil {
		return 0, errNoDB
	}
	return db.run.exec(ctx, statement, args)
}

var errNoDB = errors.New("engine: no database; make one with SQLite, PostgreSQL or MariaDB")

// PostgreSQL makes a DB of a *pgxpool.Pool, *pgx.Conn or pgx.Tx. Concurrent use needs
// the pool.
//
// Rows come as JSON that the server makes: times then have one form whatever its
// DateStyle, and numbers and texts can be told apart. Parameters go as text, which the
// server reads as the type of the column.
func PostgreSQL[R pgRows, T pgTag](pool interface {
	Query(ctx context.Context, statement string, args ...any) (R, error)
	Exec(ctx context.Context, statement string, args ...any) (T, error)
}) *DB {
	return &DB{run: pgRunner[R, T]{pool.Query, pool.Exec}, postgres: true}
}

type pgRows interface {
	Next() bool
	Scan(dest ...any) error
	Close()
	Err() error
}

type pgTag interface{ RowsAffected() int64 }

type pgRunner[R pgRows, T pgTag] struct {
	queryRows func(ctx context.Context, statement string, args ...any) (R, error)
	execute   func(ctx context.Context, statement string, args ...any) (T, error)
}

// pgStatement writes ?1 as $1. The statements are this module's own and have a
// question mark nowhere else.
func pgStatement(statement string) string { return strings.ReplaceAll(statement, "?", "$") }

func pgArgs(args []Value) []any {
	out := make([]any, len(args))
	for i, v := range args {
		out[i] = v.postgres()
	}
	return out
}

func (p pgRunner[R, T]) query(ctx context.Context, statement string, args []Value, each func(*Row) error) error {
	rows, err := p.queryRows(ctx, "WITH q AS ("+pgStatement(statement)+") SELECT CAST(row_to_json(q) AS text) FROM q", pgArgs(args)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return err
		}
		row, err := ParseRow(text)
		if err != nil {
			return err
		}
		if err := each(&row); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (p pgRunner[R, T]) exec(ctx context.Context, statement string, args []Value) (int64, error) {
	tag, err := p.execute(ctx, pgStatement(statement), pgArgs(args)...)
	if err != nil {
		return 0, err
	}
	return tag.RowsAffected(), nil
}
