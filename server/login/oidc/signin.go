package oidc

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/internal/acr"
	"github.com/latchkey-go/latchkey/transaction"
)

// Request is what one sign-in asks for beyond the configuration. The zero value asks
// for nothing.
type Request struct {
	// RedirectURL replaces Config.RedirectURL, for programs that are reached under
	// several hosts. Each must be registered with the provider.
	RedirectURL string
	// Login asks the provider to authenticate the user anew (prompt=login).
	Login bool
	// MaxAge and ACR are required of this sign-in, besides the configuration's own: how
	// long ago the user authenticated at most, by this clock and without allowance for
	// the provider's, since whoever asked compares it so too; and the context class, of
	// which aal1, aal2 and aal3 are levels.
	MaxAge time.Duration
	ACR    string
}

// Begin asks for what a sign-in needs of the provider, so that one that is away is
// known before an attempt is begun. Its function returns the address to send the
// visitor to with the attempt's own values. Finish must be told the same request.
func (p *Provider) Begin(ctx context.Context, req Request) (func(transaction.Transaction) string, error) {
	m, err := p.meta.get(ctx)
	if err != nil {
		return nil, err
	}
	options := make([]oauth2.AuthCodeOption, 0, 8+len(p.cfg.Params))
	set := func(name, value string) {
		if value != "" {
			options = append(options, oauth2.SetAuthURLParam(name, value))
		}
	}
	for name, value := range p.cfg.Params {
		set(name, value)
	}
	prompts := strings.Fields(p.cfg.Prompt)
	if req.Login && !slices.Contains(prompts, "login") {
		prompts = append(prompts, "login")
	}
	set("prompt", strings.Join(prompts, " "))
	if classes := p.cfg.ACRValues; req.ACR != "" {
		set("acr_values", req.ACR)
	} else {
		set("acr_values", strings.Join(classes, " "))
	}
	if age := p.maxAge(req); age > 0 {
		set("max_age", strconv.FormatInt(int64(age/time.Second), 10))
	}
	return func(t transaction.Transaction) string {
		own := append(slices.Clip(options), gooidc.Nonce(t.Nonce), oauth2.S256ChallengeOption(t.Verifier))
		return p.oauth(m, req).AuthCodeURL(t.State, own...)
	}, nil
}

// maxAge is the tighter of what the configuration and the request ask, 0 for neither.
func (p *Provider) maxAge(req Request) time.Duration {
	if req.MaxAge > 0 && (p.cfg.MaxAge == 0 || req.MaxAge < p.cfg.MaxAge) {
		return req.MaxAge
	}
	return p.cfg.MaxAge
}

// oauth is the client in the words of x/oauth2.
func (p *Provider) oauth(m *metadata, req Request) *oauth2.Config {
	c := &oauth2.Config{ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: m.endpoint,
		RedirectURL: p.cfg.RedirectURL, Scopes: p.cfg.Scopes}
	if req.RedirectURL != "" {
		c.RedirectURL = req.RedirectURL
	}
	return c
}

// CheckIssuer judges the iss of an authorization response (RFC 9207): it must be this
// provider's, and be there when the provider says that it sends it. given tells an
// empty one from none. It comes before anything else is done with the response.
func (p *Provider) CheckIssuer(ctx context.Context, iss string, given bool) error {
	m, err := p.meta.get(ctx)
	if err != nil {
		return err
	}
	if given && iss != p.cfg.Issuer || !given && m.issuerSent {
		return refuse(WrongIssuer)
	}
	return nil
}

// Finish exchanges the code of a finished transaction and returns the sign-in that it
// stands for, with the tokens to be kept in its data.
func (p *Provider) Finish(ctx context.Context, t transaction.Transaction, req Request, code string) (latchkey.SignIn, error) {
	none := latchkey.SignIn{}
	m, err := p.meta.get(ctx)
	if err != nil {
		return none, err
	}
	trip, cancel := context.WithTimeout(gooidc.ClientContext(ctx, p.client), tokenTrip)
	defer cancel()
	answer, err := p.oauth(m, req).Exchange(trip, code, oauth2.VerifierOption(t.Verifier))
	if err != nil {
		err = tokenFailure(err)
	}
	if p.asked(stepToken, err); err != nil {
		return none, err
	}
	raw, _ := answer.Extra("id_token").(string)
	if raw == "" {
		return none, refuse(NoIDToken)
	}
	claims, err := p.checkIDToken(trip, raw, answer.AccessToken, t.Nonce, req)
	if err != nil {
		return none, err
	}
	subject := claims.text("sub")
	all := claims
	if p.asksUserInfo(m, claims) {
		all, err = p.userInfo(trip, m, answer, claims)
		if p.asked(stepUserInfo, err); err != nil {
			return none, err
		}
	}
	who := p.cfg.Claims.read(all)
	in := latchkey.SignIn{Provider: p.cfg.ID, Subject: subject, Email: who.email, Name: who.name, Roles: who.roles,
		Methods: methods(claims.list("amr")), Assurance: claims.text("acr"), SID: claims.text("sid"), Began: t.Began}
	if at, ok := claims.instant("auth_time"); ok {
		in.AuthTime = at
	} else {
		in.AuthTimeUnknown = true
	}
	kept := p.keep(raw, answer)
	if !kept.empty() {
		text, err := json.Marshal(kept)
		if err != nil {
			return none, latchkey.NewError(latchkey.CodeInternal, "tokens cannot be written", nil)
		}
		in.Data = map[string]json.RawMessage{held.Name(): text}
	}
	return in, nil
}

// methods drops what a session cannot hold.
func methods(amr []string) (list []string) {
	for _, m := range amr {
		if usableRole(m) && len(list) < 16 {
			list = append(list, m)
		}
	}
	return list
}

