package csrf

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
)

// Purpose is what the keys for tokens are derived for. It names the format of the
// token, so that a changed format is a new purpose.
const Purpose keyring.Purpose = "latchkey/csrf/v1"

// Where a request carries its token.
const (
	// HeaderName is asked first; a request that has it is judged by it alone.
	HeaderName = "X-CSRF-Token"
	// FieldName is the field of a form, urlencoded or multipart. The query is not
	// looked at: addresses end up in logs and in Referer.
	FieldName = "csrf_token"
)

// The token is
//
//	base64url( version(1)=1 | key ID(1) | mask(32) | mask XOR sum(32) )
//	sum = HMAC-SHA256(derive(key, "latchkey/csrf/v1"), session ID)
//
// without padding. 66 bytes are a multiple of three, so that no bits are left over
// and a token has one spelling.
const (
	tokenVersion = 1
	maskAt       = 2
	maskedAt     = maskAt + sha256.Size
	rawLength    = maskedAt + sha256.Size

	// TokenLength is the length of every token, in characters of base64url.
	TokenLength = rawLength / 3 * 4
)

var (
	errNoSession = latchkey.NewError(latchkey.CodeInvalidSession, "there is no session to make a CSRF token for", nil)
	errNoKeys    = latchkey.NewError(latchkey.CodeInternal, "csrf: tokens need Config.Keys", nil)
)

// Token returns a token for forms and scripts of the request's session, to be sent
// back in HeaderName or FieldName. It has TokenLength characters, which need no
// escaping in HTML, in an address or in JSON.
//
// Each call returns another text, because a fresh random mask covers the same sum:
// in pages that are compressed together with what an attacker chose, the sum would
// otherwise show in the length (BREACH). All of them stay good as long as the session
// has its ID and the key is acceptable. The ID is what they are bound to and not the
// secret, since a rotation of the secret in mid-session must not break the forms in
// other tabs; sign-in makes a new ID, and tokens from before are refused from then on.
// The ID is no secret, and need not be: without the key nobody makes a token of it.
//
// A page that holds a token is for one session: send it with Cache-Control: no-store.
//
// The error is of code CodeInvalidSession when the request has no session, an
// anonymous one that is not saved yet included; [latchkey.ErrNoMiddleware] when the
// request did not pass the Manager's middleware; of CodeInternal without keys.
func (p *Protection) Token(r *http.Request) (string, error) {
	session, err := p.lookSession(r)
	if err != nil {
		return "", err
	}
	return p.TokenFor(session)
}

// TokenFor is [Protection.Token] for the session with the ID given.
func (p *Protection) TokenFor(session string) (string, error) {
	if p.keys == nil {
		return "", errNoKeys
	}
	if session == "" {
		return "", errNoSession
	}
	key, ok := p.keys.Active(p.clock.Now().Time())
	if !ok {
		return "", errNoKeys
	}
	sum, ok := p.keys.HMAC(key, Purpose, []byte(session))
	if !ok { // it was retired in between
		return "", errNoKeys
	}
	var raw [rawLength]byte
	raw[0], raw[1] = tokenVersion, byte(key)
	mask := raw[maskAt:maskedAt]
	if _, err := rand.Read(mask); err != nil {
		return "", latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	subtle.XORBytes(raw[maskedAt:], mask, sum[:])
	return base64.RawURLEncoding.EncodeToString(raw[:]), nil
}

// ValidToken reports whether token was made for the session with the ID given,
// under a key that is acceptable still. It compares in constant time. Programs that
// carry tokens in their own way (the first message of a WebSocket, say) call it
// themselves; Check calls it for headers and forms.
func (p *Protection) ValidToken(session, token string) bool {
	if p.keys == nil || session == "" || len(token) != TokenLength {
		return false
	}
	var raw [rawLength]byte
	// The decoder skips line breaks, and then comes out short.
	if n, err := base64.RawURLEncoding.Decode(raw[:], []byte(token)); err != nil || n != rawLength || raw[0] != tokenVersion {
		return false
	}
	sum, ok := p.keys.HMAC(keyring.ID(raw[1]), Purpose, []byte(session))
	if !ok {
		return false
	}
	var given [sha256.Size]byte
	subtle.XORBytes(given[:], raw[maskAt:maskedAt], raw[maskedAt:])
	return subtle.ConstantTimeCompare(given[:], sum[:]) == 1
}

// carried returns the token that a request carries, or "".
func (p *Protection) carried(r *http.Request) string {
	if lines := r.Header[http.CanonicalHeaderKey(HeaderName)]; len(lines) > 0 {
		if len(lines) > 1 {
			return ""
		}
		return lines[0]
	}
	return p.formToken(r)
}
