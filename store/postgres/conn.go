package postgres

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// statement is a number of a text in statements. The number is also its name
// where the server keeps it prepared.
type statement int

// statements as they are with the schema in the place of "latchkey.".
type texts [numStatements]string

// prepared fills in the schema's name.
func newTexts(schema string) *texts {
	var t texts
	for i, text := range statements {
		t[i] = inSchema(text, schema)
	}
	return &t
}

// inSchema puts a schema's name, which needs no quotes but for being a keyword,
// in the place of the usual one.
func inSchema(text, schema string) string {
	return strings.ReplaceAll(text, defaultSchema+".", `"`+schema+`".`)
}

// newPool makes a pool of connections, which are made when they are needed.
func newPool(t *target, size int, ping bool) (*pgxpool.Pool, error) {
	c := t.main.Copy()
	c.MinConns, c.MinIdleConns, c.MaxConns = 0, 0, int32(size)
	c.PingTimeout = t.Timeout
	if !ping {
		c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	}
	return pgxpool.NewWithConfig(context.Background(), c)
}

// bounded is a context for one trip: it ends with the deadline of ctx, or after
// most. It does not end when ctx is cancelled, because that would cost the
// connection and leave it open whether a change took effect.
func bounded(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	until := time.Now().Add(most)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	return context.WithDeadline(context.WithoutCancel(ctx), until)
}

// attempts bounds how often a statement is run that the server has rolled back
// whole, because of a deadlock, or did not begin with.
const attempts = 8

// run runs a statement on a connection of a pool and hands each row to each, which
// keeps nothing of it. It tries again where it is certain that nothing took effect,
// or where again says that it does not matter.
func (s *Store) run(ctx context.Context, pool *pgxpool.Pool, st statement, p *params, again bool, each func(*columns) error) error {
	for try := 1; ; try++ {
		if err := s.usable(); err != nil {
			return err
		}
		c, err := pool.Acquire(ctx)
		if err != nil {
			if s.usable() != nil {
				return s.usable()
			}
			return err
		}
		conn := c.Conn().PgConn()
		began, err := s.runOn(ctx, conn, st, p, each)
		if err != nil && stale(err) {
			_ = conn.Close(ctx) // with its prepared statements
		}
		lost := conn.IsClosed()
		c.Release()
		switch {
		case err == nil || try == attempts || ctx.Err() != nil:
			return err
		case undone(err) || stale(err) || lost && (again || !began):
		default:
			return err
		}
	}
}

// undone reports whether the server has rolled everything back for a reason that
// may be gone the next time.
func undone(err error) bool {
	state := sqlState(err)
	return state == "40P01" || state == "40001"
}

// stale reports whether a prepared statement was refused before it was run, because
// a migration changed what it reads or somebody dropped it.
func stale(err error) bool {
	state := sqlState(err)
	return state == "26000" || state == "0A000"
}

// runOn runs a statement on a connection. began is false when the server was
// certainly not asked.
func (s *Store) runOn(ctx context.Context, conn *pgconn.PgConn, st statement, p *params, each func(*columns) error) (began bool, err error) {
	if p == nil {
		p = &params{}
	}
	var rows *pgconn.ResultReader
	if s.pooler {
		rows = conn.ExecParams(ctx, s.texts[st], p.values, p.oids, binaryFormat, binaryFormat)
	} else {
		prepared, err := s.prepared(ctx, conn, st, p.oids)
		if err != nil {
			return false, err
		}
		rows = conn.ExecStatement(ctx, prepared, p.values, binaryFormat, binaryFormat)
	}
	var failed error
	for rows.NextRow() {
		if failed == nil && each != nil {
			c := columns{row: rows.Values()}
			if failed = each(&c); failed == nil {
				failed = c.done()
			}
		}
	}
	_, err = rows.Close()
	if err != nil {
		return !pgconn.SafeToRetry(err), err
	}
	return true, failed
}

// prepared returns what the connection knows a statement as.
func (s *Store) prepared(ctx context.Context, conn *pgconn.PgConn, st statement, oids []uint32) (*pgconn.StatementDescription, error) {
	name := statementNames[st]
	known := conn.CustomData()
	if d, ok := known[name].(*pgconn.StatementDescription); ok {
		return d, nil
	}
	d, err := conn.Prepare(ctx, name, s.texts[st], oids)
	if err == nil {
		known[name] = d
	}
	return d, err
}

var statementNames = func() (names [numStatements]string) {
	for i := range names {
		names[i] = "latchkey_" + strconv.Itoa(i)
	}
	return names
}()

// call runs a statement that changes something and returns one row, and takes a
// sample of the server's clock from the result of took.
func (s *Store) call(ctx context.Context, most time.Duration, st statement, p *params, row func(*columns) (now int64)) error {
	if ctx.Err() != nil {
		return brokenOff(ctx)
	}
	ctx, cancel := bounded(ctx, most)
	defer cancel()
	n := 0
	sent := s.clock.Now()
	err := s.run(ctx, s.work, st, p, false, func(c *columns) error {
		n++
		if now := row(c); now != 0 {
			s.clock.sample(sent, s.clock.Now(), now)
		}
		return nil
	})
	if err == nil && n != 1 {
		err = errWire
	}
	return answer(err)
}

// scan runs a statement that reads, on behalf of a caller who may give up.
func (s *Store) scan(ctx context.Context, st statement, p *params, each func(*columns) error) error {
	if ctx.Err() != nil {
		return brokenOff(ctx)
	}
	inner, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	err := s.run(inner, s.work, st, p, true, each)
	if err != nil && ctx.Err() != nil {
		return brokenOff(ctx)
	}
	return answer(err)
}

// nowParam is the parameter for the time: NULL has the server's own clock asked.
func (s *Store) nowParam(p *params) *params {
	if s.t.now == nil {
		return p.optInt(0, false)
	}
	return p.int(s.t.now())
}
