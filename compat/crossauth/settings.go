package crossauth

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// EnvironmentPrefix is what the names of Crossauth's variables begin with.
const EnvironmentPrefix = "CROSSAUTH_"

// Environment looks a variable up, as os.LookupEnv does. nil is an empty environment.
type Environment func(name string) (string, bool)

// SessionOptions are the options of the original's SessionCookie, nil for those not
// given. An option goes over the environment, and that over the default.
type SessionOptions struct {
	CookieName  *string // SESSION_COOKIE_NAME
	MaxAge      *int    // SESSION_COOKIE_maxAge, in seconds; 0 and below is no expiry
	Domain      *string // SESSION_COOKIE_DOMAIN
	HTTPOnly    *bool   // SESSIONCOOKIE_HTTPONLY
	Path        *string // SESSION_COOKIE_PATH
	Secure      *bool   // SESSION_COOKIE_SECURE
	SameSite    *string // SESSION_COOKIE_SAMESITE: lax, strict or none
	IdleTimeout *int    // SESSION_IDLE_TIMEOUT, in seconds
	Persist     *bool   // PERSIST_SESSION_ID
	Secret      *string // no variable
}

// Config returns the configuration that the options and the environment make, to be
// given a Storage. The error is of code Configuration and lists every problem.
//
// Two defaults are not the original's: cookies are HttpOnly, and Secret must be given.
// A truth value other than 1, true, 0, false and "" is an error, where the original
// reads false: "yes" would leave Secure out.
func (o SessionOptions) Config(env Environment) (SessionCookieConfig, error) {
	s := setter{env: env}
	c := SessionCookieConfig{
		CookieName: s.text("SESSION_COOKIE_NAME", o.CookieName),
		Cookie: CookieOptions{
			Domain:   s.text("SESSION_COOKIE_DOMAIN", o.Domain),
			Readable: !s.truth("SESSIONCOOKIE_HTTPONLY", o.HTTPOnly, true),
			Path:     s.text("SESSION_COOKIE_PATH", o.Path),
			Insecure: !s.truth("SESSION_COOKIE_SECURE", o.Secure, true),
			SameSite: s.sameSite("SESSION_COOKIE_SAMESITE", o.SameSite),
		},
		BrowserSession: !s.truth("PERSIST_SESSION_ID", o.Persist, true),
		Secret:         s.required("secret", "", o.Secret),
	}
	if seconds, ok := s.integer("SESSION_COOKIE_maxAge", o.MaxAge); ok {
		c.MaxAge = NoExpiry
		if seconds > 0 {
			c.MaxAge = time.Duration(seconds) * time.Second
		}
	}
	if seconds, ok := s.integer("SESSION_IDLE_TIMEOUT", o.IdleTimeout); ok && seconds > 0 {
		c.IdleTimeout = time.Duration(seconds) * time.Second
	}
	return c, s.err()
}

// CSRFOptions are the options of the original's DoubleSubmitCsrfToken, as [SessionOptions].
type CSRFOptions struct {
	HeaderName *string // CSRF_HEADER_NAME
	CookieName *string // CSRF_COOKIE_NAME
	Domain     *string // CSRF_COOKIE_DOMAIN
	HTTPOnly   *bool   // CSRF_COOKIE_HTTPONLY
	Path       *string // CSRF_COOKIE_PATH
	Secure     *bool   // CSRF_COOKIE_SECURE
	SameSite   *string // CSRF_COOKIE_SAMESITE
	Secret     *string // SECRET
}

// Config returns the configuration that the options and the environment make. The
// error is of code Configuration and lists every problem. The defaults and truth
// values are those of [SessionOptions.Config].
func (o CSRFOptions) Config(env Environment) (CSRFConfig, error) {
	s := setter{env: env}
	c := CSRFConfig{
		HeaderName: s.text("CSRF_HEADER_NAME", o.HeaderName),
		CookieName: s.text("CSRF_COOKIE_NAME", o.CookieName),
		Cookie: CookieOptions{
			Domain:   s.text("CSRF_COOKIE_DOMAIN", o.Domain),
			Readable: !s.truth("CSRF_COOKIE_HTTPONLY", o.HTTPOnly, true),
			Path:     s.text("CSRF_COOKIE_PATH", o.Path),
			Insecure: !s.truth("CSRF_COOKIE_SECURE", o.Secure, true),
			SameSite: s.sameSite("CSRF_COOKIE_SAMESITE", o.SameSite),
		},
		Secret: s.required("secret", "SECRET", o.Secret),
	}
	return c, s.err()
}

// KeyStorageOptions are the options of the original's SqlAlchemyKeyStorage, as
// [SessionOptions].
type KeyStorageOptions struct {
	KeyTable     *string // KEY_STORAGE_TABLE
	UserIDColumn *string // USER_ID_FOREIGN_KEY_COLUMN
}

// Config returns the configuration that the options and the environment make, to be
// given a DB.
func (o KeyStorageOptions) Config(env Environment) KeyTableConfig {
	s := setter{env: env}
	return KeyTableConfig{Table: s.text("KEY_STORAGE_TABLE", o.KeyTable), UserIDColumn: s.text("USER_ID_FOREIGN_KEY_COLUMN", o.UserIDColumn)}
}