// checkIDToken judges an ID token from the token endpoint (OpenID Connect Core,
// 3.1.3.7). Unlike there, the signature is verified too although TLS vouches for the
// endpoint: it is what tells one client's and issuer's tokens from another's.
func (p *Provider) checkIDToken(ctx context.Context, raw, access, nonce string, req Request) (claimSet, error) {
	claims, err := p.parse(ctx, raw, idToken)
	if err != nil {
		return nil, err
	}
	if _, _, why := p.lifetime(claims); why != "" {
		return nil, refuse(why)
	}
	if sub := claims.text("sub"); !usableSubject(sub) {
		return nil, refuse(NoSubject)
	}
	if sid, given := claims["sid"]; given {
		if text, ok := sid.(string); !ok || !usableSubject(text) {
			return nil, refuse(NoSubject)
		}
	}
	if got, _ := claims["nonce"].(string); subtle.ConstantTimeCompare([]byte(got), []byte(nonce)) != 1 {
		return nil, refuse(WrongNonce)
	}
	if _, event := claims["events"]; event {
		return nil, refuse(WrongType) // a logout token, or another security event
	}
	if hash, given := claims["at_hash"]; given && hash != leftHalf(p.cfg.Algorithm, access) {
		return nil, refuse(WrongHash)
	}
	if why := p.checkAuthentication(claims, req); why != "" {
		return nil, refuse(why)
	}
	return claims, nil
}

// checkAuthentication judges when and how the user authenticated.
func (p *Provider) checkAuthentication(claims claimSet, req Request) Reason {
	at, ok := claims.instant("auth_time")
	if _, given := claims["auth_time"]; given && !ok || at.After(p.now().Add(maxSkew)) {
		return WrongTime
	}
	if p.maxAge(req) > 0 && !ok {
		return NoAuthTime // it was asked for, so it is required (3.1.2.1)
	}
	age := p.now().Sub(at)
	if req.MaxAge > 0 && age > req.MaxAge || p.cfg.MaxAge > 0 && age > p.cfg.MaxAge+maxSkew {
		return TooOld
	}
	class, given := claims["acr"]
	text, isText := class.(string)
	if given && class != nil && (!isText || len(text) > 255 || hasControl(text) || !utf8.ValidString(text)) {
		return WrongACR
	}
	if !acr.Meets(text, req.ACR) || p.cfg.RequireACR && !slices.ContainsFunc(p.cfg.ACRValues, func(wants string) bool { return acr.Meets(text, wants) }) {
		return WrongACR
	}
	return ""
}

// usableSubject reports whether a session can hold a sub or sid.
func usableSubject(s string) bool {
	return s != "" && len(s) <= 255 && utf8.ValidString(s) && !hasControl(s)
}

// leftHalf is at_hash for an access token (3.1.3.6): the left half of the hash that
// the algorithm's name ends in. Ed25519 goes with SHA-512.
func leftHalf(algorithm, access string) string {
	var sum []byte
	switch {
	case strings.HasSuffix(algorithm, "256"):
		s := sha256.Sum256([]byte(access))
		sum = s[:]
	case strings.HasSuffix(algorithm, "384"):
		s := sha512.Sum384([]byte(access))
		sum = s[:]
	default:
		s := sha512.Sum512([]byte(access))
		sum = s[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

func (p *Provider) asksUserInfo(m *metadata, claims claimSet) bool {
	switch p.cfg.UserInfo {
	case UserInfoAlways:
		return true
	case UserInfoNever:
		return false
	}
	return m.userInfo && p.cfg.Claims.wants(claims)
}

// userInfo adds the claims of the userinfo endpoint behind those of the ID token. A
// sign-in that needs it and does not get it fails: without roles that are there,
// somebody would be let in as somebody else.
func (p *Provider) userInfo(ctx context.Context, m *metadata, answer *oauth2.Token, claims claimSet) (claimSet, error) {
	if !m.userInfo {
		return nil, away(&Away{Step: "userinfo", Detail: "the provider publishes no usable endpoint"})
	}
	info, err := m.provider.UserInfo(ctx, oauth2.StaticTokenSource(answer))
	if err != nil {
		return nil, away(&Away{Step: "userinfo", Detail: failure(err)})
	}
	var more claimSet
	if err := info.Claims(&more); err != nil {
		return nil, away(&Away{Step: "userinfo", Detail: "the answer cannot be read"})
	}
	if more.text("sub") != claims.text("sub") {
		return nil, refuse(WrongSubject) // 5.3.2: not to be used
	}
	for name, value := range claims {
		more[name] = value
	}
	return more, nil
}

// tokenFailure tells a provider that refuses from one that is away.
func tokenFailure(err error) error {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) {
		if errors.Is(err, errTooLarge) || errors.Is(err, errRedirected) {
			return away(&Away{Step: "token", Detail: failure(err)})
		}
		var timeout interface{ Timeout() bool }
		if errors.As(err, &timeout) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return away(&Away{Step: "token", Detail: failure(err)})
		}
		return refuse(Malformed)
	}
	status := 0
	if answer.Response != nil {
		status = answer.Response.StatusCode
	}
	switch {
	case answer.ErrorCode == "invalid_grant":
		return refuse(Rejected)
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, answer.ErrorCode == "":
		// Without a code (RFC 6749, 5.2) it is a gateway's answer, and not the provider's.
		return away(&Away{Step: "token", Status: status})
	case slices.Contains([]string{"invalid_client", "unauthorized_client", "invalid_request", "unsupported_grant_type", "invalid_scope"}, answer.ErrorCode):
		// These are about this client and not about the visitor: an operator must look.
		return away(&Away{Step: "token", Status: status, Detail: answer.ErrorCode + ": look at the client's settings here and at the provider"})
	}
	return refuse(Rejected)
}
