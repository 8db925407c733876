package apicrud

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/latchkey-go/latchkey/compat/internal/py"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// jwtHeader is base64 of {"alg":"HS256","typ":"JWT"}, as PyJWT writes it.
const jwtHeader = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"

// maxJWT is the longest JWT that is read, in bytes.
const maxJWT = 64 << 10

// JWT signs claims with HS256 (RFC 7519). To the original the token is a carrier: the
// client reads sub and jti from it and sends those, the server never verifies it.
type JWT struct{ secret []byte }

// NewJWT returns a signer with jwt_secret, which must have at least MinSecret bytes
// (RFC 7518, 3.2).
func NewJWT(secret string) (*JWT, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("apicrud: the secret has %d bytes; use at least %d", len(secret), MinSecret)
	}
	return DangerouslyNewJWT(secret), nil
}

// DangerouslyNewJWT returns a signer with a secret of any length.
func DangerouslyNewJWT(secret string) *JWT { return &JWT{[]byte(secret)} }

func (j *JWT) signature(text string) string {
	mac := hmac.New(sha256.New, j.secret)
	mac.Write([]byte(text))
	return py.RawURL.EncodeToString(mac.Sum(nil))
}

// Sign returns the token of claims, byte for byte as PyJWT 2 writes it: in their
// order, compact, ASCII.
func (j *JWT) Sign(claims pyjson.Object) (string, error) {
	text, err := pyjson.Marshal(pyjson.CompactASCII, claims)
	if err != nil {
		return "", err
	}
	body := jwtHeader + "." + py.RawURL.EncodeToString(text)
	return body + "." + j.signature(body), nil
}

// Verify returns the claims of a token that [JWT.Sign] or PyJWT wrote, header and
// all. It does not look at exp, which is a string here and is judged by the session
// in Redis. The error is ErrInvalid.
func (j *JWT) Verify(token string) (pyjson.Object, error) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 || len(token) > maxJWT || !hmac.Equal([]byte(j.signature(token[:i])), []byte(token[i+1:])) {
		return nil, ErrInvalid
	}
	header, body, _ := strings.Cut(token[:i], ".")
	text, err := py.RawURL.DecodeString(body)
	if header != jwtHeader || err != nil || !py.IsAlphabet(body) {
		return nil, ErrInvalid
	}
	claims, err := pyjson.ParseObject(text)
	if err != nil {
		return nil, ErrInvalid
	}
	return claims, nil
}
