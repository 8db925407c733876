package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/latchkey-go/latchkey/store/internal/fanout"
)

const (
	maxGroup = 256         // changes that are committed together at most
	tick     = time.Second // how often the writer looks after the file when nothing else does
)

// op is one change that waits for the writer.
type op struct {
	state atomic.Int32
	run   func(t *tx) error // decides first and writes then: an error that is an answer has changed nothing
	tells bool              // it ended or changed sessions
	err   error
	waits fanout.Claims
	done  chan struct{} // closed when err and waits are set
}

// States of an op. The caller that gives up before it was begun takes it back.
const (
	queued int32 = iota
	begun
	takenBack
)

// do has the writer run f in a transaction, and returns when that is durable and
// this process's followers have been told. Whatever f returns is lost with an error.
func do[T any](ctx context.Context, s *Store, f func(t *tx) (T, error)) (T, error) {
	var result, none T
	o := &op{done: make(chan struct{})}
	o.run = func(t *tx) (err error) {
		result, err = f(t)
		return err
	}
	if err := s.enqueue(ctx, o); err != nil {
		return none, err
	}
	select {
	case <-o.done:
	case <-s.stopped: // it may have come too late for the writer
		select {
		case <-o.done:
		default:
			return none, unavailable(errClosed)
		}
	case <-ctx.Done():
		if o.state.CompareAndSwap(queued, takenBack) {
			return none, brokenOff(ctx)
		}
		select {
		case <-o.done: // both were ready
		default:
			return none, brokenOff(ctx)
		}
	}
	if o.err != nil {
		return none, answer(o.err)
	}
	if err := o.waits.Await(ctx); err != nil {
		return none, err
	}
	return result, nil
}

// enqueue puts an op into the queue, in the order of the calls.
func (s *Store) enqueue(ctx context.Context, o *op) error {
	if ctx.Err() != nil {
		return brokenOff(ctx)
	}
	if err := s.usable(); err != nil {
		return err
	}
	if s.readOnly {
		return unavailable(errReadOnly)
	}
	select {
	case s.ops <- o:
		return nil
	case <-ctx.Done():
		return brokenOff(ctx)
	case <-s.closing:
		return unavailable(errClosed)
	}
}

// writer is the state of the one goroutine that writes.
type writer struct {
	s     *Store
	c     *conn
	guard *conn // reads only; see close
	group []*op
	prune struct {
		due    int64 // store time
		marked int64 // position of the log at the last look
		rounds int   // how many are left since something was written
	}
	written bool // since the last tick
	logged  bool // there is something in the write-ahead log
}

// write is the goroutine that writes, until Close.
func (s *Store) write(w *writer) {
	defer close(s.stopped)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case o := <-s.ops:
			w.gather(o)
			w.commit()
		case <-ticker.C:
			w.lookAfter()
		case done := <-s.tidy:
			if s.files.check() == nil {
				w.checkpoint()
			}
			close(done)
		case <-s.closing:
			w.drain()
			s.closeErr = w.close()
			return
		}
	}
}

// gather fills the group with what is queued. Callers that can run get to do so
// a few times: those that the last commit answered are about to ask again, and
// would otherwise form a second cohort that waits while the first is committed.
func (w *writer) gather(first *op) {
	w.group = append(w.group[:0], first)
	for {
		for more := true; more && len(w.group) < maxGroup; {
			select {
			case o := <-w.s.ops:
				w.group = append(w.group, o)
			default:
				more = false
			}
		}
		if len(w.group) == maxGroup {
			return
		}
		for range 4 {
			runtime.Gosched()
		}
		if len(w.s.ops) == 0 {
			return
		}
	}
}

// drain finishes what is queued when the store is closed. A caller that was just
// about to queue an op finds it closed or has it finished here.
func (w *writer) drain() {
	for {
		select {
		case o := <-w.s.ops:
			w.gather(o)
			w.commit()
		default:
			return
		}
	}
}

// commit runs the group in one transaction and answers all its callers.
func (w *writer) commit() {
	group := w.group
	err := w.try(group)
	if len(group) > 1 && spoilt(err) {
		// One of them failed in a way that nobody foresaw; the others need not.
		for i := range group {
			err := w.try(group[i : i+1])
			w.answer(group[i:i+1], err)
		}
		return
	}
	w.answer(group, err)
}

// spoilt reports whether an error is one op's rather than the file's.
func spoilt(err error) bool {
	if err == nil {
		return false
	}
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultBusy, sqlite.ResultFull, sqlite.ResultIOErr, sqlite.ResultReadOnly, sqlite.ResultCorrupt, sqlite.ResultNotADB,
		sqlite.ResultCantOpen, sqlite.ResultPerm, sqlite.ResultProtocol:
		return false
	}
	return !isTrouble(err) && !errors.Is(err, errCommit)
}

