package reflow

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// Mode is AUTH_MODE: how visitors sign in.
type Mode string

// The modes.
const (
	ModeNone  Mode = "none"
	ModeBasic Mode = "basic"
	ModeOIDC  Mode = "oidc"
)

// DefaultScopes is what a provider without scopes is asked for.
const DefaultScopes = "openid email profile"

// Settings are the original's, by the names of its environment.
type Settings struct {
	Mode              Mode          // AUTH_MODE, ModeNone by default
	SecretKey         string        // AUTH_SECRET_KEY, required unless the mode is none
	SessionTTL        time.Duration // AUTH_SESSION_TTL_SECONDS, 28800, from 300 to 2592000
	SessionCookieName string        // AUTH_SESSION_COOKIE_NAME, reflow_session
	InsecureCookies   bool          // AUTH_COOKIE_SECURE is false
	BasicUsers        []BasicUser   // AUTH_BASIC_USERS
	OIDCProviders     []Provider    // AUTH_OIDC_PROVIDERS
	PostLoginRedirect string        // AUTH_POST_LOGIN_REDIRECT, /
	NoAPIKeyAuth      bool          // ENABLE_API_KEY_AUTH is false
	APIKeyHeader      string        // API_KEY_HEADER_NAME, X-API-Key
	APIKeys           APIKeys       // API_KEYS
	Development       bool          // ENVIRONMENT is dev, production by default
}

// BasicUser is a user of AUTH_BASIC_USERS.
type BasicUser struct {
	Name string
	Hash string // argon2, in its text form
}

// Provider is one of AUTH_OIDC_PROVIDERS. JSON names are in lower case with _.
type Provider struct {
	ID           string // in the paths of its sign-in and callback: letters, digits, - and _
	DisplayName  string
	DiscoveryURL string // https, or http on this machine
	ClientID     string
	ClientSecret string
	Scopes       string // DefaultScopes when absent
}

// Environment is where [Environment.Settings] reads.
type Environment struct {
	// Lookup is os.LookupEnv, or another's.
	Lookup func(name string) (string, bool)
	// DangerouslyShortAPIKeys accepts API keys of fewer than MinAPIKey bytes.
	DangerouslyShortAPIKeys bool
}

// Settings reads the variables. The error lists every problem, and holds no secret.
//
// A user without an argon2 hash, or named twice, is a problem; the original leaves
// such users out and says so in its log.
func (e Environment) Settings() (Settings, error) {
	r := environmentReader{lookup: e.Lookup}
	s := Settings{
		Mode:              Mode(r.text("AUTH_MODE", string(ModeNone))),
		SecretKey:         r.text("AUTH_SECRET_KEY", ""),
		SessionTTL:        r.seconds("AUTH_SESSION_TTL_SECONDS", DefaultTTL),
		SessionCookieName: r.text("AUTH_SESSION_COOKIE_NAME", DefaultCookieName),
		InsecureCookies:   !r.truth("AUTH_COOKIE_SECURE"),
		BasicUsers:        r.users("AUTH_BASIC_USERS"),
		OIDCProviders:     r.providers("AUTH_OIDC_PROVIDERS"),
		PostLoginRedirect: r.text("AUTH_POST_LOGIN_REDIRECT", "/"),
		NoAPIKeyAuth:      !r.truth("ENABLE_API_KEY_AUTH"),
		APIKeyHeader:      r.text("API_KEY_HEADER_NAME", DefaultAPIKeyHeader),
		Development:       r.text("ENVIRONMENT", "production") == "dev",
	}
	var err error
	if s.APIKeys, err = ParseAPIKeys(r.text("API_KEYS", ""), e.DangerouslyShortAPIKeys); err != nil {
		r.problems = append(r.problems, err)
	}
	r.check(&s)
	return s, errors.Join(r.problems...)
}

// Config returns the codec's configuration. It has no secret where the mode is none.
func (s *Settings) Config() Config {
	c := Config{TTL: s.SessionTTL, CookieName: s.SessionCookieName, InsecureCookies: s.InsecureCookies}
	if s.SecretKey != "" {
		c.Secrets = []string{s.SecretKey}
	}
	return c
}

type environmentReader struct {
	lookup   func(name string) (string, bool)
	problems []error
}

func (r *environmentReader) fail(name, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("reflow: "+name+" "+format, args...))
}

func (r *environmentReader) text(name, otherwise string) string {
	if v, ok := r.lookup(name); ok {
		return v
	}
	return otherwise
}

