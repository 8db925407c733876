package redis

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"sync"

	"github.com/latchkey-go/latchkey/audit"
)

// recordAt records an event about several slots.
func (s *Store) recordAt(ctx context.Context, tag string, e *audit.Event, count int) error {
	f, err := s.do(ctx, call{sc: &s.scripts.record, tag: tag, among: args{"", strconv.Itoa(count), stem(e.Provider, e.Subject), e.IP, e.Session,
		restOf(e), subjectTag(e.Subject)}})
	if err != nil {
		return err
	}
	return f.ok()
}

// waiting is an event on its way to the trail.
type waiting struct {
	tag    string
	number int64 // of the event under the tag
	at     int64 // when it was committed, not before any other under the tag
	event  string
}

// drained is how many events a script reads, or adds.
const drained = 500

// drain brings events that were committed with their changes into the trail, in which
// they get their positions: in the order of their times, as far as all are there.
func (s *Store) drain(ctx context.Context) error {
	list, err := s.tagsWith(ctx, "out")
	if err != nil {
		return err
	}
	for len(list) > 0 {
		var mu sync.Mutex
		var events []waiting
		counts := make(map[string]int)
		firsts := make(map[string]int64)
		err := each(ctx, list, func(ctx context.Context, tag string) error {
			part, err := s.waiting(ctx, tag)
			if err != nil || len(part) == 0 {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			events = append(events, part...)
			counts[tag], firsts[tag] = len(part), part[0].number
			return nil
		})
		if err != nil {
			return err
		}
		if err := s.addToTrail(ctx, events); err != nil {
			return err
		}
		list = nil
		var done []string
		for tag, n := range counts {
			done = append(done, tag)
			if n == drained {
				list = append(list, tag)
			}
		}
		err = each(ctx, done, func(ctx context.Context, tag string) error {
			f, err := s.do(ctx, call{sc: &s.scripts.drain, tag: tag, among: args{"drop", decimal(firsts[tag]), strconv.Itoa(counts[tag])}})
			if err != nil {
				return err
			}
			return f.ok()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// waiting reads what waits under a tag.
func (s *Store) waiting(ctx context.Context, tag string) ([]waiting, error) {
	f, err := s.do(ctx, call{sc: &s.scripts.drain, tag: tag, weak: true, among: args{"read"}})
	if err != nil {
		return nil, err
	}
	first := f.int(1)
	if err := f.ok(); err != nil {
		return nil, err
	}
	list := make([]waiting, len(f.list)-2)
	latest := int64(0)
	for i, text := range f.list[2:] {
		if len(text) < 11 {
			return nil, unavailable(errForeign)
		}
		latest = max(latest, int64(binary.BigEndian.Uint64([]byte(text[3:11]))))
		list[i] = waiting{tag, first + int64(i), latest, text}
	}
	return list, nil
}

func (s *Store) addToTrail(ctx context.Context, events []waiting) error {
	slices.SortFunc(events, func(a, b waiting) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.tag, b.tag), cmp.Compare(a.number, b.number))
	})
	for part := range slices.Chunk(events, drained) {
		among := args{"add"}
		for _, e := range part {
			among = append(among, e.tag, decimal(e.number), e.event)
		}
		f, err := s.do(ctx, call{sc: &s.scripts.drain, tag: trailTag, among: among})
		if err != nil {
			return err
		}
		if err := f.ok(); err != nil {
			return err
		}
	}
	return nil
}

// trailTag is where a cluster's trail is.
const trailTag = "000"
