package oidc

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/internal/acr"
)

// Defaults and bounds of Config.
const (
	// DefaultAlgorithm is what OpenID Connect registers unless told otherwise.
	DefaultAlgorithm = "RS256"
	// MaxMaxAge is the largest Config.MaxAge.
	MaxMaxAge = 400 * 24 * time.Hour

	maxID = 64 // bytes of an id: it is a segment of paths and the provider of sessions
)

// algorithms are those that a provider may sign with: its private key signs and a
// published one verifies.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// reserved are parameters of the authorization request that the flow itself sets.
var reserved = []string{"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "request", "request_uri", "max_age", "acr_values", "prompt"}

// ClientAuth is how the client proves itself at the token endpoint (OpenID Connect
// Core, 9).
type ClientAuth string

// The ways. AuthAuto takes client_secret_basic where the provider says that it knows
// it, or says nothing, and client_secret_post otherwise; a client without a secret is
// public, and sends its id alone.
const (
	AuthAuto  ClientAuth = ""
	AuthBasic ClientAuth = "basic"
	AuthPost  ClientAuth = "post"
)

// UserInfo says when the userinfo endpoint is asked (OpenID Connect Core, 5.3).
type UserInfo string

// The choices. UserInfoAuto asks when a claim that is mapped is not in the ID token.
const (
	UserInfoAuto   UserInfo = ""
	UserInfoAlways UserInfo = "always"
	UserInfoNever  UserInfo = "never"
)

// Config is one client at one provider. ID, Issuer, ClientID and RedirectURL are
// required; the zero value of everything else is safe.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// ID names the provider in paths, sessions and logs: lower-case letters, digits, "-"
	// and "_", at most 64 bytes.
	ID string
	// Name is what the sign-in page calls it; unset, it is ID.
	Name string
	// Issuer is the issuer exactly as the provider writes it in its tokens, with or
	// without a slash at the end.
	Issuer string
	// ClientID and ClientSecret are what the provider gave the client. Without a secret
	// the client is a public one, which PKCE protects.
	ClientID     string
	ClientSecret string
	// ClientAuth is how the secret is sent.
	ClientAuth ClientAuth
	// RedirectURL is the callback as it is registered with the provider.
	RedirectURL string

	// Scopes are asked for; "openid" is always among them. Unset, they are openid,
	// profile and email. With "offline_access" the tokens are kept, as by KeepTokens.
	Scopes []string
	// Params are further parameters of the authorization request, such as "hd" or
	// "access_type" of Google. Those that the flow sets itself are refused.
	Params map[string]string
	// Prompt is "login", "consent", "select_account" or several with spaces between.
	// "none" is refused: nobody is signed in without an action of their own.
	Prompt string
	// MaxAge asks that the user authenticated no longer ago than this; the provider's
	// auth_time is then required and compared. Whole seconds; 0 asks for nothing.
	MaxAge time.Duration
	// ACRValues are the context classes asked for, in order of preference. With
	// RequireACR a sign-in that reached none of them is refused.
	ACRValues  []string
	RequireACR bool

	// Algorithm is what the provider signs with for this client
	// (id_token_signed_response_alg); unset, it is RS256. No other is accepted.
	Algorithm string
	// Audiences are trusted besides ClientID in the aud of an ID token. A token with
	// any other is refused.
	Audiences []string
	// StrictLogoutType refuses logout tokens without "typ": "logout+jwt" (OWASP ASVS 5.0,
	// 10.5.5). Without it an absent typ is accepted, since many providers send none; another
	// typ never is.
	StrictLogoutType bool
	// UserInfo says when the userinfo endpoint is asked.
	UserInfo UserInfo
	// Claims says what a session takes from the claims.
	Claims Claims

	// KeepTokens seals access and refresh token in the session's data, for
	// [Provider.AccessToken]. The ID token is kept unless LocalLogout is set.
	KeepTokens bool
	// LocalLogout ends the session here only. Otherwise whoever signs out goes on to the
	// provider, where it publishes an address for that (RP-Initiated Logout).
	LocalLogout bool
	// PostLogoutURL is where the provider sends the browser then, as it is registered;
	// unset, the provider decides.
	PostLogoutURL string

	// DangerouslyPlainHTTP accepts a provider without TLS on other machines: whoever is
	// on the network path can then sign in as anybody. On loopback it needs no switch.
	DangerouslyPlainHTTP bool

	// Clock judges times; unset, it is the system's.
	Clock latchkey.Clock
	// Transport carries the requests to the provider; unset, it is the standard
	// library's, with its proxies by environment variables.
	Transport http.RoundTripper
}

// Format writes the id and the issuer for every verb: the configuration holds a secret.
func (c Config) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "OpenID provider "+c.ID+" at "+c.Issuer)
}

// LogValue is what Format writes, for log/slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// problems gathers everything wrong with a configuration.
type problems []latchkey.FieldError

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
}

