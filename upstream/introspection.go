package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// ClientAuth is how a client proves itself to an introspection endpoint.
type ClientAuth int

const (
	// ClientSecretBasic sends ID and secret as HTTP Basic (RFC 6749 §2.3.1).
	ClientSecretBasic ClientAuth = iota
	// ClientSecretPost sends them in the form.
	ClientSecretPost
	// ClientBearer sends the secret as a bearer token (RFC 7662 §2.1); there is no ID.
	ClientBearer
)

// IntrospectionConfig describes an authorization server's introspection endpoint
// (RFC 7662). URL, ClientSecret and, but for ClientBearer, ClientID are required.
type IntrospectionConfig struct {
	// URL is the server's introspection_endpoint: https, or http on this machine.
	URL string
	// ClientID and ClientSecret are this program's own, not the token's.
	ClientID, ClientSecret string
	// Auth says how they are sent.
	Auth ClientAuth
	// Audience and Issuer, where set, must be among the answer's aud and be its iss. Without an Audience a token
	// meant for another service is accepted too.
	Audience, Issuer string
	// Scopes must all be among the answer's scope.
	Scopes []string
	// Hint is sent as token_type_hint when it is set.
	Hint string
	// Fields is OpenIDFields with ExpiresAt "exp" when empty.
	Fields Fields
	// Client is one of the package's own when nil. Its redirects are not followed.
	Client *http.Client
	// DangerouslyPlainHTTP allows an http URL beyond this machine.
	DangerouslyPlainHTTP bool
}

type introspection struct {
	endpoint
	cfg    IntrospectionConfig
	fields Fields
}

// NewIntrospection returns an Upstream that introspects tokens, or an error
// (invalid_request) that lists everything wrong with the configuration.
func NewIntrospection(cfg IntrospectionConfig) (Upstream, error) {
	var wrong problems
	i := &introspection{endpoint: wrong.endpoint(cfg.URL, cfg.DangerouslyPlainHTTP, nil, cfg.Client)}
	if cfg.Auth < ClientSecretBasic || cfg.Auth > ClientBearer {
		wrong.add("Auth", "must be ClientSecretBasic, ClientSecretPost or ClientBearer")
	}
	if (cfg.ClientID == "") != (cfg.Auth == ClientBearer) {
		wrong.add("ClientID", "is required, and must be empty with ClientBearer")
	}
	if cfg.ClientSecret == "" || hasControl(cfg.ClientSecret) {
		wrong.add("ClientSecret", "is required: endpoints must not answer everybody (RFC 7662 section 2.1)")
	}
	usual := OpenIDFields()
	usual.ExpiresAt = "exp"
	i.fields = cfg.Fields.resolve(usual, &wrong)
	cfg.Scopes = slices.Clone(cfg.Scopes)
	if err := wrong.error("introspection endpoint"); err != nil {
		return nil, err
	}
	i.cfg = cfg
	return i, nil
}

// Validate implements Upstream. A 401 concerns this client, not the token (RFC 7662
// §2.3), and so is no answer.
func (i *introspection) Validate(ctx context.Context, token string) (User, error) {
	form := url.Values{"token": {token}}
	if i.cfg.Hint != "" {
		form.Set("token_type_hint", i.cfg.Hint)
	}
	if i.cfg.Auth == ClientSecretPost {
		form.Set("client_id", i.cfg.ClientID)
		form.Set("client_secret", i.cfg.ClientSecret)
	}
	a, err := i.ask(ctx, http.MethodPost, form, func(r *http.Request) {
		switch i.cfg.Auth {
		case ClientSecretBasic:
			r.SetBasicAuth(url.QueryEscape(i.cfg.ClientID), url.QueryEscape(i.cfg.ClientSecret))
		case ClientBearer:
			r.Header.Set("Authorization", "Bearer "+i.cfg.ClientSecret)
		}
	})
	if err != nil {
		return User{}, err
	}
	if a.status != http.StatusOK {
		return User{}, fmt.Errorf("%w: %d", errStatus, a.status)
	}
	active, ok := a.object["active"].(bool)
	switch {
	case !ok:
		return User{}, errBody // not an answer of RFC 7662
	case !active || !i.meant(a.object):
		return User{}, errRefused
	}
	return i.fields.user(a.object)
}

// meant reports that an active token is from whom and for whom it must be. That its
// time has come and not passed is what active says.
func (i *introspection) meant(object map[string]any) bool {
	if i.cfg.Issuer != "" && object["iss"] != i.cfg.Issuer {
		return false
	}
	if i.cfg.Audience != "" && !isAmong(object["aud"], i.cfg.Audience) {
		return false
	}
	scope, _ := object["scope"].(string)
	granted := strings.Fields(scope)
	for _, s := range i.cfg.Scopes {
		if !slices.Contains(granted, s) {
			return false
		}
	}
	return true
}

// isAmong reads a claim that is a string or a list of strings.
func isAmong(claim any, want string) bool {
	switch v := claim.(type) {
	case string:
		return v == want
	case []any:
		return slices.Contains(v, any(want))
	}
	return false
}
