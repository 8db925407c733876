package reflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// FlowConfig describes a [Flow]. Sessions is required; what else is depends on the mode.
type FlowConfig struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Sessions sets and clears the cookies, and checks requests. It may be nil in
	// ModeNone, which has no secret to sign with.
	Sessions *Sessions
	// Settings are the mode, the users or providers, and where to go after signing in.
	Settings Settings

	// VerifyPassword reports whether a password is the one of an argon2 hash in its
	// text form, for ModeBasic. An error is a hash that cannot be read. At most
	// MaxVerifying calls run at once, for each takes much memory.
	VerifyPassword func(ctx context.Context, hash, password string) (bool, error)

	// OIDC speaks to the providers, for ModeOIDC.
	OIDC OIDC
	// Used remembers finished transactions, for ModeOIDC: a session store of Latchkey
	// does. Processes that serve one site share it.
	Used latchkey.Spender

	// Allow is asked before a password is verified and before a code is redeemed, and
	// answers false for who tries too often: that is 429. nil allows everybody; the
	// original has no such limit here.
	Allow func(r *http.Request) bool
}

// OIDC speaks to the providers of AUTH_OIDC_PROVIDERS.
type OIDC interface {
	// AuthorizationEndpoint is the provider's, from its discovery document.
	AuthorizationEndpoint(ctx context.Context, p Provider) (string, error)
	// Redeem exchanges a code and verifies the ID token that it is answered with: its
	// signature, exact issuer, audience, times and nonce. An error is ErrUnavailable
	// when the provider could not be asked, and a refusal otherwise; it may be wrapped.
	Redeem(ctx context.Context, p Provider, c Code) (Claims, error)
}

// Code is what a callback brought, with what was kept for it.
type Code struct {
	Code        string
	Verifier    string // for the token request's code_verifier
	Nonce       string // the ID token's must be this, compared in constant time
	RedirectURI string // as in the authorization request
}

// Claims are those of an ID token that the identity is made of.
type Claims struct {
	Subject           string
	Email             *string
	Name              *string
	PreferredUsername *string // stands in for an absent or empty Name
}

// Bounds.
const (
	MaxCredential = 200 // characters of a user name or password
	MaxVerifying  = 4   // passwords verified at once
	maxBody       = 16 << 10
	basicID       = "basic"
)

// Flow is the endpoints under AuthPath: config, login, login/{provider},
// callback/{provider}, logout and me. It is safe for concurrent use.
type Flow struct {
	c         FlowConfig
	users     map[string]string
	dummy     string // a hash to verify for users that there are not
	providers map[string]Provider
	verifying chan struct{}
}

// NewFlow checks c. The error lists every problem.
func NewFlow(c FlowConfig) (*Flow, error) {
	var problems []error
	fail := func(text string) { problems = append(problems, errors.New("reflow: "+text)) }
	if c.Sessions == nil && c.Settings.Mode != ModeNone && c.Settings.Mode != "" {
		fail("Sessions is missing; make one with NewSessions")
	}
	f := &Flow{c: c, users: make(map[string]string), providers: make(map[string]Provider), verifying: make(chan struct{}, MaxVerifying)}
	switch c.Settings.Mode {
	case ModeNone, "":
		f.c.Settings.Mode = ModeNone
	case ModeBasic:
		if c.VerifyPassword == nil {
			fail("VerifyPassword is missing, and the mode is basic")
		}
		if len(c.Settings.BasicUsers) == 0 {
			fail("Settings.BasicUsers is empty, and the mode is basic")
		} else {
			// Verifying another's hash takes the time that one's own would have.
			f.dummy = c.Settings.BasicUsers[0].Hash
		}
		for _, u := range c.Settings.BasicUsers {
			f.users[u.Name] = u.Hash
		}
	case ModeOIDC:
		if c.OIDC == nil {
			fail("OIDC is missing, and the mode is oidc")
		}
		if c.Used == nil {
			fail("Used is missing, and the mode is oidc: a session store is one")
		}
		if len(c.Settings.OIDCProviders) == 0 {
			fail("Settings.OIDCProviders is empty, and the mode is oidc")
		}
		for _, p := range c.Settings.OIDCProviders {
			f.providers[p.ID] = p
		}
	default:
		fail(fmt.Sprintf("Settings.Mode is %.20q; use none, basic or oidc", c.Settings.Mode))
	}
	if f.c.Settings.PostLoginRedirect == "" {
		f.c.Settings.PostLoginRedirect = "/"
	}
	if SafeNext(f.c.Settings.PostLoginRedirect, "") == "" {
		fail("Settings.PostLoginRedirect is no path of this site")
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return f, nil
}

// Handler serves the endpoints, below [Sessions.Handler]. Other paths and methods are
// answered as the original's framework does.
func (f *Flow) Handler() http.Handler {
	nobody := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { WriteError(w, ErrNoIdentity) })
	me, logout := http.Handler(nobody), http.Handler(nobody)
	if f.c.Sessions != nil {
		me, logout = f.c.Sessions.Me(), f.c.Sessions.Logout()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, ours := strings.CutPrefix(r.URL.Path, AuthPath)
		name, provider, more := strings.Cut(rest, "/")
		method, serve := http.MethodGet, f.none
		switch {
		case !ours || more && (provider == "" || strings.Contains(provider, "/")):
		case more && name == "login":
			serve = func(w http.ResponseWriter, r *http.Request) error { return f.beginOIDC(w, r, provider) }
		case more && name == "callback":
			serve = func(w http.ResponseWriter, r *http.Request) error { return f.finishOIDC(w, r, provider) }
		case more:
		case name == "config":
			serve = f.config
		case name == "login":
			method, serve = http.MethodPost, f.loginBasic
		case name == "me":
			serve = func(w http.ResponseWriter, r *http.Request) error { me.ServeHTTP(w, r); return nil }
		case name == "logout":
			method, serve = http.MethodPost, func(w http.ResponseWriter, r *http.Request) error { logout.ServeHTTP(w, r); return nil }
		}
		if ours && r.Method != method {
			w.Header().Set("Allow", method)
			WriteError(w, &HTTPError{Status: http.StatusMethodNotAllowed, Detail: "Method Not Allowed"})
			return
		}
		if err := serve(w, r); err != nil {
			WriteError(w, err)
		}
	})
}

