package crossauth

import (
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Defaults of the double-submit token.
const (
	DefaultCSRFHeader = "X-CROSSAUTH-CSRF"
	DefaultCSRFCookie = "CSRFTOKEN"
)

// CSRFConfig describes the double-submit cookie and its header or form token.
type CSRFConfig struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Secret signs the cookie, at least MinSecret bytes. Do not use the one of the
	// session cookie: a value signed for one would pass as the other.
	Secret string
	// CookieName is DefaultCSRFCookie when empty, HeaderName DefaultCSRFHeader.
	CookieName, HeaderName string
	// Cookie is the cookie's attributes; see [CookieOptions].
	Cookie CookieOptions
	// Random is the source of randomness, crypto/rand when nil.
	Random io.Reader

	// LenientBase64 reads header tokens as Python decodes base64, and with a mask
	// that is longer than the token.
	LenientBase64 bool
	// DangerouslyShortSecret accepts a secret of any length.
	DangerouslyShortSecret bool
}

// CSRF makes and checks double-submit tokens. It is safe for concurrent use.
//
// The token is not bound to a session: whoever can set a cookie for the site (a
// sibling subdomain, say) can plant a pair of their own. Latchkey's package csrf has
// no such gap.
type CSRF struct {
	config CSRFConfig
	signer *Signer
}

// NewCSRF checks c. The error lists every problem.
func NewCSRF(c CSRFConfig) (*CSRF, error) {
	var problems []error
	if len(c.Secret) < MinSecret && !c.DangerouslyShortSecret {
		problems = append(problems, fmt.Errorf("crossauth: Secret has %d bytes; use at least %d", len(c.Secret), MinSecret))
	}
	if c.CookieName == "" {
		c.CookieName = DefaultCSRFCookie
	}
	if c.HeaderName == "" {
		c.HeaderName = DefaultCSRFHeader
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if _, err := c.Cookie.cookie(c.CookieName, "x"); err != nil {
		problems = append(problems, err)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return &CSRF{c, DangerouslyNewSigner(c.Secret)}, nil
}

// NewToken returns a random token of 22 characters.
func (c *CSRF) NewToken() (string, error) { return RandomValue(c.config.Random, CSRFLength) }

// CookieValue returns the signed value of the cookie for a token.
func (c *CSRF) CookieValue(token string) string { return c.signer.SignSecureToken(token) }

// CookieString returns the Set-Cookie value for a cookie value: a session cookie,
// whose attributes the original leaves half-written.
func (c *CSRF) CookieString(value string) (string, error) {
	return c.config.Cookie.String(c.config.CookieName, value)
}

// HeaderName returns the name of the header that carries the masked token.
func (c *CSRF) HeaderName() string { return c.config.HeaderName }

// Mask returns the token for a header or form: a fresh mask, a dot, and the token
// XORed with it, so that a compressed page does not give it away bit by bit (BREACH).
func (c *CSRF) Mask(token string) (string, error) {
	mask, err := draw(c.config.Random, CSRFLength)
	if err != nil {
		return "", err
	}
	return c.MaskWith(token, mask)
}

// MaskWith is [CSRF.Mask] with a mask that is given. The error is of code InvalidKey.
func (c *CSRF) MaskWith(token string, mask []byte) (string, error) {
	text := rawURL(mask)
	masked, err := c.xor(token, text)
	if err != nil {
		return "", err
	}
	return text + "." + masked, nil
}

func (c *CSRF) xor(value, mask string) (string, error) {
	if c.config.LenientBase64 {
		return LenientXOR(value, mask)
	}
	return XOR(value, mask)
}

// Unmask returns the token in a header or form value. Mask and token must be of one
// length. The error is of code InvalidCsrf.
func (c *CSRF) Unmask(value string) (string, error) {
	mask, masked, ok := strings.Cut(value, ".")
	if !ok || strings.Contains(masked, ".") || len(mask) != len(masked) && !c.config.LenientBase64 {
		return "", newError(InvalidCsrf, "CSRF token in header or form not in correct format")
	}
	token, err := c.xor(masked, mask)
	if err != nil {
		return "", newError(InvalidCsrf, "CSRF token in header or form not in correct format")
	}
	return token, nil
}

// CheckCookie returns the token of a cookie value. The error is of code InvalidCsrf.
func (c *CSRF) CheckCookie(value string) (string, error) {
	token, err := c.signer.UnsignSecureToken(value)
	if err != nil {
		return "", newError(InvalidCsrf, "Invalid CSRF cookie")
	}
	return token, nil
}

// Validate returns nil when the cookie is one of ours and the header or form value,
// unmasked, is its token. An empty token never is, unless LenientBase64 is set. The
// error is of code InvalidCsrf.
func (c *CSRF) Validate(cookie, headerOrForm string) error {
	submitted, err := c.Unmask(headerOrForm)
	if err != nil {
		return err
	}
	token, err := c.CheckCookie(cookie)
	if err != nil {
		return err
	}
	if token == "" && !c.config.LenientBase64 || !hmac.Equal([]byte(token), []byte(submitted)) {
		return newError(InvalidCsrf, "")
	}
	return nil
}

// CookieOptions are the attributes of a cookie. The zero value is Secure, HttpOnly,
// SameSite=Lax, Path=/, no Domain.
type CookieOptions struct {
	Domain   string
	Path     string        // "/" when empty
	SameSite http.SameSite // Lax when zero
	// Readable leaves out HttpOnly, as the original does by default: scripts can
	// then read the cookie.
	Readable bool
	// Insecure leaves out Secure, for plain HTTP on loopback.
	Insecure bool
	// Expires is when the browser drops the cookie; zero means when it ends.
	Expires time.Time
}

func (o *CookieOptions) cookie(name, value string) (*http.Cookie, error) {
	c := &http.Cookie{Name: name, Value: value, Domain: o.Domain, Path: o.Path, SameSite: o.SameSite, HttpOnly: !o.Readable, Secure: !o.Insecure, Expires: o.Expires}
	if c.Path == "" {
		c.Path = "/"
	}
	if c.SameSite == 0 {
		c.SameSite = http.SameSiteLaxMode
	}
	if err := c.Valid(); err != nil {
		return nil, fmt.Errorf("crossauth: cookie: %w", err)
	}
	return c, nil
}

// String returns the Set-Cookie value (RFC 6265) of a cookie. Names and values that
// have no place in one are an error.
func (o *CookieOptions) String(name, value string) (string, error) {
	c, err := o.cookie(name, value)
	if err != nil {
		return "", err
	}
	return c.String(), nil
}
