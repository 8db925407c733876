package sessioncache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey/compat/internal/py"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// Prefixes of the Redis keys.
const (
	EntryPrefix  = "session_cache:"
	MarkerPrefix = "user_invalidated:"
)

// Times of the original's configuration.
const (
	DefaultTTL = 5 * time.Minute     // auth.session_cache.ttl_seconds, of an entry
	MarkerTTL  = 30 * 24 * time.Hour // auth.duration_remember_me, of a marker
)

// MaxEntry is the longest entry that is read, in bytes.
const MaxEntry = 64 << 10

// ErrMalformed is what an entry that is not one is refused with. It holds nothing of
// the entry.
var ErrMalformed = errors.New("sessioncache: the entry is malformed")

// Key returns the Redis key of a token's entry: 128 bits of its SHA-256 in hex.
func Key(token string) string {
	sum := sha256.Sum256([]byte(token))
	return EntryPrefix + hex.EncodeToString(sum[:16])
}

// MarkerKey returns the Redis key of a user's marker.
func MarkerKey(userID string) string { return MarkerPrefix + userID }

// Marker returns a marker's value: Unix seconds with a fraction, in text.
func Marker(at time.Time) string {
	// Exact for microseconds until the year 2242, as Python's time.time() is.
	text, _ := pyjson.Marshal(pyjson.Default, float64(at.UnixMicro())/1e6) // finite
	return string(text)
}

// TTL is how long an entry may live: ttl, or what remains of its session when that
// is less, in whole seconds. 0 means that the session is over or as good as: write
// nothing. The original writes such an entry for a second.
func TTL(ttl, remaining time.Duration) time.Duration {
	return max(min(ttl, remaining).Truncate(time.Second), 0)
}

// OriginalTTL is min(ttl, max(1, int(remaining))), in seconds.
func OriginalTTL(ttl, remaining float64) float64 {
	return math.Min(ttl, math.Max(1, math.Trunc(remaining)))
}

// Entry is a cached session: the user's data and what bounds its use.
type Entry struct {
	UserID        string
	Email         string
	Name          string
	EmailVerified bool
	Tier          string // free, basic, premium or elite
	CreatedAt     string // ISO 8601, as the owner gave it
	UpdatedAt     string // likewise
	// SessionExpire is when the session ends, ISO 8601; without an offset it is UTC.
	// Empty is unknown.
	SessionExpire string
	// CachedAt is when the entry was made, in Unix seconds of the host that made it.
	CachedAt float64
}

// Text returns the entry as the original writes it.
func (e *Entry) Text() ([]byte, error) {
	var expire any
	if e.SessionExpire != "" {
		expire = e.SessionExpire
	}
	return pyjson.Marshal(pyjson.Default, pyjson.Object{
		{Name: "user_id", Value: e.UserID}, {Name: "email", Value: e.Email}, {Name: "name", Value: e.Name},
		{Name: "email_verified", Value: e.EmailVerified}, {Name: "tier", Value: e.Tier},
		{Name: "created_at", Value: e.CreatedAt}, {Name: "updated_at", Value: e.UpdatedAt},
		{Name: "session_expire", Value: expire}, {Name: "cached_at", Value: e.CachedAt},
	})
}

// ParseEntry reads an entry whose members must all be there and of their types; only
// session_expire may be null, empty or absent. The error is ErrMalformed.
func ParseEntry(text []byte) (*Entry, error) {
	if len(text) > MaxEntry {
		return nil, ErrMalformed
	}
	o, err := pyjson.ParseObject(text)
	if err != nil {
		return nil, ErrMalformed
	}
	var e Entry
	for name, into := range map[string]*string{"user_id": &e.UserID, "email": &e.Email, "name": &e.Name, "tier": &e.Tier,
		"created_at": &e.CreatedAt, "updated_at": &e.UpdatedAt, "session_expire": &e.SessionExpire} {
		v, there := o.Get(name)
		s, ok := v.(string)
		if *into = s; !ok && (name != "session_expire" || there && v != nil) {
			return nil, ErrMalformed
		}
	}
	verified, _ := o.Get("email_verified")
	cached, _ := o.Get("cached_at")
	var ok bool
	if e.EmailVerified, ok = verified.(bool); !ok {
		return nil, ErrMalformed
	}
	number, _ := cached.(json.Number)
	if e.CachedAt, err = strconv.ParseFloat(string(number), 64); err != nil || !e.dated() {
		return nil, ErrMalformed
	}
	return &e, nil
}

// dated reports whether the entry's times can be read.
func (e *Entry) dated() bool {
	times := []string{e.CreatedAt, e.UpdatedAt}
	if e.SessionExpire != "" {
		times = append(times, e.SessionExpire)
	}
	for _, s := range times {
		if _, _, ok := py.ParseISO(s); !ok {
			return false
		}
	}
	return true
}

// Decide reports whether the entry may be served at now. marker is the value of the
// user's marker, nil when there is none. When it says no, delete the entry.
func (e *Entry) Decide(now time.Time, marker *string) bool {
	if !e.dated() {
		return false
	}
	if expires, _, ok := py.ParseISO(e.SessionExpire); ok && !now.Before(expires) {
		return false
	}
	if marker == nil {
		return true
	}
	at, ok := py.Float(*marker)
	return ok && at < e.CachedAt
}

// DecideAsOriginal is [Entry.Decide] with the original's ties: an entry that expires
// now, or is as old as the marker, is served.
func (e *Entry) DecideAsOriginal(now time.Time, marker *string) bool {
	if !e.dated() {
		return false
	}
	if expires, _, ok := py.ParseISO(e.SessionExpire); ok && expires.Before(now) {
		return false
	}
	if marker == nil || e.UserID == "" {
		return true
	}
	at, ok := py.Float(*marker)
	return ok && at <= e.CachedAt
}
