package sessioncache_test

import (
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/sessioncache"
)

func TestSettings(t *testing.T) {
	read := func(pairs map[string]string) (sessioncache.Settings, error) {
		return sessioncache.SettingsFrom(func(name string) (string, bool) { v, ok := pairs[name]; return v, ok })
	}
	s, err := read(nil)
	if err != nil || s != (sessioncache.Settings{Enabled: true, TTL: 5 * time.Minute, RedisDB: 2, RedisHost: "localhost", RedisPort: 6379, RememberMe: 720 * time.Hour}) || s.RedisURL() != "redis://localhost:6379/2" {
		t.Errorf("%+v %v", s, err)
	}
	s, err = read(map[string]string{"auth.session_cache.enabled": "False", "auth.session_cache.ttl_seconds": "60", "auth.session_cache.redis_db": "0", "redis.host": "::1", "redis.port": "7000", "auth.duration_remember_me": "3600"})
	if err != nil || s.Enabled || s.TTL != time.Minute || s.RememberMe != time.Hour || s.RedisURL() != "redis://[::1]:7000/0" {
		t.Errorf("%+v %v", s, err)
	}
	_, err = read(map[string]string{"auth.session_cache.enabled": "maybe", "auth.session_cache.ttl_seconds": "0", "auth.session_cache.redis_db": "-1", "redis.host": "a/b", "redis.port": "x", "auth.duration_remember_me": "99999999999999999999"})
	for _, want := range []string{"enabled", "ttl_seconds", "redis_db", "redis.host", "redis.port", "duration_remember_me"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
}
