package lock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/respguard"
)

// Mode is whose keys a Locker over Redis uses.
type Mode uint8

const (
	// ModeNative uses keys of Latchkey's own.
	ModeNative Mode = iota
	// ModeMutex uses the keys of apicrud's Mutex class, mutex:<name>, so that Python
	// programs with that class and Go programs with this mode exclude each other.
	// Holders in Python have no fencing token and are not renewed; see
	// docs/compat/mutex.md.
	ModeMutex
)

// fenceTTL is how long Redis remembers the last token of a name that is not used.
// After it tokens grow by the server's clock alone.
const fenceTTL = 7 * 24 * time.Hour

// RedisConfig says where locks are. Client is required.
type RedisConfig struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Client is connected to a primary, a Sentinel group or a cluster of Redis 6 or
	// later, or of Valkey; NewRedisClient makes one that survives a server gone mad.
	// It stays the caller's to close. How soon it notices a dead
	// connection (its ConnWriteTimeout, 10 s unless set) should be less than half of
	// the shortest TTL.
	Client rueidis.Client
	// Mode is whose keys are used.
	Mode Mode
	// Prefix of the keys, which are <Prefix><name> and {<Prefix><name>}:fence. Empty is
	// "latchkey:lock:". At most 100 printable ASCII characters without braces; fixed
	// ("mutex:") in ModeMutex.
	Prefix string
	// Notify tells waiters of a release by a publication on the channel <Prefix>freed
	// and listens there while waiting, so that a lock changes hands at once. Without
	// it, or where the publication is lost, waiters find out at their next try.
	Notify bool
	// RetryMin and RetryMax bound the pause between tries, before jitter; 1 ms to 1
	// min, 10 ms and 250 ms when zero.
	RetryMin, RetryMax time.Duration
	// Clock is the local clock, which judges leases; nil is the machine's. Pauses are
	// measured by timers.
	Clock latchkey.Clock
}

// answers bounds what a server may say: those to the scripts are small, but the map
// of a large cluster is not.
var answers = respguard.Limits{Bulk: 1 << 20, Items: 1 << 16, Line: 4 << 10, Depth: 8}

// NewRedisClient is rueidis.NewClient with a guard on each connection, which breaks it
// off before the library sees an answer that no Redis gives: the library allocates
// what a length says and panics on an answer to nothing, in a goroutine of its own.
// Notify needs RESP3 then, which every Redis from 6.0 on speaks. The client is the
// caller's to close. The error is ErrUnavailable.
func NewRedisClient(option rueidis.ClientOption) (rueidis.Client, error) {
	client, err := respguard.NewClient(option, answers)
	if err != nil {
		return nil, latchkey.NewError(ErrUnavailable.Code, ErrUnavailable.Message, err)
	}
	return client, nil
}

// NewRedis checks the configuration and asks the server nothing yet. The error is
// ErrInvalid and lists every problem.
func NewRedis(cfg RedisConfig) (*Locker, error) {
	var p problems
	if cfg.Client == nil {
		p.add("Client", "a connected rueidis.Client is required")
	}
	b := &redisBackend{client: cfg.Client, mode: cfg.Mode, prefix: cfg.Prefix, notify: cfg.Notify}
	switch {
	case cfg.Mode > ModeMutex:
		p.add("Mode", "%d is no mode", cfg.Mode)
	case cfg.Mode == ModeMutex && cfg.Prefix != "":
		p.add("Prefix", "it is fixed in ModeMutex; leave it empty")
	case cfg.Mode == ModeMutex:
		b.prefix = "mutex:"
	case cfg.Prefix == "":
		b.prefix = "latchkey:lock:"
	case len(cfg.Prefix) > 100 || strings.ContainsFunc(cfg.Prefix, func(r rune) bool { return r <= ' ' || r > '~' || r == '{' || r == '}' }):
		p.add("Prefix", "at most 100 printable ASCII characters without spaces and braces are allowed")
	}
	k := &Locker{backend: b, clock: cfg.Clock, backOff: newBackOff(&p, cfg.RetryMin, cfg.RetryMax, 10*time.Millisecond, 250*time.Millisecond)}
	if k.clock == nil {
		k.clock = latchkey.SystemClock()
	}
	return k, p.err()
}

