package sqlite

import (
	"fmt"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/latchkey-go/latchkey"
)

// conn is a connection with the statements that were prepared on it. It is used
// by one goroutine at a time.
type conn struct {
	*sqlite.Conn
	stmts map[string]*sqlite.Stmt
	buf   []byte // of the last blob read
}

// openConn opens a file that exists, and never makes one. The driver's
// SetDefensive must not be called: it passes one argument of the two that SQLite
// reads, which then writes through whatever lay behind it in memory. No statement
// of this package is one that the setting would refuse.
func openConn(path string, flags sqlite.OpenFlags, wait time.Duration) (*conn, error) {
	c, err := sqlite.OpenConn(path, flags)
	if err != nil {
		return nil, err
	}
	c.SetBusyTimeout(wait)
	return &conn{Conn: c, stmts: make(map[string]*sqlite.Stmt)}, nil
}

// closing closes c after err, which is the error worth telling.
func closing(c *sqlite.Conn, err error) error {
	_ = c.Close()
	return err
}

// script runs statements one by one, outside a transaction unless they open one:
// the driver's own script runner opens a savepoint, in which most settings
// cannot be changed. Nothing but white space may follow the last semicolon.
func (c *conn) script(text string) error {
	for strings.TrimSpace(text) != "" {
		s, rest, err := c.PrepareTransient(text)
		if err != nil {
			return err
		}
		for more := true; more && err == nil; {
			more, err = s.Step()
		}
		if ferr := s.Finalize(); err == nil {
			err = ferr
		}
		if err != nil {
			return err
		}
		text = text[len(text)-rest:]
	}
	return nil
}

// pragma returns the value of a setting.
func (c *conn) pragma(name string) (string, error) {
	s, _, err := c.PrepareTransient("PRAGMA " + name)
	if err != nil {
		return "", err
	}
	defer s.Finalize()
	ok, err := s.Step()
	if err != nil || !ok {
		return "", err
	}
	return s.ColumnText(0), nil
}

// query is a prepared statement whose parameters are being bound, in their order.
type query struct {
	s   *sqlite.Stmt
	n   int
	err error
}

// query prepares a statement, or finds it prepared.
func (c *conn) query(text string) query {
	s := c.stmts[text]
	if s == nil {
		var err error
		if s, err = c.Prepare(text); err != nil {
			return query{err: err}
		}
		c.stmts[text] = s
	}
	return query{s: s}
}

func (q query) int(v int64) query {
	if q.err == nil {
		q.n++
		q.s.BindInt64(q.n, v)
	}
	return q
}

func (q query) blob(v []byte) query {
	if q.err == nil {
		q.n++
		q.s.BindBytes(q.n, v)
	}
	return q
}

func (q query) text(v string) query {
	if q.err == nil {
		q.n++
		q.s.BindText(q.n, v)
	}
	return q
}

// orNull binds v, or NULL when it is empty.
func (q query) orNull(v []byte) query {
	if len(v) > 0 {
		return q.blob(v)
	}
	if q.err == nil {
		q.n++
		q.s.BindNull(q.n)
	}
	return q
}

// run runs a statement whose rows, if any, are of no interest.
func (q query) run() error {
	if q.err != nil {
		return q.err
	}
	if _, err := q.s.Step(); err != nil {
		return err // the driver has reset it
	}
	return q.s.Reset()
}

// next goes to the next row. After the last one, or an error, the statement is
// reset; whoever stops before that calls done.
func (q query) next() (bool, error) {
	if q.err != nil {
		return false, q.err
	}
	ok, err := q.s.Step()
	if err == nil && !ok {
		err = q.s.Reset()
	}
	return ok, err
}

// done resets the statement, which ends its read of the database.
func (q query) done() {
	if q.err == nil {
		_ = q.s.Reset() // repeats the error of Step, if any
	}
}

// reset resets all statements, after a failure that may have left one in the middle.
func (c *conn) reset() {
	for _, s := range c.stmts {
		_ = s.Reset() // repeats the statement's own error, if any
	}
}

// number runs a statement for the first column of its first row; ok says whether there was one.
func (q query) number() (n int64, ok bool, err error) {
	if ok, err = q.next(); err != nil || !ok {
		return 0, false, err
	}
	n = q.s.ColumnInt64(0)
	q.done()
	return n, true, nil
}

// column reads a blob. The bytes stand until the next blob is read on c.
func (c *conn) column(q query, col int) []byte {
	n := q.s.ColumnLen(col)
	if cap(c.buf) < n {
		c.buf = make([]byte, n+n/4)
	}
	c.buf = c.buf[:n]
	q.s.ColumnBytes(col, c.buf)
	return c.buf
}

// id reads the 16 bytes of a session's ID.
func (c *conn) id(q query, col int) (latchkey.ID, error) {
	var id latchkey.ID
	if n := q.s.ColumnBytes(col, id[:]); n != len(id) || q.s.ColumnLen(col) != len(id) {
		return id, fmt.Errorf("%w: an ID of %d bytes", errDamaged, q.s.ColumnLen(col))
	}
	return id, nil
}

// timeOf is the time of a count of microseconds, where 0 stands for none.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// microOf is the count of a time, cut to whole microseconds; the zero time is 0.
func microOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
