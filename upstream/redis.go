package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/respguard"
)

// found is what Redis knows of a token.
type found struct {
	user  User
	known bool // user is somebody
	ended bool // the token was ended by InvalidateToken
	fresh time.Duration
	stale time.Duration // how much longer than fresh it is held; fresh may be 0 or less
	seen  ticket
}

// ticket is what a lookup saw before it asked the upstream; a fill shows it, and is
// refused when an invalidation was counted since.
type ticket struct {
	valid   bool
	epoch   string    // native: which counter
	counter string    // native: where it stood
	asked   time.Time // compatible: when
}

// layout is a way of keeping entries in Redis. Its methods are one trip each. An
// errGarbage from read is a miss.
type layout interface {
	read(ctx context.Context, s *subject, now time.Time) (found, error)
	// fill reports whether the entry was written: not when its user or token was
	// invalidated since seen was issued.
	fill(ctx context.Context, s *subject, u *User, seen ticket, fresh, stale time.Duration) (bool, error)
	// vouches reports that the user of an entry held elsewhere was not invalidated
	// since it was made. No is also the answer of a layout that would have found the entry itself.
	vouches(ctx context.Context, s *subject, u *User) (bool, error)
	drop(ctx context.Context, digest *[32]byte) error
	// repair removes what read found to be garbage.
	repair(ctx context.Context, digest *[32]byte) error
	endToken(ctx context.Context, digest *[32]byte, keep time.Duration) error
	endUser(ctx context.Context, id string, now time.Time) error
}

var (
	// errGarbage is what a value in Redis that is no entry of ours is read as.
	errGarbage = errors.New("upstream: what Redis holds is no entry")
	errAway    = errors.New("upstream: Redis is away")
)

// doer runs commands; layouts have no other way to Redis.
type doer interface {
	exec(ctx context.Context, script *script, keys, args []string) ([]rueidis.RedisMessage, error)
	do(ctx context.Context, command ...string) error
}

// remote is the shared Redis: a connection that may be away, a keeper that tries to
// get it back, and the invalidations that wait for that.
type remote struct {
	layout            // for lookups: it fails at once while Redis is away
	firm       layout // for invalidations: it tries
	option     rueidis.ClientOption
	timeout    time.Duration
	retryEvery time.Duration
	clock      latchkey.Clock
	log        *slog.Logger

	client atomic.Pointer[rueidis.Client] // nil until the first connection
	away   atomic.Bool
	errs   atomic.Uint64
	wake   chan struct{}

	mu      sync.Mutex
	pending map[pendingKey]pendingOp
	waiting atomic.Int64 // len(pending)
	lost    atomic.Uint64
	keepFor time.Duration // how long entries can outlive an invalidation
}

func newRemote(s *settings) *remote {
	r := &remote{
		option:     s.redis,
		timeout:    s.Redis.Timeout,
		retryEvery: s.Redis.RetryEvery,
		clock:      s.Clock,
		log:        s.Log,
		wake:       make(chan struct{}, 1),
		pending:    make(map[pendingKey]pendingOp),
		keepFor:    s.TTL + s.ServeStale + s.UpstreamTimeout,
	}
	o := &r.option
	o.DisableCache = true // entries are checked against the counter, which tracking does not cover
	o.DisableRetry = true // who waits would rather ask the upstream
	o.ForceSingleClient = true
	o.ClientSetInfo = rueidis.DisableClientSetInfo
	o.Dialer.Timeout, o.ConnWriteTimeout = r.timeout, r.timeout
	o.ReadBufferEachConn, o.WriteBufferEachConn = 32<<10, 32<<10
	respguard.Guard(o, respguard.Default())
	layoutOver := func(d doer) layout {
		if s.Redis.Format == FormatSessionCache {
			return newSharedLayout(d, s.TTL)
		}
		return newNativeLayout(d, s.Redis.Name)
	}
	r.layout, r.firm = layoutOver(trips{r, false}), layoutOver(trips{r, true})
	return r
}

