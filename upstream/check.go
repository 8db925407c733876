package upstream

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// CheckConfig describes an HTTP check: a request that carries the token and is
// answered with the user's account. URL and one of Header and Cookie are required.
type CheckConfig struct {
	// URL is asked with GET. It is https, or http on this machine.
	URL string
	// Header is the name of the header that the token goes into, after Prefix
	// ("Bearer ", say).
	Header, Prefix string
	// Cookie is the name of the cookie that the token goes into. A token that no cookie can hold is invalid.
	Cookie string
	// Extra is sent along each time: X-Appwrite-Project, an API key.
	Extra http.Header
	// Fields is AppwriteFields when empty.
	Fields Fields
	// Invalid are the statuses that say that the token is nobody's. 401 when empty. Every
	// other than 200 and these is no answer.
	Invalid []int
	// Client is one of the package's own when nil. Its redirects are not followed.
	Client *http.Client
	// DangerouslyPlainHTTP allows an http URL beyond this machine.
	DangerouslyPlainHTTP bool
}

type check struct {
	endpoint
	cfg    CheckConfig
	fields Fields
}

// NewCheck returns an Upstream that asks an account endpoint such as Appwrite's, or
// an error (invalid_request) that lists everything wrong with the configuration.
func NewCheck(cfg CheckConfig) (Upstream, error) {
	var wrong problems
	c := &check{endpoint: wrong.endpoint(cfg.URL, cfg.DangerouslyPlainHTTP, cfg.Extra, cfg.Client)}
	switch {
	case (cfg.Header == "") == (cfg.Cookie == ""):
		wrong.add("Header", "or Cookie is required, and only one of them: say where the token goes")
	case cfg.Header != "" && !validName(cfg.Header):
		wrong.add("Header", "is no name of a header")
	case cfg.Cookie != "" && !validName(cfg.Cookie):
		wrong.add("Cookie", "is no name of a cookie")
	}
	if hasControl(cfg.Prefix) || cfg.Prefix != "" && cfg.Cookie != "" {
		wrong.add("Prefix", "stands before the token in a header, without control characters")
	}
	c.fields = cfg.Fields.resolve(AppwriteFields(), &wrong)
	cfg.Invalid = slices.Clone(cfg.Invalid)
	if len(cfg.Invalid) == 0 {
		cfg.Invalid = []int{http.StatusUnauthorized}
	}
	if slices.ContainsFunc(cfg.Invalid, func(s int) bool { return s < 400 || s > 499 }) {
		wrong.add("Invalid", "may hold statuses from 400 to 499: others are faults of the service, not of the token")
	}
	if err := wrong.error("HTTP check"); err != nil {
		return nil, err
	}
	c.cfg = cfg
	return c, nil
}

// Validate implements Upstream.
func (c *check) Validate(ctx context.Context, token string) (User, error) {
	if c.cfg.Cookie != "" && strings.ContainsAny(token, `",;\`) {
		return User{}, errRefused
	}
	a, err := c.ask(ctx, http.MethodGet, nil, func(r *http.Request) {
		if c.cfg.Cookie != "" {
			r.Header.Add("Cookie", c.cfg.Cookie+"="+token)
		} else {
			r.Header.Set(c.cfg.Header, c.cfg.Prefix+token)
		}
	})
	switch {
	case err != nil:
		return User{}, err
	case slices.Contains(c.cfg.Invalid, a.status):
		return User{}, errRefused
	case a.status != http.StatusOK:
		return User{}, fmt.Errorf("%w: %d", errStatus, a.status)
	}
	return c.fields.user(a.object)
}

// UserInfoConfig describes an OpenID provider's userinfo endpoint. URL is required.
type UserInfoConfig struct {
	// URL is the provider's userinfo_endpoint: https, or http on this machine.
	URL string
	// Fields is OpenIDFields when empty. The answer says nothing of the token's end, so
	// that Config.TTL alone bounds how long it counts.
	Fields Fields
	// Client is one of the package's own when nil. Its redirects are not followed.
	Client *http.Client
	// DangerouslyPlainHTTP allows an http URL beyond this machine.
	DangerouslyPlainHTTP bool
}

type userInfo struct {
	endpoint
	fields Fields
}

// NewUserInfo returns an Upstream that takes the token for an access token and asks
// for its user (OpenID Connect Core 1.0 §5.3), or an error (invalid_request) that
// lists everything wrong with the configuration. Signed answers (application/jwt) are no answers.
//
// Any access token of the provider is accepted, one that was issued to another client too:
// userinfo does not tell for whom a token is. Where that matters, use
// NewIntrospection with an Audience.
func NewUserInfo(cfg UserInfoConfig) (Upstream, error) {
	var wrong problems
	u := &userInfo{endpoint: wrong.endpoint(cfg.URL, cfg.DangerouslyPlainHTTP, nil, cfg.Client)}
	u.fields = cfg.Fields.resolve(OpenIDFields(), &wrong)
	if err := wrong.error("userinfo endpoint"); err != nil {
		return nil, err
	}
	return u, nil
}

// Validate implements Upstream. 401 says that the token is invalid and 403 that it
// may not be used for this (RFC 6750 §3.1): neither is a session.
func (u *userInfo) Validate(ctx context.Context, token string) (User, error) {
	a, err := u.ask(ctx, http.MethodGet, nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
	switch {
	case err != nil:
		return User{}, err
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		return User{}, errRefused
	case a.status != http.StatusOK:
		return User{}, fmt.Errorf("%w: %d", errStatus, a.status)
	}
	return u.fields.user(a.object)
}