// Check reports every problem of the configuration together, in an error of code
// CodeInvalidRequest. It never repeats the secret.
func (c *Config) Check() error {
	var p problems
	if !ValidID(c.ID) {
		p.add("ID", "%q is not 1 to %d lower-case letters, digits, - and _", c.ID, maxID)
	}
	if len(c.Name) > 128 || hasControl(c.Name) {
		p.add("Name", "at most 128 bytes without control characters")
	}
	c.checkURL(&p, "Issuer", c.Issuer, true)
	if u, err := url.Parse(c.Issuer); err == nil && (u.RawQuery != "" || u.ForceQuery) {
		p.add("Issuer", "has a query; an issuer has none")
	}
	if c.ClientID == "" || len(c.ClientID) > 512 || hasControl(c.ClientID) {
		p.add("ClientID", "is required: what the provider calls this client, at most 512 bytes")
	}
	if len(c.ClientSecret) > 4096 || hasControl(c.ClientSecret) {
		p.add("ClientSecret", "at most 4096 bytes without control characters")
	}
	if !slices.Contains([]ClientAuth{AuthAuto, AuthBasic, AuthPost}, c.ClientAuth) {
		p.add("ClientAuth", "%q is neither basic nor post", string(c.ClientAuth))
	}
	if c.ClientAuth != AuthAuto && c.ClientSecret == "" {
		p.add("ClientAuth", "needs ClientSecret")
	}
	if u, err := url.Parse(c.RedirectURL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Fragment != "" || u.User != nil {
		p.add("RedirectURL", "is required: the callback as browsers reach it")
	}
	if u, err := url.Parse(c.PostLogoutURL); c.PostLogoutURL != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "") {
		p.add("PostLogoutURL", "%q is not a URL such as https://app.example.com/login", c.PostLogoutURL)
	}
	c.checkRequest(&p)
	if c.Algorithm != "" && !slices.Contains(algorithms, c.Algorithm) {
		p.add("Algorithm", "%q is none of %s", c.Algorithm, strings.Join(algorithms, ", "))
	}
	for i, aud := range c.Audiences {
		if aud == "" || aud == c.ClientID || hasControl(aud) {
			p.add(fmt.Sprintf("Audiences[%d]", i), "is empty, or the client's own id, which is always trusted")
		}
	}
	if !slices.Contains([]UserInfo{UserInfoAuto, UserInfoAlways, UserInfoNever}, c.UserInfo) {
		p.add("UserInfo", "%q is neither always nor never", string(c.UserInfo))
	}
	c.Claims.check(&p)
	if len(p) > 0 {
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "oidc: configuration", Fields: p}
	}
	return nil
}

// checkRequest looks at what goes into the authorization request.
func (c *Config) checkRequest(p *problems) {
	for i, s := range c.Scopes {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			p.add(fmt.Sprintf("Scopes[%d]", i), "%q is not a scope (RFC 6749, 3.3)", s)
		}
	}
	for name, value := range c.Params {
		if name == "" || slices.Contains(reserved, name) || hasControl(name+value) {
			p.add("Params", "%q cannot be given here", name)
		}
	}
	prompts := strings.Fields(c.Prompt)
	for _, prompt := range prompts {
		if !slices.Contains([]string{"login", "consent", "select_account"}, prompt) {
			p.add("Prompt", "%q is none of login, consent and select_account", prompt)
		}
	}
	if c.MaxAge < 0 || c.MaxAge > MaxMaxAge || c.MaxAge%time.Second != 0 {
		p.add("MaxAge", "%v is not whole seconds up to %v; to ask for a fresh sign-in each time use Prompt", c.MaxAge, MaxMaxAge)
	}
	for i, class := range c.ACRValues {
		if class == "" || !acr.Valid(class) {
			p.add(fmt.Sprintf("ACRValues[%d]", i), "%q is not a context class: printable ASCII without spaces", class)
		}
	}
	if c.RequireACR && len(c.ACRValues) == 0 {
		p.add("RequireACR", "needs ACRValues")
	}
}

// checkURL checks an address of the provider. It is https, or plain http on loopback.
func (c *Config) checkURL(p *problems, field, text string, required bool) {
	if text == "" && !required {
		return
	}
	if why := c.unfit(text); why != "" {
		p.add(field, "%s", why)
	}
}

// unfit says why an address of the provider cannot be used, or "".
func (c *Config) unfit(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.Fragment != "" || u.User != nil:
		return "is required: an https URL without user name and fragment"
	case u.Scheme == "http" && !c.DangerouslyPlainHTTP && !loopback(u.Hostname()):
		return "is plain http: whoever is on the network path could sign in as anybody"
	}
	return ""
}

// ValidID reports whether s can be a provider's id.
func ValidID(s string) bool {
	return s != "" && len(s) <= maxID && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// hasControl reports whether s holds a control character (C0, DEL or C1).
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 })
}
