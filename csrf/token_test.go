package csrf_test

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/csrf"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
)

const (
	mine  = "01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f"
	yours = "01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e10"
)

var epoch = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func always(id string) func(*http.Request) string {
	return func(*http.Request) string { return id }
}

func key(id byte, from time.Time) keyring.Key {
	bytes := [keyring.KeySize]byte{id, 7, 7}
	return keyring.NewKey(keyring.ID(id), bytes, from)
}

func newRing(t testing.TB, keys ...keyring.Key) *keyring.Ring {
	t.Helper()
	if len(keys) == 0 {
		keys = []keyring.Key{key(1, epoch)}
	}
	ring, err := keyring.New(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func protection(t testing.TB, cfg csrf.Config) *csrf.Protection {
	t.Helper()
	if cfg.CookieName == "" {
		cfg.CookieName = cookie
	}
	p, err := csrf.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustToken(t testing.TB, p *csrf.Protection, session string) string {
	t.Helper()
	token, err := p.TokenFor(session)
	if err != nil {
		t.Fatal(err)
	}
	if len(token) != csrf.TokenLength {
		t.Fatalf("%d characters", len(token))
	}
	return token
}

func TestTokenIsBound(t *testing.T) {
	p := protection(t, csrf.Config{Keys: newRing(t)})
	token := mustToken(t, p, mine)
	if !p.ValidToken(mine, token) {
		t.Fatal("a token is refused")
	}
	otherKeys, err := keyring.Generate(epoch)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := mustToken(t, protection(t, csrf.Config{Keys: otherKeys}), mine)
	for name, c := range map[string][2]string{
		"foreign-session": {yours, token}, "no-session": {"", token}, "longer-session": {mine + "0", token},
		"empty": {mine, ""}, "truncated": {mine, token[:len(token)-1]}, "half": {mine, token[:44]}, "longer": {mine, token + "A"}, "padded": {mine, token + "=="},
		"line-break": {mine, token[:87] + "\n"}, "line-break-within": {mine, token[:40] + "\r\n" + token[42:]}, "wrong-alphabet": {mine, strings.Repeat("+/", 44)},
		"zeros": {mine, strings.Repeat("A", csrf.TokenLength)}, "other-deployment": {mine, elsewhere}, "not-ascii": {mine, strings.Repeat("é", 44)},
	} {
		t.Run(name, func(t *testing.T) {
			if p.ValidToken(c[0], c[1]) {
				t.Error("taken")
			}
		})
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(raw) * 8 { // tampered, version and key ID included
		raw[bit/8] ^= 1 << (bit % 8)
		if p.ValidToken(mine, base64.RawURLEncoding.EncodeToString(raw)) {
			t.Errorf("taken with bit %d changed", bit)
		}
		raw[bit/8] ^= 1 << (bit % 8)
	}
}

// TestTokenFormat makes tokens by the formula of the documentation.
func TestTokenFormat(t *testing.T) {
	ring := newRing(t)
	p := protection(t, csrf.Config{Keys: ring})
	for name, c := range map[string]struct {
		purpose keyring.Purpose
		version byte
		good    bool
	}{"as-documented": {"latchkey/csrf/v1", 1, true}, "wrong-purpose": {keyring.PurposeToken, 1, false}, "rotation's-purpose": {keyring.PurposeRotate, 1, false}, "wrong-version": {"latchkey/csrf/v1", 2, false}} {
		t.Run(name, func(t *testing.T) {
			sum, ok := ring.HMAC(1, c.purpose, []byte(mine))
			if !ok {
				t.Fatal("no sum")
			}
			raw := []byte{c.version, 1}
			mask := make([]byte, 32)
			for i := range mask {
				mask[i] = byte(i * 9)
				sum[i] ^= mask[i]
			}
			raw = append(append(raw, mask...), sum[:]...)
			if got := p.ValidToken(mine, base64.RawURLEncoding.EncodeToString(raw)); got != c.good {
				t.Errorf("taken: %v", got)
			}
		})
	}
}

// TestTokenIsMaskedAfresh: no byte beside version and key ID stays the same.
func TestTokenIsMaskedAfresh(t *testing.T) {
	p := protection(t, csrf.Config{Keys: newRing(t)})
	first, err := base64.RawURLEncoding.DecodeString(mustToken(t, p, mine))
	if err != nil {
		t.Fatal(err)
	}
	moved := make([]bool, len(first))
	for range 50 {
		next, err := base64.RawURLEncoding.DecodeString(mustToken(t, p, mine))
		if err != nil {
			t.Fatal(err)
		}
		for i := range next {
			moved[i] = moved[i] || next[i] != first[i]
		}
	}
	for i, m := range moved {
		if m != (i >= 2) {
			t.Errorf("byte %d changes: %v", i, m)
		}
	}
}

func TestTokenKeys(t *testing.T) {
	clock := latchkeytest.NewClock(epoch)
	first, second := key(1, epoch), key(2, epoch.Add(time.Hour))
	ring := newRing(t, first, second)
	p := protection(t, csrf.Config{Keys: ring, Clock: clock})
	old := mustToken(t, p, mine)
	clock.Advance(time.Hour)
	current := mustToken(t, p, mine)
	for at, token := range map[byte]string{1: old, 2: current} {
		if raw, _ := base64.RawURLEncoding.DecodeString(token); raw[1] != at {
			t.Errorf("made with key %d, want %d", raw[1], at)
		}
		if !p.ValidToken(mine, token) {
			t.Errorf("a token under the acceptable key %d is refused", at)
		}
	}
	retired := keyring.Key{ID: 1, Created: epoch, ActiveFrom: epoch, Retired: epoch.Add(time.Hour)}
	if _, err := ring.Set(retired, second); err != nil {
		t.Fatal(err)
	}
	if p.ValidToken(mine, old) || !p.ValidToken(mine, current) {
		t.Error("the retired key's token is taken, or the other refused")
	}
}

func TestTokenErrors(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	for name, c := range map[string]struct {
		cfg  csrf.Config
		code latchkey.Code
	}{
		"no-keys":       {csrf.Config{SessionID: always(mine)}, latchkey.CodeInternal},
		"empty-ring":    {csrf.Config{SessionID: always(mine), Keys: new(keyring.Ring)}, latchkey.CodeInternal},
		"no-session":    {csrf.Config{SessionID: always(""), Keys: newRing(t)}, latchkey.CodeInvalidSession},
		"no-middleware": {csrf.Config{Keys: newRing(t)}, latchkey.CodeOf(latchkey.ErrNoMiddleware)},
	} {
		t.Run(name, func(t *testing.T) {
			if token, err := protection(t, c.cfg).Token(r); token != "" || latchkey.CodeOf(err) != c.code {
				t.Errorf("%q, %v", token, err)
			}
		})
	}
	p := protection(t, csrf.Config{Keys: newRing(t)})
	if _, err := p.TokenFor(""); latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
		t.Errorf("got %v", err)
	}
	if protection(t, csrf.Config{}).ValidToken(mine, mustToken(t, p, mine)) {
		t.Error("a token is taken without keys")
	}
	// Without the middleware nothing tells whose session it is: refused.
	post := httptest.NewRequest("POST", "/", nil)
	post.Header.Set("Cookie", cookie+"=x")
	post.Header.Set(csrf.HeaderName, mustToken(t, p, mine))
	if csrf.ReasonOf(p.Check(post)) != csrf.BadToken {
		t.Error("passed without a session")
	}
}

func TestTokenHeaderIsJudgedAlone(t *testing.T) {
	p := protection(t, csrf.Config{Keys: newRing(t), SessionID: always(mine)})
	good := mustToken(t, p, mine)
	for name, c := range map[string]struct {
		lines  []string
		field  string
		passes bool
	}{
		"header": {[]string{good}, "", true}, "field": {nil, good, true}, "bad-header-good-field": {[]string{"x"}, good, false},
		"empty-header-good-field": {[]string{""}, good, false}, "two-headers": {[]string{good, good}, "", false}, "neither": {nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "http://"+host+"/?"+csrf.FieldName+"="+good, strings.NewReader(csrf.FieldName+"="+c.field))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Cookie", cookie+"=x")
			if c.lines != nil {
				r.Header["X-Csrf-Token"] = c.lines
			}
			if got := p.Check(r) == nil; got != c.passes {
				t.Errorf("passed %v", got)
			}
			if body, err := io.ReadAll(r.Body); err != nil || string(body) != csrf.FieldName+"="+c.field {
				t.Errorf("the body became %q, %v", body, err)
			}
		})
	}
}

// TestTokensThroughASessionsLife: a token outlives the rotation of the secret and a
// renewal, and ends with a sign-in and with the session.
func TestTokensThroughASessionsLife(t *testing.T) {
	m, clock := latchkeytest.NewManager(t, func(c *latchkey.Config) { c.RotateEvery = 10 * time.Minute })
	p := protection(t, csrf.Config{Keys: newRing(t), Clock: clock})
	var act func(s latchkey.Session, r *http.Request)
	h := m.Middleware(p.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s, err := latchkey.FromContext(r.Context())
		if err != nil {
			t.Fatal(err)
		}
		act(s, r)
	})))
	held := latchkeytest.SignIn(t, m, latchkey.SignIn{Subject: "ada"})
	send := func(method, token string, do func(latchkey.Session, *http.Request)) int {
		act = do
		r := httptest.NewRequest(method, "http://"+host+"/", nil)
		r.AddCookie(&http.Cookie{Name: held.Name, Value: held.Value})
		set(r, csrf.HeaderName, token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if c := latchkeytest.Cookie(t, w, held.Name); c != nil {
			held = c
		}
		return w.Code
	}
	var token, after string
	nothing := func(latchkey.Session, *http.Request) {}
	read := func(into *string) func(latchkey.Session, *http.Request) {
		return func(_ latchkey.Session, r *http.Request) {
			var err error
			if *into, err = p.Token(r); err != nil {
				t.Error(err)
			}
		}
	}
	send("GET", "", read(&token))
	if code := send("POST", token, nothing); code != 200 {
		t.Fatalf("fresh: %d", code)
	}
	if code := send("POST", "", nothing); code != 403 {
		t.Errorf("without a token: %d", code)
	}
	before := held.Value
	clock.Advance(11 * time.Minute)
	send("GET", "", nothing)
	if held.Value == before {
		t.Fatal("the secret was not rotated")
	}
	if code := send("POST", token, nothing); code != 200 {
		t.Errorf("after a rotation: %d", code)
	}
	send("POST", token, func(s latchkey.Session, r *http.Request) {
		if _, err := s.Renew(r.Context(), latchkey.Renewal{}); err != nil {
			t.Error(err)
		}
	})
	if code := send("POST", token, nothing); code != 200 {
		t.Errorf("after a renewal: %d", code)
	}
	send("POST", token, func(s latchkey.Session, r *http.Request) {
		if err := s.SignIn(r.Context(), latchkey.SignIn{Subject: "ada"}); err != nil {
			t.Error(err)
		}
		read(&after)(s, r)
	})
	if code := send("POST", token, nothing); code != 403 {
		t.Errorf("the old token after a sign-in: %d", code)
	}
	if code := send("POST", after, nothing); code != 200 {
		t.Errorf("the new token after a sign-in: %d", code)
	}
	send("POST", after, func(s latchkey.Session, r *http.Request) {
		if err := s.End(r.Context()); err != nil {
			t.Error(err)
		}
		if _, err := p.Token(r); !errors.Is(err, latchkey.ErrInvalidSession) {
			t.Errorf("a token for an ended session: %v", err)
		}
	})
}

func FuzzToken(f *testing.F) {
	p := protection(f, csrf.Config{Keys: newRing(f)})
	good := mustToken(f, p, mine)
	f.Add(mine, good)
	f.Add(yours, good)
	f.Add(mine, good[:80])
	f.Add(mine, strings.Repeat("A", csrf.TokenLength))
	f.Fuzz(func(t *testing.T, session, token string) {
		if !p.ValidToken(session, token) {
			if session != "" {
				if made, err := p.TokenFor(session); err != nil || !p.ValidToken(session, made) || p.ValidToken(session+"x", made) {
					t.Errorf("session %q: %v", session, err)
				}
			}
			return
		}
		// A token that is taken was made by the formula, of which the seed is an example:
		// any other would be a forgery found by chance.
		raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
		if err != nil || base64.RawURLEncoding.EncodeToString(raw) != token {
			t.Errorf("%q is taken and has another spelling", token)
		}
	})
}
