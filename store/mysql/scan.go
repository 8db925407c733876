package mysql

import (
	"context"
	"database/sql"
	"errors"
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

func (s *Store) scanOnce(ctx context.Context, f func(ctx context.Context, c *sql.Conn) error) (err error) {
	defer func() { s.leaveReplica(err) }()
	c, err := s.scans.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(ctx, c)
}

// leaveReplica closes connections to a server that turned out to be read-only, when
// err says so: new ones lead to where the primary is by now, or are refused. What
// is in use by others is left by them.
func (s *Store) leaveReplica(err error) {
	if !errors.Is(err, errReplica) {
		return
	}
	for _, db := range []*sql.DB{s.work, s.scans, s.polls, s.reads.db} {
		most := db.Stats().MaxOpenConnections
		db.SetMaxIdleConns(-1) // closes those that are
		db.SetMaxIdleConns(most)
	}
}

// usable refuses what enter would refuse.
func (s *Store) usable(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.leave()
	return nil
}
