package sessionmanager

import (
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/compat/apicrud"
	"github.com/latchkey-go/latchkey/internal/respguard"
)

// Bounds.
const (
	MinTTL   = time.Second         // of a session; Redis and exp count whole seconds
	MaxTTL   = 30 * 24 * time.Hour // of a session
	MaxText  = 200                 // bytes of a user, a key ID, a role
	MaxToken = 256                 // bytes of a token
	MinToken = 8                   // of a token that is given to Create: the original's length

	maxTimeout = time.Minute
)

// Config says where sessions are. Client, Cipher and Issuer are required.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Client is connected to one primary of Redis 6 or later; NewClient makes one that
	// survives a server gone mad. It stays the caller's to close.
	Client rueidis.Client
	// Cipher is that of the secret that the Python programs have.
	Cipher *apicrud.Cipher
	// Issuer is jwt_issuer, the iss of new sessions.
	Issuer string
	// TTL of sessions that are made without one, in whole seconds; apicrud.DefaultTTL when zero.
	TTL time.Duration
	// Timeout bounds each trip to Redis, up to a minute; a second when zero.
	Timeout time.Duration
	// Random is the source of tokens, crypto/rand when nil.
	Random io.Reader
	// Now is the clock of exp and of tokens, time.Now when nil. Redis' own decides when a session ends.
	Now func() time.Time
}

// Errors, to compare with by [errors.Is]. Besides them there are errors of code
// invalid_session (latchkey.ErrInvalidSession: no such session, or not the one that
// the token opens, or a value that is none) and of code invalid_request.
var (
	// ErrExists: a session of the same user, or key ID, has the key already: its token
	// ends in the same three characters.
	ErrExists = latchkey.NewError(latchkey.CodeConflict, "apicrud: a session of this user whose token ends alike exists already", nil)
	// ErrBusy: others changed the session each time between a reading and a writing.
	ErrBusy = latchkey.NewError(latchkey.CodeConflict, "apicrud: the session was changed by others too often", nil)
	// ErrUnavailable: Redis gave no usable answer. A change may have happened.
	ErrUnavailable = latchkey.NewError(latchkey.CodeStoreUnavailable, "apicrud: the session store gave no usable answer", nil)
)

var errInvalid = latchkey.NewError(latchkey.CodeInvalidSession, "no valid session", nil)

func unavailable(cause error) error {
	return latchkey.NewError(ErrUnavailable.Code, ErrUnavailable.Message, cause)
}

// problems gathers what is wrong with arguments.
type problems []latchkey.FieldError

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "apicrud: invalid arguments", Fields: p}
}

// NewClient is rueidis.NewClient with a guard on each connection, which breaks it off
// before the library sees an answer that no Redis gives: the library allocates what a
// length says and panics on an answer to nothing. The error is ErrUnavailable.
func NewClient(option rueidis.ClientOption) (rueidis.Client, error) {
	limits := respguard.Default()
	limits.Bulk = apicrud.DefaultMaxValue + 1
	limits.Items = 1 << 16 // a page of a scan
	client, err := respguard.NewClient(option, limits)
	if err != nil {
		return nil, unavailable(err)
	}
	return client, nil
}

// Manager makes, reads, changes and ends sessions. Make one with New. It is safe for
// concurrent use and needs no closing.
type Manager struct {
	cfg Config
}

// New checks the configuration and asks the server nothing yet. The error is of code
// invalid_request and lists every problem.
func New(cfg Config) (*Manager, error) {
	var p problems
	if cfg.Client == nil {
		p.add("Client", "a connected rueidis.Client is required")
	}
	switch {
	case cfg.Cipher == nil:
		p.add("Cipher", "is required: make it of redis_aes_secret")
	case cfg.Cipher.MaxValue() > apicrud.DefaultMaxValue:
		p.add("Cipher", "its MaxValue is above %d", apicrud.DefaultMaxValue)
	}
	if cfg.Issuer == "" || !plain(cfg.Issuer) {
		p.add("Issuer", "is required, jwt_issuer, without control characters")
	}
	if cfg.TTL == 0 {
		cfg.TTL = apicrud.DefaultTTL
	}
	checkTTL(&p, cfg.TTL)
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Second
	}
	if cfg.Timeout < time.Millisecond || cfg.Timeout > maxTimeout {
		p.add("Timeout", "%v is not between 1ms and %v", cfg.Timeout, maxTimeout)
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return &Manager{cfg}, nil
}

func checkTTL(p *problems, ttl time.Duration) {
	if ttl < MinTTL || ttl > MaxTTL || ttl%time.Second != 0 {
		p.add("TTL", "%v is not a number of whole seconds between %v and %v", ttl, MinTTL, MaxTTL)
	}
}

// plain reports whether a text of a session has no control characters and fits.
func plain(s string) bool {
	return len(s) <= MaxText && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffd })
}

// named reports whether s can stand before the colon of a key, and of HTTP Basic (RFC 7617 §2).
func named(s string) bool { return s != "" && plain(s) && !strings.Contains(s, ":") }

// isToken reports whether s can be a session's token: printable ASCII, because it
// comes in a header and its end stands in a key.
func isToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= MaxToken
}
