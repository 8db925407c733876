package oidc

import (
	"time"

	"golang.org/x/oauth2"

	"github.com/latchkey-go/latchkey"
)

// DataName is the session data value that holds a provider's tokens. It is sealed
// like all of a session's data, and is never for a browser: what shows a session's
// data to its owner leaves it out.
const DataName = "latchkey.oidc"

var held = latchkey.NewKey[tokens](DataName)

// tokens is what a session keeps of its provider.
type tokens struct {
	Provider string    `json:"provider"`
	ID       string    `json:"id_token,omitempty"`
	Access   string    `json:"access_token,omitempty"`
	Type     string    `json:"token_type,omitempty"`
	Refresh  string    `json:"refresh_token,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
	Lease    lease     `json:"lease,omitzero"`
}

// lease says who is refreshing the tokens, and until when nobody else does.
type lease struct {
	By    string    `json:"by"`
	Until time.Time `json:"until"`
}

func (t *tokens) empty() bool { return t.ID == "" && t.Access == "" && t.Refresh == "" }

// keep is what of a token endpoint's answer stays in the session.
func (p *Provider) keep(rawID string, answer *oauth2.Token) tokens {
	t := tokens{Provider: p.cfg.ID}
	if !p.cfg.LocalLogout {
		t.ID = rawID
	}
	if p.cfg.KeepTokens {
		t.Access, t.Type, t.Refresh = answer.AccessToken, answer.TokenType, answer.RefreshToken
		if answer.ExpiresIn > 0 {
			t.Expires = p.now().Add(time.Duration(answer.ExpiresIn) * time.Second).UTC()
		}
	}
	return t
}
