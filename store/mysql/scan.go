package mysql

import (
	"context"
	"database/sql"
	"time"
)

// scan runs f on a connection for reads that may take long, within a bound if one
// is given.
func (s *Store) scan(ctx context.Context, bound time.Duration, f func(ctx context.Context, c *sql.Conn) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if bound > 0 {
		limited, cancel := context.WithTimeout(ctx, bound)
		defer cancel()
		ctx = limited
	}
	err := s.scanOnce(ctx, f)
	if err != nil && lost(err) && ctx.Err() == nil {
		err = s.scanOnce(ctx, f) // a connection that the server had left
	}
	if err != nil && !answered(err) && ctx.Err() != nil {
		return brokenOff(ctx)
	}
	return answer(err)
}

func (s *Store) scanOnce(ctx context.Context, f func(ctx context.Context, c *sql.Conn) error) error {
	c, err := s.scans.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(ctx, c)
}

// snapshot runs f in a transaction whose statements all see the same.
func (s *Store) snapshot(ctx context.Context, f func(ctx context.Context, c *sql.Conn) error) error {
	return s.scan(ctx, 0, func(ctx context.Context, c *sql.Conn) error {
		var q script
		q.add("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
		q.add("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
		if err := ask(ctx, c, &q); err != nil {
			return err
		}
		defer abandon(ctx, c)
		return f(ctx, c)
	})
}

// usable refuses what enter would refuse.
func (s *Store) usable(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.leave()
	return nil
}
