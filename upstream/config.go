package upstream

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/compat/sessioncache"
)

// Defaults and bounds of Config.
const (
	DefaultTTL             = time.Minute
	DefaultProcessTTL      = time.Second
	DefaultNegativeTTL     = 5 * time.Second
	DefaultUpstreamTimeout = 5 * time.Second
	DefaultMaxCalls        = 64
	DefaultMaxBytes        = 64 << 20

	maxTTL         = 24 * time.Hour
	maxNegativeTTL = time.Minute
	maxTimeout     = time.Minute
	maxCalls       = 4096
	minBytes       = 1 << 20
	maxName        = 64
)

// Config says whom to ask and how long answers count. Only Upstream is required. New copies it.
type Config struct {
	// Upstream is who knows.
	Upstream Upstream

	// TTL is how long an answer counts, at most 24 h; less when the session ends
	// sooner. 0 is DefaultTTL, or five minutes with FormatSessionCache.
	TTL time.Duration

	// ProcessTTL is how long this process goes on using an answer without a look at
	// Redis, and so how long it may miss an invalidation made by another process. 0
	// is DefaultProcessTTL. Without Redis it is TTL, whatever is set here.
	ProcessTTL time.Duration

	// NegativeTTL is how long a token that the upstream refused is refused without
	// asking again, in this process only; at most a minute. 0 is DefaultNegativeTTL,
	// a negative value asks each time.
	NegativeTTL time.Duration

	// ServeStale is how much longer than TTL an answer is served while the upstream
	// does not answer, at most 24 h. 0 is not at all. What was invalidated, and a
	// session known to have ended, is never served; but while Redis is away too, this
	// process does not learn what others invalidate, for TTL and ServeStale together.
	ServeStale time.Duration

	// UpstreamTimeout bounds one call of the upstream and the wait for a turn, up to
	// a minute. 0 is DefaultUpstreamTimeout.
	UpstreamTimeout time.Duration

	// MaxCalls bounds how many calls of the upstream are under way at a time, so that
	// a flood of unknown tokens does not become one. 0 is DefaultMaxCalls.
	MaxCalls int

	// MaxBytes bounds the process cache, from 1 MiB. 0 is DefaultMaxBytes. An eighth of it is
	// for refused tokens, apart, so that junk displaces nobody.
	MaxBytes int64

	// Redis is the shared cache. The zero value is none.
	Redis RedisConfig

	// Clock is the system's when nil.
	Clock latchkey.Clock

	// Log is told when Redis or the upstream goes away and comes back. Nil is silent.
	Log *slog.Logger
}

// Format is how entries look in Redis.
type Format int

const (
	// FormatNative is this package's own: sealed values, counted invalidations.
	FormatNative Format = iota

	// FormatSessionCache is that of the Python SessionCacheService (package
	// compat/sessioncache), so that its processes and this one share a cache:
	// session_cache: entries and user_invalidated: markers. Its weaknesses come with
	// it, and docs/compat/session-cache.md lists which of them remain: clear text,
	// clocks of several hosts, and entries that whoever can write the Redis can forge.
	// Claims are not kept in it, and stale answers only in the process.
	FormatSessionCache
)

// RedisConfig says which Redis is shared, and with whom.
type RedisConfig struct {
	// URL is redis://, rediss:// (TLS) or unix://, with user, password and database
	// where needed. Empty is no Redis. One primary; no Cluster or Sentinel.
	URL string

	// Name keeps apart what must not be mixed: processes share entries when Redis
	// and Name are the same, and must then ask the same upstream. Lower-case letters, digits and dashes; empty is
	// "default". It is not used with FormatSessionCache, whose keys are fixed.
	Name string

	// Format is FormatNative unless set.
	Format Format

	// Timeout bounds each trip to Redis, up to a minute. 0 is 250 ms.
	Timeout time.Duration

	// RetryEvery is how often a Redis that is away is tried, from 1 ms to a minute. 0 is a second.
	RetryEvery time.Duration
}

const (
	defaultRedisTimeout = 250 * time.Millisecond
	defaultRetryEvery   = time.Second
	defaultName         = "default"
)

// settings is a Config made whole.
type settings struct {
	Config
	redis rueidis.ClientOption
}

