package reflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/internal/vectortest"
	"github.com/latchkey-go/latchkey/compat/itsdangerous"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

var secret = strings.Repeat("x", 32)

type clockAt struct{ now time.Time }

func (c *clockAt) Now() time.Time { return c.now }

func codec(t testing.TB, change func(*Config)) (*Codec, *clockAt) {
	t.Helper()
	clock := &clockAt{time.Unix(1767323045, 678901000)}
	config := Config{Secrets: []string{secret}, Now: clock.Now, Random: bytes.NewReader(bytes.Repeat([]byte{7}, 1024))}
	if change != nil {
		change(&config)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c, clock
}

func TestIdentityRoundTrip(t *testing.T) {
	c, clock := codec(t, nil)
	name := "Zoë"
	id := c.NewIdentity("alice", "basic", nil, &name)
	cookie, err := c.Encode(&id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Decode(cookie)
	if err != nil || got.Subject != "alice" || got.Email != nil || *got.Name != name || !got.IssuedAt.Equal(clock.now) {
		t.Fatalf("%+v %v", got, err)
	}
	text, _ := json.Marshal(got)
	if want := `{"sub":"alice","email":null,"name":"Zoë","provider_id":"basic","issued_at":"2026-01-02T03:04:05.678901Z","expires_at":"2026-01-02T11:04:05.678901Z"}`; string(text) != want {
		t.Errorf("%s", text)
	}
	for name, change := range map[string]func(*Config){
		"other-secret": func(c *Config) { c.Secrets = []string{strings.Repeat("y", 32)} },
		"later":        func(c *Config) { c.Now = func() time.Time { return clock.now.Add(9 * time.Hour) } },
		"before":       func(c *Config) { c.Now = func() time.Time { return clock.now.Add(-time.Second) } },
	} {
		other, _ := codec(t, change)
		if _, err := other.Decode(cookie); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	rotated, _ := codec(t, func(c *Config) { c.Secrets = []string{secret, strings.Repeat("y", 32)} })
	if _, err := rotated.Decode(cookie); err != nil {
		t.Error("a rotated secret signs everybody out:", err)
	}
	if !rotated.CheckCSRF(cookie, c.CSRF(cookie)) || rotated.CSRF(cookie) == c.CSRF(cookie) {
		t.Error("CSRF values under a rotated secret")
	}
	if c.CheckCSRF(cookie, rotated.CSRF(cookie)) || c.CheckCSRF(cookie, "") || c.CheckCSRF(cookie+"x", c.CSRF(cookie)) {
		t.Error("a foreign CSRF value passes")
	}
}

// payload makes a session cookie of any JSON value.
func payload(t *testing.T, text string) string {
	t.Helper()
	s, err := itsdangerous.NewTimed(itsdangerous.Config{Secrets: []string{secret}, Salt: SessionSalt, Now: func() time.Time { return time.Unix(1767323045, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	v, err := pyjson.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	cookie, err := s.Dumps(v)
	if err != nil {
		t.Fatal(err)
	}
	return cookie
}

func TestPayloads(t *testing.T) {
	strict, _ := codec(t, nil)
	original, _ := codec(t, func(c *Config) { c.DangerouslyAsOriginal = true })
	with := func(members string) string {
		return `{"sub":"a","provider_id":"p","issued_at":"2026-01-02T03:04:05Z","expires_at":"2026-01-02T11:04:05Z"` + members + "}"
	}
	for _, c := range []struct {
		name, text       string
		strict, original bool
	}{
		{"least", with(""), true, true},
		{"more-members", with(`,"x":[1]`), true, true},
		{"null-email", with(`,"email":null`), true, true},
		{"number-email", with(`,"email":1`), false, false},
		{"number-sub", with(`,"sub":1`), false, false},
		{"null-sub", with(`,"sub":null`), false, false},
		{"no-sub", `{"provider_id":"p","issued_at":1,"expires_at":2}`, false, false},
		{"list", "[1]", false, false},
		{"string", `"x"`, false, false},
		{"naive", with(`,"issued_at":"2026-01-02T03:04:05"`), false, true},
		{"day", with(`,"issued_at":"2026-01-02"`), false, true},
		{"expired-itself", with(`,"expires_at":"2026-01-02T03:04:05Z"`), false, true},
		{"seconds", with(`,"expires_at":1767400000,"issued_at":1767323045.5`), true, true},
		{"milliseconds", with(`,"expires_at":1767400000000`), true, true},
		{"seconds-in-text", with(`,"expires_at":"1767400000"`), true, true},
		{"bool-date", with(`,"issued_at":true`), false, false},
		{"bad-date", with(`,"issued_at":"yesterday"`), false, false},
		{"no-such-day", with(`,"issued_at":"2026-02-30T00:00:00Z"`), false, false},
		{"empty-date", with(`,"issued_at":""`), false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cookie := payload(t, c.text)
			if _, err := strict.Decode(cookie); (err == nil) != c.strict {
				t.Error("strict:", err)
			}
			if _, err := original.Decode(cookie); (err == nil) != c.original {
				t.Error("as original:", err)
			}
		})
	}
}

// The right column is what pydantic 2 writes for the date on the left.
func TestDates(t *testing.T) {
	for text, want := range map[string]string{
		"2026-01-02T03:04:05Z":               "2026-01-02T03:04:05Z",
		"2026-01-02 03:04":                   "2026-01-02T03:04:00",
		"2026-01-02t03:04:05.5+05:30":        "2026-01-02T03:04:05.500000+05:30",
		"2026-01-02_03:04:05,123456789-0800": "2026-01-02T03:04:05.123456-08:00",
		"2026-01-02T03:04:05+00:00":          "2026-01-02T03:04:05Z",
		"2026-01-02":                         "2026-01-02T00:00:00",
		"1767323045":                         "2026-01-02T03:04:05Z",
		"1767323045.25":                      "2026-01-02T03:04:05.250000Z",
		"-1":                                 "1969-12-31T23:59:59Z",
	} {
		if d, ok := parseDate(text); !ok || d.String() != want {
			t.Errorf("%s: %s %v, want %s", text, d, ok, want)
		}
	}
	for _, text := range []string{"2026-1-2T03:04", "2026-01-02T3:04", "2026-01-02T24:00", "2026-01-02T03:60", "2026-01-02T03:04:60", "2026-01-02T03:04:05.",
		"2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05+1", "2026-01-02T03:04:05 Z", "2026-01-02T", "0000-01-01T00:00Z", "nan", "inf", "0x10", "1e300", "2026-01-02x03:04",
		"2026-01-02T03:04:05+0530x", "2026-01-02T03:04:é"} {
		if d, ok := parseDate(text); ok {
			t.Errorf("%s is read as %s", text, d)
		}
	}
}

func TestShouldReissue(t *testing.T) {
	at := func(micro int64) Date { return Date{Time: time.UnixMicro(micro)} }
	for _, c := range []struct {
		lifetime, age int64
		want          bool
	}{{3600e6, 1800e6, false}, {3600e6, 1800e6 + 1, true}, {0, 0, false}, {0, 1, true}, {3, 2, false}, {1, 1, true}, {5, 2, false}, {5, 3, true}, {-10, -5, false}, {-10, -4, true}} {
		id := Identity{IssuedAt: at(5), ExpiresAt: at(5 + c.lifetime)}
		if got := ShouldReissue(&id, time.UnixMicro(5+c.age)); got != c.want {
			t.Errorf("%d of %d: %v", c.age, c.lifetime, got)
		}
	}
}

func TestTx(t *testing.T) {
	c, clock := codec(t, nil)
	tx, err := c.NewTx("idp", "/docs?x=1")
	if err != nil || len(tx.State) != 43 || len(tx.Nonce) != 43 || len(tx.Verifier) != 86 || tx.NextPath != "/docs?x=1" {
		t.Fatalf("%+v %v", tx, err)
	}
	cookie, _ := c.EncodeTx(&tx)
	if got, err := c.DecodeTx(cookie); err != nil || got != tx {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := c.Decode(cookie); !errors.Is(err, ErrInvalid) {
		t.Error("a transaction is a session:", err)
	}
	id := c.NewIdentity("a", "p", nil, nil)
	session, _ := c.Encode(&id)
	if _, err := c.DecodeTx(session); !errors.Is(err, ErrInvalid) {
		t.Error("a session is a transaction:", err)
	}
	partial, _ := c.tx.Dumps(pyjson.Object{{Name: "state", Value: "s"}})
	if _, err := c.DecodeTx(partial); !errors.Is(err, ErrInvalid) {
		t.Error("members are missing:", err)
	}
	if o, err := c.DecodeTxWithin(partial, time.Minute); err != nil || len(o) != 1 {
		t.Error(o, err)
	}
	clock.now = clock.now.Add(TxMaxAge + time.Second)
	if _, err := c.DecodeTx(cookie); !errors.Is(err, ErrInvalid) {
		t.Error("ten minutes are over:", err)
	}
	dry, _ := codec(t, func(c *Config) { c.Random = bytes.NewReader(nil) })
	if _, err := dry.NewTx("idp", ""); err == nil {
		t.Error("a transaction without randomness")
	}
}

func TestSetCookie(t *testing.T) {
	c, _ := codec(t, nil)
	pair := c.SessionCookies("abc.def")
	if pair[0] != "reflow_session=abc.def; HttpOnly; Max-Age=28800; Path=/; SameSite=lax; Secure" {
		t.Error(pair[0])
	}
	if pair[1] != "reflow_session_csrf="+c.CSRF("abc.def")+"; Max-Age=28800; Path=/; SameSite=lax; Secure" {
		t.Error(pair[1])
	}
	if got := c.ClearSessionCookies()[0]; got != `reflow_session=""; HttpOnly; Max-Age=0; Path=/; SameSite=lax; Secure` {
		t.Error(got)
	}
	if got := c.TxCookie("t"); got != "reflow_oauth_tx=t; HttpOnly; Max-Age=600; Path=/; SameSite=lax; Secure" {
		t.Error(got)
	}
	if got := c.TxCookie("a;b\"\n"); !strings.HasPrefix(got, `reflow_oauth_tx="a\073b\"\012"; `) {
		t.Error(got)
	}
	plain, _ := codec(t, func(c *Config) { c.InsecureCookies, c.CookieName, c.TTL = true, "s", time.Hour })
	if got := plain.ClearTxCookie(); got != `reflow_oauth_tx=""; HttpOnly; Max-Age=0; Path=/; SameSite=lax` {
		t.Error(got)
	}
	if got := plain.SessionCookies("v")[1]; !strings.HasPrefix(got, "s_csrf=") || !strings.Contains(got, "Max-Age=3600") {
		t.Error(got)
	}
}

func TestSafeNext(t *testing.T) {
	for _, kept := range []string{"/", "/a/b?x=1&y=%2F#f", "/é", "/a//b", "/a:b", "/%41"} {
		if got := SafeNext(kept, "/home"); got != kept {
			t.Errorf("%q becomes %q", kept, got)
		}
	}
	for _, refused := range []string{"", "//evil", "https://evil", "/x?u=https://evil", "evil", "/\\evil", "\\/evil", "/\t/evil", "/\n/evil", "/a\\b", "/\x00",
		"\t//evil", " /x", "/\u0085", "/\xff", "/%5cevil", "/%2fevil", "/%09/evil", "/%zz", "javascript:alert(1)", "/" + strings.Repeat("a", MaxNext)} {
		if got := SafeNext(refused, "/home"); got != "/home" {
			t.Errorf("%q is kept", refused)
		}
	}
}

func TestConfig(t *testing.T) {
	_, err := New(Config{Secrets: []string{"short", strings.Repeat("é", 31)}, TTL: time.Second, CookieName: "a b"})
	for _, want := range []string{"Secrets[0]", "Secrets[1]", "TTL", "CookieName"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no secret: accepted")
	}
	// Characters are counted, not bytes.
	if _, err := New(Config{Secrets: []string{strings.Repeat("é", 32)}}); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range vectortest.Load(f, "../runner", "reflow") {
		if cookie := c.Text(f, "cookie"); cookie != "" {
			f.Add(cookie, "2026-01-02T03:04:05.5+01:00", "/a")
		}
	}
	f.Add("", "1767323045", "/%5c")
	c, _ := codec(f, nil)
	f.Fuzz(func(t *testing.T, cookie, text, next string) {
		if _, err := c.Decode(cookie); err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatal(err)
		}
		if _, err := c.DecodeTx(cookie); err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatal(err)
		}
		if d, ok := parseDate(text); ok {
			if again, ok := parseDate(d.String()); !ok || again.String() != d.String() {
				t.Fatalf("%q is written %s and not read back", text, d)
			}
		}
		if s := SafeNext(next, ""); strings.HasPrefix(s, "//") || strings.HasPrefix(s, `/\`) {
			t.Fatalf("%q is kept", next)
		}
	})
}
