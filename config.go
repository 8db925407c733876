package latchkey

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/latchkey-go/latchkey/keyring"
)

// Config is a Manager's configuration. Store and Keys are required; every other
// zero value is the safe choice. It is checked once, by New, which reports all
// problems together; changing it afterwards has no effect.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Store keeps the sessions.
	Store Store
	// Keys authenticates tokens.
	Keys *keyring.Ring
	// Cache answers most checks from memory; nil asks the store each time.
	Cache Cache

	// Cookie says how the session cookie is written.
	Cookie Cookie
	// AcceptBearer also takes the token from "Authorization: Bearer lk_…". A
	// request with a cookie and a different bearer token has no valid session.
	AcceptBearer bool

	// Preset gives the limits that Idle and Absolute leave open. Zero is AAL2.
	Preset Preset
	// Idle ends a session that is not seen for so long.
	Idle time.Duration
	// Absolute ends a session so long after sign-in or re-authentication, whatever
	// happens; at most 400 days.
	Absolute time.Duration
	// DangerouslyNoIdle lets sessions live to their absolute limit unseen.
	DangerouslyNoIdle bool

	// Limit is how many live sessions an identity may have; 0 means any number.
	Limit int
	// LimitPolicy says what a sign-in over the limit does: EvictOldest or RefuseNew.
	LimitPolicy LimitPolicy

	// RotateEvery replaces a session's token that old in mid-session; 0 never does.
	// The token replaced stays good until RotateGrace after its successor is first
	// presented.
	RotateEvery time.Duration
	// RotateGrace is 10 seconds unless set; at most a minute.
	RotateGrace time.Duration

	// Stateless makes sign-ins whose token tells of the session itself, sealed, so
	// that a check reads nothing from the store: the Cache keeps the list of the
	// sessions that have changed or ended since, and only those are read. All else is
	// as with stored sessions, and those that either setting made go on under the
	// other one. A session's idle limit runs from its last issue, which is half of it
	// old at most. It needs a Cache that is a Ledger and a Store that is a
	// ChangeLister, and allows no mid-session rotation.
	Stateless bool

	// ServeStale honours a cached session so long after the cache last could vouch
	// for it, when the store gives no answer. 0 answers "unavailable" instead.
	// Revocations by other nodes can lag by as much.
	ServeStale time.Duration

	// SealedCache keeps session data sealed in the cache and opens it at each use,
	// which reads the store once more. Unset, an entry whose token was verified
	// holds its data opened.
	SealedCache bool

	// MaxData bounds a session's data, as JSON: 64 KiB unless set; at most 1 MiB.
	MaxData int

	// Privacy says how much of the client's address and user agent is kept.
	Privacy Privacy
	// ClientIP finds the client's address; unset, it is that of the connection.
	// Behind a proxy, read a forwarded header only if the proxy overwrites it.
	ClientIP func(*http.Request) string

	// Filter, when set, is asked about each session that is otherwise good. False
	// makes it as if there were none, for this request. It must be fast.
	Filter func(Session) bool
	// Passive, when set, tells requests that are not the user's doing (polling, say):
	// they are answered but do not count as activity, and never rotate.
	Passive func(*http.Request) bool
	// OnError answers a request that cannot be served because of err (CodeOf tells
	// which kind). Unset, it writes application/problem+json (RFC 9457).
	OnError func(w http.ResponseWriter, r *http.Request, err error)

	// Logger hears of what needs an operator: theft signals and failed touches.
	// Unset, nothing is logged.
	Logger *slog.Logger
	// Clock is the machine's unless set.
	Clock Clock
	// Rand is crypto/rand unless set. Anything else makes tokens guessable.
	Rand io.Reader
}

// Preset names limits after the assurance levels of NIST SP 800-63B-4 §2.
type Preset string

// The presets, with their idle and absolute limits.
const (
	AAL1 Preset = "aal1" // 7 days, 30 days
	AAL2 Preset = "aal2" // 1 hour, 24 hours
	AAL3 Preset = "aal3" // 15 minutes, 12 hours
)

// Limits returns the preset's idle and absolute limits; ok is false for an unknown one.
func (p Preset) Limits() (idle, absolute time.Duration, ok bool) {
	switch p {
	case AAL1:
		return 7 * 24 * time.Hour, 30 * 24 * time.Hour, true
	case AAL2, "":
		return time.Hour, 24 * time.Hour, true
	case AAL3:
		return 15 * time.Minute, 12 * time.Hour, true
	}
	return 0, 0, false
}

// Privacy says how much of a client's address and user agent is stored.
type Privacy string

