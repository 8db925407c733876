package oidc_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/login/oidc"
)

const (
	issuer   = "https://id.example.com/realms/one"
	clientID = "app"
)

// misbehaving is a provider that sends what no real one would: as a transport it
// answers for every host, and each answer can be replaced.
type misbehaving struct {
	mu       sync.Mutex
	keys     jose.JSONWebKeySet
	metadata map[string]any
	answers  map[string]func(*http.Request) (int, string) // by the path below the issuer
	asked    map[string]int
	sent     url.Values // the last form
}

func newMisbehaving(keys ...jose.JSONWebKey) *misbehaving {
	m := &misbehaving{answers: make(map[string]func(*http.Request) (int, string)), asked: make(map[string]int)}
	m.keys.Keys = keys
	m.metadata = map[string]any{"issuer": issuer, "authorization_endpoint": issuer + "/auth", "token_endpoint": issuer + "/token",
		"jwks_uri": issuer + "/keys", "userinfo_endpoint": issuer + "/me", "end_session_endpoint": issuer + "/end",
		"authorization_response_iss_parameter_supported": true}
	return m
}

// RoundTrip implements http.RoundTripper.
func (m *misbehaving) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	path, _ := strings.CutPrefix(r.URL.String(), issuer)
	path, _, _ = strings.Cut(path, "?")
	m.asked[path]++
	if r.Body != nil {
		body, _ := io.ReadAll(r.Body)
		m.sent, _ = url.ParseQuery(string(body))
	}
	status, text := http.StatusNotFound, "{}"
	switch answer := m.answers[path]; {
	case answer != nil:
		if status, text = answer(r); status == 0 {
			return nil, io.ErrUnexpectedEOF
		}
	case path == "/.well-known/openid-configuration":
		status, text = http.StatusOK, mustJSON(m.metadata)
	case path == "/keys":
		status, text = http.StatusOK, mustJSON(m.keys)
	}
	h := http.Header{"Content-Type": {"application/json"}}
	if status >= 300 && status < 400 {
		h.Set("Location", "https://elsewhere.example/")
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: h, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func (m *misbehaving) set(path string, answer func(*http.Request) (int, string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[path] = answer
}

func (m *misbehaving) count(path string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[path]
}

func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // a defect of the test
	}
	return string(text)
}

// signer is a key that tokens are made with.
type signer struct {
	id  string
	alg string
	key crypto.Signer
}

func newRSA(t testing.TB, id string) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer{id, "RS256", key}
}

func newEC(t testing.TB, id string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{id, "ES256", key}
}

func (s signer) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.key.Public(), KeyID: s.id, Use: "sig", Algorithm: s.alg}
}

// object is a JSON object under construction.
type object map[string]any

// with returns a copy with changes; a value of missing takes the member away.
func (o object) with(changes object) object {
	out := make(object)
	for _, m := range []object{o, changes} {
		for k, v := range m {
			if out[k] = v; v == missing {
				delete(out, k)
			}
		}
	}
	return out
}

type absent struct{}

var missing any = absent{}

// sign makes a token by hand, so that its header can be anything.
func (s signer) sign(t testing.TB, header object, payload any) string {
	t.Helper()
	h := object{"alg": s.alg, "kid": s.id}.with(header)
	signed := encode(mustJSON(h)) + "."
	if text, isText := payload.(string); isText {
		signed += encode(text)
	} else {
		signed += encode(mustJSON(payload))
	}
	var signature []byte
	var err error
	switch alg := s.alg; key := s.key.(type) {
	case *rsa.PrivateKey:
		hash := map[string]crypto.Hash{"RS256": crypto.SHA256, "RS384": crypto.SHA384}[alg]
		sum := hash.New()
		sum.Write([]byte(signed))
		signature, err = rsa.SignPKCS1v15(rand.Reader, key, hash, sum.Sum(nil))
	case *ecdsa.PrivateKey:
		sum := crypto.SHA256.New()
		sum.Write([]byte(signed))
		r, v, signErr := ecdsa.Sign(rand.Reader, key, sum.Sum(nil))
		if err = signErr; err == nil {
			signature = append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(string(signature))
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// config is a client at the misbehaving provider.
func config(m *misbehaving, clock *latchkeytest.Clock) oidc.Config {
	return oidc.Config{ID: "one", Name: "One", Issuer: issuer, ClientID: clientID, ClientSecret: "a secret: " + canary, RedirectURL: "https://app.example.com/callback/one",
		Clock: clock, Transport: m}
}

// canary is in everything secret; it must turn up nowhere.
const canary = "CANARY"

func newProvider(t testing.TB, cfg oidc.Config) *oidc.Provider {
	t.Helper()
	p, err := oidc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// start is the time of the tests.
var start = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// tidy is for comparing two JSON texts.
func tidy(t testing.TB, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