// APIKeyOptions are the options of the original's ApiKeyManager, as [SessionOptions].
type APIKeyOptions struct {
	Secret *string // SECRET
	Length *int    // APIKEY_LENGTH
	Prefix *string // APIKEY_PREFIX
	Scheme *string // APIKEY_AUTHSCHEME
}

// Config returns the configuration that the options and the environment make, to be
// given a Storage. The error is of code Configuration and lists every problem.
func (o APIKeyOptions) Config(env Environment) (APIKeyConfig, error) {
	s := setter{env: env}
	c := APIKeyConfig{Prefix: s.text("APIKEY_PREFIX", o.Prefix), Scheme: s.text("APIKEY_AUTHSCHEME", o.Scheme), Secret: s.required("secret", "SECRET", o.Secret)}
	c.Length, _ = s.integer("APIKEY_LENGTH", o.Length)
	return c, s.err()
}

// TokenExpiries are how long the tokens of e-mails are good, from VERIFY_EMAIL_EXPIRES
// and PASSWORD_RESET_EXPIRES, in seconds; DefaultTokenExpiry where they are not there
// or not above 0. The error is of code Configuration.
func TokenExpiries(env Environment) (verify, reset time.Duration, err error) {
	s := setter{env: env}
	read := func(name string) time.Duration {
		if n, ok := s.integer(name, nil); ok && n > 0 {
			return time.Duration(n) * time.Second
		}
		return DefaultTokenExpiry
	}
	verify, reset = read("VERIFY_EMAIL_EXPIRES"), read("PASSWORD_RESET_EXPIRES")
	return verify, reset, s.err()
}

// PasswordOptionsFrom reads PBKDF2_DIGEST, PBKDF2_ITERATIONS, PBKDF2_KEYLENGTH and
// PBKDF2_SALTLENGTH, whose names have no prefix, into what [PasswordOptions.Hash] goes
// by. The error is of code Configuration and lists every problem.
func PasswordOptionsFrom(env Environment) (PasswordOptions, error) {
	s := setter{env: func(name string) (string, bool) {
		if env == nil {
			return "", false
		}
		return env(strings.TrimPrefix(name, EnvironmentPrefix))
	}, bare: true}
	o := PasswordOptions{Digest: s.text("PBKDF2_DIGEST", nil)}
	o.Iterations, _ = s.integer("PBKDF2_ITERATIONS", nil)
	o.KeyLength, _ = s.integer("PBKDF2_KEYLENGTH", nil)
	o.SaltLength, _ = s.integer("PBKDF2_SALTLENGTH", nil)
	if _, err := o.checked(); err != nil {
		s.problems = append(s.problems, err.Error())
	}
	return o, s.err()
}

// setter is the original's set_parameter: the option, else the variable, else the
// default. It collects what is wrong.
type setter struct {
	env      Environment
	bare     bool // names have no prefix
	problems []string
}

func (s *setter) lookup(name string) (string, bool) {
	if s.env == nil {
		return "", false
	}
	return s.env(EnvironmentPrefix + name)
}

func (s *setter) fail(name, format string, args ...any) {
	if !s.bare {
		name = EnvironmentPrefix + name
	}
	s.problems = append(s.problems, name+" "+fmt.Sprintf(format, args...))
}

func (s *setter) err() error {
	if len(s.problems) == 0 {
		return nil
	}
	return newError(Configuration, strings.Join(s.problems, "; "))
}

// text returns "" for the default, which null is too.
func (s *setter) text(name string, option *string) string {
	if option != nil {
		return *option
	}
	if v, ok := s.lookup(name); ok && v != "null" {
		return v
	}
	return ""
}

func (s *setter) required(option, name string, value *string) string {
	if value != nil {
		return *value
	}
	if name != "" {
		if v, ok := s.lookup(name); ok {
			return v
		}
	}
	s.problems = append(s.problems, option+" is required")
	return ""
}

func (s *setter) truth(name string, option *bool, otherwise bool) bool {
	if option != nil {
		return *option
	}
	v, ok := s.lookup(name)
	if !ok {
		return otherwise
	}
	switch strings.ToLower(v) {
	case "1", "true":
		return true
	case "", "0", "false":
		return false
	}
	s.fail(name, "is %.20q; use 1, true, 0 or false", v)
	return otherwise
}

// integer reports false for the default, which null is too.
func (s *setter) integer(name string, option *int) (int, bool) {
	n, ok := 0, false
	if option != nil {
		n, ok = *option, true
	} else if v, found := s.lookup(name); found && v != "null" {
		var err error
		if n, err = strconv.Atoi(strings.TrimSpace(v)); err != nil {
			s.fail(name, "is %.20q; use whole seconds", v)
			return 0, false
		}
		ok = true
	}
	if most := int(MaxMaxAge / time.Second); n > most {
		s.fail(name, "is %d; use at most %d seconds", n, most)
		return 0, false
	}
	return n, ok
}

func (s *setter) sameSite(name string, option *string) http.SameSite {
	v := s.text(name, option)
	switch strings.ToLower(v) {
	case "":
		return 0
	case "lax":
		return http.SameSiteLaxMode
	case "strict":
		return http.SameSiteStrictMode
	case "none":
		return http.SameSiteNoneMode
	}
	s.fail(name, "is %.20q; use lax, strict or none", v)
	return 0
}
