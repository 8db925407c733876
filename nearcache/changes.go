package nearcache

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey"
)

const (
	// DefaultMaxChanged bounds the list of changed stateless sessions unless
	// Config.MaxChanged does.
	DefaultMaxChanged = 1_000_000

	// The list is read anew once it has doubled since it was read, or after a while:
	// that drops entries of the past, and of sessions that are not stateless, which
	// the feed names too.
	minGrowth   = 16_384
	reloadEvery = 15 * time.Minute
	// One that was too long is tried again after this long.
	retryLong = time.Minute
)

// ledger is the list of changed stateless sessions. That it is complete rests on an
// order: reading the list of the store begins after the feed's last Reset was
// delivered, and everything the feed delivers from before the first page is read
// goes into it, too. A change that was committed before its page was read is in the
// page; one that was committed later is delivered, as the lease promises.
type ledger struct {
	lister latchkey.ChangeLister
	max    int
	wake   chan struct{} // capacity 1: the list is to be read

	// listed is what is known; nil while it is not. It is replaced as a whole.
	listed atomic.Pointer[listing]
	on     atomic.Bool

	mu    sync.Mutex // of those who change anything here
	next  *idSet     // the list that is being read; nil when none is, or in vain
	base  int        // entries of the list when it was read
	tried int64      // monotonic time of when it was last read, or found too long
	long  bool       // it was found too long

	loads atomic.Uint64
}

// listing is the list as it was read under a generation, with what the feed has
// named since.
type listing struct {
	generation uint64
	ids        *idSet
}

// Why a list could not be read.
var (
	errNoList  = errors.New("the store keeps no list of changed sessions (latchkey.ChangeLister)")
	errMoved   = errors.New("everything was invalidated while the list of changed sessions was read")
	errTooLong = errors.New("the list of changed sessions is longer than MaxChanged; stateless sessions are read from the store")
	errOrder   = errors.New("the store's pages of changed sessions do not ascend")
)

// Track implements latchkey.Ledger. It may be called before Start or after it, and
// more than once. The list is read in a goroutine, which Stop ends.
func (c *Cache) Track() error {
	lister, ok := c.store.(latchkey.ChangeLister)
	if !ok {
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "nearcache: stateless sessions",
			Fields: []latchkey.FieldError{{Field: "Store", Detail: errNoList.Error()}}}
	}
	c.run.Lock()
	defer c.run.Unlock()
	if c.changes.on.Load() {
		return nil
	}
	c.changes.lister = lister
	c.changes.on.Store(true)
	if c.run.ctx != nil && c.run.ctx.Err() == nil {
		c.keepList(c.run.ctx)
		// The feed's first batch may have come before anybody kept a list.
		c.changes.read()
	}
	return nil
}

// Unchanged implements latchkey.Ledger.
func (c *Cache) Unchanged(id latchkey.ID, generation uint64, now latchkey.Moment, within time.Duration) bool {
	// The lease is read first: whatever it covers is in the list that is read next.
	if !c.leased(now, within) {
		return false
	}
	l := c.changes.listed.Load()
	return l != nil && l.generation == generation && !l.ids.has(&id)
}

// Doubt implements latchkey.Ledger.
func (c *Cache) Doubt() { c.changes.forget() }

// keepList reads the list whenever it is to be read, until ctx ends. The caller
// holds c.run.
func (c *Cache) keepList(ctx context.Context) {
	c.run.tasks.Go(func() {
		pause := minPause
		for {
			select {
			case <-ctx.Done():
				return
			case <-c.changes.wake:
			}
			for err := c.readList(ctx); err != nil && !errors.Is(err, errTooLong); err = c.readList(ctx) {
				if ctx.Err() != nil {
					return
				}
				if !errors.Is(err, errMoved) {
					c.failed(err)
				}
				if !sleep(ctx, pause) {
					return
				}
				pause = min(2*pause, maxPause)
			}
			pause = minPause
		}
	})
}

// readList reads the store's list, page by page, and puts it in force. The one in
// force meanwhile stays so.
func (c *Cache) readList(ctx context.Context) error {
	next := c.changes.begin()
	generation, err := c.readPages(ctx, next)
	if err = c.changes.finish(next, generation, c.clock.Now().Mono, err); errors.Is(err, errTooLong) {
		c.failed(err)
	}
	return err
}

