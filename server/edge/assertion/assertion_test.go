package assertion_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/needs"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/edge/assertion"
)

const issuer, audience = "https://auth.example.com", "https://app.example.com"

// fixture is a signer, and a session of somebody who has signed in.
type fixture struct {
	tb      testing.TB
	signer  *assertion.Signer
	ring    *keyring.Ring
	first   keyring.Key
	bytes   [keyring.KeySize]byte
	m       *latchkey.Manager
	clock   *latchkeytest.Clock
	session latchkey.Session
}

func newFixture(tb testing.TB, edit func(*assertion.Config)) *fixture {
	tb.Helper()
	f := &fixture{tb: tb}
	for i := range f.bytes {
		f.bytes[i] = byte(i)
	}
	start := latchkeytest.NewClock(time.Time{}).Time()
	f.first = keyring.NewKey(1, f.bytes, start)
	var err error
	if f.ring, err = keyring.New(f.first); err != nil {
		tb.Fatal(err)
	}
	f.m, f.clock = latchkeytest.NewManager(tb, func(c *latchkey.Config) { c.Keys = f.ring })
	cfg := assertion.Config{Keys: f.ring, Issuer: issuer}
	if edit != nil {
		edit(&cfg)
	}
	if f.signer, err = assertion.New(cfg); err != nil {
		tb.Fatal(err)
	}
	f.session = f.signIn(latchkey.SignIn{Provider: "corp", Subject: "alice", Email: "a@example.com", Name: "Álice <\"A\">", Roles: []string{"staff", "admin"}, Assurance: "aal2"})
	return f
}

func (f *fixture) signIn(in latchkey.SignIn) latchkey.Session {
	f.tb.Helper()
	s, err := f.m.Read(nil, latchkeytest.Request(f.tb, f.m, in, "GET", "/", nil))
	if err != nil || !s.SignedIn() {
		f.tb.Fatalf("no session: %v", err)
	}
	return s
}

func (f *fixture) assertion(s latchkey.Session, audience string) string {
	f.tb.Helper()
	token, err := f.signer.Assertion(s, audience, f.m.Now())
	if err != nil {
		f.tb.Fatal(err)
	}
	return token
}

// keySet is what services get.
func (f *fixture) keySet() (keys []map[string]string, text string) {
	f.tb.Helper()
	w := httptest.NewRecorder()
	f.signer.KeySet().ServeHTTP(w, httptest.NewRequest("GET", "/jwks.json", nil))
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || w.Code != 200 || w.Header().Get("Cache-Control") != "public, max-age=300" || w.Header().Get("Content-Type") != "application/jwk-set+json" {
		f.tb.Fatalf("%v: %d %v", err, w.Code, w.Header())
	}
	return set.Keys, w.Body.String()
}

func decode(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// verify checks a token against the key set, and returns header and claims.
func (f *fixture) verify(token string) (header map[string]string, claims map[string]any) {
	f.tb.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		f.tb.Fatalf("%d parts", len(parts))
	}
	if err := json.Unmarshal(decode(f.tb, parts[0]), &header); err != nil {
		f.tb.Fatal(err)
	}
	if err := json.Unmarshal(decode(f.tb, parts[1]), &claims); err != nil {
		f.tb.Fatal(err)
	}
	keys, _ := f.keySet()
	text, signature := []byte(parts[0]+"."+parts[1]), decode(f.tb, parts[2])
	for _, k := range keys {
		if k["kid"] != header["kid"] {
			continue
		}
		if k["alg"] != header["alg"] || k["use"] != "sig" {
			f.tb.Errorf("key %v for %v", k, header)
		}
		good := false
		if k["kty"] == "OKP" {
			good = ed25519.Verify(decode(f.tb, k["x"]), text, signature)
		} else {
			public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, decode(f.tb, k["x"])...), decode(f.tb, k["y"])...))
			if err != nil {
				f.tb.Fatal(err)
			}
			sum := sha256.Sum256(text)
			good = len(signature) == 64 && ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
		}
		if !good {
			f.tb.Error("the signature is wrong")
		}
		return header, claims
	}
	f.tb.Errorf("no key %s", header["kid"])
	return header, claims
}

func TestClaims(t *testing.T) {
	for _, alg := range []assertion.Algorithm{assertion.ES256, assertion.EdDSA} {
		t.Run(string(alg), func(t *testing.T) {
			f := newFixture(t, func(c *assertion.Config) { c.Algorithm = alg })
			header, claims := f.verify(f.assertion(f.session, audience))
			if header["alg"] != string(alg) || header["typ"] != "JWT" || len(header) != 3 {
				t.Errorf("%v", header)
			}
			now := float64(f.m.Now().Unix())
			want := map[string]any{"iss": issuer, "aud": audience, "sub": "alice", "provider": "corp", "email": "a@example.com", "name": "Álice <\"A\">", "roles": []any{"staff", "admin"},
				"sid": f.session.ID().String(), "acr": "aal2", "auth_time": now, "iat": now, "exp": now + 60, "jti": claims["jti"]}
			got, _ := json.Marshal(claims)
			wanted, _ := json.Marshal(want)
			if string(got) != string(wanted) {
				t.Errorf("%s, want %s", got, wanted)
			}
			if len(claims["jti"].(string)) != 22 {
				t.Errorf("jti %v", claims["jti"])
			}
		})
	}
}

