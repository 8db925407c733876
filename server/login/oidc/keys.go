package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// keysPause is the least time between two looks for a key that is not known: whoever
	// makes keys up cannot make us ask the provider each time.
	keysPause = 5 * time.Second
	maxKeys   = 100
	minRSA    = 2048 // bits
)

// signingKey is a published key that a token may be verified with.
type signingKey struct {
	id        string
	algorithm string // "" when the provider does not say
	key       any
}

// keySet is the keys that a provider publishes.
type keySet struct{ cached[[]signingKey] }

// fetchKeys reads the provider's key set (RFC 7517). What is no key for signatures by
// a private key is left out.
func (p *Provider) fetchKeys(ctx context.Context) ([]signingKey, error) {
	m, err := p.meta.get(ctx)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.keysURL, nil)
	if err != nil {
		return nil, &Away{Step: "keys", Detail: "its address cannot be used"}
	}
	res, err := p.client.Do(r)
	if err != nil {
		return nil, &Away{Step: "keys", Detail: failure(err)}
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, &Away{Step: "keys", Status: res.StatusCode}
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, &Away{Step: "keys", Detail: failure(err)}
	}
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &doc); err != nil || len(doc.Keys) > maxKeys {
		return nil, &Away{Step: "keys", Detail: "the answer is no key set, or holds too many keys"}
	}
	var keys []signingKey
	for _, raw := range doc.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) != nil || !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
			continue // of a kind that is not known, or not for signatures
		}
		if rsaKey, ok := k.Key.(*rsa.PublicKey); ok && rsaKey.N.BitLen() < minRSA {
			continue
		}
		keys = append(keys, signingKey{k.KeyID, k.Algorithm, k.Key})
	}
	return keys, nil
}

// fits reports whether the key can have made a signature of the algorithm under the
// key id, "" when the token names none.
func (k *signingKey) fits(id, algorithm string) bool {
	if id != "" && k.id != id || k.algorithm != "" && k.algorithm != algorithm {
		return false
	}
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return algorithm[:2] == "RS" || algorithm[:2] == "PS"
	case *ecdsa.PublicKey:
		return algorithm == map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[key.Curve.Params().Name]
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// verify returns a token's payload once a published key verifies its signature. When
// none does the keys are asked for again, at most once in keysPause: the provider may
// have rotated them.
func (p *Provider) verify(ctx context.Context, token *jose.JSONWebSignature, id string) ([]byte, error) {
	keys, err := p.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	payload, why := tryKeys(keys, token, id, p.cfg.Algorithm)
	if why == "" {
		return payload, nil
	}
	if why == BadSignature && id != "" {
		return nil, refuse(why) // the key is there, and it is not its signature
	}
	keys, renewed, err := p.keys.again(ctx, keysPause)
	if err != nil {
		return nil, err
	}
	if renewed {
		if payload, why = tryKeys(keys, token, id, p.cfg.Algorithm); why == "" {
			return payload, nil
		}
	}
	return nil, refuse(why)
}

func tryKeys(keys []signingKey, token *jose.JSONWebSignature, id, algorithm string) ([]byte, Reason) {
	why := UnknownKey
	for i := range keys {
		if !keys[i].fits(id, algorithm) {
			continue
		}
		if payload, err := token.Verify(keys[i].key); err == nil {
			return payload, ""
		}
		why = BadSignature
	}
	return nil, why
}