// The scripts. They are sent whole each time: they are short, and a server that was
// restarted, or has become the primary, knows none by its digest.
const (
	// acquireScript: KEYS lock, fence; ARGV owner, lease in ms, fence's expiry in ms.
	// Lua's numbers are float64; tokens stay below 2^53, where those are exact.
	acquireScript = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return '0' end
local t = redis.call('TIME')
local token = t[1] * 1000000 + t[2]
local last = redis.call('GET', KEYS[2])
if last then
  last = tonumber(last)
  if not last or last < 0 or last >= 9007199254740990 then return redis.error_reply('LOCKFENCE the fencing counter holds something else') end
  if token <= last then token = last + 1 end
end
token = string.format('%.0f', token)
redis.call('SET', KEYS[2], token, 'PX', ARGV[3])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return token`

	// renewScript: KEYS lock; ARGV owner, lease in ms.
	renewScript = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return '0' end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return '1'`

	// releaseScript: KEYS lock; ARGV owner, channel or '', name. A publication that is
	// refused must not hide that the lock is free.
	releaseScript = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return '0' end
redis.call('DEL', KEYS[1])
if ARGV[2] ~= '' then redis.pcall('PUBLISH', ARGV[2], ARGV[3]) end
return '1'`
)

type redisBackend struct {
	client rueidis.Client
	mode   Mode
	prefix string
	notify bool
}

// undated hides a context's deadline from rueidis, which answers to a deadline by
// closing the connection when it comes, and not at all to an earlier cancellation.
type undated struct{ context.Context }

func (undated) Deadline() (time.Time, bool) { return time.Time{}, false }

// eval runs a script whose answer is a decimal number in text.
func (b *redisBackend) eval(ctx context.Context, script string, keys []string, args ...string) (n uint64, err error) {
	defer respguard.Caught(&err)
	cmd := b.client.B().Eval().Script(script).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
	text, err := b.client.Do(undated{ctx}, cmd).ToString()
	if err != nil {
		return 0, err
	}
	if n, err = strconv.ParseUint(text, 10, 63); err != nil {
		return 0, errors.New("the answer of Redis is no number")
	}
	return n, nil
}

// ask is eval for an answer of yes or no.
func (b *redisBackend) ask(ctx context.Context, script, name string, args ...string) (bool, error) {
	n, err := b.eval(ctx, script, []string{b.prefix + name}, args...)
	if err == nil && n > 1 {
		err = fmt.Errorf("the answer of Redis is %d, neither yes nor no", n)
	}
	return n == 1, err
}

// milliseconds of a lease, rounded up: the server must not be the first to end it.
func milliseconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Millisecond-1)/time.Millisecond), 10)
}

func (b *redisBackend) acquire(ctx context.Context, name, owner string, ttl time.Duration) (uint64, error) {
	key := b.prefix + name
	// The braces put both keys in the slot of the first (Redis Cluster, "hash tags").
	return b.eval(ctx, acquireScript, []string{key, "{" + key + "}:fence"}, owner, milliseconds(ttl), milliseconds(fenceTTL))
}

func (b *redisBackend) renew(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	return b.ask(ctx, renewScript, name, owner, milliseconds(ttl))
}

func (b *redisBackend) release(ctx context.Context, name, owner string) (bool, error) {
	channel := ""
	if b.notify {
		channel = b.channel()
	}
	return b.ask(ctx, releaseScript, name, owner, channel, name)
}

// channel is one for all names: rueidis leaves a channel only with its connection.
func (b *redisBackend) channel() string { return b.prefix + "freed" }

func (b *redisBackend) watch(ctx context.Context, name string) <-chan struct{} {
	if !b.notify {
		return nil
	}
	freed := make(chan struct{}, 1)
	go func() { // ends with ctx, which Acquire cancels
		var err error // without the notice, waiters find out at their next try
		defer respguard.Caught(&err)
		_ = b.client.Receive(ctx, b.client.B().Subscribe().Channel(b.channel()).Build(), func(m rueidis.PubSubMessage) {
			if m.Message == name {
				select {
				case freed <- struct{}{}:
				default:
				}
			}
		})
	}()
	return freed
}

// permanent knows the replies by which a server refuses for good. Others (LOADING,
// READONLY, CLUSTERDOWN, OOM…) pass.
func (b *redisBackend) permanent(err error) bool {
	if errors.Is(err, rueidis.ErrClosing) {
		return true
	}
	reply, ok := rueidis.IsRedisErr(err)
	if !ok {
		return false
	}
	code, _, _ := strings.Cut(reply.Error(), " ")
	switch code {
	case "WRONGTYPE", "NOAUTH", "WRONGPASS", "NOPERM", "LOCKFENCE":
		return true
	}
	return false
}

func (b *redisBackend) purge(context.Context, time.Duration) (int64, error) { return 0, nil }

func (b *redisBackend) owner(now time.Time) string {
	if b.mode == ModeMutex {
		return genID(now)
	}
	return rand.Text()
}

// genID is apicrud's gen_id(length=25): "x-", three digits of the day in base 64,
// and 22 random ones. The original's default, five from a predictable generator, is
// too few for a value that proves ownership; nothing depends on the length.
func genID(now time.Time) string {
	const digits = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz" // in ASCII order
	random := make([]byte, 23)
	_, _ = rand.Read(random) // never fails
	days := int64(now.Sub(time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC)) / (24 * time.Hour))
	id := []byte("x-")
	for n, shift := days*8+int64(random[22]&7), 12; shift >= 0; shift -= 6 {
		id = append(id, digits[n>>shift&63])
	}
	for _, b := range random[:22] {
		id = append(id, digits[b&63])
	}
	return string(id)
}