// The keys are those of the documentation, derived again here.
func TestKeyDerivation(t *testing.T) {
	derive := func(f *fixture, info string) []byte {
		b, err := hkdf.Key(sha256.New, f.bytes[:], nil, info, 32)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	f := newFixture(t, func(c *assertion.Config) { c.Algorithm = assertion.EdDSA })
	keys, _ := f.keySet()
	public := ed25519.NewKeyFromSeed(derive(f, "latchkey/assertion/v1/EdDSA")).Public().(ed25519.PublicKey)
	if len(keys) != 1 || keys[0]["x"] != base64.RawURLEncoding.EncodeToString(public) || keys[0]["kty"] != "OKP" || keys[0]["crv"] != "Ed25519" || keys[0]["y"] != "" {
		t.Errorf("%v", keys)
	}
	f = newFixture(t, nil)
	keys, _ = f.keySet()
	private, err := ecdh.P256().NewPrivateKey(derive(f, "latchkey/assertion/v1/ES256"))
	if err != nil {
		t.Fatal(err)
	}
	point := private.PublicKey().Bytes() // 4, x, y
	if len(keys) != 1 || keys[0]["x"] != base64.RawURLEncoding.EncodeToString(point[1:33]) || keys[0]["y"] != base64.RawURLEncoding.EncodeToString(point[33:]) {
		t.Errorf("%v", keys)
	}
}

// Another implementation finds the tokens good, and the kids what RFC 7638 makes them.
func TestPyJWT(t *testing.T) {
	python := needs.Python(t, "jwt, cryptography")
	const program = `
import sys, json, jwt, hashlib, base64
keys, token, audience, issuer = json.loads(sys.argv[1]), *sys.argv[2:]
kid = jwt.get_unverified_header(token)["kid"]
for k in jwt.PyJWKSet.from_dict(keys).keys:
    raw = next(r for r in keys["keys"] if r["kid"] == k.key_id)
    members = {m: raw[m] for m in ("crv", "kty", "x", "y") if m in raw}
    name = hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest()
    assert base64.urlsafe_b64encode(name).rstrip(b"=").decode() == k.key_id
    if k.key_id == kid:
        claims = jwt.decode(token, k.key, algorithms=[raw["alg"]], audience=audience, issuer=issuer, options={"verify_exp": False, "verify_iat": False, "require": ["exp", "iat", "jti", "sub"]})
        print(claims["sub"], ",".join(claims["roles"]))
        try:
            jwt.decode(token[:-3] + ("AAA" if token[-3:] != "AAA" else "BBB"), k.key, algorithms=[raw["alg"]], audience=audience, options={"verify_exp": False, "verify_iat": False})
            print("taken with a wrong signature")
        except jwt.InvalidSignatureError:
            pass
`
	for _, alg := range []assertion.Algorithm{assertion.ES256, assertion.EdDSA} {
		f := newFixture(t, func(c *assertion.Config) { c.Algorithm = alg })
		_, keys := f.keySet()
		out, err := exec.Command(python, "-c", program, keys, f.assertion(f.session, audience), audience, issuer).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "alice staff,admin" {
			t.Errorf("%s: %v: %s", alg, err, out)
		}
	}
}

func TestReuse(t *testing.T) {
	f := newFixture(t, nil)
	first := f.assertion(f.session, audience)
	f.clock.Advance(29 * time.Second)
	if f.assertion(f.session, audience) != first {
		t.Error("not reused before half of its life")
	}
	if other := f.assertion(f.session, "https://other.example.com"); other == first {
		t.Error("reused for another service")
	}
	if other := f.assertion(f.signIn(latchkey.SignIn{Subject: "bob"}), audience); other == first {
		t.Error("reused for another session")
	}
	f.clock.Advance(time.Second)
	second := f.assertion(f.session, audience)
	if second == first {
		t.Error("reused beyond half of its life")
	}
	if _, claims := f.verify(second); claims["exp"].(float64)-float64(f.m.Now().Unix()) != 60 {
		t.Errorf("%v", claims)
	}
	past := f.m.Now().Add(-time.Hour)
	token, err := f.signer.Assertion(f.session, audience, past)
	if err != nil {
		t.Fatal(err)
	}
	if _, claims := f.verify(token); int64(claims["iat"].(float64)) != past.Unix() {
		t.Errorf("issued in the future: %v", claims)
	}
	if s := f.signer.Stats(); s.Signed != 5 || s.Reused != 1 {
		t.Errorf("%+v", s)
	}
}

// A session that changes, such as in its roles, gets a new token at once.
func TestNewVersion(t *testing.T) {
	f := newFixture(t, nil)
	r := latchkeytest.Request(t, f.m, latchkey.SignIn{Subject: "carol", Roles: []string{"admin"}}, "GET", "/", nil)
	s, err := f.m.Read(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	before := f.assertion(s, audience)
	w := httptest.NewRecorder()
	change := latchkey.NewKey[int]("n")
	f.m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s, err := latchkey.FromContext(r.Context())
		if err == nil {
			err = change.Set(s, 1)
		}
		if err != nil {
			t.Error(err)
		}
	})).ServeHTTP(w, r)
	if s, err = f.m.Read(nil, r); err != nil || s.Version() != 2 {
		t.Fatalf("%v, version %d", err, s.Version())
	}
	if f.assertion(s, audience) == before {
		t.Error("the token of an earlier version was reused")
	}
}

