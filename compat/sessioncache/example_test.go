package sessioncache_test

import (
	"fmt"
	"time"

	"github.com/latchkey-go/latchkey/compat/sessioncache"
)

func Example() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	e := sessioncache.Entry{UserID: "u1", Tier: "free", CreatedAt: "2025-11-14T12:00:00+00:00", UpdatedAt: "2025-11-14T12:00:00+00:00", CachedAt: float64(now.Unix())}
	fmt.Println(sessioncache.Key("token"), sessioncache.TTL(sessioncache.DefaultTTL, time.Minute))
	fmt.Println(e.Decide(now, nil))
	changed := sessioncache.Marker(now.Add(time.Second)) // a password change, say
	fmt.Println(e.Decide(now, &changed))
	// Output:
	// session_cache:3c469e9d6c5875d37a43f353d4f88e61 1m0s
	// true
	// false
}
