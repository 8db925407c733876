package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/trips"
)

// Lanes of Get: how many trips may be under way, and how many sessions one asks for.
const (
	lanes     = 4
	mostReads = 128
)

// want is what a caller of Get waits for.
type want = trips.Want[latchkey.ID, found]

// found is what a server answered.
type found struct {
	by         *node
	generation rueidis.RedisMessage
	row        rueidis.RedisMessage
}

// Get implements latchkey.Store by one MGET of the generation and the row, which
// callers who come while others are under way share, but in a cluster, where rows are
// apart. Only for an ID that has no row a second command tells whether something
// else is there.
func (s *Store) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		v := s.view.Load()
		rec, err := s.get(ctx, v, id)
		if errors.Is(err, errForeign) { // or the session was made between two commands
			rec, err = s.get(ctx, v, id)
		}
		if err == nil {
			return rec, nil
		}
		if !moved(err) || try == maxMoves {
			return nil, unavailable(err)
		}
		if err := s.awaitView(ctx, v); err != nil {
			return nil, err
		}
	}
}

func (s *Store) get(ctx context.Context, v *view, id latchkey.ID) (rec *latchkey.Record, err error) {
	defer caught(&err)
	var f found
	if v.owners == nil {
		f, err = s.gets.Do(ctx, id)
	} else {
		w := want{Key: id}
		tag := tagText(id.Placement())
		s.ask(ctx, v.at(tag), s.generationKey(tag), []*want{&w})
		f, err = w.Value, w.Err
	}
	switch {
	case errors.Is(err, trips.ErrLeft):
		return nil, brokenOff(ctx)
	case err != nil:
		return nil, err
	}
	generation, err := generationOf(&f.generation)
	if err != nil {
		return nil, err
	}
	if f.row.IsNil() {
		return nil, s.absent(ctx, f.by, s.rowKey(id))
	}
	row, err := f.row.AsBytes()
	if err != nil {
		return nil, err
	}
	rec = &latchkey.Record{ID: id}
	if err := s.show(ctx, rec, row, generation); err != nil {
		return nil, err
	}
	// A primary that is none any more may have answered.
	if err := f.by.usable(); err != nil {
		return nil, err
	}
	if err := s.confirmed(ctx, f.by, id); err != nil {
		return nil, err
	}
	return rec, nil
}

// carry makes a trip of those who wait.
func (s *Store) carry(ctx context.Context, _ struct{}, wants []*want) {
	if len(wants) > 1 {
		var cancel context.CancelFunc
		ctx, cancel = s.bound(ctx)
		defer cancel()
	}
	s.ask(ctx, s.one(), s.generationKey(""), wants)
}

// ask reads what all of wants ask for from one server.
func (s *Store) ask(ctx context.Context, n *node, generationKey string, wants []*want) {
	list, err := s.rows(ctx, n, generationKey, wants)
	for i, w := range wants {
		if w.Err = err; err == nil {
			w.Value = found{n, list[0], list[1+i]}
		}
	}
}

func (s *Store) rows(ctx context.Context, n *node, generationKey string, wants []*want) (list []rueidis.RedisMessage, err error) {
	defer caught(&err)
	if err := n.usable(); err != nil {
		return nil, err
	}
	keys := make([]string, 1, 1+len(wants))
	keys[0] = generationKey
	for _, w := range wants {
		keys = append(keys, s.rowKey(w.Key))
	}
	list, err = n.read(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Mget().Key(keys...).Build() }).ToArray()
	if err == nil && len(list) != len(keys) {
		err = errAnswer
	}
	return list, err
}

// absent tells a missing row from something else under its key, which MGET passes over.
func (s *Store) absent(ctx context.Context, n *node, key string) error {
	there, err := n.read(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Exists().Key(key).Build() }).AsInt64()
	switch {
	case err != nil:
		return err
	case there != 0:
		return errForeign // or a session that was made since, which is seen when asked again
	}
	if err := n.usable(); err != nil {
		return err
	}
	return noSuchSession()
}

// common is what keys begin with that belong to no session: in a cluster there is one
// of them for each tag.
func (s *Store) common(tag string) string {
	if s.cfg.Mode == Cluster {
		return s.cfg.Prefix + "{" + tag + "}"
	}
	return s.cfg.Prefix
}

func (s *Store) generationKey(tag string) string { return s.common(tag) + "gen:" + s.name }

func generationOf(m *rueidis.RedisMessage) (uint64, error) {
	if m.IsNil() {
		return 0, errGone
	}
	text, err := m.ToString()
	if err != nil {
		return 0, err
	}
	generation, err := strconv.ParseUint(text, 10, 53)
	if err != nil || generation == 0 {
		return 0, errForeign
	}
	return generation, nil
}

// show unpacks a row, and has it revoked where its generation has ended.
func (s *Store) show(ctx context.Context, rec *latchkey.Record, row []byte, generation uint64) error {
	if err := unpackRow(row, rec); err != nil {
		return unavailable(err)
	}
	if rec.Generation >= generation || !rec.RevokedAt.IsZero() {
		return nil
	}
	how, err := s.raised(ctx, tagText(rec.ID.Placement()), rec.Generation)
	if err != nil {
		return err
	}
	rec.RevokedAt, rec.RevokedBy, rec.RevokedReason = how.at, how.by, how.reason
	return nil
}

// ended is how a generation was ended.
type ended struct {
	at         time.Time
	by, reason string
}

