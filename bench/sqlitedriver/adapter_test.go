package sqlitedriver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	ncruces "github.com/ncruces/go-sqlite3"
	_ "modernc.org/sqlite"
	zombiezen "zombiezen.com/go/sqlite"
)

// conn is one connection of one driver. It is used by one goroutine at a time.
type conn interface {
	// script runs statements that return nothing of interest.
	script(sql string) error
	prepare(sql string) (stmt, error)
	close() error
}

// stmt is one prepared statement. Arguments are int64, []byte or string.
type stmt interface {
	exec(args ...any) error
	// blob appends the first column of the first row to dst.
	blob(dst []byte, args ...any) ([]byte, error)
	// number returns the first column of the first row.
	number(args ...any) (int64, error)
}

var errNoRow = errors.New("no such row")

// driver opens a database file that exists or is made.
type driver struct {
	name string
	open func(path string) (conn, error)
}

var drivers = []driver{
	{"modernc", openModernc},
	{"zombiezen", openZombiezen},
	{"ncruces", openNcruces},
}

// modernc.org/sqlite: a pinned connection of database/sql.

type moderncConn struct {
	db *sql.DB
	c  *sql.Conn
}

type moderncStmt struct{ s *sql.Stmt }

func openModernc(path string) (conn, error) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return nil, err
	}
	c, err := db.Conn(context.Background())
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &moderncConn{db, c}, nil
}

func (m *moderncConn) script(q string) error {
	_, err := m.c.ExecContext(context.Background(), q)
	return err
}

func (m *moderncConn) prepare(q string) (stmt, error) {
	s, err := m.c.PrepareContext(context.Background(), q)
	return moderncStmt{s}, err
}

func (m *moderncConn) close() error { return errors.Join(m.c.Close(), m.db.Close()) }

func (m moderncStmt) exec(args ...any) error {
	_, err := m.s.Exec(args...)
	return err
}

func (m moderncStmt) blob(dst []byte, args ...any) ([]byte, error) {
	rows, err := m.s.Query(args...)
	if err != nil {
		return dst, err
	}
	defer rows.Close()
	if !rows.Next() {
		return dst, errors.Join(errNoRow, rows.Err())
	}
	var raw sql.RawBytes
	if err := rows.Scan(&raw); err != nil {
		return dst, err
	}
	dst = append(dst, raw...)
	return dst, rows.Close()
}

func (m moderncStmt) number(args ...any) (n int64, err error) {
	err = m.s.QueryRow(args...).Scan(&n)
	return n, err
}

// zombiezen.com/go/sqlite.

type zombiezenConn struct{ c *zombiezen.Conn }

type zombiezenStmt struct{ s *zombiezen.Stmt }

func openZombiezen(path string) (conn, error) {
	c, err := zombiezen.OpenConn(path, zombiezen.OpenReadWrite|zombiezen.OpenCreate)
	if err != nil {
		return nil, err
	}
	return &zombiezenConn{c}, nil
}

// script goes statement by statement: sqlitex.ExecuteScript opens a savepoint,
// in which the journal mode cannot be set.
func (z *zombiezenConn) script(q string) error {
	for strings.TrimSpace(q) != "" {
		s, rest, err := z.c.PrepareTransient(q)
		if err != nil {
			return err
		}
		for more := true; more && err == nil; {
			more, err = s.Step()
		}
		if err = errors.Join(err, s.Finalize()); err != nil {
			return err
		}
		q = q[len(q)-rest:]
	}
	return nil
}

func (z *zombiezenConn) prepare(q string) (stmt, error) {
	s, err := z.c.Prepare(q)
	return zombiezenStmt{s}, err
}

func (z *zombiezenConn) close() error { return z.c.Close() }

func (z zombiezenStmt) bind(args []any) {
	for i, a := range args {
		switch a := a.(type) {
		case int64:
			z.s.BindInt64(i+1, a)
		case []byte:
			z.s.BindBytes(i+1, a)
		case string:
			z.s.BindText(i+1, a)
		default:
			panic(fmt.Sprintf("argument of type %T", a))
		}
	}
}

func (z zombiezenStmt) exec(args ...any) error {
	z.bind(args)
	_, err := z.s.Step()
	return errors.Join(err, z.s.Reset())
}

func (z zombiezenStmt) blob(dst []byte, args ...any) ([]byte, error) {
	z.bind(args)
	ok, err := z.s.Step()
	if err != nil || !ok {
		return dst, errors.Join(errNoRow, err, z.s.Reset())
	}
	// ColumnBytes copies into a slice of the right length.
	n := z.s.ColumnLen(0)
	at := len(dst)
	if cap(dst)-at < n {
		dst = append(make([]byte, 0, at+n), dst...)
	}
	dst = dst[:at+n]
	z.s.ColumnBytes(0, dst[at:])
	return dst, z.s.Reset()
}

func (z zombiezenStmt) number(args ...any) (int64, error) {
	z.bind(args)
	ok, err := z.s.Step()
	if err != nil || !ok {
		return 0, errors.Join(errNoRow, err, z.s.Reset())
	}
	n := z.s.ColumnInt64(0)
	return n, z.s.Reset()
}

// github.com/ncruces/go-sqlite3.

type ncrucesConn struct{ c *ncruces.Conn }

type ncrucesStmt struct{ s *ncruces.Stmt }

func openNcruces(path string) (conn, error) {
	c, err := ncruces.Open(path)
	if err != nil {
		return nil, err
	}
	return &ncrucesConn{c}, nil
}

func (n *ncrucesConn) script(q string) error { return n.c.Exec(q) }

func (n *ncrucesConn) prepare(q string) (stmt, error) {
	s, _, err := n.c.PrepareFlags(q, ncruces.PREPARE_PERSISTENT)
	return ncrucesStmt{s}, err
}

// close closes the statements too, which SQLite asks for.
func (n *ncrucesConn) close() error {
	for _, s := range slices.Collect(n.c.Stmts()) {
		s.Close()
	}
	return n.c.Close()
}

func (n ncrucesStmt) bind(args []any) error {
	for i, a := range args {
		var err error
		switch a := a.(type) {
		case int64:
			err = n.s.BindInt64(i+1, a)
		case []byte:
			err = n.s.BindBlob(i+1, a)
		case string:
			err = n.s.BindText(i+1, a)
		default:
			panic(fmt.Sprintf("argument of type %T", a))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (n ncrucesStmt) exec(args ...any) error {
	if err := n.bind(args); err != nil {
		return err
	}
	return n.s.Exec()
}

func (n ncrucesStmt) blob(dst []byte, args ...any) ([]byte, error) {
	if err := n.bind(args); err != nil {
		return dst, err
	}
	if !n.s.Step() {
		return dst, errors.Join(errNoRow, n.s.Reset())
	}
	dst = append(dst, n.s.ColumnRawBlob(0)...)
	return dst, n.s.Reset()
}

func (n ncrucesStmt) number(args ...any) (int64, error) {
	if err := n.bind(args); err != nil {
		return 0, err
	}
	if !n.s.Step() {
		return 0, errors.Join(errNoRow, n.s.Reset())
	}
	v := n.s.ColumnInt64(0)
	return v, n.s.Reset()
}