func TestNeverOutlivesTheSession(t *testing.T) {
	f := newFixture(t, nil)
	s := f.signIn(latchkey.SignIn{Subject: "dora", Lifetime: 20 * time.Second})
	_, claims := f.verify(f.assertion(s, audience))
	if got := claims["exp"].(float64) - claims["iat"].(float64); got > 20 {
		t.Errorf("good for %v s", got)
	}
}

func TestRotation(t *testing.T) {
	f := newFixture(t, nil)
	old := f.assertion(f.session, audience)
	f.clock.Advance(time.Second)
	next, err := keyring.GenerateKey(2, f.m.Now().Add(10*time.Second), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ring.Set(f.first, next); err != nil {
		t.Fatal(err)
	}
	if keys, _ := f.keySet(); len(keys) != 2 {
		t.Errorf("%d keys served before the new one is active", len(keys))
	}
	if f.assertion(f.session, audience) != old {
		t.Error("the new key signs too early, or the token was lost")
	}
	f.clock.Advance(10 * time.Second)
	token := f.assertion(f.session, audience)
	oldHeader, _ := f.verify(old)
	if header, _ := f.verify(token); header["kid"] == oldHeader["kid"] {
		t.Error("the new key does not sign")
	}
	if _, err := f.ring.Set(next); err != nil {
		t.Fatal(err)
	}
	if keys, _ := f.keySet(); len(keys) != 1 || keys[0]["kid"] == oldHeader["kid"] {
		t.Errorf("a key that is gone is still served: %v", keys)
	}
}

func TestBounded(t *testing.T) {
	f := newFixture(t, func(c *assertion.Config) { c.Entries = 128 })
	for range 1000 {
		f.assertion(f.signIn(latchkey.SignIn{Subject: "many"}), audience)
	}
	if s := f.signer.Stats(); s.Entries > 128 || s.Entries < 32 || s.Signed != 1000 {
		t.Errorf("%+v", s)
	}
}

// Under steady load at most one request in a hundred costs a signature.
func TestReuseUnderLoad(t *testing.T) {
	f := newFixture(t, nil)
	sessions := []latchkey.Session{f.session}
	for range 15 {
		sessions = append(sessions, f.signIn(latchkey.SignIn{Subject: "user"}))
	}
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 2000 {
				if _, err := f.signer.Assertion(sessions[(i+worker)%len(sessions)], audience, f.m.Now()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	f.clock.Advance(31 * time.Second) // once again at half life
	for i := range 2000 {
		f.assertion(sessions[i%len(sessions)], audience)
	}
	s := f.signer.Stats()
	if share := float64(s.Reused) / float64(s.Reused+s.Signed); share < 0.99 {
		t.Errorf("%.4f of %+v are reused", share, s)
	}
}

func TestReuseAlloc(t *testing.T) {
	f := newFixture(t, nil)
	now := f.m.Now()
	f.assertion(f.session, audience)
	if n := testing.AllocsPerRun(100, func() { _, _ = f.signer.Assertion(f.session, audience, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConfiguration(t *testing.T) {
	_, err := assertion.New(assertion.Config{Algorithm: "none", Lifetime: 61 * time.Second, Entries: -1})
	if latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
		t.Fatal(err)
	}
	for _, field := range []string{"Keys", "Issuer", "Algorithm", "Lifetime", "Entries"} {
		if !strings.Contains(err.Error(), field+": ") {
			t.Errorf("not told of %s", field)
		}
	}
	for _, alg := range []assertion.Algorithm{"HS256", "es256"} {
		if _, err := assertion.New(assertion.Config{Keys: newFixture(t, nil).ring, Issuer: issuer, Algorithm: alg}); err == nil {
			t.Errorf("%s is taken", alg)
		}
	}
}

func BenchmarkReuseAlloc(b *testing.B) {
	f := newFixture(b, nil)
	now := f.m.Now()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = f.signer.Assertion(f.session, audience, now)
	}
}

func BenchmarkSign(b *testing.B) {
	for _, alg := range []assertion.Algorithm{assertion.ES256, assertion.EdDSA} {
		b.Run(string(alg), func(b *testing.B) {
			f := newFixture(b, func(c *assertion.Config) { c.Algorithm = alg })
			now := f.m.Now()
			for b.Loop() {
				now = now.Add(time.Minute)
				_, _ = f.signer.Assertion(f.session, audience, now)
			}
		})
	}
}
