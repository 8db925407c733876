package postgres

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/trips"
)

// mostMisses bounds how many sessions one trip asks for.
const mostMisses = 256

// Get implements latchkey.Store. It is one statement: whether the session's
// generation has ended is part of it. Callers who come while Config.Readers trips
// are under way share the next one.
//
// A trip that was sent is waited for, whether ctx is cancelled or not, as long as
// its deadline and Config.Timeout allow; the connection would be lost otherwise.
func (s *Store) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	if ctx.Err() != nil {
		return nil, brokenOff(ctx)
	}
	r, err := s.gets.Do(ctx, id)
	switch {
	case errors.Is(err, trips.ErrLeft):
		return nil, brokenOff(ctx)
	case errors.Is(err, trips.ErrClosed):
		return nil, unavailable(errClosed)
	}
	return s.got(ctx, r, err)
}

// got makes an answer of what a trip brought.
func (s *Store) got(ctx context.Context, r row, err error) (*latchkey.Record, error) {
	if err != nil {
		return nil, answer(err)
	}
	if r.rec == nil {
		return nil, noSuchSession()
	}
	rec, err := s.judge(ctx, r)
	if err != nil {
		return nil, answer(err)
	}
	return rec, nil
}

// A pooler may lead to another server from one transaction to the next, and so to one
// that is a standby by now, whose rows may be old. Through one each read tells: by a
// present generation that is none, and by a row of its own where there is no session.
const (
	standby = -1

	textGetPooled     = `SELECT s.id, ` + presentPooled + rowColumns + ` FROM (SELECT 1) o LEFT JOIN latchkey.session s ON s.id = $1::uuid`
	textGetManyPooled = `SELECT s.id, ` + presentPooled + rowColumns + ` FROM (SELECT 1) o LEFT JOIN latchkey.session s ON s.id = ANY ($1::uuid[])`
	presentPooled     = `CASE WHEN pg_is_in_recovery() THEN -1 ELSE ` + present + ` END, `
)

// want is what a caller of Get waits for. It gets no record when there is no such
// session.
type want = trips.Want[latchkey.ID, row]

// carry reads what all of wants ask for.
func (s *Store) carry(ctx context.Context, l *line, wants []*want) {
	if len(wants) == 1 {
		wants[0].Value, wants[0].Err = l.getAlone(ctx, wants[0].Key)
		return
	}
	slices.SortFunc(wants, func(a, b *want) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	ids := make([][16]byte, 0, len(wants))
	for i, w := range wants {
		if i == 0 || w.Key != wants[i-1].Key {
			ids = append(ids, w.Key)
		}
	}
	err := l.run(ctx, stGetMany, newParams(1).uuids(ids), func(c *columns) error { return deliver(wants, c) })
	if err == nil {
		return
	}
	for _, w := range wants {
		w.Value, w.Err = row{}, err
	}
}

func (l *line) getAlone(ctx context.Context, id latchkey.ID) (r row, err error) {
	l.id[0] = id[:]
	l.params = params{values: l.id[:], oids: oneUUID}
	err = l.run(ctx, stGet, &l.params, func(c *columns) (err error) {
		r, err = readRow(c)
		return err
	})
	return r, err
}

var oneUUID = []uint32{oidUUID}

// deliver gives a row to those who asked for it, each a record of its own.
func deliver(wants []*want, c *columns) error {
	id, present := c.row[0], columns{row: c.row[1:2]}
	switch n, ok := present.optInt(); {
	case !ok:
		return errNoStore
	case n == standby:
		return errStandby // what it does not have is no answer either
	case id == nil:
		return nil // none of them exists
	case len(id) != 16:
		return errWire
	}
	i, _ := slices.BinarySearchFunc(wants, latchkey.ID(id), func(w *want, id latchkey.ID) int { return bytes.Compare(w.Key[:], id[:]) })
	for ; i < len(wants) && string(wants[i].Key[:]) == string(id); i++ {
		own := *c
		wants[i].Value, wants[i].Err = readRow(&own) // a damaged one is no one else's trouble
	}
	return nil
}
