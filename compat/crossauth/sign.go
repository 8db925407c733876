package crossauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/compat/internal/py"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// MinSecret is the shortest secret in bytes.
const MinSecret = 32

// maxValue is the longest base64 that is read, in bytes.
const maxValue = 1 << 20

// Signer signs values with one secret. It is safe for concurrent use.
type Signer struct{ secret []byte }

// NewSigner returns a signer. A secret of fewer than MinSecret bytes is refused.
func NewSigner(secret string) (*Signer, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("crossauth: the secret has %d bytes; use at least %d", len(secret), MinSecret)
	}
	return DangerouslyNewSigner(secret), nil
}

// DangerouslyNewSigner returns a signer with a secret of any length, none included.
// Whoever holds one signed value can guess a short one.
func DangerouslyNewSigner(secret string) *Signer { return &Signer{[]byte(secret)} }

// signature returns lower-case hex HMAC-SHA256 of text.
func (s *Signer) signature(text string) string {
	mac := hmac.New(sha256.New, s.secret)
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// SignSecureToken returns token, a dot and the signature: no salt, no time. It is
// for random tokens.
func (s *Signer) SignSecureToken(token string) string { return token + "." + s.signature(token) }

// UnsignSecureToken returns the token of a signed value. A token holds no dot; it may
// be empty. The error is of code InvalidKey.
func (s *Signer) UnsignSecureToken(value string) (string, error) {
	token, signature, ok := strings.Cut(value, ".")
	if !ok || !hmac.Equal([]byte(signature), []byte(s.signature(token))) {
		return "", newError(InvalidKey, "")
	}
	return token, nil
}

// SignableToken returns the URL-safe base64, with padding, of payload as JSON in
// Python's default style, with the members t (milliseconds) and s (the salt) set.
func SignableToken(payload pyjson.Object, salt string, at time.Time) (string, error) {
	o := append(make(pyjson.Object, 0, len(payload)+2), payload...)
	text, err := pyjson.Marshal(pyjson.Default, o.Set("t", at.UnixMilli()).Set("s", salt))
	return base64.URLEncoding.EncodeToString(text), err
}

// Sign returns [SignableToken], a dot and its signature. Give every token a salt of
// its own, by [RandomValue] of SaltLength.
func (s *Signer) Sign(payload pyjson.Object, salt string, at time.Time) (string, error) {
	text, err := SignableToken(payload, salt, at)
	if err != nil {
		return "", err
	}
	return s.SignSecureToken(text), nil
}

// Unsign returns the payload of what [Signer.Sign] wrote, t and s included. A maxAge
// above 0 is the longest time since t, with neither leeway nor tokens of the future;
// 0 accepts any time. The error is of code InvalidKey or Expired.
func (s *Signer) Unsign(value string, maxAge time.Duration, now time.Time) (pyjson.Object, error) {
	text, err := s.UnsignSecureToken(value)
	if err != nil {
		return nil, err
	}
	if len(text) > maxValue {
		return nil, newError(InvalidKey, "")
	}
	doc, err := base64.URLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, newError(InvalidKey, "")
	}
	payload, err := pyjson.ParseObject(doc)
	if err != nil {
		return nil, newError(InvalidKey, "")
	}
	if maxAge != 0 {
		t, _ := payload.Get("t")
		number, _ := t.(json.Number)
		ms, err := number.Int64()
		if err != nil || ms < 0 || ms > 1<<52 {
			return nil, newError(InvalidKey, "")
		}
		if age := now.Sub(time.UnixMilli(ms)); age < 0 || age > maxAge {
			return nil, newError(Expired, "")
		}
	}
	return payload, nil
}

// XOR decodes two values of URL-safe base64, XORs them to the shorter length and
// returns that in base64 without padding. The error is of code InvalidKey.
func XOR(value, mask string) (string, error) { return xor(value, mask, strictBase64) }

// LenientXOR is [XOR] that reads base64 as Python does: it drops what is not of the
// alphabet and ignores unused bits.
func LenientXOR(value, mask string) (string, error) { return xor(value, mask, lenientBase64) }

func xor(value, mask string, decode func(string) ([]byte, error)) (string, error) {
	a, err := decode(value)
	if err != nil {
		return "", err
	}
	b, err := decode(mask)
	if err != nil {
		return "", err
	}
	out := make([]byte, min(len(a), len(b)))
	for i := range out {
		out[i] = a[i] ^ b[i]
	}
	return py.RawURL.EncodeToString(out), nil
}

func strictBase64(s string) ([]byte, error) {
	b, err := py.RawURL.DecodeString(s)
	if err != nil || len(s) > maxValue || !py.IsAlphabet(s) {
		return nil, newError(InvalidKey, "")
	}
	return b, nil
}

func lenientBase64(s string) ([]byte, error) {
	b, err := py.LenientBase64(py.Pad(s))
	if err != nil {
		return nil, newError(InvalidKey, "")
	}
	return b, nil
}
