package reflow

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey-go/latchkey/transaction"
)

// provider finds one of AUTH_OIDC_PROVIDERS.
func (f *Flow) provider(id string) (Provider, error) {
	if f.c.Settings.Mode != ModeOIDC {
		return Provider{}, ErrOIDCDisabled
	}
	p, ok := f.providers[id]
	if !ok {
		return Provider{}, ErrUnknownProvider
	}
	return p, nil
}

// redirectURI is where the provider sends the visitor back to: of the first of the
// site's own origins, or of the request's when there are none.
func (f *Flow) redirectURI(r *http.Request, provider string) string {
	origin := ""
	if origins := f.c.Sessions.config.Origins; len(origins) > 0 {
		origin = origins[0]
	} else {
		origin = requestOrigin(r)
	}
	return origin + AuthPath + "callback/" + provider
}

// requestOrigin is the scheme and host of a request as this process sees them.
func requestOrigin(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + strings.ToLower(r.Host)
	}
	return "http://" + strings.ToLower(r.Host)
}

// beginOIDC is GET login/{provider}: it sends the visitor to the provider.
func (f *Flow) beginOIDC(w http.ResponseWriter, r *http.Request, id string) error {
	p, err := f.provider(id)
	if err != nil {
		return err
	}
	endpoint, err := f.c.OIDC.AuthorizationEndpoint(r.Context(), p)
	if err != nil {
		return ErrUnavailable
	}
	codec := f.c.Sessions.config.Codec
	tx, err := codec.NewTx(p.ID, SafeNext(r.URL.Query().Get("next"), f.c.Settings.PostLoginRedirect))
	if err != nil {
		return err
	}
	cookie, err := codec.EncodeTx(&tx)
	if err != nil {
		return err
	}
	w.Header().Add("Set-Cookie", codec.TxCookie(cookie))
	redirect(w, AuthorizationURL(endpoint, p, &tx, f.redirectURI(r, p.ID)))
	return nil
}

// AuthorizationURL is where a visitor is sent to sign in, with the original's
// parameters in its order.
func AuthorizationURL(endpoint string, p Provider, tx *Tx, redirectURI string) string {
	var b strings.Builder
	b.WriteString(endpoint)
	separator := byte('?')
	if strings.Contains(endpoint, "?") {
		separator = '&'
	}
	for _, pair := range [...][2]string{
		{"response_type", "code"}, {"client_id", p.ClientID}, {"redirect_uri", redirectURI}, {"scope", cmp.Or(p.Scopes, DefaultScopes)},
		{"state", tx.State}, {"nonce", tx.Nonce}, {"code_challenge", PKCES256(tx.Verifier)}, {"code_challenge_method", "S256"},
	} {
		b.WriteByte(separator)
		b.WriteString(pair[0] + "=" + url.QueryEscape(pair[1]))
		separator = '&'
	}
	return b.String()
}

// finishOIDC is GET callback/{provider}.
func (f *Flow) finishOIDC(w http.ResponseWriter, r *http.Request, id string) error {
	p, err := f.provider(id)
	if err != nil {
		return err
	}
	codec, query, cookie := f.c.Sessions.config.Codec, r.URL.Query(), txCookie(r)
	codes, states := query["code"], query["state"]
	if query.Get("error") != "" {
		f.failed(r, p.ID)
		// An error that is of no sign-in of this browser must not end the one it has.
		if tx, err := codec.DecodeTx(cookie); err != nil || len(states) == 1 && tx.State == states[0] {
			w.Header().Add("Set-Cookie", codec.ClearTxCookie())
		}
		redirect(w, "/login")
		return nil
	}
	if len(codes) != 1 || len(states) != 1 || codes[0] == "" || states[0] == "" {
		return ErrCallback
	}
	if err := f.allowed(r, p.ID); err != nil {
		return err
	}
	tx, err := codec.FinishTx(r.Context(), cookie, p.ID, states[0], f.c.Used)
	if errors.Is(err, ErrUnavailable) {
		return err // nothing is used up: the same callback may come again
	}
	// With another state it belongs to another tab's sign-in, which goes on.
	if cookie != "" && !errors.Is(err, ErrTxState) {
		w.Header().Add("Set-Cookie", codec.ClearTxCookie())
	}
	if err != nil {
		f.failed(r, p.ID)
		return err
	}
	claims, err := f.c.OIDC.Redeem(r.Context(), p, Code{Code: codes[0], Verifier: tx.Verifier, Nonce: tx.Nonce, RedirectURI: f.redirectURI(r, p.ID)})
	if errors.Is(err, ErrUnavailable) {
		return ErrUnavailable
	}
	if err != nil || claims.Subject == "" {
		f.failed(r, p.ID)
		return ErrAuthentication
	}
	name := claims.Name
	if name == nil || *name == "" {
		name = claims.PreferredUsername
	}
	if err := f.c.Sessions.SignIn(w, codec.NewIdentity(claims.Subject, p.ID, claims.Email, name)); err != nil {
		return err
	}
	f.c.Sessions.tell(r, Event{Action: LoginSuccess, Provider: p.ID, Subject: claims.Subject})
	redirect(w, SafeNext(tx.NextPath, f.c.Settings.PostLoginRedirect))
	return nil
}

func (f *Flow) failed(r *http.Request, provider string) {
	f.c.Sessions.tell(r, Event{Action: LoginFailure, Provider: provider, Reason: ProviderError})
}

// txCookie returns the transaction cookie when there is exactly one, and "" otherwise.
func txCookie(r *http.Request) string {
	if found := r.CookiesNamed(TxCookieName); len(found) == 1 {
		return found[0].Value
	}
	return ""
}

// redirect answers 302, as the original does. Paths are percent-encoded where a header
// cannot hold them.
func redirect(w http.ResponseWriter, location string) {
	if strings.HasPrefix(location, "/") {
		location = cmp.Or(transaction.ReturnTo(location, nil), "/")
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusFound)
}