// The settings. The zero value is PrivacyTruncated.
const (
	PrivacyOff       Privacy = "off"       // nothing
	PrivacyTruncated Privacy = "truncated" // the /24 or /48 network; browser and system, without versions
	PrivacyFull      Privacy = "full"      // as received, at most 512 bytes
)

// Bounds of the configuration.
const (
	defaultMaxData = 64 << 10
	maxMaxData     = 1 << 20
	defaultGrace   = 10 * time.Second
	maxGrace       = time.Minute
	minIdle        = time.Second
)

// withDefaults returns a full copy.
func (c Config) withDefaults() Config {
	idle, absolute, _ := c.Preset.Limits()
	if c.Absolute == 0 {
		c.Absolute = absolute
	}
	if c.Idle == 0 {
		c.Idle = min(idle, c.Absolute)
	}
	if c.DangerouslyNoIdle {
		c.Idle = 0
	}
	if c.RotateGrace == 0 {
		c.RotateGrace = defaultGrace
	}
	if c.MaxData == 0 {
		c.MaxData = defaultMaxData
	}
	if c.Privacy == "" {
		c.Privacy = PrivacyTruncated
	}
	if c.ClientIP == nil {
		c.ClientIP = remoteIP
	}
	if c.OnError == nil {
		c.OnError = WriteProblem
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = SystemClock()
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	return c
}

// check returns every problem of a configuration, before defaults are applied.
func (c *Config) check() error {
	problems := c.Cookie.check()
	add := func(field, format string, args ...any) {
		problems = append(problems, FieldError{field, fmt.Sprintf(format, args...)})
	}
	if c.Store == nil {
		add("Store", "required: memory.New or sqlite.Open makes one")
	}
	if c.Keys == nil {
		add("Keys", "required: keyring.Open makes one")
	}
	_, presetAbsolute, ok := c.Preset.Limits()
	if !ok {
		add("Preset", "%q is none of aal1, aal2, aal3", string(c.Preset))
	}
	if c.Idle != 0 && c.Idle < minIdle {
		add("Idle", "%v is below the least of %v", c.Idle, minIdle)
	}
	if c.Idle != 0 && c.DangerouslyNoIdle {
		add("Idle", "set together with DangerouslyNoIdle")
	}
	if c.Absolute < 0 || c.Absolute != 0 && c.Absolute < minIdle || c.Absolute > MaxCookieAge {
		add("Absolute", "%v is not between %v and 400 days", c.Absolute, minIdle)
	}
	if absolute := c.withDefaults().Absolute; ok && c.Idle > absolute {
		add("Idle", "%v is above the absolute limit of %v", c.Idle, absolute)
	}
	if c.Preset == AAL3 && c.Absolute > presetAbsolute {
		add("Absolute", "%v is above the %v that AAL3 allows (SP 800-63B-4 §2.3.3)", c.Absolute, presetAbsolute)
	}
	if c.Limit < 0 || c.LimitPolicy < EvictOldest || c.LimitPolicy > RefuseNew {
		add("Limit", "a limit is 0 (none) or more, its policy EvictOldest or RefuseNew")
	}
	if c.RotateEvery < 0 || c.RotateEvery != 0 && c.RotateEvery < time.Minute {
		add("RotateEvery", "%v is below the least of a minute", c.RotateEvery)
	}
	if _, ok := c.Cache.(Ledger); c.Stateless && !ok {
		add("Stateless", "needs a Cache that keeps the list of changed sessions: nearcache.New makes one")
	}
	if c.Stateless && c.RotateEvery != 0 {
		add("Stateless", "set together with RotateEvery, which is for stored sessions")
	}
	if c.RotateGrace < 0 || c.RotateGrace > maxGrace {
		add("RotateGrace", "%v is not between 0 and %v", c.RotateGrace, maxGrace)
	}
	if c.ServeStale < 0 {
		add("ServeStale", "%v is negative", c.ServeStale)
	}
	if c.MaxData < 0 || c.MaxData > maxMaxData {
		add("MaxData", "%d is not between 0 and %d bytes", c.MaxData, maxMaxData)
	}
	switch c.Privacy {
	case "", PrivacyOff, PrivacyTruncated, PrivacyFull:
	default:
		add("Privacy", "%q is none of off, truncated, full", string(c.Privacy))
	}
	if len(problems) > 0 {
		return &Error{Code: CodeInvalidRequest, Message: "latchkey: configuration", Fields: problems}
	}
	return nil
}

// remoteIP is the address of the connection.
func remoteIP(r *http.Request) string {
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return ap.Addr().Unmap().String()
	}
	return ""
}
