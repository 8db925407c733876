package nearcache_test

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// pager is a real store that gives the list of changed sessions out in small pages.
type pager struct {
	*memory.Store
	size int

	mu     sync.Mutex
	before func(after latchkey.ID) // each page, when set
	pages  int
}

func (p *pager) Changed(ctx context.Context, after latchkey.ID, _ int) (latchkey.ChangedPage, error) {
	p.mu.Lock()
	p.pages++
	before := p.before
	p.mu.Unlock()
	if before != nil {
		before(after)
	}
	return p.Store.Changed(ctx, after, p.size)
}

// onPage sets what is run before each page is read, outside all locks.
func (p *pager) onPage(f func(after latchkey.ID)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = f
}

// onSecondPage runs f once, before a page that is not the first one.
func (p *pager) onSecondPage(f func()) {
	var once sync.Once
	p.onPage(func(after latchkey.ID) {
		if !after.IsZero() {
			once.Do(f)
		}
	})
}

func (p *pager) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pages
}

// node is a cache over a store, with what a Manager does with both.
type node struct {
	t     *testing.T
	store latchkey.Store
	cache *nearcache.Cache
	clock latchkey.Clock
	next  uint64
}

func newNode(t *testing.T, cfg nearcache.Config) *node {
	t.Helper()
	c, err := nearcache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	n := &node{t: t, store: cfg.Store, cache: c, clock: cfg.Clock}
	if n.clock == nil {
		n.clock = latchkey.SystemClock()
	}
	return n
}

// paged is a node that tracks changes, over a store that the test can hold up.
func paged(t *testing.T, change func(*nearcache.Config)) (*node, *pager, *storetest.Faulty, *latchkeytest.Clock) {
	t.Helper()
	clock := latchkeytest.NewClock(time.Time{})
	inner, err := memory.New(memory.Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inner.Close() })
	p := &pager{Store: inner, size: 3}
	f := storetest.NewFaulty(p)
	cfg := nearcache.Config{Store: f, Clock: clock, Staleness: 200 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	n := newNode(t, cfg)
	return n, p, f, clock
}

// begin starts the cache and waits for the list.
func (n *node) begin() {
	n.t.Helper()
	n.cache.Start()
	n.until("the feed", func() bool { return n.cache.Stats().LeaseAge >= 0 })
	if err := n.cache.Track(); err != nil {
		n.t.Fatal(err)
	}
	n.loaded()
}

// until waits for something that other goroutines bring about.
func (n *node) until(what string, ok func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("waited in vain for %s; %+v", what, n.cache.Stats())
		}
	}
}

// loaded waits until the list is known and vouched for.
func (n *node) loaded() {
	n.t.Helper()
	n.until("the list", func() bool {
		s := n.cache.Stats()
		return s.ChangedLoaded && s.LeaseAge >= 0 && s.LeaseAge < n.cache.Staleness()/2
	})
}

// add creates a stateless session, whose IDs ascend.
func (n *node) add() latchkey.ID {
	n.t.Helper()
	n.next++
	id := latchkey.ID{6: 0x70, 8: 0x80}
	binary.BigEndian.PutUint32(id[12:], uint32(n.next))
	now := time.UnixMicro(n.store.(latchkey.Timekeeper).StoreTime(n.clock.Now())).UTC()
	_, err := n.store.Create(n.t.Context(), latchkey.Create{Record: latchkey.Record{ID: id, Provider: "p", Subject: "ann", CreatedAt: now,
		LastSeenAt: now, ExpiresAt: now.Add(time.Hour), Stateless: true}, Event: audit.Event{Action: audit.Create, Actor: "user", Session: id.String()}})
	if err != nil {
		n.t.Fatal(err)
	}
	return id
}

func (n *node) addMany(count int) []latchkey.ID {
	ids := make([]latchkey.ID, count)
	for i := range ids {
		ids[i] = n.add()
	}
	return ids
}

func (n *node) revoke(ids ...latchkey.ID) {
	n.t.Helper()
	for _, id := range ids {
		if _, err := n.store.Revoke(n.t.Context(), latchkey.Revocation{ID: id, By: "user"}); err != nil {
			n.t.Errorf("Revoke: %v", err)
		}
	}
}

// raise ends everything.
func (n *node) raise() {
	n.t.Helper()
	if _, err := n.store.Revoke(n.t.Context(), latchkey.Revocation{All: true, By: "user"}); err != nil {
		n.t.Errorf("Revoke: %v", err)
	}
}

// noise drops sessions that the store's list does not have.
func (n *node) noise(count int) {
	ids := make([]latchkey.ID, count)
	for i := range ids {
		binary.BigEndian.PutUint64(ids[i][4:], uint64(i+1)<<20)
	}
	n.cache.Drop(ids...)
}

func (n *node) unchanged(id latchkey.ID) bool { return n.under(id, 1) }

// under asks about a session of a generation.
func (n *node) under(id latchkey.ID, generation uint64) bool {
	return n.cache.Unchanged(id, generation, n.clock.Now(), n.cache.Staleness())
}

// generationOf is what a session was made under.
func (n *node) generationOf(id latchkey.ID) uint64 {
	n.t.Helper()
	rec, err := n.store.Get(context.Background(), id)
	if err != nil {
		n.t.Fatal(err)
	}
	return rec.Generation
}

func (n *node) want(want bool, ids ...latchkey.ID) {
	n.t.Helper()
	for i, id := range ids {
		if got := n.unchanged(id); got != want {
			n.t.Errorf("session %d of %d: unchanged is %v, want %v", i+1, len(ids), got, want)
		}
	}
}
