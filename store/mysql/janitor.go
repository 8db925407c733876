package mysql

import (
	"context"
	"database/sql"
	"strconv"
	"time"
)

const (
	lookEvery  = 10 * time.Second // how often the janitor looks at the schema
	pruneEvery = time.Minute      // how often it prunes, and so how long entries of the log stay at least
)

// pruneMark is where the log ended at the last look.
type pruneMark struct {
	seq int64
	due time.Time
}

// lookAfter does what is due once in a while, until Close: it finds out whether the
// tables are still ones that this program knows, and prunes.
func (s *Store) lookAfter() {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	s.mark.due = time.Now().Add(pruneEvery)
	for {
		select {
		case <-ticker.C:
		case <-s.closing.Done():
			return
		}
		s.checkNeeds(s.closing)
		if now := time.Now(); !s.readOnly && now.After(s.mark.due) {
			s.mark.due = now.Add(pruneEvery)
			s.prune(s.closing)
		}
	}
}

// checkNeeds gives the store up if another program has migrated it to what this
// one does not know.
func (s *Store) checkNeeds(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	needs := ""
	err := s.scanOnce(ctx, func(ctx context.Context, c *sql.Conn) error {
		return c.QueryRowContext(ctx, "SELECT value FROM latchkey_meta WHERE name='needs'").Scan(&needs)
	})
	if n, bad := strconv.Atoi(needs); err == nil && bad == nil && n > known() {
		err = errMigrated
	}
	if err == errMigrated {
		s.trouble.Store(&err)
		s.hub.End(unavailable(errMigrated))
	}
}

// prune removes entries of the log that were there at the last look, and rows whose
// time has passed. The newest entry stays: its position tells followers that they
// have missed nothing.
func (s *Store) prune(ctx context.Context) {
	if s.mark.seq > 0 {
		for more := true; more; {
			n, err := change(ctx, s, func(t *tx) (int64, error) { return t.pruneLog(s.mark.seq) })
			more = err == nil && n == forgetAtOnce
		}
	}
	_ = s.scan(ctx, s.timeout, func(ctx context.Context, c *sql.Conn) error {
		return c.QueryRowContext(ctx, "SELECT change_seq FROM latchkey_counter WHERE id=1").Scan(&s.mark.seq)
	})
	_ = s.forget(ctx) // it is tried again in a minute
}

func (t *tx) pruneLog(seq int64) (int64, error) {
	var newest int64
	var q script
	q.add("SELECT coalesce(max(seq),0) FROM latchkey_change")
	if err := t.begin(nil, &q, func(rows *sql.Rows) error { return rows.Scan(&newest) }); err != nil {
		return 0, err
	}
	return t.sweep("DELETE FROM latchkey_change WHERE seq<=? ORDER BY seq LIMIT 1000", num(min(seq, newest-1)))
}

// sweep removes up to forgetAtOnce rows and tells how many.
func (t *tx) sweep(text string, values ...literal) (n int64, err error) {
	var q script
	q.add(text, values...)
	q.add("SELECT ROW_COUNT()")
	err = ask(t.ctx, t.c, &q, func(rows *sql.Rows) error { return rows.Scan(&n) })
	if err == nil && n > 0 {
		t.out.add("DO 0") // there is something to commit
	}
	return n, err
}