func (f *Flow) none(http.ResponseWriter, *http.Request) error {
	return &HTTPError{Status: http.StatusNotFound, Detail: "Not Found"}
}

// config is what the site's page reads to decide how to sign in.
func (f *Flow) config(w http.ResponseWriter, _ *http.Request) error {
	providers := []any{}
	entry := func(id, display, login string) {
		providers = append(providers, pyjson.Object{{Name: "id", Value: id}, {Name: "display_name", Value: display}, {Name: "login_url", Value: login}})
	}
	switch f.c.Settings.Mode {
	case ModeBasic:
		entry(basicID, "Sign in", "/login")
	case ModeOIDC:
		for _, p := range f.c.Settings.OIDCProviders {
			entry(p.ID, p.DisplayName, AuthPath+"login/"+p.ID+"?next=/")
		}
	}
	writeJSON(w, http.StatusOK, pyjson.Object{{Name: "mode", Value: string(f.c.Settings.Mode)}, {Name: "providers", Value: providers}})
	return nil
}

// loginBasic is POST login. Who has the wrong name is told what who has the wrong
// password is, after the same work.
func (f *Flow) loginBasic(w http.ResponseWriter, r *http.Request) error {
	if f.c.Settings.Mode != ModeBasic {
		return ErrBasicDisabled
	}
	if err := f.c.Sessions.CheckOrigin(r); err != nil {
		return err
	}
	name, password, problems, err := credentials(w, r)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		f.c.Sessions.tell(r, Event{Action: LoginFailure, Provider: basicID, Reason: MissingCredentials})
		writeJSON(w, http.StatusUnprocessableEntity, pyjson.Object{{Name: "detail", Value: problems}})
		return nil
	}
	if err := f.allowed(r, basicID); err != nil {
		return err
	}
	select {
	case f.verifying <- struct{}{}:
		defer func() { <-f.verifying }()
	case <-r.Context().Done():
		return ErrUnavailable
	}
	hash, known := f.users[name]
	if !known {
		hash = f.dummy
	}
	right, err := f.c.VerifyPassword(r.Context(), hash, password)
	if !known || !right || err != nil {
		f.c.Sessions.tell(r, Event{Action: LoginFailure, Provider: basicID, Reason: InvalidPassword})
		return ErrCredentials
	}
	id := f.c.Sessions.config.Codec.NewIdentity(name, basicID, nil, &name)
	if err := f.c.Sessions.SignIn(w, id); err != nil {
		return err
	}
	f.c.Sessions.tell(r, Event{Action: LoginSuccess, Provider: basicID, Subject: name})
	writeJSON(w, http.StatusOK, id.projection())
	return nil
}

func (f *Flow) allowed(r *http.Request, provider string) error {
	if f.c.Allow == nil || f.c.Allow(r) {
		return nil
	}
	f.c.Sessions.tell(r, Event{Action: LoginFailure, Provider: provider, Reason: RateLimited})
	return ErrTooMany
}

// credentials reads the body of a sign-in. problems are in the form of the original's
// framework, but without what was sent, for that may be a password.
func credentials(w http.ResponseWriter, r *http.Request) (name, password string, problems []any, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return "", "", nil, &HTTPError{Status: http.StatusRequestEntityTooLarge, Detail: "request body too large"}
	}
	if err != nil {
		return "", "", nil, &HTTPError{Status: http.StatusBadRequest, Detail: "There was an error parsing the body"}
	}
	add := func(kind, text string, place ...any) {
		problems = append(problems, pyjson.Object{{Name: "type", Value: kind}, {Name: "loc", Value: append([]any{"body"}, place...)}, {Name: "msg", Value: text}})
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	v, err := pyjson.Parse(body)
	o, isObject := v.(pyjson.Object)
	switch {
	case kind != "application/json":
		add("model_attributes_type", "Input should be a valid dictionary or object to extract fields from")
	case len(body) == 0:
		add("missing", "Field required")
	case err != nil:
		add("json_invalid", "JSON decode error", 0)
	case !isObject:
		add("model_attributes_type", "Input should be a valid dictionary or object to extract fields from")
	}
	if len(problems) > 0 {
		return "", "", problems, nil
	}
	for i, into := range []*string{&name, &password} {
		field := [...]string{"username", "password"}[i]
		v, there := o.Get(field)
		text, isText := v.(string)
		switch n := utf8.RuneCountInString(text); {
		case !there:
			add("missing", "Field required", field)
		case !isText:
			add("string_type", "Input should be a valid string", field)
		case n < 1:
			add("string_too_short", "String should have at least 1 character", field)
		case n > MaxCredential:
			add("string_too_long", fmt.Sprintf("String should have at most %d characters", MaxCredential), field)
		}
		*into = text
	}
	return name, password, problems, nil
}
