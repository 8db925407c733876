package crossauth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// Defaults and bounds of session cookies.
const (
	DefaultSessionCookie = "SESSIONID"
	DefaultMaxAge        = 4 * 24 * time.Hour
	// MaxMaxAge is the longest MaxAge and IdleTimeout.
	MaxMaxAge = 3650 * 24 * time.Hour
	// NoExpiry as MaxAge makes sessions that never expire, as maxAge 0 and below does
	// in the original.
	NoExpiry = time.Duration(-1)
)

// createTries is how many identifiers CreateSessionKey tries.
const createTries = 10

// maxCookie is the longest cookie value that is read, in bytes.
const maxCookie = 4096

// User is what a program's user storage knows of a user.
type User struct {
	ID                     UserID
	Username, Email, State string
}

// SessionCookieConfig describes a [SessionCookie]. Storage and Secret are required.
type SessionCookieConfig struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Storage keeps the sessions.
	Storage KeyStorage
	// Secret signs the cookie, at least MinSecret bytes, and not the one of CSRF.
	Secret string
	// CSRF is what makes the same site's CSRF cookies, nil when nothing does. A value
	// signed for one cookie passes as the other's when the secrets are the same, so
	// NewSessionCookie refuses that.
	CSRF *CSRF
	// CookieName is DefaultSessionCookie when empty.
	CookieName string
	// Cookie is the cookie's attributes; Expires is set for each cookie.
	Cookie CookieOptions
	// MaxAge is how long a session lives, in whole seconds: DefaultMaxAge when 0, or
	// NoExpiry.
	MaxAge time.Duration
	// IdleTimeout ends the sessions of a user that were not active for so long, in
	// whole seconds; 0 is never. [SessionCookie.UpdateActivity] is what makes a
	// session active: call it for each request. A session that the original made counts
	// from its creation until then. Anonymous sessions do not idle out.
	IdleTimeout time.Duration
	// BrowserSession makes cookies that end with the browser, persist=False.
	BrowserSession bool
	// Filter refuses a session by returning false, nil none.
	Filter func(key Key) bool
	// Users finds the user of a session, nil when nobody is to be found. Errors are
	// returned as they are.
	Users func(ctx context.Context, id UserID) (*User, error)
	// Now is the clock, time.Now when nil; Random the source of randomness,
	// crypto/rand when nil.
	Now    func() time.Time
	Random io.Reader

	// DangerouslyShortSecret accepts a secret of any length.
	DangerouslyShortSecret bool
	// DangerouslySharedSecret accepts the secret of CSRF, for a site whose original
	// has one secret for both. A CSRF cookie is then a well signed session cookie, of
	// a session that no storage has.
	DangerouslySharedSecret bool
}

// SessionCookie is sessions by a signed identifier in a cookie: the storage has only
// the identifier's hash. It is safe for concurrent use.
//
// Errors are *Error, but for those of SessionCookieConfig.Users and of the randomness.
// [Refused] tells whether one means that the request is anonymous.
type SessionCookie struct {
	config SessionCookieConfig
	signer *Signer
}

