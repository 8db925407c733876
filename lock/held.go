package lock

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey"
)

// Lock is a lock that was acquired. Its methods are safe for concurrent use.
type Lock struct {
	locker  *Locker
	name    string
	owner   string
	token   uint64
	ttl     time.Duration
	maxHold time.Duration
	since   latchkey.Moment

	ctx    context.Context
	cancel context.CancelCauseFunc
	lost   chan struct{}

	stopRenewal context.CancelFunc
	renewed     chan struct{} // closed when the goroutine has ended

	releasing sync.Mutex // one Release at a time

	mu    sync.Mutex
	state state
	end   latchkey.Moment // of the lease
	alarm *time.Timer     // at the end
	err   error           // why it is lost
}

// state of a Lock. It only moves forward, but for a failed release that finds the lock gone.
type state uint8

const (
	stateHeld     state = iota
	stateReleased       // Release was called; whether the server knows is another thing
	stateFree           // and the server knows
	stateLost
)

// leaseEnd is until when the holder relies on a lease of ttl that it asked for at
// asked: a twentieth early, for clocks that do not run at the same speed.
func leaseEnd(asked latchkey.Moment, ttl time.Duration) latchkey.Moment {
	ttl -= ttl / 20
	return latchkey.Moment{Wall: asked.Wall + int64(ttl), Mono: asked.Mono + int64(ttl)}
}

// past reports whether end has come by either clock: the monotonic one stops while
// a machine is suspended, and the wall clock can be set back.
func past(end, now latchkey.Moment) bool { return now.Mono >= end.Mono || now.Wall >= end.Wall }

// left is the time until end, by the clock that timers follow.
func left(end, now latchkey.Moment) time.Duration { return time.Duration(end.Mono - now.Mono) }

// hold makes the Lock and starts what keeps it.
func (k *Locker) hold(ctx context.Context, name, owner string, token uint64, o Options, asked latchkey.Moment) *Lock {
	l := &Lock{
		locker: k, name: name, owner: owner, token: token, ttl: o.TTL, maxHold: o.MaxHold, since: asked,
		lost: make(chan struct{}), renewed: make(chan struct{}), end: leaseEnd(asked, o.TTL),
	}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	var renewal context.Context
	// The end of ctx must not end the renewal: work that winds down still needs the lock.
	renewal, l.stopRenewal = context.WithCancel(context.WithoutCancel(ctx))
	l.mu.Lock()
	l.alarm = time.AfterFunc(left(l.end, k.clock.Now()), l.ring)
	l.mu.Unlock()
	go l.renew(renewal)
	return l
}

// Name is what the lock is called.
func (l *Lock) Name() string { return l.name }

// Token is the fencing token, greater than that of every earlier acquisition of the
// name (see the package comment for its bounds). It fits an int64, and a float64 exactly.
func (l *Lock) Token() uint64 { return l.token }

// Context is a child of the context given to Acquire, cancelled when the lock is
// lost or released; [context.Cause] then is ErrLost or ErrNotHeld.
func (l *Lock) Context() context.Context { return l.ctx }

// Lost is closed when the lock is lost, and never after a good Release.
func (l *Lock) Lost() <-chan struct{} { return l.lost }

// Err is nil while the lock is held, and then an ErrLost or ErrNotHeld. It reads the
// local clocks and does not ask the server.
func (l *Lock) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.errLocked()
}

func (l *Lock) errLocked() error {
	if l.state == stateHeld && past(l.end, l.locker.clock.Now()) {
		l.loseLocked(errors.New("the lease ended before it was renewed"))
	}
	switch l.state {
	case stateHeld:
		return nil
	case stateLost:
		return l.err
	}
	return failed(ErrNotHeld, l.name, nil)
}

// loseLocked notes the loss and tells everybody.
func (l *Lock) loseLocked(cause error) {
	l.state, l.err = stateLost, failed(ErrLost, l.name, cause)
	l.alarm.Stop()
	l.stopRenewal()
	close(l.lost)
	l.cancel(l.err)
}