// finish puts a list that was read in force, unless it was given up meanwhile.
func (l *ledger) finish(next *idSet, generation uint64, now int64, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case errors.Is(err, errTooLong):
		l.listed.Store(nil)
		l.long, l.tried = true, now
	case err == nil && l.next != next:
		err = errMoved
	case err == nil:
		l.listed.Store(&listing{generation: generation, ids: next})
		l.base, l.tried, l.long = next.n, now, false
		l.loads.Add(1)
	}
	if l.next == next {
		l.next = nil
	}
	return err
}

// begin makes the list that is to be read into. From now on it also gets whatever
// the feed names.
func (l *ledger) begin() *idSet {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.wake: // before the first page is as good as now
	default:
	}
	l.next = &idSet{}
	return l.next
}

// readPages reads all pages into a list, and returns the generation that they were
// read under.
func (c *Cache) readPages(ctx context.Context, into *idSet) (generation uint64, err error) {
	var after latchkey.ID
	for first := true; ; first = false {
		page, err := c.changedPage(ctx, after)
		if err != nil {
			return 0, err
		}
		if first {
			generation = page.Generation // the feed tells when it is raised meanwhile
		}
		if err := c.changes.fill(into, page.IDs); err != nil || page.Next.IsZero() {
			return generation, err
		}
		if bytes.Compare(page.Next[:], after[:]) <= 0 {
			return 0, errOrder
		}
		after = page.Next
	}
}

func (c *Cache) changedPage(ctx context.Context, after latchkey.ID) (latchkey.ChangedPage, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.changes.lister.Changed(ctx, after, 0)
}

// fill adds a page to the list that is being read, in portions, so that the feed
// never waits long for its turn.
func (l *ledger) fill(into *idSet, ids []latchkey.ID) error {
	const portion = 512
	for len(ids) > 0 {
		part := ids[:min(len(ids), portion)]
		ids = ids[len(part):]
		l.mu.Lock()
		if l.next != into {
			l.mu.Unlock()
			return errMoved
		}
		for i := range part {
			into.add(&part[i])
		}
		n := into.n
		l.mu.Unlock()
		if n > l.max {
			return errTooLong
		}
	}
	return nil
}

// add lists sessions that the feed names, or that this node is about to hear of: a
// change whose answer was lost, say.
func (l *ledger) add(ids []latchkey.ID, clock latchkey.Clock) {
	if len(ids) == 0 || !l.on.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	listed := l.listed.Load()
	for i := range ids {
		if listed != nil {
			listed.ids.add(&ids[i])
		}
		if l.next != nil {
			l.next.add(&ids[i])
		}
	}
	if l.next != nil && l.next.n > l.max {
		l.next, l.long = nil, true // it is found out, and read again
	}
	if listed != nil && listed.ids.n > l.max {
		l.listed.Store(nil)
		l.long, l.tried = true, clock.Now().Mono
		if l.next == nil {
			l.read() // much of it may be of the past
		}
	}
}

// forget gives the list up because invalidations may have been missed, and has it
// read. One that is being read is in vain.
func (l *ledger) forget() {
	if !l.on.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listed.Store(nil)
	l.next = nil
	l.read()
}

// read has the list read, soon.
func (l *ledger) read() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// lookAfter has the list read if that is due. It is called with every batch of the
// feed, so several times in each lease.
func (l *ledger) lookAfter(now int64) {
	if !l.on.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	listed, since := l.listed.Load(), time.Duration(now-l.tried)
	switch {
	case l.next != nil: // being read
	case listed != nil && (since >= reloadEvery || listed.ids.n >= max(2*l.base, minGrowth)):
		l.read()
	case l.long && since >= retryLong:
		l.read()
	}
}

// stats fills in what is known of the list.
func (l *ledger) stats(s *Stats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.ChangedLoads, s.ChangedOverflow = l.loads.Load(), l.long
	if listed := l.listed.Load(); listed != nil {
		s.Changed, s.ChangedLoaded = int64(listed.ids.n), true
	}
}
