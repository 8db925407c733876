package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/latchkey-go/latchkey"
)

// maxSpent is how far ahead the time of what is used once may be.
const maxSpent = 24 * time.Hour

// Spend implements latchkey.Spender. A time that has passed, or is more than a day
// ahead, is CodeInvalidRequest.
func (s *Store) Spend(ctx context.Context, key [32]byte, until time.Time) error {
	at := microOf(until)
	spent := false
	_, err := change(ctx, s, func(t *tx) (struct{}, error) {
		if err := t.begin(nil, nil); err != nil {
			return struct{}{}, err
		}
		if at <= t.now || at > t.now+maxSpent.Microseconds() {
			return struct{}{}, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: spend",
				Fields: []latchkey.FieldError{{Field: "until", Detail: fmt.Sprintf("is not within the next %v", maxSpent)}}}
		}
		spent = false
		var q script
		q.add("INSERT INTO latchkey_spent (k, until) VALUES (?,?) ON DUPLICATE KEY UPDATE until=IF(until<=?,?,until)", raw(key[:]), num(at), num(t.now), num(at))
		q.add("SELECT ROW_COUNT()") // 0: the row is as it was
		err := ask(t.ctx, t.c, &q, func(rows *sql.Rows) error {
			var n int64
			err := rows.Scan(&n)
			spent = n == 0
			return err
		})
		if err == nil && !spent {
			t.out.add("DO 0")
		}
		return struct{}{}, err
	})
	if err == nil && spent {
		err = latchkey.NewError(latchkey.CodeConflict, "this has been used already", nil)
	}
	return err
}

// Changed implements latchkey.ChangeLister.
func (s *Store) Changed(ctx context.Context, after latchkey.ID, limit int) (page latchkey.ChangedPage, err error) {
	if limit <= 0 {
		limit = latchkey.DefaultChangedLimit
	}
	err = s.scan(ctx, s.timeout, func(ctx context.Context, c *sql.Conn) error {
		page = latchkey.ChangedPage{}
		var q script
		var replica bool
		q.add("SELECT " + sqlReplica + ", generation FROM latchkey_counter WHERE id=1")
		q.add("SELECT id FROM latchkey_changed WHERE id>? AND expires>? ORDER BY id LIMIT ?", rawID(after), literal(s.clock.sql()), num(int64(limit)+1))
		err := ask(ctx, c, &q, func(rows *sql.Rows) error { return rows.Scan(&replica, &page.Generation) }, func(rows *sql.Rows) error {
			var id sql.RawBytes
			if err := rows.Scan(&id); err != nil {
				return err
			}
			if len(id) != len(latchkey.ID{}) {
				return errDamaged
			}
			page.IDs = append(page.IDs, latchkey.ID(id))
			return nil
		})
		switch {
		case err == nil && replica:
			err = errReplica
		case err == nil && page.Generation == 0:
			err = errDamaged
		}
		return err
	})
	if err != nil {
		return latchkey.ChangedPage{}, err
	}
	if len(page.IDs) > limit {
		page.IDs = page.IDs[:limit]
		page.Next = page.IDs[limit-1]
	}
	return page, nil
}