// ring is the alarm at the end of the lease. It does not depend on the renewal,
// which may hang in a call of the driver.
func (l *Lock) ring() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == stateHeld && l.errLocked() == nil { // renewed meanwhile
		l.alarm.Reset(max(left(l.end, l.locker.clock.Now()), time.Millisecond))
	}
}

// renew is the goroutine that renews the lease until the lock is released or lost.
func (l *Lock) renew(ctx context.Context) {
	defer close(l.renewed)
	every := l.ttl / 3
	pause := time.NewTimer(every)
	defer pause.Stop()
	until := l.ttl // since it was acquired: when the server ends the lease, at the earliest
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		if l.Err() != nil {
			return
		}
		asked := l.locker.clock.Now()
		age := left(asked, l.since)
		next := age + l.ttl
		if l.maxHold != 0 {
			next = min(next, l.maxHold)
		}
		if next <= until {
			return // MaxHold is used up: the alarm says when it is over
		}
		ttl := next - age
		held, err := l.ask(ctx, ttl)
		switch {
		case err != nil:
			pause.Reset(every / 8) // there is time for a few more tries before the end
		case !held:
			l.taken()
			return
		default:
			l.extend(asked, ttl)
			until = next
			pause.Reset(every)
		}
	}
}

// ask renews once, within bounds: a try that gets no answer must leave time for another.
func (l *Lock) ask(ctx context.Context, ttl time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, min(l.ttl/6, mostTry))
	defer cancel()
	return l.locker.backend.renew(ctx, l.name, l.owner, ttl)
}

func (l *Lock) extend(asked latchkey.Moment, ttl time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A lease that ended by the local clock was told to be lost, and stays so.
	if l.errLocked() == nil {
		l.end = leaseEnd(asked, ttl)
	}
}

// taken: the server says that the owner does not have the lock.
func (l *Lock) taken() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == stateHeld {
		l.loseLocked(errTaken)
	}
}

var errTaken = errors.New("the server does not know this holder any more")

// Release ends the renewals, cancels Context and frees the lock, comparing the owner
// and deleting in one step of the server: it never frees somebody else's.
//
// Errors: ErrLost when the lock was lost before (what was done under it may have
// overlapped with another's work); ErrNotHeld when it was released before;
// ErrUnavailable when the server gave no answer in three tries, or by the end of the
// lease or of ctx: the lock is then free, at the latest, when TTL has passed since the
// last renewal, and Release may be called again to free it sooner.
func (l *Lock) Release(ctx context.Context) error {
	l.releasing.Lock()
	defer l.releasing.Unlock()

	l.mu.Lock()
	again := l.state == stateReleased
	if !again {
		if err := l.errLocked(); err != nil {
			l.mu.Unlock()
			return err
		}
		l.state = stateReleased
		l.alarm.Stop()
		l.stopRenewal()
		l.cancel(failed(ErrNotHeld, l.name, nil))
	}
	rest := left(l.end, l.locker.clock.Now())
	l.mu.Unlock()
	if rest <= 0 { // a call before this one had no answer, and now the lease is over
		l.setState(stateFree)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, rest)
	defer cancel()
	select {
	case <-l.renewed:
	case <-ctx.Done():
	}
	for try := 0; ; try++ {
		held, err := l.locker.backend.release(ctx, l.name, l.owner)
		if err != nil {
			if try < releaseTries-1 && !pauseFor(ctx, l.locker.backOff.pause(try), nil, nil) {
				again = true
				continue
			}
			return failed(ErrUnavailable, l.name, err)
		}
		if held || again { // not held, again: the release whose answer was lost did it
			l.setState(stateFree)
			return nil
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.loseLocked(errTaken)
		return l.err
	}
}

// releaseTries: the first may meet a connection that died unnoticed.
const releaseTries = 3

func (l *Lock) setState(s state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
}