// Check returns what New would refuse the configuration with, or nil, and touches nothing.
func (cfg Config) Check() error {
	_, err := cfg.resolve()
	return err
}

// resolve fills in the defaults, or tells all that is wrong.
func (cfg Config) resolve() (settings, error) {
	s := settings{Config: cfg}
	var wrong []latchkey.FieldError
	add := func(field, format string, args ...any) {
		wrong = append(wrong, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	span := func(field string, d *time.Duration, otherwise, least, most time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
		if *d < least || *d > most {
			add(field, "is %v; from %v to %v is allowed, or 0 for %v", *d, least, most, otherwise)
		}
	}
	if s.Upstream == nil {
		add("Upstream", "is required: say whom to ask, for example with NewIntrospection")
	}
	ttl := DefaultTTL
	if s.Redis.Format == FormatSessionCache {
		ttl = sessioncache.DefaultTTL
	}
	span("TTL", &s.TTL, ttl, time.Second, maxTTL)
	span("UpstreamTimeout", &s.UpstreamTimeout, DefaultUpstreamTimeout, time.Millisecond, maxTimeout)
	if s.NegativeTTL >= 0 {
		span("NegativeTTL", &s.NegativeTTL, DefaultNegativeTTL, time.Millisecond, maxNegativeTTL)
	}
	if s.ServeStale < 0 || s.ServeStale > maxTTL {
		add("ServeStale", "is %v; from 0 to %v is allowed", s.ServeStale, maxTTL)
	}
	span("ProcessTTL", &s.ProcessTTL, min(DefaultProcessTTL, s.TTL), time.Millisecond, maxTTL)
	if s.Redis.URL == "" || s.ProcessTTL > s.TTL {
		s.ProcessTTL = s.TTL
	}
	if s.MaxCalls == 0 {
		s.MaxCalls = DefaultMaxCalls
	}
	if s.MaxCalls < 1 || s.MaxCalls > maxCalls {
		add("MaxCalls", "is %d; from 1 to %d is allowed, or 0 for %d", s.MaxCalls, maxCalls, DefaultMaxCalls)
	}
	if s.MaxBytes == 0 {
		s.MaxBytes = DefaultMaxBytes
	}
	if s.MaxBytes < minBytes {
		add("MaxBytes", "is %d; at least %d is needed, or 0 for %d", s.MaxBytes, minBytes, DefaultMaxBytes)
	}
	s.resolveRedis(add, span)
	if s.Clock == nil {
		s.Clock = latchkey.SystemClock()
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if len(wrong) > 0 {
		err := latchkey.NewError(latchkey.CodeInvalidRequest, "upstream: the configuration is wrong", nil)
		err.Fields = wrong
		return s, err
	}
	return s, nil
}

// resolveRedis is resolve for Config.Redis. No message shows the URL: it may hold a password.
func (s *settings) resolveRedis(add func(field, format string, args ...any), span func(field string, d *time.Duration, otherwise, least, most time.Duration)) {
	r := &s.Redis
	if r.Format != FormatNative && r.Format != FormatSessionCache {
		add("Redis.Format", "is %d; FormatNative and FormatSessionCache are allowed", r.Format)
	}
	if r.URL == "" {
		if r.Name != "" || r.Format != FormatNative {
			add("Redis.URL", "is required when other members of Redis are set, for example redis://127.0.0.1:6379/2")
		}
		return
	}
	var err error
	if s.redis, err = rueidis.ParseURL(r.URL); err != nil {
		add("Redis.URL", "cannot be read; want redis://, rediss:// or unix://, for example redis://127.0.0.1:6379/2")
	} else if s.redis.Sentinel.MasterSet != "" || len(s.redis.InitAddress) != 1 {
		add("Redis.URL", "names several servers; one primary is supported")
	}
	if r.Name == "" {
		r.Name = defaultName
	}
	if !goodName(r.Name) {
		add("Redis.Name", "may have lower-case letters, digits and dashes, up to %d", maxName)
	}
	span("Redis.Timeout", &r.Timeout, defaultRedisTimeout, time.Millisecond, maxTimeout)
	span("Redis.RetryEvery", &r.RetryEvery, defaultRetryEvery, time.Millisecond, time.Minute)
}

func goodName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(name) <= maxName
}
