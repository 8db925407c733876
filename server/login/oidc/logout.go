package oidc

import (
	"context"
	"crypto/sha256"
	"net/url"
	"time"

	"github.com/latchkey-go/latchkey"
)

// logoutEvent is the member of a logout token's events (Back-Channel Logout 1.0, 2.4).
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// Bounds of a logout token's times. Providers are advised to let it live two minutes;
// what lived for long would have to be remembered for long.
const (
	longestLogout = 23 * time.Hour
	oldestLogout  = 24 * time.Hour
	maxTokenID    = 1024 // bytes of jti
)

// Logout is what a logout token says: which sessions are over.
type Logout struct {
	// SID is the provider's session; "" when all sessions of Subject are over.
	SID string
	// Subject is the user; may be "" where SID is set.
	Subject string
	// Key tells this token from others of the provider, for a [latchkey.Spender].
	Key [32]byte
	// Expires is when the provider would not accept it any more.
	Expires time.Time
}

// CheckLogout judges a logout token in the order of Back-Channel Logout 1.0, 2.6: form,
// signature, algorithm, iss, aud, iat and exp, sub or sid, events, nonce, jti. Whether
// it was used before is the caller's to find out.
func (p *Provider) CheckLogout(ctx context.Context, raw string) (Logout, error) {
	claims, err := p.parse(ctx, raw, logoutToken)
	if err != nil {
		return Logout{}, err
	}
	issued, expires, why := p.lifetime(claims)
	if now := p.now(); why == "" && (expires.Sub(now) > longestLogout || now.Sub(issued) > oldestLogout) {
		why = WrongTime
	}
	if why != "" {
		return Logout{}, refuse(why)
	}
	out := Logout{Expires: expires}
	for name, into := range map[string]*string{"sub": &out.Subject, "sid": &out.SID} {
		value, given := claims[name]
		text, ok := value.(string)
		if given && (!ok || !usableSubject(text)) {
			return Logout{}, refuse(NoSubject)
		}
		*into = text
	}
	if out.Subject == "" && out.SID == "" {
		return Logout{}, refuse(NoSubject)
	}
	events, _ := claims["events"].(map[string]any)
	if _, isObject := events[logoutEvent].(map[string]any); !isObject {
		return Logout{}, refuse(NoEvent)
	}
	if _, given := claims["nonce"]; given {
		return Logout{}, refuse(HasNonce)
	}
	jti, _ := claims["jti"].(string)
	if jti == "" || len(jti) > maxTokenID {
		return Logout{}, refuse(NoTokenID)
	}
	out.Key = sha256.Sum256([]byte("latchkey/logout-token/v1\x00" + p.cfg.ID + "\x00" + jti))
	return out, nil
}

// EndSession returns the address at the provider to send a browser to once its session
// has ended here (RP-Initiated Logout 1.0, 2), or "" when there is none: the session is
// not of this provider, Config.LocalLogout is set, or the provider publishes none or is
// away. Call it before the session ends, while its ID token can still be read.
//
// The address holds the ID token, as a hint of whose session is meant. It expires at
// the provider's will, opens nothing here, and is for this browser alone.
func (p *Provider) EndSession(ctx context.Context, s latchkey.Session) string {
	if p.cfg.LocalLogout || s.Provider() != p.cfg.ID {
		return ""
	}
	m, err := p.meta.get(ctx)
	if err != nil || m.endSession == "" {
		return ""
	}
	address, err := url.Parse(m.endSession)
	if err != nil {
		return ""
	}
	query := address.Query()
	if t, err := held.Get(s); err == nil && t.Provider == p.cfg.ID && t.ID != "" {
		query.Set("id_token_hint", t.ID)
	}
	query.Set("client_id", p.cfg.ClientID)
	if p.cfg.PostLogoutURL != "" {
		query.Set("post_logout_redirect_uri", p.cfg.PostLogoutURL)
	}
	address.RawQuery = query.Encode()
	return address.String()
}
