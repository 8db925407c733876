package apicrud

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/compat/itsdangerous"
)

// Confirmation is what the token in a confirmation mail stands for.
type Confirmation struct {
	ContactID string
	Info      string // the address or number
	Nonce     string
}

// Confirmations makes and reads the tokens of confirmation mails: the text
// contact_id:info:nonce, signed by itsdangerous. It is safe for concurrent use. That
// a token is used once is up to the session that is kept under contact ID and nonce.
type Confirmations struct {
	signer *itsdangerous.Timed
	maxAge time.Duration
}

// NewConfirmations uses TokenSecret, TokenSalt and TokenTimeout of the settings. now
// is the clock, time.Now when nil; dangerously accepts a short secret.
func NewConfirmations(s Settings, now func() time.Time, dangerously bool) (*Confirmations, error) {
	signer, err := itsdangerous.NewTimed(itsdangerous.Config{Secrets: []string{s.TokenSecret}, Salt: s.TokenSalt, Now: now, DangerouslyShortSecrets: dangerously})
	if s.TokenTimeout < time.Second {
		err = errors.Join(err, fmt.Errorf("apicrud: TokenTimeout is %v; use a second or more", s.TokenTimeout))
	}
	if err != nil {
		return nil, err
	}
	return &Confirmations{signer, s.TokenTimeout}, nil
}

// Sign returns the token. ContactID and Nonce have no colon, which is what the reader
// splits at; Info may have some.
func (c *Confirmations) Sign(what Confirmation) (string, error) {
	if what.ContactID == "" || what.Nonce == "" || strings.Contains(what.ContactID+what.Nonce, ":") {
		return "", errors.New("apicrud: a confirmation needs a contact ID and a nonce without colons")
	}
	return c.signer.Dumps(what.ContactID + ":" + what.Info + ":" + what.Nonce)
}

// Read returns what a token stands for. The error is ErrInvalid: forged, older than
// TokenTimeout, or of another shape.
func (c *Confirmations) Read(token string) (Confirmation, error) {
	text, _, err := c.signer.LoadsString(token, c.maxAge)
	if err != nil {
		return Confirmation{}, ErrInvalid
	}
	id, rest, ok := strings.Cut(text, ":")
	i := strings.LastIndexByte(rest, ':')
	if !ok || i < 0 || id == "" || i == len(rest)-1 {
		return Confirmation{}, ErrInvalid
	}
	return Confirmation{id, rest[:i], rest[i+1:]}, nil
}
