package lock

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey"
)

// Bounds and defaults of Options.
const (
	DefaultTTL = 30 * time.Second       // of Options.TTL
	MinTTL     = 100 * time.Millisecond // of Options.TTL; below it the network's delays decide
	MaxTTL     = 24 * time.Hour         // of Options.TTL, and of Wait
	MaxName    = 200                    // bytes of a name
)

const (
	// mostTry bounds one question to the server, so that one that is silent does not
	// use up a long wait.
	mostTry = 5 * time.Second
	// giveUp bounds the attempt to free a lock that may have been granted after all.
	giveUp = 250 * time.Millisecond
)

// Options of one acquisition. The zero value tries once and holds, renewed, until
// Release.
type Options struct {
	// TTL is how long the server keeps the lock without a renewal: how long others
	// wait for a holder that died, and how long a cut connection or a pause of the
	// process is forgiven. MinTTL to MaxTTL; zero is DefaultTTL.
	TTL time.Duration
	// Wait is how long to wait while somebody else has the lock or the server does
	// not answer; at the end there is a last try. At most MaxTTL; zero tries once.
	Wait time.Duration
	// MaxHold ends the renewals, so that a holder that hangs loses the lock this long
	// after it acquired it. At least TTL; equal to it there is no renewal at all. Zero
	// sets no limit.
	MaxHold time.Duration
}

// Locker acquires locks. Make one with NewRedis or NewPostgres; it needs no closing,
// and is safe for concurrent use.
type Locker struct {
	backend backend
	clock   latchkey.Clock
	backOff backOff
}

// backend keeps locks on a server. Errors mean that the outcome is unknown.
type backend interface {
	// owner makes the value that tells this acquisition, begun now, from all others.
	owner(now time.Time) string
	// acquire takes the lock or, if the owner has it already, its lease anew. The
	// token is 0 when somebody else has it.
	acquire(ctx context.Context, name, owner string, ttl time.Duration) (token uint64, err error)
	// renew makes the lease end ttl from now; false when the owner does not have the lock.
	renew(ctx context.Context, name, owner string, ttl time.Duration) (bool, error)
	// release frees the lock; false when the owner does not have it.
	release(ctx context.Context, name, owner string) (bool, error)
	// watch returns a channel that gets a value when the lock may have become free,
	// until ctx ends. It is nil where the server does not tell.
	watch(ctx context.Context, name string) <-chan struct{}
	// permanent reports whether err will come again, however often one asks.
	permanent(err error) bool
	// purge forgets names not used for age.
	purge(ctx context.Context, age time.Duration) (int64, error)
}

// backOff is the pause between tries: it doubles from least to most, and each is
// drawn from between the half and one and a half times of it, so that waiters do
// not march in step.
type backOff struct{ least, most time.Duration }

func (b backOff) pause(try int) time.Duration {
	d := b.most
	if try < 16 {
		d = min(b.least<<try, b.most)
	}
	return d/2 + rand.N(d)
}

// newBackOff checks the two durations of a configuration; zero takes the default.
func newBackOff(p *problems, least, most, defaultLeast, defaultMost time.Duration) backOff {
	b := backOff{least: least, most: most}
	if b.least == 0 {
		b.least = defaultLeast
	}
	if b.most == 0 {
		b.most = max(defaultMost, b.least)
	}
	if b.least < time.Millisecond || b.least > time.Minute {
		p.add("RetryMin", "%v is not between 1ms and 1m", least)
	}
	if b.most < b.least || b.most > time.Minute {
		p.add("RetryMax", "%v is not between RetryMin and 1m", most)
	}
	return b
}