// answer tells the callers. With an error all are told of it, those too whose own
// answer was known: nothing of the group is certain.
func (w *writer) answer(group []*op, err error) {
	for _, o := range group {
		if err != nil {
			o.err, o.waits = err, nil
		}
		close(o.done)
	}
}

// try runs ops in one transaction. Their own errors are set in them; the error
// returned is that of the transaction.
func (w *writer) try(group []*op) error {
	if err := w.s.files.check(); err != nil {
		return err
	}
	w.s.clock.sample()
	if err := w.begin(); err != nil {
		return err
	}
	t := &tx{w: w, c: w.c, s: w.s}
	err := t.start()
	for _, o := range group {
		if err != nil {
			break
		}
		o.err, o.waits, o.tells = nil, nil, false
		if !o.state.CompareAndSwap(queued, begun) && o.state.Load() == takenBack {
			continue // the caller has left with nothing done
		}
		if o.err = t.run(o); o.err != nil && !answered(o.err) {
			err = o.err
		}
	}
	if err == nil {
		err = t.finish()
	}
	if err == nil {
		if err = w.c.query("COMMIT").run(); err == nil {
			w.written, w.logged, w.prune.rounds = true, true, pruneRounds
			// In a log that was removed meanwhile nobody else would find it.
			err = w.s.files.check()
		}
		if err != nil {
			// It may have taken effect all the same: to be told in vain does no harm.
			err = fmt.Errorf("%w: %w", errCommit, err)
			w.s.hub.Publish(t.batch(), 0)
		}
	}
	if err != nil {
		w.c.reset()
		if !w.c.AutocommitEnabled() {
			err = errors.Join(err, w.c.query("ROLLBACK").run())
		}
		return err
	}
	if waits := w.s.hub.Publish(t.batch(), t.changeSeq); len(waits) > 0 {
		for _, o := range group {
			if o.tells {
				o.waits = waits
			}
		}
	}
	return nil
}

// slice is how long one attempt to get the lock takes. Between two of them the
// writer sees whether the store is being closed.
const slice = 250 * time.Millisecond

// begin waits for the lock. While the store is being closed it waits only for
// one slice, so that another process cannot keep a program from stopping.
func (w *writer) begin() error {
	for waited := slice; ; waited += slice {
		err := w.c.query("BEGIN IMMEDIATE").run()
		if sqlite.ErrCode(err).ToPrimary() != sqlite.ResultBusy || waited >= w.s.wait {
			return err
		}
		select {
		case <-w.s.closing:
			return err
		default:
		}
	}
}

// run runs one op; a panic of it is an error of this op alone.
func (t *tx) run(o *op) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a defect of the store: %v", p)
		}
	}()
	t.op = o
	return o.run(t)
}

// lookAfter does what is due once in a while: it finds out whether the files are
// in their places, prunes the log and the marks, and moves the write-ahead log into the
// database when nobody writes.
func (w *writer) lookAfter() {
	if w.s.files.check() != nil {
		return
	}
	// Another program may have migrated the file to what this one does not know.
	if needs, ok, err := w.c.query(sqlNeeds).number(); err == nil && ok && int(needs) > w.s.schema.Known {
		_ = w.s.files.give(&trouble{why: errMigrated, final: true, ends: true})
		return
	}
	if w.s.readOnly {
		return
	}
	w.s.clock.sample()
	switch {
	case w.written:
		w.written = false // still busy; moving the log now would only be to write the same pages again later
	case w.logged:
		w.checkpoint()
	}
	if now := w.s.clock.micros(); w.prune.rounds > 0 && now >= w.prune.due {
		w.prune.due = now + pruneEvery.Microseconds()
		left := w.prune.rounds - 1
		w.group = append(w.group[:0], &op{done: make(chan struct{}), run: (*tx).pruneAll})
		w.commit()
		w.prune.rounds = left
	}
}

// checkpoint moves the log into the database, as far as readers let it; what is
// left is moved another time.
func (w *writer) checkpoint() {
	w.c.SetBusyTimeout(0)
	_ = w.c.script("PRAGMA wal_checkpoint(TRUNCATE)")
	w.c.SetBusyTimeout(min(w.s.wait, slice))
	w.logged = false
}

// close ends the connections. The last one on the file moves the log into the
// database and removes it, by its name. Where that name leads to another process's
// log, the last one is the guard, which cannot do either, and keeps the others from
// being the last.
func (w *writer) close() error {
	err := errors.Join(w.s.reads.close(), w.s.scans.close(), w.s.polls.close())
	first, last := w.guard, w.c
	if w.s.files.logIsOthers() {
		first, last = w.c, w.guard
	} else if !w.s.readOnly && w.s.files.check() == nil {
		w.checkpoint()
	}
	if err = errors.Join(err, first.Close(), last.Close()); err != nil {
		return unavailable(err)
	}
	return nil
}
