package sessioncache

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Settings are the original's, by the dotted names of its configuration file.
type Settings struct {
	Enabled    bool          // auth.session_cache.enabled, true
	TTL        time.Duration // auth.session_cache.ttl_seconds, DefaultTTL
	RedisDB    int           // auth.session_cache.redis_db, 2
	RedisHost  string        // redis.host, localhost
	RedisPort  int           // redis.port, 6379
	RememberMe time.Duration // auth.duration_remember_me in seconds, MarkerTTL
}

// MaxTTL is the longest TTL of an entry: what is cached is not asked for again.
const MaxTTL = time.Hour

// SettingsFrom reads settings by their dotted names; what is not there has its default.
// The error lists every problem.
func SettingsFrom(lookup func(name string) (string, bool)) (Settings, error) {
	var problems []error
	number := func(name string, otherwise, least, most int) int {
		text, ok := lookup(name)
		if !ok {
			return otherwise
		}
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < least || n > most {
			problems = append(problems, fmt.Errorf("sessioncache: %s is %.20q; use %d to %d", name, text, least, most))
			return otherwise
		}
		return n
	}
	seconds := func(name string, otherwise, most time.Duration) time.Duration {
		return time.Duration(number(name, int(otherwise/time.Second), 1, int(most/time.Second))) * time.Second
	}
	s := Settings{
		Enabled:    true,
		TTL:        seconds("auth.session_cache.ttl_seconds", DefaultTTL, MaxTTL),
		RedisDB:    number("auth.session_cache.redis_db", 2, 0, 1<<16),
		RedisHost:  "localhost",
		RedisPort:  number("redis.port", 6379, 1, 1<<16-1),
		RememberMe: seconds("auth.duration_remember_me", MarkerTTL, 400*24*time.Hour),
	}
	if host, ok := lookup("redis.host"); ok {
		if s.RedisHost = strings.TrimSpace(host); s.RedisHost == "" || strings.ContainsAny(s.RedisHost, "/@?# ") {
			problems = append(problems, fmt.Errorf("sessioncache: redis.host is %.40q; use a name or an address", host))
		}
	}
	if text, ok := lookup("auth.session_cache.enabled"); ok {
		switch strings.ToLower(strings.TrimSpace(text)) {
		case "true", "yes", "on":
		case "false", "no", "off":
			s.Enabled = false
		default:
			problems = append(problems, fmt.Errorf("sessioncache: auth.session_cache.enabled is %.20q; use true or false", text))
		}
	}
	return s, errors.Join(problems...)
}

// RedisURL is the address that the original makes of its settings: without password,
// user or TLS.
func (s *Settings) RedisURL() string {
	return "redis://" + net.JoinHostPort(s.RedisHost, strconv.Itoa(s.RedisPort)) + "/" + strconv.Itoa(s.RedisDB)
}