// check returns the options with defaults, or every problem of them and of the name.
func (o Options) check(name string) (Options, error) {
	var p problems
	switch {
	case name == "" || len(name) > MaxName:
		p.add("name", "it has %d bytes; 1 to %d are allowed", len(name), MaxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		p.add("name", "it is not UTF-8 or has control characters")
	case strings.ContainsAny(name, "{}"):
		p.add("name", "braces are not allowed; they decide about the slot in a Redis cluster")
	}
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.TTL < MinTTL || o.TTL > MaxTTL {
		p.add("TTL", "%v is not between %v and %v", o.TTL, MinTTL, MaxTTL)
	}
	if o.Wait < 0 || o.Wait > MaxTTL {
		p.add("Wait", "%v is not between 0 and %v", o.Wait, MaxTTL)
	}
	if o.MaxHold != 0 && o.MaxHold < o.TTL {
		p.add("MaxHold", "%v is shorter than TTL, %v", o.MaxHold, o.TTL)
	}
	return o, p.err()
}

// Acquire takes the lock called name: 1 to MaxName bytes of UTF-8 without control
// characters and braces. While somebody else has it, or the server does not answer,
// it tries again after growing, jittered pauses until o.Wait is over or ctx ends.
// A silent server makes it return one try later: half of TTL, and never more than 5.5 s.
//
// Whoever gets a Lock calls its Release, always. The Lock's Context is a child of
// ctx; the end of ctx cancels that Context but does not release the lock.
//
// Errors: ErrTimeout, ErrUnavailable (the last try had no answer, or the server
// refuses for good: missing table, wrong password, another type of key), ErrInvalid.
func (k *Locker) Acquire(ctx context.Context, name string, o Options) (*Lock, error) {
	o, err := o.check(name)
	if err != nil {
		return nil, err
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	over := time.NewTimer(o.Wait)
	defer over.Stop()

	owner := k.backend.owner(k.clock.Now().Time())
	var freed <-chan struct{}
	unsure := false // an earlier try may have been granted
	for try, last := 0, o.Wait == 0; ; try++ {
		var token uint64
		asked := k.clock.Now()
		if err = ctx.Err(); err == nil {
			token, err = k.try(ctx, name, owner, o.TTL)
			unsure = unsure || err != nil
		}
		if err == nil && token != 0 {
			if !past(leaseEnd(asked, o.TTL), k.clock.Now()) {
				return k.hold(ctx, name, owner, token, o, asked), nil
			}
			unsure = true // granted, and told too late: the lease is as good as over
		}
		if last || fired(over.C) || ctx.Err() != nil || err != nil && k.backend.permanent(err) {
			if unsure {
				k.abandon(ctx, name, owner)
			}
			return nil, refusal(ctx, name, err)
		}
		if freed == nil && err == nil {
			freed = k.backend.watch(watching, name)
		}
		last = pauseFor(ctx, k.backOff.pause(try), over.C, freed)
	}
}

func fired(c <-chan time.Time) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// try asks the server once, within bounds.
func (k *Locker) try(ctx context.Context, name, owner string, ttl time.Duration) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, min(ttl/2, mostTry))
	defer cancel()
	return k.backend.acquire(ctx, name, owner, ttl)
}

// pauseFor waits for d, for the lock to be freed, or for the end. It reports that
// the wait is over and the next try the last.
func pauseFor(ctx context.Context, d time.Duration, over <-chan time.Time, freed <-chan struct{}) bool {
	pause := time.NewTimer(d)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-freed:
	case <-over:
		return true
	case <-ctx.Done():
		return true
	}
	return false
}

// refusal is what Acquire returns after its last try, whose error was err.
func refusal(ctx context.Context, name string, err error) error {
	switch {
	case ctx.Err() != nil:
		return failed(ErrTimeout, name, ctx.Err())
	case err != nil:
		return failed(ErrUnavailable, name, err)
	}
	return failed(ErrTimeout, name, nil)
}

// abandon frees what a try without an answer may have taken, as well as it can in a
// short time; the lease ends by itself otherwise.
func (k *Locker) abandon(ctx context.Context, name, owner string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUp)
	defer cancel()
	_, _ = k.backend.release(ctx, name, owner)
}

// Purge forgets the names that nobody has acquired for age, an hour at least, and
// returns how many: the rows of a PostgreSQL table, which otherwise stay to remember
// the last tokens. Redis forgets by itself after a week, and there Purge does
// nothing. Errors: ErrUnavailable, ErrInvalid.
func (k *Locker) Purge(ctx context.Context, age time.Duration) (int64, error) {
	if age < time.Hour {
		var p problems
		p.add("age", "%v is shorter than an hour; a clock set back could then repeat tokens", age)
		return 0, p.err()
	}
	n, err := k.backend.purge(ctx, age)
	if err != nil {
		return 0, failed(ErrUnavailable, "*", err)
	}
	return n, nil
}