// connect makes the client. rueidis reconnects by itself from then on.
func (r *remote) connect() (err error) {
	defer caught(&err)
	client, err := rueidis.NewClient(r.option)
	if err != nil {
		return err
	}
	r.client.Store(&client)
	return nil
}

// caught makes an error of a panic in the client library, which trusts the types of what a server tells of itself.
func caught(err *error) {
	if v := recover(); v != nil {
		*err = errGarbage
	}
}

// trips makes trips to the server, anyway or only while it is not away.
type trips struct {
	*remote
	anyway bool
}

// exec runs a script by its hash in one trip (more when the server has not met it yet).
func (t trips) exec(ctx context.Context, script *script, keys, args []string) (out []rueidis.RedisMessage, err error) {
	err = t.try(ctx, t.anyway, func(ctx context.Context, c rueidis.Client) (err error) {
		out, err = script.run(ctx, c, keys, args)
		return err
	})
	return out, err
}

// do runs a command whose answer does not matter.
func (t trips) do(ctx context.Context, command ...string) error {
	return t.try(ctx, t.anyway, func(ctx context.Context, c rueidis.Client) error {
		return c.Do(ctx, c.B().Arbitrary(command...).Build()).Error()
	})
}

// try runs f within the timeout. When the server does not answer, Redis is away, and
// nobody waits for it again until the keeper (anyway) has reached it.
func (r *remote) try(ctx context.Context, anyway bool, f func(context.Context, rueidis.Client) error) (err error) {
	client := r.client.Load()
	if client == nil || !anyway && r.away.Load() {
		return errAway
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	defer func() {
		caught(&err)
		if err == nil {
			return
		}
		r.errs.Add(1)
		if _, replied := rueidis.IsRedisErr(err); !replied && !errors.Is(err, context.Canceled) && !errors.Is(err, errGarbage) {
			r.gone(err)
		}
	}()
	err = f(ctx, *client)
	// A value of another type is an error of the script that met it.
	if reply, replied := rueidis.IsRedisErr(err); rueidis.IsParseErr(err) || replied && strings.Contains(reply.Error(), "WRONGTYPE") {
		return errGarbage
	}
	return err
}

func (r *remote) gone(cause error) {
	if !r.away.Swap(true) {
		r.log.Warn("the session cache's Redis is away; lookups go to the upstream", "error", describe(cause))
	}
	r.nudge()
}

// describe keeps what a driver says of an address and drops what a server said.
func describe(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &op):
		return fmt.Sprintf("%s: %v", op.Op, op.Err)
	case errors.Is(err, respguard.ErrProtocol):
		return "the answer is none of a Redis"
	}
	return "connection failed"
}

func (r *remote) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// keep is the keeper: while Redis is away it tries to reach it, and once it is back
// it carries out what waited. It ends with ctx.
func (r *remote) keep(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	armed := true
	for {
		select {
		case <-ctx.Done():
			if c := r.client.Load(); c != nil {
				(*c).Close()
			}
			return
		case <-r.wake:
			if !armed { // else many wakings would put it off for ever
				timer.Reset(r.retryEvery)
				armed = true
			}
		case <-timer.C:
			if armed = !r.recover(ctx); armed {
				timer.Reset(r.retryEvery)
			}
		}
	}
}

// recover reports that Redis is there and nothing waits for it.
func (r *remote) recover(ctx context.Context) bool {
	if !r.away.Load() && r.waiting.Load() == 0 {
		return true
	}
	// What waits goes first: entries that it ends are not to be read.
	if r.ping(ctx) != nil || !r.settle(ctx) {
		return false
	}
	if r.away.Swap(false) {
		r.log.Info("the session cache's Redis is back")
	}
	return true
}

// ping reaches the server, or makes the first connection.
func (r *remote) ping(ctx context.Context) error {
	if r.client.Load() == nil {
		if err := r.connect(); err != nil {
			return err
		}
	}
	return r.try(ctx, true, func(ctx context.Context, c rueidis.Client) error {
		return c.Do(ctx, c.B().Ping().Build()).Error()
	})
}
