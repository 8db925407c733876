package memory

import (
	"slices"
	"sort"
	"time"

	"github.com/latchkey-go/latchkey"
)

// generation is the store's present one.
func (s *Store) generation() uint64 { return s.present }

// superseded reports whether the row was made under a lower generation.
func (s *Store) superseded(r *row) bool { return r.rec.Generation < s.generation() }

// state judges a row with its generation.
func (s *Store) state(r *row, now time.Time) latchkey.State {
	if s.superseded(r) {
		return latchkey.Revoked
	}
	return r.rec.StateAt(now)
}

// show returns a copy of the row as callers see it: revoked when its generation
// has ended, by whoever raised it first.
func (s *Store) show(r *row) *latchkey.Record {
	rec := clone(&r.rec)
	if s.superseded(r) && rec.RevokedAt.IsZero() {
		first := s.raises[rec.Generation]
		rec.RevokedAt, rec.RevokedBy, rec.RevokedReason = first.at, first.by, first.reason
	}
	return &rec
}

// endedAt is when the row ended or will end if it is not seen again.
func (s *Store) endedAt(r *row) time.Time {
	end := r.rec.EndsAt()
	revoked := r.rec.RevokedAt
	if revoked.IsZero() && s.superseded(r) {
		revoked = s.raises[r.rec.Generation].at
	}
	if !revoked.IsZero() && revoked.Before(end) {
		return revoked
	}
	return end
}

// clone copies a record deeply, in the precision that records keep.
func clone(r *latchkey.Record) latchkey.Record {
	c := *r
	c.Roles, c.Methods = copyOf(r.Roles), copyOf(r.Methods)
	c.Wrap, c.Data, c.PreviousWrap = copyOf(r.Wrap), copyOf(r.Data), copyOf(r.PreviousWrap)
	for _, t := range [...]*time.Time{&c.AuthTime, &c.CreatedAt, &c.LastSeenAt, &c.ExpiresAt, &c.RevokedAt, &c.RotatedAt, &c.GraceEnd} {
		*t = micro(*t)
	}
	c.Idle, c.Lifetime = c.Idle.Truncate(time.Microsecond), c.Lifetime.Truncate(time.Microsecond)
	return c
}

func copyOf[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return slices.Clone(list)
}

// micro brings a time into the form that records keep: UTC, microseconds.
func micro(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// order is rows by creation time, then ID, oldest first. New ones mostly come at
// the end. Removed ones stay, marked gone, until they are half of it.
type order struct {
	rows []*row
	gone int
}

// compare orders places in a list, oldest first.
func compare(aTime time.Time, aID latchkey.ID, bTime time.Time, bID latchkey.ID) int {
	if c := aTime.Compare(bTime); c != 0 {
		return c
	}
	return slices.Compare(aID[:], bID[:])
}

// find returns the place of the first row that is not before the one given.
func (o *order) find(at time.Time, id latchkey.ID) int {
	return sort.Search(len(o.rows), func(i int) bool {
		return compare(o.rows[i].rec.CreatedAt, o.rows[i].rec.ID, at, id) >= 0
	})
}

func (o *order) insert(r *row) {
	o.rows = slices.Insert(o.rows, o.find(r.rec.CreatedAt, r.rec.ID), r)
}

// removed notes that one of the rows is gone.
func (o *order) removed() {
	if o.gone++; o.gone*2 > len(o.rows) {
		o.rows = slices.DeleteFunc(o.rows, func(r *row) bool { return r.gone })
		o.gone = 0
	}
}

// present yields the rows that are not gone, oldest first.
func (o *order) present(yield func(*row) bool) {
	if o == nil {
		return
	}
	for _, r := range o.rows {
		if !r.gone && !yield(r) {
			return
		}
	}
}

// behind yields the rows behind a cursor, newest first.
func (o *order) behind(c latchkey.Cursor, yield func(*row) bool) {
	if o == nil {
		return
	}
	end := len(o.rows)
	if !c.IsZero() {
		end = o.find(micro(c.CreatedAt), c.ID)
	}
	for i := end - 1; i >= 0; i-- {
		if r := o.rows[i]; !r.gone && !yield(r) {
			return
		}
	}
}

// add puts a new row into the map and the indexes.
func (s *Store) add(r *row) {
	s.rows[r.rec.ID] = r
	s.all.insert(r)
	if r.rec.Subject != "" {
		byProvider := s.identities[r.rec.Subject]
		if byProvider == nil {
			byProvider = make(map[string]*order)
			s.identities[r.rec.Subject] = byProvider
		}
		o := byProvider[r.rec.Provider]
		if o == nil {
			o = &order{}
			byProvider[r.rec.Provider] = o
		}
		o.insert(r)
	}
	s.indexSID(r)
}

func (s *Store) indexSID(r *row) {
	if r.rec.SID == "" {
		return
	}
	k := sid{r.rec.Provider, r.rec.SID}
	if s.sids[k] == nil {
		s.sids[k] = make(map[latchkey.ID]*row)
	}
	s.sids[k][r.rec.ID] = r
}

func (s *Store) unindexSID(r *row) {
	k := sid{r.rec.Provider, r.rec.SID}
	delete(s.sids[k], r.rec.ID)
	if len(s.sids[k]) == 0 {
		delete(s.sids, k)
	}
}

// remove takes a row out for good.
func (s *Store) remove(r *row) {
	r.gone = true
	delete(s.rows, r.rec.ID)
	s.all.removed()
	s.unindexSID(r)
	byProvider := s.identities[r.rec.Subject]
	o := byProvider[r.rec.Provider]
	if o == nil {
		return
	}
	if o.removed(); len(o.rows) == 0 {
		if delete(byProvider, r.rec.Provider); len(byProvider) == 0 {
			delete(s.identities, r.rec.Subject)
		}
	}
}

// identity returns the orders of an identity, or of a subject under every provider.
func (s *Store) identity(provider, subject string, any bool) []*order {
	byProvider := s.identities[subject]
	if !any {
		if o := byProvider[provider]; o != nil {
			return []*order{o}
		}
		return nil
	}
	orders := make([]*order, 0, len(byProvider))
	for _, o := range byProvider {
		orders = append(orders, o)
	}
	return orders
}
