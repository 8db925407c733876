package postgres

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// someIDs are n different IDs.
func someIDs(n int) []latchkey.ID {
	ids := make([]latchkey.ID, n)
	for i := range ids {
		ids[i] = latchkey.ID{6: 0x70, 8: 0x80, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}
	}
	return ids
}

// What is told arrives, or the log is read: nothing is told in part.
func TestPayloads(t *testing.T) {
	many := func(n, ids int) (list []item) {
		for i := range n {
			list = append(list, item{int64(i + 1), latchkey.Batch{IDs: someIDs(ids)}})
		}
		return list
	}
	for name, test := range map[string]struct {
		list  []item
		reads bool // the log
	}{
		"One":      {many(1, 1), false},
		"All":      {[]item{{7, latchkey.Batch{All: true}}}, false},
		"Several":  {many(300, 3), false},
		"Large":    {many(1, 350), false},
		"TooLarge": {many(1, 400), true},
		"TooMany":  {many(3000, 1), true},
		"Mixed":    {append(many(20, 1), item{99, latchkey.Batch{IDs: someIDs(1000)}}), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Store{origin: 1<<62 + 12345, news: news{ring: make(chan struct{}, 1)}}
			for _, i := range test.list {
				s.wakeOthers(i)
			}
			var got []item
			reads := false
			for _, text := range s.payloads() {
				if len(text) >= 8000 {
					t.Errorf("a payload of %d bytes", len(text))
				}
				origin, list, ok := readPayload(text)
				if origin != s.origin {
					t.Errorf("origin is %d", origin)
				}
				got, reads = append(got, list...), reads || !ok
			}
			if reads != test.reads {
				t.Errorf("has the log read: %v, want %v", reads, test.reads)
			}
			for _, g := range got {
				if i := slices.IndexFunc(test.list, func(i item) bool { return i.token == g.token }); i < 0 ||
					!slices.Equal(g.IDs, test.list[i].IDs) || g.All != test.list[i].All {
					t.Errorf("told of %+v", g)
				}
			}
			if !reads && len(got) != len(test.list) {
				t.Errorf("told of %d changes of %d", len(got), len(test.list))
			}
			if again := s.payloads(); len(again) != 0 {
				t.Errorf("told again: %q", again)
			}
		})
	}
}

// Anybody may notify. Whatever they say, the log's own word is delivered.
func TestHearsay(t *testing.T) {
	a, b, f := twoNodes(t, "", often)
	notify := func(payload string) {
		t.Helper()
		tamper(t, pg.URL, `SELECT pg_notify('`+channel(b.t.schema)+`', '`+payload+`')`)
	}
	next := strconv.FormatInt(a.origin, 36) + "."
	liar := &Store{origin: a.origin, news: news{ring: make(chan struct{}, 1)}}
	victim, other := add(t, a, "ann"), add(t, a, "bob")
	// The node's next change, said to be of another session.
	for token := range int64(10) {
		liar.wakeOthers(item{a.tokens.Load() + token, latchkey.Batch{IDs: []latchkey.ID{other}}})
	}
	notify(liar.payloads()[0])
	fixture.Eventually(t, "the hearsay", func() bool { return f.Times(other) > 0 })
	fixture.Revoke(t, a, victim)
	fixture.Eventually(t, "the revocation", func() bool { return f.Times(victim) > 0 })
	for _, nonsense := range []string{"", ".", "-", next, next + "!", next + "AAAA", strings.Repeat("z", 7000),
		next + base64.RawURLEncoding.EncodeToString([]byte{1, 2, 3}), next + base64.RawURLEncoding.EncodeToString([]byte{1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 1})} {
		notify(nonsense)
	}
	victim = add(t, a, "ann")
	fixture.Revoke(t, a, victim)
	fixture.Eventually(t, "the next revocation", func() bool { return f.Times(victim) > 0 })
	if !b.hears.Load() || f.Resets() != 1 {
		t.Error("nonsense broke the listener")
	}
}

// A notification that is forged in advance, with just what another node is going to
// change, does not keep that change from followers once it is in the log: one that
// was told too early has read the session again by then.
func TestForetold(t *testing.T) {
	a, b, f := twoNodes(t, "", often)
	victim := add(t, a, "ann")
	liar := &Store{origin: a.origin, news: news{ring: make(chan struct{}, 1)}}
	for token := range int64(10) {
		liar.wakeOthers(item{a.tokens.Load() + token, latchkey.Batch{IDs: []latchkey.ID{victim}}})
	}
	tamper(t, pg.URL, `SELECT pg_notify('`+channel(b.t.schema)+`', '`+liar.payloads()[0]+`')`)
	fixture.Eventually(t, "the hearsay", func() bool { return f.Times(victim) == 10 })
	if !fixture.Get(t, b, victim).RevokedAt.IsZero() { // a cache refills
		t.Fatal("has ended already")
	}
	fixture.Revoke(t, a, victim)
	f.Proven(t)
	if n := f.Times(victim); n != 11 {
		t.Errorf("told %d times by a proof from after the revocation, want 10 forged ones and the log's", n)
	}
}

func FuzzReadPayload(f *testing.F) {
	s := &Store{origin: 5, news: news{ring: make(chan struct{}, 1)}}
	s.wakeOthers(item{1, latchkey.Batch{IDs: someIDs(3)}})
	s.wakeOthers(item{2, latchkey.Batch{All: true}})
	f.Add(s.payloads()[0])
	f.Add("5")
	f.Add("5.AA")
	f.Fuzz(func(t *testing.T, text string) {
		_, list, ok := readPayload(text)
		total := 0
		for _, i := range list {
			total += 16 * len(i.IDs)
		}
		if total > len(text) || !ok && list != nil {
			t.Errorf("%d bytes of IDs from a text of %d", total, len(text))
		}
	})
}
