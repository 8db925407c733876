package reflow

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey/compat/itsdangerous"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// Names and salts of the formats.
const (
	SessionSalt       = "reflow-session-v1"
	TxSalt            = "reflow-oauth-tx-v1"
	DefaultCookieName = "reflow_session"
	CSRFSuffix        = "_csrf"             // behind the name of the session cookie
	TxCookieName      = "reflow_oauth_tx"   // fixed
	CSRFHeader        = "X-CSRF-Token"      // of unsafe requests
	SentinelHeader    = "X-Auth-Cookie-Set" // "1" on every response that sets or clears the session
)

// Times of the formats.
const (
	DefaultTTL = 8 * time.Hour   // AUTH_SESSION_TTL_SECONDS
	MinTTL     = 5 * time.Minute // its range
	MaxTTL     = 720 * time.Hour // its range
	// DefaultMaxLifetime is how long an identity lasts however often it is re-issued.
	DefaultMaxLifetime = MaxTTL
	TxMaxAge           = 10 * time.Minute // of a transaction
)

// minSecret is the fewest characters of a secret.
const minSecret = 32

// ErrInvalid is the one answer to a cookie that does not hold, for whatever reason.
var ErrInvalid = errors.New("reflow: the cookie is not valid")

// Config describes the cookies. Secrets is required.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Secrets is AUTH_SECRET_KEY and those before it, oldest first: the last one
	// signs, all are accepted. The original knows one. Each has at least 32
	// characters.
	Secrets []string
	// TTL is how long a session lasts from its last re-issue, in whole seconds,
	// DefaultTTL when zero.
	TTL time.Duration
	// MaxLifetime ends an identity so long after its sign-in, DefaultMaxLifetime when
	// zero. The original has no such end. The time of the sign-in is written into
	// re-issued cookies as a further member, which the original ignores and, when it
	// re-issues the cookie itself, drops.
	MaxLifetime time.Duration
	// CookieName is the name of the session cookie, DefaultCookieName when empty.
	CookieName string
	// InsecureCookies leaves out Secure, for plain HTTP on loopback.
	InsecureCookies bool
	// Now is the clock, time.Now when nil.
	Now func() time.Time
	// Random is the source of randomness, crypto/rand when nil.
	Random io.Reader
	// MaxToken and MaxExpanded bound tokens; zero is the default of itsdangerous.
	MaxToken, MaxExpanded int

	// DangerouslyShortSecrets accepts secrets of any length.
	DangerouslyShortSecrets bool
	// DangerouslyAsOriginal accepts identities past their own expires_at or the
	// MaxLifetime, naive dates and bytes after a compressed payload, as the original does.
	DangerouslyAsOriginal bool
}

// Codec reads and writes the cookies. It is safe for concurrent use.
type Codec struct {
	config      Config
	session, tx *itsdangerous.Timed
}