// raised tells how a generation was ended. It is read once.
func (s *Store) raised(ctx context.Context, tag string, generation uint64) (how ended, err error) {
	if known, ok := s.raises.Load(generation); ok {
		return known.(ended), nil
	}
	f, err := s.do(ctx, call{sc: &s.scripts.raised, tag: tag, weak: true, among: args{strconv.FormatUint(generation, 10)}})
	if err != nil {
		return how, err
	}
	b := []byte(f.text(1))
	ok := len(b) >= 8
	if ok {
		how.at = timeOf(int64(binary.BigEndian.Uint64(b)))
		how.by, how.reason, ok = unpackEnd(string(b[8:]))
	}
	if !ok || how.at.IsZero() {
		return how, unavailable(errForeign)
	}
	s.raises.Store(generation, how)
	return how, nil
}

// scanBound is how many rows of everybody one script looks at.
const scanBound = 500

func stateName(f latchkey.StateFilter) string {
	switch f {
	case latchkey.OnlyLive:
		return "live"
	case latchkey.OnlyEnded:
		return "ended"
	}
	return "any"
}

// List implements latchkey.Store. A page of an identity or a subject is one trip. So
// is one of everybody, unless hundreds of sessions in other states lie between.
// Sessions made at the same instant come in descending order of their IDs.
func (s *Store) List(ctx context.Context, q latchkey.ListQuery) (latchkey.ListPage, error) {
	var page latchkey.ListPage
	if err := s.open(ctx); err != nil {
		return page, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if s.cfg.Mode == Cluster && (q.Subject == "" || q.AnyProvider) {
		return s.listAcross(ctx, &q)
	}
	kind, whose, tag := "all", "", ""
	switch {
	case q.Subject != "" && q.AnyProvider:
		kind, whose = "subject", subjectRef(q.Subject)
	case q.Subject != "":
		kind, whose = "who", s.identityRef(latchkey.Identity{Provider: q.Provider, Subject: q.Subject})
		tag = whose[:3]
	}
	state := stateName(q.State)
	size := q.PageSize()
	created, id := "", ""
	if !q.After.IsZero() {
		created, id = decimal(microOf(q.After.CreatedAt)), q.After.ID.String()
	}
	for {
		f, err := s.do(ctx, call{sc: &s.scripts.list, tag: tag, weak: true, among: args{
			state, strconv.Itoa(size + 1 - len(page.Records)), created, id, kind, whose, strconv.Itoa(scanBound), ""}})
		if err != nil {
			return latchkey.ListPage{}, err
		}
		if err := s.addRecords(ctx, f, &page); err != nil {
			return latchkey.ListPage{}, err
		}
		if created, id = f.text(2), f.text(3); id == "" || len(page.Records) > size {
			break
		}
	}
	cutPage(&page, size)
	return page, nil
}

// cutPage takes off what is read beyond a page to know that there is more.
func cutPage(page *latchkey.ListPage, size int) {
	if len(page.Records) > size {
		page.Records = page.Records[:size]
		last := page.Records[size-1]
		page.Next = latchkey.Cursor{CreatedAt: last.CreatedAt, ID: last.ID}
	}
}

// addRecords reads the rows of an answer of the list script.
func (s *Store) addRecords(ctx context.Context, f *fields, page *latchkey.ListPage) error {
	generation := uint64(f.int(1))
	if f.text(0) != "ok" || f.bad || len(f.list)%2 != 0 {
		return unavailable(errAnswer)
	}
	for rest := f.list[4:]; len(rest) > 0; rest = rest[2:] {
		id, err := latchkey.ParseID(rest[0])
		if err != nil {
			return unavailable(errForeign)
		}
		rec := &latchkey.Record{ID: id}
		if err := s.show(ctx, rec, []byte(rest[1]), generation); err != nil {
			return err
		}
		page.Records = append(page.Records, rec)
	}
	return nil
}

// tallied is how many rows one script of a count looks at.
const tallied = 200

// Count implements latchkey.Counter. It looks at all rows, 200 at a time, about two
// seconds a million in all, and keeps 40 bytes for each identity meanwhile.
func (s *Store) Count(ctx context.Context) (latchkey.Counts, error) {
	var counts latchkey.Counts
	if err := s.open(ctx); err != nil {
		return counts, err
	}
	if s.cfg.Mode == Cluster {
		return s.countAcross(ctx)
	}
	seen := make(map[string]struct{})
	err := s.tally(ctx, "", "", "", func(live, anonymous, ended int64, identities string) {
		counts.Live += int(live)
		counts.Anonymous += int(anonymous)
		counts.Ended += int(ended)
		for ; len(identities) >= refSize; identities = identities[refSize:] {
			seen[identities[:refSize]] = struct{}{}
		}
	})
	if err != nil {
		return latchkey.Counts{}, err
	}
	counts.Identities = len(seen)
	return counts, nil
}

// tally walks over all rows, judging them by a generation and a time, or the present ones.
func (s *Store) tally(ctx context.Context, tag, generation, micros string, add func(live, anonymous, ended int64, identities string)) error {
	created, id := "", ""
	for {
		step, cancel := s.bound(ctx)
		f, err := s.do(step, call{sc: &s.scripts.tally, tag: tag, weak: true, among: args{strconv.Itoa(tallied), created, id, generation, micros}})
		cancel()
		if err != nil {
			return err
		}
		more := f.flag(1)
		created, id = f.text(2), f.text(3)
		live, anonymous, ended, identities := f.int(4), f.int(5), f.int(6), f.text(7)
		if f.text(0) != "ok" || f.bad {
			return unavailable(errAnswer)
		}
		add(live, anonymous, ended, identities)
		if !more {
			return nil
		}
	}
}
