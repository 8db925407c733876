package login

import (
	"container/list"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey"
)

// Limits bound how often one address may begin a sign-in, come back from one, or send a
// logout that is refused. Checks of sessions are never limited. An address of IPv6 is
// its network of 64 bits. The zero value takes the defaults.
type Limits struct {
	// Passwords are the passwords that one address may try a minute; 0 is
	// DefaultPasswords. One that was right does not count.
	Passwords int
	// SignIns are the sign-ins at providers that one address may begin a minute; 0 is
	// DefaultSignIns. There is nothing to guess in them, and a whole company may be one
	// address in the morning.
	SignIns int
	// Callbacks are the returns from providers that one address may make a minute; 0 is
	// DefaultCallbacks.
	Callbacks int
	// BadLogouts are the back-channel logouts that one address may send a minute of which
	// each was refused; 0 is DefaultBadLogouts. Good ones are not limited: a provider
	// that signs everybody out sends many, and none of them twice.
	BadLogouts int
	// Addresses bounds how many addresses are remembered, the latest ones; 0 is
	// DefaultAddresses. Each takes about 200 bytes.
	Addresses int
	// DangerouslyNone turns the limits off, for what has them in front.
	DangerouslyNone bool
}

// Defaults of Limits. Each is also how many may come at once.
const (
	DefaultPasswords  = 60
	DefaultSignIns    = 600
	DefaultCallbacks  = 600
	DefaultBadLogouts = 60
	DefaultAddresses  = 50_000
)

func (l *Limits) problems() (list []latchkey.FieldError) {
	for name, n := range map[string]int{"Passwords": l.Passwords, "SignIns": l.SignIns, "Callbacks": l.Callbacks, "BadLogouts": l.BadLogouts, "Addresses": l.Addresses} {
		if n < 0 || n > 10_000_000 {
			list = append(list, latchkey.FieldError{Field: "Limits." + name, Detail: fmt.Sprintf("%d is not from 0 to 10,000,000", n)})
		}
	}
	return list
}

// limit names what is limited.
type limit uint8

const (
	passwords limit = iota
	signIns
	callbacks
	badLogouts
	numLimits
)

// String implements fmt.Stringer: it is the label of the metrics.
func (l limit) String() string {
	return [numLimits]string{"passwords", "sign_ins", "callbacks", "logouts"}[l]
}

// limiter holds a token bucket for each address and limit: it is full at first, each
// use takes one, and they come back evenly over a minute.
type limiter struct {
	clock     latchkey.Clock
	clientIP  func(*http.Request) string
	perMinute [numLimits]int // 0: no limit
	most      int

	mu      sync.Mutex
	buckets map[bucketKey]*list.Element
	recent  list.List // of *bucket, the latest used first
}

type bucketKey struct {
	addr netip.Prefix
	what limit
}

type bucket struct {
	key  bucketKey
	left float64
	at   int64 // monotonic nanoseconds
}

func newLimiter(cfg Limits, clock latchkey.Clock, clientIP func(*http.Request) string) *limiter {
	or := func(n, def int) int {
		if n == 0 {
			return def
		}
		return n
	}
	l := &limiter{clock: clock, clientIP: clientIP, most: or(cfg.Addresses, DefaultAddresses), buckets: make(map[bucketKey]*list.Element)}
	if l.clock == nil {
		l.clock = latchkey.SystemClock()
	}
	if l.clientIP == nil {
		l.clientIP = peer
	}
	if !cfg.DangerouslyNone {
		l.perMinute = [numLimits]int{passwords: or(cfg.Passwords, DefaultPasswords), signIns: or(cfg.SignIns, DefaultSignIns), callbacks: or(cfg.Callbacks, DefaultCallbacks),
			badLogouts: or(cfg.BadLogouts, DefaultBadLogouts)}
	}
	return l
}

// network is what a client is known by: its address, or its network of IPv6, of which
// every customer has a whole one.
func (l *limiter) network(r *http.Request) netip.Prefix {
	addr, err := netip.ParseAddr(l.clientIP(r))
	if err != nil {
		return netip.Prefix{} // all that cannot be told apart share one
	}
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // the bits fit
	return p
}

// take uses one of an address's tokens, or says how long until there is one. n 0 only
// looks, and negative n gives back.
func (l *limiter) take(what limit, r *http.Request, n float64) (wait time.Duration, ok bool) {
	rate := l.perMinute[what]
	if rate == 0 {
		return 0, true
	}
	key, now := bucketKey{l.network(r), what}, l.clock.Now().Mono
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.buckets[key]
	if e == nil {
		if len(l.buckets) >= l.most {
			last := l.recent.Back()
			delete(l.buckets, l.recent.Remove(last).(*bucket).key)
		}
		e = l.recent.PushFront(&bucket{key, float64(rate), now})
		l.buckets[key] = e
	}
	l.recent.MoveToFront(e)
	b := e.Value.(*bucket)
	b.left = min(float64(rate), b.left+float64(now-b.at)/float64(time.Minute)*float64(rate))
	b.at = now
	if n >= 0 && b.left < 1 {
		return time.Duration((1 - b.left) / float64(rate) * float64(time.Minute)), false
	}
	b.left = min(float64(rate), b.left-n)
	return 0, true
}

var errRate = latchkey.NewError(latchkey.CodeRateLimited, "too many attempts from this address; wait a little", nil)

// retryAfter is Retry-After for what is away, in seconds.
var retryAfter = strconv.Itoa(latchkey.RetryAfter)

// setWait says when to come back, in whole seconds.
func setWait(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
}

// limited lets next have so many requests of an address. The demo has no limit: there is
// nothing in it to guess.
func (l *Login) limited(what limit, next http.Handler) http.Handler {
	if l.demo {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wait, ok := l.limits.take(what, r, 1); !ok {
			l.tally.limit(what)
			setWait(w, wait)
			l.site.WriteError(w, r, errRate)
			return
		}
		next.ServeHTTP(w, r)
	})
}