// New checks c. The error lists every problem.
func New(c Config) (*Codec, error) {
	var problems []error
	for i, s := range c.Secrets {
		if utf8.RuneCountInString(s) < minSecret && !c.DangerouslyShortSecrets {
			problems = append(problems, fmt.Errorf("reflow: Secrets[%d] must have at least %d characters", i, minSecret))
		}
	}
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.TTL < MinTTL || c.TTL > MaxTTL || c.TTL%time.Second != 0 {
		problems = append(problems, fmt.Errorf("reflow: TTL is %v; use whole seconds from %v to %v", c.TTL, MinTTL, MaxTTL))
	}
	if c.MaxLifetime == 0 {
		c.MaxLifetime = DefaultMaxLifetime
	}
	if c.MaxLifetime < c.TTL {
		problems = append(problems, fmt.Errorf("reflow: MaxLifetime is %v; use at least the TTL, %v", c.MaxLifetime, c.TTL))
	}
	if c.CookieName == "" {
		c.CookieName = DefaultCookieName
	}
	if (&http.Cookie{Name: c.CookieName, Value: "x"}).Valid() != nil {
		problems = append(problems, errors.New("reflow: CookieName is no name for a cookie"))
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	c.Secrets = slices.Clone(c.Secrets)
	// Length is judged above, in characters.
	session, err := itsdangerous.NewTimed(itsdangerous.Config{Secrets: c.Secrets, Salt: SessionSalt, Now: c.Now,
		MaxToken: c.MaxToken, MaxExpanded: c.MaxExpanded, DangerouslyShortSecrets: true, DangerouslyTrailingBytes: c.DangerouslyAsOriginal})
	if problems = append(problems, err); errors.Join(problems...) != nil {
		return nil, errors.Join(problems...)
	}
	return &Codec{config: c, session: session, tx: session.WithSalt(TxSalt)}, nil
}

// NewIdentity returns an identity that lasts from now for the configured TTL.
func (c *Codec) NewIdentity(subject, provider string, email, name *string) Identity {
	now := c.config.Now().UTC().Truncate(time.Microsecond)
	return Identity{Subject: subject, Provider: provider, Email: email, Name: name,
		IssuedAt: Date{Time: now}, ExpiresAt: Date{Time: now.Add(c.config.TTL)}}
}

// Renew returns the identity with new dates, as a re-issue does, and whether there is
// one: not past the MaxLifetime since its sign-in, nor beyond it.
func (c *Codec) Renew(id Identity) (Identity, bool) {
	now := c.config.Now().UTC().Truncate(time.Microsecond)
	end := now.Add(c.config.TTL)
	if !c.config.DangerouslyAsOriginal {
		id.SignedInAt = id.signedIn()
		if last := id.SignedInAt.Add(c.config.MaxLifetime); last.Before(end) {
			end = last
		}
	}
	id.IssuedAt, id.ExpiresAt = Date{Time: now}, Date{Time: end}
	return id, end.After(now)
}

// Encode returns the identity cookie of id, signed now.
func (c *Codec) Encode(id *Identity) (string, error) { return c.session.Dumps(id.object()) }

// Decode returns the identity of a cookie signed no longer than the TTL ago. The
// error is ErrInvalid.
func (c *Codec) Decode(cookie string) (Identity, error) {
	return c.DecodeWithin(cookie, c.config.TTL)
}

// DecodeWithin is [Codec.Decode] with a maximum age of its own, in whole seconds.
func (c *Codec) DecodeWithin(cookie string, maxAge time.Duration) (Identity, error) {
	payload, _, err := c.session.Loads(cookie, maxAge)
	if err != nil {
		return Identity{}, ErrInvalid
	}
	id, ok := parseIdentity(payload)
	if !ok || !c.config.DangerouslyAsOriginal && !c.holds(&id, payload.(pyjson.Object)) {
		return Identity{}, ErrInvalid
	}
	return id, nil
}

// holds judges what the original does not look at.
func (c *Codec) holds(id *Identity, payload pyjson.Object) bool {
	if v, there := payload.Get(signedInMember); there {
		text, _ := v.(string)
		date, ok := parseDate(text)
		if !ok || date.Naive {
			return false
		}
		id.SignedInAt = date.Time
	}
	now := c.config.Now()
	return !id.IssuedAt.Naive && !id.ExpiresAt.Naive && id.ExpiresAt.After(now) && id.signedIn().Add(c.config.MaxLifetime).After(now)
}

// CSRF returns the value of the CSRF cookie that goes with a session cookie.
func (c *Codec) CSRF(session string) string {
	return csrf(session, c.config.Secrets[len(c.config.Secrets)-1])
}

func csrf(session, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(session))
	return hex.EncodeToString(mac.Sum(nil))
}

// CheckCSRF reports whether value, from CSRFHeader, goes with the session cookie.
// The time it takes does not depend on either text's content.
func (c *Codec) CheckCSRF(session, value string) bool {
	ok := false
	for _, secret := range c.config.Secrets {
		ok = hmac.Equal([]byte(csrf(session, secret)), []byte(value)) || ok
	}
	return ok
}

// SessionCookies returns the Set-Cookie values of the session and its CSRF cookie.
func (c *Codec) SessionCookies(session string) [2]string {
	age := int(c.config.TTL / time.Second)
	return [2]string{c.setCookie(c.config.CookieName, session, age, true),
		c.setCookie(c.config.CookieName+CSRFSuffix, c.CSRF(session), age, false)}
}

// ClearSessionCookies returns the Set-Cookie values that delete both.
func (c *Codec) ClearSessionCookies() [2]string {
	return [2]string{c.setCookie(c.config.CookieName, "", 0, true), c.setCookie(c.config.CookieName+CSRFSuffix, "", 0, false)}
}

// TxCookie returns the Set-Cookie value of a transaction.
func (c *Codec) TxCookie(tx string) string {
	return c.setCookie(TxCookieName, tx, int(TxMaxAge/time.Second), true)
}

// ClearTxCookie returns the Set-Cookie value that deletes the transaction.
func (c *Codec) ClearTxCookie() string { return c.setCookie(TxCookieName, "", 0, true) }

// setCookie writes what Starlette writes: attributes by name.
func (c *Codec) setCookie(name, value string, maxAge int, httpOnly bool) string {
	var b strings.Builder
	b.WriteString(name + "=" + quote(value))
	if httpOnly {
		b.WriteString("; HttpOnly")
	}
	b.WriteString("; Max-Age=" + strconv.Itoa(maxAge) + "; Path=/; SameSite=lax")
	if !c.config.InsecureCookies {
		b.WriteString("; Secure")
	}
	return b.String()
}

// quote is what http.cookies of Python does with values that are not of the
// characters that tokens and hex have, the empty value among them.
func quote(value string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~:"
	if value != "" && strings.Trim(value, plain) == "" {
		return value
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(value) {
		switch c := value[i]; {
		case strings.IndexByte(plain+" ()/<=>?@[]{}", c) >= 0:
			b.WriteByte(c)
		case c == '"' || c == '\\':
			b.WriteString("\\" + string(c))
		default:
			fmt.Fprintf(&b, "\\%03o", c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
