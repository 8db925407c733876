package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/csrf"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/server/api"
	"github.com/latchkey-go/latchkey/server/edge"
	"github.com/latchkey-go/latchkey/server/edge/assertion"
	"github.com/latchkey-go/latchkey/server/login"
	"github.com/latchkey-go/latchkey/upstream"
)

// Config configures a Server. Manager, Store and Keys are required; every other
// zero value is the safe choice. It is checked once, by New.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Manager judges sessions. Its cookie settings are the server's too.
	Manager *latchkey.Manager
	// Store is the Manager's own; readiness and the audit trail are read from it.
	Store latchkey.Store
	// Keys is the Manager's own; it can be read again by an admin.
	Keys *keyring.Ring

	// AdminKeys open the admin routes. Without any they answer 404, and the OpenAPI
	// document leaves them out.
	AdminKeys []AdminKey

	// PublicURL is the server as browsers reach it: scheme and host, no path. With
	// https, answers carry Strict-Transport-Security. It is required with Demo, and
	// behind a proxy that rewrites Host, where requests of browsers that send no
	// Sec-Fetch-Site would otherwise be taken for another site's.
	PublicURL *url.URL
	// Prefix mounts what browsers use (pages, /logout, and /v1/me a second time)
	// below a path such as "/_latchkey", for use on a protected host.
	Prefix string
	// Demo refuses, with 421, requests for another Host than PublicURL's and those
	// that a proxy forwarded: a page elsewhere must not reach a demo on loopback by
	// pointing its own name there (DNS rebinding).
	Demo bool

	// Upstream answers for sessions that others keep. Without it its routes answer
	// 404, and the OpenAPI document leaves them out. It stays the caller's to close.
	Upstream *upstream.Cache

	// Edge answers reverse proxies at /auth/. Without it, and with Demo, its routes
	// answer 404. Its own Manager is this one.
	Edge *edge.Edge
	// Assertions signs the Edge's assertions. Its public keys are at /jwks.json, which
	// is 404 without it.
	Assertions *assertion.Signer

	// SignIn is the sign-in page among Pages, for /metrics.
	SignIn *login.Login

	// Pages are handlers beside the API: sign-in, self-service, console.
	Pages []Page
	// LogoutTarget says where a navigation goes after a logout: to the sign-out of the
	// identity provider that the session came from, or "" for the sign-in page. It is
	// asked before the session ends, and followed afterwards.
	LogoutTarget func(r *http.Request, s latchkey.Session) string
	// PageError answers a page's form that may come from another site, and what a
	// page's router does not know; unset, it is a problem like the API's.
	PageError func(w http.ResponseWriter, r *http.Request, err error)

	// StoreTimeout bounds each request's dealings with the store: 5 seconds unless
	// set; at most a minute.
	StoreTimeout time.Duration
	// MetricsElsewhere leaves /metrics to MetricsHandler on a listener of its own.
	MetricsElsewhere bool
	// CacheStats reads the near cache for /metrics, where there is one.
	CacheStats func() nearcache.Stats
	// Version stands in the OpenAPI document and in the metrics.
	Version string
	// Logger gets the access log and what went wrong. Unset, nothing is logged.
	Logger *slog.Logger
}

// AdminKey is one admin key with the name that the audit trail knows it by.
type AdminKey struct {
	Name string
	// Key is a secret of at least MinAdminKey characters.
	Key string
}

// MinAdminKey is the least length of an admin key, in characters.
const MinAdminKey = 32

// Format implements fmt.Formatter: it never prints the key.
func (k AdminKey) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "admin key %q", k.Name) }

// LogValue implements slog.LogValuer: it never shows the key.
func (k AdminKey) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(k)) }

// Page is a handler beside the API.
type Page struct {
	// Path is a pattern of [http.ServeMux] without method or host: "/login", or
	// "/account/" with all below it. The handler sees it without Config.Prefix.
	Path string
	// Handler answers all methods; where it is a [http.ServeMux], those that it has
	// patterns for, and others are answered 404 not_found as everywhere. Unsafe
	// requests reach it only if they pass the cross-site check. It finds strict
	// security headers set, and may replace them.
	Handler http.Handler
	// Unprefixed mounts it outside Config.Prefix too, for callers that are no
	// browsers: an identity provider's back-channel logout, a key set.
	Unprefixed bool
	// CrossSite lets requests reach it without the cross-site check: for callers that
	// are no browsers and prove themselves by what they send, such as an identity
	// provider with a signed logout token. Such a handler takes no cookie.
	CrossSite bool
}

