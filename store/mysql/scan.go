package mysql

import (
	"context"
	"database/sql"
	"time"
)

// Bounds of calls that deal with many sessions, and of those that look at all.
const (
	boundMany = time.Minute
	boundAll  = 10 * time.Minute
)

// scan runs f on a connection for reads that may take long, within a bound.
func (s *Store) scan(ctx context.Context, bound time.Duration, f func(ctx context.Context, c *sql.Conn) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
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

// usable refuses what enter would refuse.
func (s *Store) usable(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.leave()
	return nil
}
