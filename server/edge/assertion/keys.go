package assertion

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey/keyring"
)

// Algorithm is a JWS algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
type Algorithm string

// The algorithms. The zero value stands for ES256, which every JOSE library knows.
const (
	ES256 Algorithm = "ES256"
	EdDSA Algorithm = "EdDSA"
)

// purpose is what signing keys are derived for.
const purpose = "latchkey/assertion/v1/"

// key is a signing key derived from one of the keyring's.
type key struct {
	id     keyring.ID
	header string // of its tokens, base64url, with the dot behind
	public jwk
	ec     *ecdsa.PrivateKey // one of the two
	ed     ed25519.PrivateKey
}

// jwk is a public key (RFC 7517 §4, RFC 7518 §6.2, RFC 8037 §2). Members are in the
// order of their names.
type jwk struct {
	Alg string `json:"alg"`
	Crv string `json:"crv"`
	Kid string `json:"kid"`
	Kty string `json:"kty"`
	Use string `json:"use"`
	X   string `json:"x"`
	Y   string `json:"y,omitempty"`
}

// keySet is every signing key of one state of the keyring.
type keySet struct {
	version uint64
	keys    map[keyring.ID]*key
	json    []byte // the public keys, as they are served
}

// newKeySet derives the keys of the keyring as it is. When that changes meanwhile,
// the version is the older one, and the next caller derives again.
func newKeySet(ring *keyring.Ring, alg Algorithm, now time.Time) (*keySet, error) {
	set := &keySet{version: ring.Version(), keys: make(map[keyring.ID]*key)}
	public := []jwk{}
	for _, info := range ring.Keys(now) {
		if !ring.Accepts(info.ID) {
			continue
		}
		k, err := deriveKey(ring, info.ID, alg)
		if err != nil {
			return nil, err
		}
		set.keys[info.ID] = k
		public = append(public, k.public)
	}
	var err error
	set.json, err = json.Marshal(map[string]any{"keys": public})
	return set, err
}

func deriveKey(ring *keyring.Ring, id keyring.ID, alg Algorithm) (*key, error) {
	k := &key{id: id, public: jwk{Alg: string(alg), Use: "sig"}}
	info := purpose + string(alg)
	for attempt := 1; ; attempt++ {
		seed, ok := ring.Derive(id, info)
		if !ok {
			return nil, errors.New("assertion: the keyring changed")
		}
		if k.take(alg, seed) {
			break
		}
		info = purpose + string(alg) + "/" + strconv.Itoa(attempt)
	}
	k.public.Kid = k.public.thumbprint()
	header, err := json.Marshal(map[string]string{"alg": string(alg), "kid": k.public.Kid, "typ": "JWT"})
	k.header = encode(header) + "."
	return k, err
}

// take makes a seed the private key. It is not ok when it is none.
func (k *key) take(alg Algorithm, seed [32]byte) bool {
	defer clear(seed[:])
	if alg == EdDSA {
		k.ed = ed25519.NewKeyFromSeed(seed[:])
		k.public.Kty, k.public.Crv, k.public.X = "OKP", "Ed25519", encode(k.ed[32:])
		return true
	}
	ec, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
	if err != nil {
		return false
	}
	point, err := ec.PublicKey.Bytes() // 4, x, y
	if err != nil || len(point) != 65 {
		return false
	}
	k.ec = ec
	k.public.Kty, k.public.Crv, k.public.X, k.public.Y = "EC", "P-256", encode(point[1:33]), encode(point[33:])
	return true
}

// thumbprint is the key's name: the hash of its required members (RFC 7638 §3).
func (j jwk) thumbprint() string {
	y := ""
	if j.Y != "" {
		y = `,"y":"` + j.Y + `"`
	}
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"%s","kty":"%s","x":"%s"%s}`, j.Crv, j.Kty, j.X, y))
	return encode(sum[:])
}

// sign returns the token with these claims.
func (k *key) sign(claims []byte) (string, error) {
	text := k.header + encode(claims)
	if k.ed != nil {
		return text + "." + encode(ed25519.Sign(k.ed, []byte(text))), nil
	}
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, k.ec, sum[:])
	if err != nil {
		return "", err
	}
	var signature [64]byte // r and s (RFC 7518 §3.4)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + encode(signature[:]), nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