// truth reads what pydantic takes for one; it is true when the variable is not there.
func (r *environmentReader) truth(name string) bool {
	switch strings.ToLower(r.text(name, "true")) {
	case "1", "true", "t", "yes", "y", "on":
		return true
	case "0", "false", "f", "no", "n", "off":
		return false
	}
	r.fail(name, "is no truth value; use true or false")
	return true
}

func (r *environmentReader) seconds(name string, otherwise time.Duration) time.Duration {
	text, ok := r.lookup(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < int(MinTTL/time.Second) || n > int(MaxTTL/time.Second) {
		r.fail(name, "is %.20q; use %d to %d", text, MinTTL/time.Second, MaxTTL/time.Second)
		return otherwise
	}
	return time.Duration(n) * time.Second
}

// users reads name:hash with semicolons between, for a hash has commas.
func (r *environmentReader) users(name string) (users []BasicUser) {
	for i, entry := range strings.Split(r.text(name, ""), ";") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		user, hash, _ := strings.Cut(entry, ":")
		user, hash = strings.TrimSpace(user), strings.TrimSpace(hash)
		switch {
		case user == "" || !strings.HasPrefix(hash, "$argon2"):
			r.fail(name, "entry %d is not name:$argon2...", i+1)
		case slices.ContainsFunc(users, func(u BasicUser) bool { return u.Name == user }):
			r.fail(name, "entry %d names a user again", i+1)
		default:
			users = append(users, BasicUser{user, hash})
		}
	}
	return users
}

func (r *environmentReader) providers(name string) (list []Provider) {
	text := r.text(name, "")
	if strings.TrimSpace(text) == "" {
		return nil
	}
	v, err := pyjson.Parse([]byte(text))
	entries, ok := v.([]any)
	if err != nil || !ok {
		r.fail(name, "is no JSON array")
		return nil
	}
	for i, entry := range entries {
		o, _ := entry.(pyjson.Object)
		p := Provider{Scopes: DefaultScopes}
		for field, into := range map[string]*string{"id": &p.ID, "display_name": &p.DisplayName, "discovery_url": &p.DiscoveryURL,
			"client_id": &p.ClientID, "client_secret": &p.ClientSecret} {
			if *into, _ = o.Text(field); *into == "" {
				r.fail(name, "entry %d has no %s", i+1, field)
			}
		}
		if scopes, there := o.Get("scopes"); there {
			if p.Scopes, ok = scopes.(string); !ok {
				r.fail(name, "entry %d: scopes is no text", i+1)
			}
		}
		if p.ID != "" && strings.Trim(p.ID, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			r.fail(name, "entry %d: id is %.40q; use letters, digits, - and _", i+1, p.ID)
		}
		if slices.ContainsFunc(list, func(other Provider) bool { return other.ID == p.ID }) {
			r.fail(name, "entry %d has the id of another", i+1)
		}
		if p.DiscoveryURL != "" && !discoverable(p.DiscoveryURL) {
			r.fail(name, "entry %d: discovery_url is no address; use https, or http on this machine", i+1)
		}
		list = append(list, p)
	}
	return list
}

func discoverable(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	host := u.Hostname()
	loopback := host == "localhost" || net.ParseIP(host).IsLoopback()
	return u.Scheme == "https" || u.Scheme == "http" && loopback
}

// check refuses combinations that make no sense.
func (r *environmentReader) check(s *Settings) {
	switch s.Mode {
	case ModeNone:
	case ModeBasic:
		if len(s.BasicUsers) == 0 {
			r.fail("AUTH_BASIC_USERS", "has no user, and AUTH_MODE is basic")
		}
	case ModeOIDC:
		if len(s.OIDCProviders) == 0 {
			r.fail("AUTH_OIDC_PROVIDERS", "has no provider, and AUTH_MODE is oidc")
		}
	default:
		r.fail("AUTH_MODE", "is %.20q; use none, basic or oidc", s.Mode)
	}
	if n := utf8.RuneCountInString(s.SecretKey); n < minSecret && (s.Mode != ModeNone || n > 0) {
		r.fail("AUTH_SECRET_KEY", "has %d characters; use at least %d", n, minSecret)
	}
	if SafeNext(s.PostLoginRedirect, "") == "" {
		r.fail("AUTH_POST_LOGIN_REDIRECT", "is no path of this site")
	}
}
