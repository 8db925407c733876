package engine

import (
	"context"
	"errors"
)

// SQLite makes a DB of a *sqlitex.Pool of zombiezen.com/go/sqlite. Its type arguments
// are inferred. The pool's connections decide on durability and on how long a writer
// waits for another.
func SQLite[C sqliteConn[S], S sqliteStmt[T], T ~int](pool interface {
	Take(ctx context.Context) (C, error)
	Put(conn C)
}) *DB {
	return &DB{run: sqliteRunner[C, S, T]{pool.Take, pool.Put}}
}

type sqliteConn[S any] interface {
	PrepareTransient(statement string) (stmt S, trailingBytes int, err error)
	Changes() int
}

type sqliteStmt[T ~int] interface {
	sqliteBinder
	sqliteColumns[T]
	Step() (bool, error)
	Finalize() error
}

type sqliteBinder interface {
	BindText(param int, value string)
	BindInt64(param int, value int64)
	BindFloat(param int, value float64)
	BindBool(param int, value bool)
	BindNull(param int)
}

type sqliteColumns[T ~int] interface {
	ColumnCount() int
	ColumnName(column int) string
	ColumnType(column int) T
	ColumnLen(column int) int
	ColumnText(column int) string
	ColumnInt64(column int) int64
	ColumnFloat(column int) float64
}

// SQLite's fundamental types, sqlite3.h.
const (
	sqliteInteger = 1
	sqliteFloat   = 2
	sqliteText    = 3
	sqliteNull    = 5
)

type sqliteRunner[C sqliteConn[S], S sqliteStmt[T], T ~int] struct {
	take func(ctx context.Context) (C, error)
	put  func(conn C)
}

func (p sqliteRunner[C, S, T]) query(ctx context.Context, statement string, args []Value, each func(*Row) error) error {
	conn, err := p.take(ctx)
	if err != nil {
		return err
	}
	defer p.put(conn)
	return p.rows(conn, statement, args, each)
}

func (p sqliteRunner[C, S, T]) exec(ctx context.Context, statement string, args []Value) (int64, error) {
	conn, err := p.take(ctx)
	if err != nil {
		return 0, err
	}
	defer p.put(conn)
	if err := p.rows(conn, statement, args, func(*Row) error { return nil }); err != nil {
		return 0, err
	}
	return int64(conn.Changes()), nil
}

// rows runs a statement to its end.
func (p sqliteRunner[C, S, T]) rows(conn C, statement string, args []Value, each func(*Row) error) (err error) {
	stmt, err := prepare[C, S, T](conn, statement)
	if err != nil {
		return err
	}
	// The error of the last step, which Finalize repeats, is known.
	defer func() {
		if end := stmt.Finalize(); err == nil {
			err = end
		}
	}()
	for i, v := range args {
		bind(stmt, i+1, v)
	}
	var names []string
	for {
		more, err := stmt.Step()
		if err != nil || !more {
			return err
		}
		if names == nil {
			if names, err = columnNames[C, S, T](conn, statement); err != nil {
				return err
			}
		}
		row := Row{names, sqliteValues[S, T](stmt)}
		if len(row.values) != len(names) {
			return errors.New("engine: the columns changed in the middle of a statement")
		}
		if err := each(&row); err != nil {
			return err
		}
	}
}

func prepare[C sqliteConn[S], S sqliteStmt[T], T ~int](conn C, statement string) (S, error) {
	stmt, trailing, err := conn.PrepareTransient(statement)
	if err == nil && trailing != 0 {
		err = errors.Join(errors.New("engine: more than one statement"), stmt.Finalize())
	}
	return stmt, err
}

// columnNames returns the names of the columns of a statement that has a row. The
// driver keeps the names that a statement was prepared with, and SQLite prepares it
// again at its first step when another connection has changed the table, so that
// SELECT * would bring values under other columns' names. Once it runs, the table
// cannot change, and a second statement has the names that hold.
func columnNames[C sqliteConn[S], S sqliteStmt[T], T ~int](conn C, statement string) ([]string, error) {
	stmt, err := prepare[C, S, T](conn, statement)
	if err != nil {
		return nil, err
	}
	names := make([]string, stmt.ColumnCount())
	for i := range names {
		names[i] = stmt.ColumnName(i)
	}
	return names, stmt.Finalize()
}

func bind(stmt sqliteBinder, param int, v Value) {
	switch v.kind {
	case Text:
		stmt.BindText(param, v.text)
	case Int:
		stmt.BindInt64(param, v.num)
	case Real:
		stmt.BindFloat(param, v.real)
	case Bool:
		stmt.BindBool(param, v.num != 0)
	default:
		stmt.BindNull(param)
	}
}

func sqliteValues[S sqliteStmt[T], T ~int](stmt S) []Value {
	values := make([]Value, stmt.ColumnCount())
	for i := range values {
		switch stmt.ColumnType(i) {
		case sqliteInteger:
			values[i] = IntValue(stmt.ColumnInt64(i))
		case sqliteFloat:
			values[i] = RealValue(stmt.ColumnFloat(i))
		case sqliteText:
			if stmt.ColumnLen(i) > MaxText { // asked before it is copied
				values[i] = Value{kind: Other}
			} else {
				values[i] = boundedText(stmt.ColumnText(i))
			}
		case sqliteNull:
		default:
			values[i] = Value{kind: Other}
		}
	}
	return values
}
