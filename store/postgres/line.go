package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// line is a connection of a lane, made when it is first needed. Beside a pool's it
// costs a trip a tenth less: nothing is acquired, and no context is watched,
// because the deadline is the socket's. One caller at a time has it.
type line struct {
	s      *Store
	conn   *pgconn.PgConn
	made   time.Time
	until  time.Time // the socket's deadline
	params params    // reused
	id     [1][]byte
}

// lineAge is how long a connection is used: a server that others moved to by name
// is found that way.
const lineAge = time.Hour

// ready sees to it that there is a connection, with a deadline that is neither
// later than it must be nor, by much, earlier.
func (l *line) ready(ctx context.Context) (fresh bool, err error) {
	now := time.Now()
	if l.conn != nil && now.Sub(l.made) > lineAge {
		l.drop()
	}
	if l.conn == nil || l.conn.IsClosed() {
		inner, cancel := bounded(ctx, l.s.t.Timeout)
		defer cancel()
		if l.conn, err = pgconn.ConnectConfig(inner, &l.s.t.main.ConnConfig.Config); err != nil {
			l.conn = nil
			return false, err
		}
		now = time.Now()
		l.made, l.until, fresh = now, time.Time{}, true
	}
	most := now.Add(l.s.t.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(most) {
		most = d
	} else if left := l.until.Sub(now); left <= l.s.t.Timeout && left > l.s.t.Timeout*7/8 {
		return fresh, nil // set a moment ago
	}
	l.until = most
	return fresh, l.conn.Conn().SetDeadline(most)
}

// run runs a statement that reads. A connection that broke while nobody used it is
// made anew.
func (l *line) run(ctx context.Context, st statement, p *params, each func(*columns) error) error {
	for {
		if err := l.s.usable(); err != nil {
			return err
		}
		fresh, err := l.ready(ctx)
		if err != nil {
			l.drop()
			if fresh || ctx.Err() != nil || l.conn == nil {
				return err
			}
			continue
		}
		_, err = l.s.runOn(context.Background(), l.conn, st, p, each)
		if err == nil {
			return nil
		}
		again := stale(err) || l.conn.IsClosed() && !pgconn.Timeout(err)
		if again {
			l.drop()
		}
		if fresh || !again || ctx.Err() != nil {
			return err
		}
	}
}

// drop closes the connection without waiting for the server to agree.
func (l *line) drop() {
	if l.conn == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = l.conn.Close(ctx)
	l.conn = nil
}
