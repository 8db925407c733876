package sqlitedriver

import (
	"fmt"
	"math"
	"testing"
)

// A table keyed by a hash costs a page for every row put in, for no two rows
// of a group meet on a page. Tiers put a row first into a table small enough
// that they do meet, then, a thousand at a time and sorted, into runs laid end
// to end, and then, a slice of the key space from all runs at once, into the
// table itself, where several rows meet on each page. At any moment a row
// is in exactly one of the three, and who looks for it looks in each.
const (
	tierNew  = 1024 // rows in the first table
	tierRuns = 64   // runs before slices are moved on; also slices
)

type tiers struct {
	young                          int   // rows in the first table
	run, slice                     int64 // next ones
	runs                           int
	toRun, emptyNew, toMain, empty stmt
}

func newTiers(tb testing.TB, c conn, by string) *tiers {
	t := &tiers{}
	t.toRun = prepare(tb, c, fmt.Sprintf("INSERT INTO %s_run SELECT ?, key, id, provider, ended FROM %s_new ORDER BY key, id", by, by))
	t.emptyNew = prepare(tb, c, fmt.Sprintf("DELETE FROM %s_new", by))
	t.toMain = prepare(tb, c, fmt.Sprintf(`INSERT INTO %s SELECT r.key, r.id, r.provider, r.ended FROM
		(WITH RECURSIVE n(x) AS (SELECT (SELECT min(run) FROM %s_run) UNION ALL SELECT x+1 FROM n WHERE x < (SELECT max(run) FROM %s_run)) SELECT x FROM n) n
		CROSS JOIN %s_run r ON r.run = n.x AND r.key BETWEEN ?1 AND ?2 ORDER BY r.key, r.id`, by, by, by, by))
	t.empty = prepare(tb, c, fmt.Sprintf(`DELETE FROM %s_run WHERE (run, key, id) IN (SELECT r.run, r.key, r.id FROM
		(WITH RECURSIVE n(x) AS (SELECT (SELECT min(run) FROM %s_run) UNION ALL SELECT x+1 FROM n WHERE x < (SELECT max(run) FROM %s_run)) SELECT x FROM n) n
		CROSS JOIN %s_run r ON r.run = n.x AND r.key BETWEEN ?1 AND ?2)`, by, by, by, by))
	return t
}

// fold moves rows on after n more were put into the first table, inside the
// open transaction.
func (t *tiers) fold(n int) error {
	t.young += n
	if t.young < tierNew {
		return nil
	}
	if err := t.toRun.exec(t.run); err != nil {
		return err
	}
	if err := t.emptyNew.exec(); err != nil {
		return err
	}
	t.run, t.young = t.run+1, 0
	if t.runs++; t.runs < tierRuns {
		return nil
	}
	// Each slice is a 64th of the keys; all runs give theirs at once.
	const width = math.MaxUint64/tierRuns + 1
	low := math.MinInt64 + int64(uint64(t.slice)*width)
	high := low + width - 1
	t.slice = (t.slice + 1) % tierRuns
	if err := t.toMain.exec(low, high); err != nil {
		return err
	}
	return t.empty.exec(low, high)
}