const (
	defaultStoreTimeout = 5 * time.Second
	maxStoreTimeout     = time.Minute
)

// problems gathers everything wrong with a configuration.
type problems []latchkey.FieldError

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
}

// check reports every problem of the configuration together. No key is repeated.
func (c *Config) check() error {
	var p problems
	if c.Manager == nil {
		p.add("Manager", "is required")
	}
	if c.Store == nil {
		p.add("Store", "is required")
	}
	if c.Keys == nil {
		p.add("Keys", "is required")
	}
	c.checkAdmins(&p)
	if u := c.PublicURL; u != nil && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil) {
		p.add("PublicURL", "must be http or https with a host and nothing else, such as https://auth.example.com")
	}
	if c.Demo && c.PublicURL == nil {
		p.add("PublicURL", "is required with Demo")
	}
	if !validPrefix(c.Prefix) {
		p.add("Prefix", "%q is not a path such as /_latchkey: begin with a slash, end without, use letters, digits and -._~", c.Prefix)
	}
	for i, page := range c.Pages {
		if page.Handler == nil || !strings.HasPrefix(page.Path, "/") || strings.ContainsAny(page.Path, " \t") {
			p.add(fmt.Sprintf("Pages[%d]", i), "a handler and a path that begins with a slash are required")
		}
	}
	if c.StoreTimeout < 0 || c.StoreTimeout > maxStoreTimeout {
		p.add("StoreTimeout", "%v is not between 0 and %v", c.StoreTimeout, maxStoreTimeout)
	}
	if len(p) > 0 {
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "server: configuration", Fields: p}
	}
	return nil
}

func (c *Config) checkAdmins(p *problems) {
	names, keys := make(map[string]bool), make(map[string]bool)
	for i, k := range c.AdminKeys {
		field := fmt.Sprintf("AdminKeys[%d]", i)
		if k.Name == "" || len(k.Name) > 64 || !validName(k.Name) {
			p.add(field, "a name of letters, digits and -._@ is required, at most 64 bytes")
		}
		if names[k.Name] {
			p.add(field, "the name %q is taken", k.Name)
		}
		if len(k.Key) < MinAdminKey {
			p.add(field, "the key of %q is shorter than %d characters", k.Name, MinAdminKey)
		} else if keys[k.Key] {
			p.add(field, "the key of %q is another one's too", k.Name)
		}
		if !validKey(k.Key) {
			p.add(field, "the key of %q has characters that an Authorization header cannot carry; use printable ASCII without spaces", k.Name)
		}
		names[k.Name], keys[k.Key] = true, true
	}
}

func validName(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._@", r)
	})
}

func validKey(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func validPrefix(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != '/' {
		return false
	}
	for part := range strings.SplitSeq(s[1:], "/") {
		if part == "" || part == "." || part == ".." || strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~") != "" {
			return false
		}
	}
	return true
}

// origin is the public origin as browsers write it (RFC 6454 §6.2), or "".
func (c *Config) origin() string {
	if c.PublicURL == nil {
		return ""
	}
	return c.PublicURL.Scheme + "://" + publicHost(c.PublicURL)
}

// publicHost is a URL's host as browsers send it: lower case, without the scheme's own port.
func publicHost(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if u.Scheme == "http" {
		return strings.TrimSuffix(host, ":80")
	}
	return strings.TrimSuffix(host, ":443")
}

// cookieName asks the Manager for its cookie's name, so that there is one setting.
func cookieName(m *latchkey.Manager) string {
	var probe headerOnly
	m.ClearCookie(&probe)
	name, _, _ := strings.Cut(probe.Header().Get("Set-Cookie"), "=")
	return name
}

// headerOnly is a response that nobody reads.
type headerOnly struct{ h http.Header }

func (w *headerOnly) Header() http.Header {
	if w.h == nil {
		w.h = make(http.Header)
	}
	return w.h
}
func (w *headerOnly) Write(b []byte) (int, error) { return len(b), nil }
func (w *headerOnly) WriteHeader(int)             {}

// newAPI makes the API from the checked configuration.
func (c *Config) newAPI(cookie string, protection *csrf.Protection) *api.API {
	admins := new(api.Admins)
	for _, k := range c.AdminKeys {
		admins.Add(k.Name, k.Key)
	}
	return api.New(api.Config{Manager: c.Manager, Store: c.Store, Keys: c.Keys, Admins: admins, CSRF: protection,
		CookieName: cookie, Prefix: c.Prefix, LogoutTarget: c.LogoutTarget, Upstream: c.Upstream, Timeout: c.StoreTimeout, Logger: c.Logger})
}
