package reflow

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
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
	DefaultTTL = 8 * time.Hour    // AUTH_SESSION_TTL_SECONDS
	MinTTL     = 5 * time.Minute  // its range
	MaxTTL     = 720 * time.Hour  // its range
	TxMaxAge   = 10 * time.Minute // of a transaction
)

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
	// DangerouslyAsOriginal accepts identities past their own expires_at, naive dates
	// and bytes after a compressed payload, as the original does.
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
		if utf8.RuneCountInString(s) < 32 && !c.DangerouslyShortSecrets {
			problems = append(problems, fmt.Errorf("reflow: Secrets[%d] must have at least 32 characters", i))
		}
	}
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.TTL < MinTTL || c.TTL > MaxTTL || c.TTL%time.Second != 0 {
		problems = append(problems, fmt.Errorf("reflow: TTL is %v; use whole seconds from %v to %v", c.TTL, MinTTL, MaxTTL))
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
	if !ok {
		return Identity{}, ErrInvalid
	}
	if !c.config.DangerouslyAsOriginal &&
		(id.IssuedAt.Naive || id.ExpiresAt.Naive || !id.ExpiresAt.After(c.config.Now())) {
		return Identity{}, ErrInvalid
	}
	return id, nil
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

// Tx is an OAuth transaction between the redirect to the provider and its callback.
type Tx struct {
	State    string // compared with the callback's
	Nonce    string // compared with the ID token's
	Verifier string // PKCE (RFC 7636)
	NextPath string // where to go afterwards
	Provider string // whose callback may finish it
}

// NewTx returns a transaction with fresh random values; next goes through SafeNext.
func (c *Codec) NewTx(provider, next string) (Tx, error) {
	b := make([]byte, 128)
	if _, err := io.ReadFull(c.config.Random, b); err != nil {
		return Tx{}, fmt.Errorf("reflow: randomness: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString
	return Tx{State: text(b[:32]), Nonce: text(b[32:64]), Verifier: text(b[64:]), NextPath: SafeNext(next, "/"), Provider: provider}, nil
}

// EncodeTx returns the transaction cookie of tx, signed now.
func (c *Codec) EncodeTx(tx *Tx) (string, error) {
	return c.tx.Dumps(pyjson.Object{{Name: "state", Value: tx.State}, {Name: "nonce", Value: tx.Nonce},
		{Name: "verifier", Value: tx.Verifier}, {Name: "next_path", Value: tx.NextPath}, {Name: "provider_id", Value: tx.Provider}})
}

// DecodeTx returns the transaction of a cookie signed no longer than TxMaxAge ago,
// whose five members must be there and strings. The error is ErrInvalid. The cookie
// is not single-use by itself: remember the State of what was finished.
func (c *Codec) DecodeTx(cookie string) (Tx, error) {
	o, err := c.DecodeTxWithin(cookie, TxMaxAge)
	if err != nil {
		return Tx{}, err
	}
	tx, missing := Tx{}, false
	for name, into := range map[string]*string{"state": &tx.State, "nonce": &tx.Nonce, "verifier": &tx.Verifier,
		"next_path": &tx.NextPath, "provider_id": &tx.Provider} {
		s, ok := o.Text(name)
		*into, missing = s, missing || !ok
	}
	if missing {
		return Tx{}, ErrInvalid
	}
	return tx, nil
}

// DecodeTxWithin returns the object in a transaction cookie, whatever its members,
// with a maximum age of its own. The error is ErrInvalid.
func (c *Codec) DecodeTxWithin(cookie string, maxAge time.Duration) (pyjson.Object, error) {
	payload, _, err := c.tx.Loads(cookie, maxAge)
	o, ok := payload.(pyjson.Object)
	if err != nil || !ok {
		return nil, ErrInvalid
	}
	return o, nil
}

// PKCES256 returns the S256 challenge of a verifier (RFC 7636, 4.2).
func PKCES256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
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
