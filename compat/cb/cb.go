package cb

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey/compat/internal/py"
	"github.com/latchkey-go/latchkey/compat/itsdangerous"
)

// The cookie's name and the salt of its signature.
const (
	CookieName  = "cb_session"
	DefaultSalt = "session"
)

// MaxDays is the longest session_max_days.
const MaxDays = 36500

// ErrInvalid is the one answer to a session that does not hold, for whatever reason.
var ErrInvalid = errors.New("cb: the session is not valid")

// Config describes the cookie. Secrets and Days are required.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Secrets is secret_key and those before it, oldest first: the last one signs,
	// all are accepted. The original knows one. Each has at least 32 bytes.
	Secrets []string
	// Salt is the namespace of the signature, DefaultSalt when empty.
	Salt string
	// Days is session_max_days: how old a cookie may become.
	Days int
	// InsecureCookies leaves out Secure. The original does so everywhere but where
	// app_env is exactly "production"; here it is said in so many words.
	InsecureCookies bool
	// Now is the clock, time.Now when nil.
	Now func() time.Time
	// Random is the source of randomness, crypto/rand when nil.
	Random io.Reader
	// MaxToken and MaxExpanded bound tokens; zero is the default of itsdangerous.
	MaxToken, MaxExpanded int

	// DangerouslyShortSecrets accepts secrets of any length.
	DangerouslyShortSecrets bool
	// DangerouslyEmptySalt makes an empty Salt mean the empty salt.
	DangerouslyEmptySalt bool
}

// Codec reads and writes the cookie and judges rows. It is safe for concurrent use.
type Codec struct {
	config Config
	signer *itsdangerous.Timed
}

// Row is what a row of the table says of a session's validity, in the table's text.
type Row struct {
	TokenHash string
	ExpiresAt string
	RevokedAt *string // nil is NULL
}

// New checks c. The error lists every problem.
func New(c Config) (*Codec, error) {
	if c.Salt == "" && !c.DangerouslyEmptySalt {
		c.Salt = DefaultSalt
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	signer, err := itsdangerous.NewTimed(itsdangerous.Config{Secrets: c.Secrets, Salt: c.Salt, Now: c.Now,
		MaxToken: c.MaxToken, MaxExpanded: c.MaxExpanded,
		DangerouslyShortSecrets: c.DangerouslyShortSecrets, DangerouslyEmptySalt: c.DangerouslyEmptySalt})
	if c.Days < 0 || c.Days > MaxDays {
		err = errors.Join(err, fmt.Errorf("cb: Days is %d; use 0 to %d", c.Days, MaxDays))
	}
	if err != nil {
		return nil, err
	}
	return &Codec{config: c, signer: signer}, nil
}

// NewRaw returns the random value of a new session: 32 bytes, 43 characters.
func (c *Codec) NewRaw() (string, error) {
	var b [32]byte
	if _, err := io.ReadFull(c.config.Random, b[:]); err != nil {
		return "", fmt.Errorf("cb: randomness: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

// TokenHash returns what the table keeps of a raw value: hex SHA-256 of its text.
func TokenHash(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return hex.EncodeToString(sum[:])
}

// Cookie returns the cookie value for a raw value, signed now.
func (c *Codec) Cookie(raw string) (string, error) { return c.signer.Dumps(raw) }

// Read returns the raw value of a cookie not older than the configured days. Look
// the row up by its [TokenHash]. The error is ErrInvalid.
func (c *Codec) Read(cookie string) (string, error) {
	raw, _, err := c.signer.LoadsString(cookie, time.Duration(c.config.Days)*24*time.Hour)
	if err != nil {
		return "", ErrInvalid
	}
	return raw, nil
}

// Check returns nil when cookie and row together make a session that holds now: the
// row is that of the cookie, not revoked, and expires later than now. A nil row does
// not hold, nor does one whose expiry is not of the form of [FormatTime]. The error
// is ErrInvalid.
func (c *Codec) Check(cookie string, row *Row) error {
	raw, err := c.Read(cookie)
	if err != nil || row == nil {
		return ErrInvalid
	}
	expires, ok := ParseTime(row.ExpiresAt)
	if !ok || !expires.After(c.config.Now()) || !row.live(raw) {
		return ErrInvalid
	}
	return nil
}

// live reports whether r is the row of raw and not revoked.
func (r *Row) live(raw string) bool {
	return r.RevokedAt == nil && subtle.ConstantTimeCompare([]byte(TokenHash(raw)), []byte(r.TokenHash)) == 1
}

// CheckText is [Codec.Check] that compares the expiry as text, as the original's SQL
// does: the same for times of its own form, and no error for others.
func (c *Codec) CheckText(cookie string, row *Row) error {
	raw, err := c.Read(cookie)
	if err != nil || row == nil || row.ExpiresAt <= FormatTime(c.config.Now()) || !row.live(raw) {
		return ErrInvalid
	}
	return nil
}

// SetCookie returns the Set-Cookie value of a session, as Starlette writes it.
func (c *Codec) SetCookie(value string) string {
	return c.setCookie(value, c.config.Days*86400)
}

// ClearCookie returns the Set-Cookie value that deletes it. The original has none.
func (c *Codec) ClearCookie() string { return c.setCookie(`""`, 0) }

func (c *Codec) setCookie(value string, maxAge int) string {
	s := CookieName + "=" + value + "; HttpOnly; Max-Age=" + strconv.Itoa(maxAge) + "; Path=/; SameSite=lax"
	if !c.config.InsecureCookies {
		s += "; Secure"
	}
	return s
}

// FormatTime writes a time as the table has it: UTC, YYYY-MM-DDTHH:MM:SS[.ffffff]+00:00,
// the fraction left out when it is zero. Such texts sort as the times do.
func FormatTime(t time.Time) string { return py.FormatISO(t) }

// ParseTime reads what [FormatTime] writes, and only that.
func ParseTime(s string) (time.Time, bool) {
	t, naive, ok := py.ParseISO(s)
	return t, ok && !naive && FormatTime(t) == s
}