// NewSessionCookie checks c. The error is of code Configuration and lists every problem.
func NewSessionCookie(c SessionCookieConfig) (*SessionCookie, error) {
	if c.CookieName == "" {
		c.CookieName = DefaultSessionCookie
	}
	if c.MaxAge == 0 {
		c.MaxAge = DefaultMaxAge
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if problems := c.problems(); len(problems) > 0 {
		cause := errors.Join(problems...)
		return nil, &Error{Code: Configuration, Message: cause.Error(), cause: cause}
	}
	return &SessionCookie{c, DangerouslyNewSigner(c.Secret)}, nil
}

func (c *SessionCookieConfig) problems() (problems []error) {
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.Storage == nil {
		add("Storage is missing; use a KeyTable or MemoryKeys")
	}
	if len(c.Secret) < MinSecret && !c.DangerouslyShortSecret {
		add("Secret has %d bytes; use at least %d", len(c.Secret), MinSecret)
	}
	if c.CSRF != nil {
		if c.CSRF.config.Secret == c.Secret && !c.DangerouslySharedSecret {
			add("Secret is the one of CSRF; give each its own")
		}
		if c.CSRF.config.CookieName == c.CookieName {
			add("CookieName is the one of CSRF; give each its own")
		}
	}
	if c.MaxAge != NoExpiry && (c.MaxAge < time.Second || c.MaxAge > MaxMaxAge) {
		add("MaxAge is %v; use 1 s to %v, or NoExpiry", c.MaxAge, MaxMaxAge)
	}
	if c.IdleTimeout != 0 && (c.IdleTimeout < time.Second || c.IdleTimeout > MaxMaxAge) {
		add("IdleTimeout is %v; use 1 s to %v, or 0 for none", c.IdleTimeout, MaxMaxAge)
	}
	if !c.Cookie.Expires.IsZero() {
		add("Cookie.Expires is set; use MaxAge")
	}
	if c.Cookie.SameSite == http.SameSiteNoneMode && c.Cookie.Insecure {
		add("Cookie is SameSite=None and Insecure; browsers drop such a cookie")
	}
	if _, err := c.Cookie.cookie(c.CookieName, "x"); err != nil {
		problems = append(problems, err)
	}
	return problems
}

// Refused reports whether an error of [SessionCookie] means that there is no session:
// no such one, expired, filtered out, or a row that cannot be read. The request is
// then anonymous. Any other error is a failure, to be answered with its Code's Status.
func Refused(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Code == InvalidKey || e.Code == Expired || e.Code == DataFormat
}

// now is the clock in the table's microseconds.
func (s *SessionCookie) now() time.Time { return microseconds(s.config.Now()) }

// CreateSessionKey makes a session for a user, or an anonymous one, and returns its
// key, whose Value is the identifier for the cookie. data is a JSON object or "". An
// identifier that the storage has is drawn again, ten times in all, after which the
// error is of code KeyExists.
func (s *SessionCookie) CreateSessionKey(ctx context.Context, user UserID, data string, extra ...Field) (Key, error) {
	if _, err := DecodeData(data); err != nil {
		return Key{}, err
	}
	key := Key{UserID: user, Created: s.now(), Data: data, Extra: extra}
	if s.config.MaxAge != NoExpiry {
		key.Expires = key.Created.Add(s.config.MaxAge)
	}
	if s.config.IdleTimeout > 0 && !user.Anonymous() {
		key.LastActive = key.Created
	}
	for range createTries {
		id, err := RandomValue(s.config.Random, SessionIDLength)
		if err != nil {
			return Key{}, err
		}
		key.Value = HashSessionID(id)
		var e *Error
		if err = s.config.Storage.SaveKey(ctx, key); err == nil {
			key.Value = id
			return clone(key), nil
		} else if !errors.As(err, &e) || e.Code != KeyExists && e.Code != InvalidKey {
			return Key{}, err
		}
	}
	return Key{}, newError(KeyExists, "No free session identifier was found")
}

// SignIn makes the session of a user who has just signed in and ends the session that
// the browser had, whose identifier is before, "" for none. The data of an anonymous
// session goes along; that of a user's does not. The new identifier is the only one
// that holds: one that somebody planted before the sign-in is worth nothing after it,
// though its data has gone along: keep nothing in an anonymous session that decides
// what a user may do.
func (s *SessionCookie) SignIn(ctx context.Context, before string, user UserID, extra ...Field) (Key, error) {
	if user.Anonymous() {
		return Key{}, newError(BadRequest, "Nobody cannot sign in")
	}
	if before != "" && !isSessionID(before) {
		return Key{}, newError(BadRequest, "Give the session's identifier, not its cookie")
	}
	data := ""
	if before != "" {
		old, err := s.GetSessionKey(ctx, before)
		switch {
		case err == nil && old.UserID.Anonymous():
			data = old.Data
		case err != nil && !Refused(err):
			return Key{}, err
		}
	}
	key, err := s.CreateSessionKey(ctx, user, data, extra...)
	if err != nil || before == "" {
		return key, err
	}
	if err := s.DeleteSession(ctx, before); err != nil {
		return Key{}, errors.Join(err, s.DeleteSession(ctx, key.Value))
	}
	return key, nil
}

// MakeCookie returns the cookie of a session that the storage has: with an expiry if
// the session has one, unless the configuration makes cookies that end with the browser.
func (s *SessionCookie) MakeCookie(key Key) (*http.Cookie, error) {
	return s.MakeCookieFor(key, !s.config.BrowserSession)
}

// MakeCookieFor is [SessionCookie.MakeCookie] that is told whether the cookie outlives
// the browser.
func (s *SessionCookie) MakeCookieFor(key Key, persist bool) (*http.Cookie, error) {
	if !isSessionID(key.Value) {
		return nil, newError(InvalidKey, "The key holds no session identifier")
	}
	options := s.config.Cookie
	if persist {
		options.Expires = key.Expires
	}
	return options.cookie(s.config.CookieName, s.signer.SignSecureToken(key.Value))
}

// MakeCookieString returns the Set-Cookie value of [SessionCookie.MakeCookie].
func (s *SessionCookie) MakeCookieString(key Key) (string, error) {
	c, err := s.MakeCookie(key)
	if err != nil {
		return "", err
	}
	return c.String(), nil
}

// ClearCookie returns the cookie that deletes the session's.
func (s *SessionCookie) ClearCookie() (*http.Cookie, error) {
	c, err := s.config.Cookie.cookie(s.config.CookieName, "")
	if err == nil {
		c.MaxAge = -1
	}
	return c, err
}

// CookieName returns the name of the cookie.
func (s *SessionCookie) CookieName() string { return s.config.CookieName }

// UnsignCookie returns the identifier in a cookie value, or InvalidKey.
func (s *SessionCookie) UnsignCookie(value string) (string, error) {
	if len(value) > maxCookie {
		return "", newError(InvalidKey, "")
	}
	id, err := s.signer.UnsignSecureToken(value)
	if err != nil || !isSessionID(id) {
		return "", newError(InvalidKey, "")
	}
	return id, nil
}

// isSessionID reports whether id is of the form of a session's identifier.
func isSessionID(id string) bool {
	b, err := strictBase64(id)
	return err == nil && len(b) == SessionIDLength
}

// GetSessionKey returns the session of an identifier, with the identifier as its
// Value. Errors are InvalidKey, for one that is not there or filtered out, and Expired:
// later than its expiry, or than its last activity and the idle timeout. It writes
// nothing; see [SessionCookie.UpdateActivity].
func (s *SessionCookie) GetSessionKey(ctx context.Context, id string) (Key, error) {
	if !isSessionID(id) {
		return Key{}, newError(InvalidKey, "")
	}
	key, err := s.config.Storage.GetKey(ctx, HashSessionID(id))
	if err != nil {
		return Key{}, err
	}
	key.Value = id
	now := s.now()
	if !key.Expires.IsZero() && now.After(key.Expires) {
		return Key{}, newError(Expired, "")
	}
	if s.config.IdleTimeout > 0 && !key.UserID.Anonymous() {
		active := key.LastActive
		if active.IsZero() {
			active = key.Created
		}
		if now.After(active.Add(s.config.IdleTimeout)) {
			return Key{}, newError(Expired, "")
		}
	}
	if s.config.Filter != nil && !s.config.Filter(key) {
		return Key{}, newError(InvalidKey, "")
	}
	return key, nil
}

// GetUserForSessionID returns the session of an identifier and its user: nil for an
// anonymous session, or without a Users hook.
func (s *SessionCookie) GetUserForSessionID(ctx context.Context, id string) (*User, Key, error) {
	key, err := s.GetSessionKey(ctx, id)
	if err != nil || s.config.Users == nil || key.UserID.Anonymous() {
		return nil, key, err
	}
	user, err := s.config.Users(ctx, key.UserID)
	if err != nil {
		return nil, Key{}, err
	}
	return user, key, nil
}

// UpdateSessionKey changes the session whose identifier is change.Value. The session
// must hold; the caller's change is left as it is.
func (s *SessionCookie) UpdateSessionKey(ctx context.Context, change PartialKey) error {
	if _, err := s.GetSessionKey(ctx, change.Value); err != nil {
		return err
	}
	change.Value = HashSessionID(change.Value)
	return s.config.Storage.UpdateKey(ctx, change)
}

// UpdateActivity writes that a session is active now, if there is an idle timeout. The
// session must hold: one that has idled out does not come back. It is a write for each
// call; the table must have the column lastactive.
func (s *SessionCookie) UpdateActivity(ctx context.Context, id string) error {
	if s.config.IdleTimeout <= 0 {
		_, err := s.GetSessionKey(ctx, id)
		return err
	}
	now := s.now()
	return s.UpdateSessionKey(ctx, PartialKey{Value: id, LastActive: &now})
}

// Data returns the data of a session.
func (s *SessionCookie) Data(ctx context.Context, id string) (pyjson.Object, error) {
	key, err := s.GetSessionKey(ctx, id)
	if err != nil {
		return nil, err
	}
	return DecodeData(key.Data)
}

// UpdateData changes the data of a session that holds: all the entries, or none.
func (s *SessionCookie) UpdateData(ctx context.Context, id string, entries ...DataEntry) error {
	if _, err := s.GetSessionKey(ctx, id); err != nil {
		return err
	}
	return s.config.Storage.UpdateManyData(ctx, HashSessionID(id), entries)
}

// DeleteSession ends a session. It is no error when there is none.
func (s *SessionCookie) DeleteSession(ctx context.Context, id string) error {
	return s.config.Storage.DeleteKey(ctx, HashSessionID(id))
}

// DeleteAllForUser ends every session of a user, but the one of identifier except
// unless that is "". Other keys of the user and anonymous sessions stay.
func (s *SessionCookie) DeleteAllForUser(ctx context.Context, user UserID, except string) error {
	if user.Anonymous() {
		return newError(BadRequest, "Give a user; anonymous sessions are ended one by one")
	}
	if except != "" {
		except = HashSessionID(except)
	}
	return s.config.Storage.DeleteAllForUser(ctx, user, PrefixSession, except)
}
