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
	Prepare(statement string) (S, error)
	Changes() int
}

type sqliteStmt[T ~int] interface {
	sqliteBinder
	sqliteColumns[T]
	Step() (bool, error)
	Reset() error
	ClearBindings() error
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

// rows runs a statement to its end. The statement is reset whatever happens: the pool
// takes no connection back that has one running.
func (p sqliteRunner[C, S, T]) rows(conn C, statement string, args []Value, each func(*Row) error) (err error) {
	stmt, err := conn.Prepare(statement)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean[S, T](stmt, err != nil)) }()
	for i, v := range args {
		bind(stmt, i+1, v)
	}
	for {
		more, err := stmt.Step()
		if err != nil || !more {
			return err
		}
		row := sqliteRow[S, T](stmt)
		if err := each(&row); err != nil {
			return err
		}
	}
}

// clean resets a statement. Reset repeats the error of the last step, which is known.
func clean[S sqliteStmt[T], T ~int](stmt S, failed bool) error {
	err := stmt.Reset()
	if failed {
		err = nil
	}
	return errors.Join(err, stmt.ClearBindings())
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

func sqliteRow[S sqliteStmt[T], T ~int](stmt S) Row {
	n := stmt.ColumnCount()
	r := Row{make([]string, n), make([]Value, n)}
	for i := range n {
		r.names[i] = stmt.ColumnName(i)
		switch stmt.ColumnType(i) {
		case sqliteInteger:
			r.values[i] = IntValue(stmt.ColumnInt64(i))
		case sqliteFloat:
			r.values[i] = RealValue(stmt.ColumnFloat(i))
		case sqliteText:
			if stmt.ColumnLen(i) > MaxText { // asked before it is copied
				r.values[i] = Value{kind: Other}
			} else {
				r.values[i] = boundedText(stmt.ColumnText(i))
			}
		case sqliteNull:
		default:
			r.values[i] = Value{kind: Other}
		}
	}
	return r
}
