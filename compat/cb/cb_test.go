package cb_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/cb"
	"github.com/latchkey-go/latchkey/compat/internal/vectortest"
	"github.com/latchkey-go/latchkey/compat/itsdangerous"
)

const (
	secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	raw    = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	cookie = "IkFBRUNBd1FGQmdjSUNRb0xEQTBPRHhBUkVoTVVGUllYR0JrYUd4d2RIaDgi.aVc1pQ.KkrsLfNJBpQZXf3vLjSJaTO6wvc"
	signed = 1767323045
)

func codec(t testing.TB, now time.Time) *cb.Codec {
	t.Helper()
	random := make([]byte, 32)
	for i := range random {
		random[i] = byte(i)
	}
	c, err := cb.New(cb.Config{Secrets: []string{secret}, Days: 30, Now: func() time.Time { return now }, Random: bytes.NewReader(random)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCreate(t *testing.T) {
	c := codec(t, time.Unix(signed, 0))
	got, err := c.NewRaw()
	if err != nil || got != raw {
		t.Fatal(got, err)
	}
	if _, err := c.NewRaw(); err == nil {
		t.Error("a session without randomness")
	}
	if got, err := c.Cookie(raw); err != nil || got != cookie {
		t.Error(got, err)
	}
	if got := c.SetCookie(cookie); got != "cb_session="+cookie+"; HttpOnly; Max-Age=2592000; Path=/; SameSite=lax; Secure" {
		t.Error(got)
	}
	if got := c.ClearCookie(); got != `cb_session=""; HttpOnly; Max-Age=0; Path=/; SameSite=lax; Secure` {
		t.Error(got)
	}
}

func TestCheck(t *testing.T) {
	now := time.Unix(signed+5, 500_000_000)
	revoked, empty := "2026-01-02T03:05:00+00:00", ""
	row := func(change func(*cb.Row)) *cb.Row {
		r := &cb.Row{TokenHash: cb.TokenHash(raw), ExpiresAt: cb.FormatTime(now.Add(time.Microsecond))}
		if change != nil {
			change(r)
		}
		return r
	}
	for _, c := range []struct {
		name         string
		cookie       string
		row          *cb.Row
		ok, asText   bool
		secondsLater int
	}{
		{"holds", cookie, row(nil), true, true, 0},
		{"no-row", cookie, nil, false, false, 0},
		{"no-cookie", "", row(nil), false, false, 0},
		{"revoked", cookie, row(func(r *cb.Row) { r.RevokedAt = &revoked }), false, false, 0},
		{"revoked-empty", cookie, row(func(r *cb.Row) { r.RevokedAt = &empty }), false, false, 0},
		{"other-row", cookie, row(func(r *cb.Row) { r.TokenHash = cb.TokenHash("x") }), false, false, 0},
		{"expires-now", cookie, row(func(r *cb.Row) { r.ExpiresAt = cb.FormatTime(now) }), false, false, 0},
		{"zulu", cookie, row(func(r *cb.Row) { r.ExpiresAt = "2027-01-01T00:00:00Z" }), false, true, 0},
		{"junk-expiry", cookie, row(func(r *cb.Row) { r.ExpiresAt = "never" }), false, true, 0},
		{"cookie-too-old", cookie, row(func(r *cb.Row) { r.ExpiresAt = "2030-01-01T00:00:00+00:00" }), false, false, 30 * 86400},
	} {
		t.Run(c.name, func(t *testing.T) {
			codec := codec(t, now.Add(time.Duration(c.secondsLater)*time.Second))
			if err := codec.Check(c.cookie, c.row); (err == nil) != c.ok || err != nil && !errors.Is(err, cb.ErrInvalid) {
				t.Error(err)
			}
			if err := codec.CheckText(c.cookie, c.row); (err == nil) != c.asText {
				t.Error("as text:", err)
			}
		})
	}
}

// Payloads that make the original raise are not valid, and nothing more.
func TestForeignPayload(t *testing.T) {
	s, _ := itsdangerous.NewTimed(itsdangerous.Config{Secrets: []string{secret}, Salt: "session", Now: func() time.Time { return time.Unix(signed, 0) }})
	for _, v := range []any{nil, 1, []any{raw}, map[string]any{"x": 1}} {
		token, _ := s.Dumps(v)
		if _, err := codec(t, time.Unix(signed, 0)).Read(token); !errors.Is(err, cb.ErrInvalid) {
			t.Errorf("%v: %v", v, err)
		}
	}
}

func TestTimes(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-01-02T03:04:05+00:00":        time.Unix(signed, 0),
		"2026-01-02T03:04:05.678901+00:00": time.Unix(signed, 678901000),
		"2026-01-02T03:04:05.000010+00:00": time.Unix(signed, 10000),
	} {
		if got := cb.FormatTime(want.Local()); got != text {
			t.Errorf("%s, want %s", got, text)
		}
		if got, ok := cb.ParseTime(text); !ok || !got.Equal(want) {
			t.Errorf("%s: %v %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "2026-01-02", "2026-01-02T03:04:05", "2026-01-02T03:04:05Z", "2026-01-02 03:04:05+00:00", "2026-01-02T03:04:05.5+00:00", "2026-01-02T05:04:05+02:00"} {
		if got, ok := cb.ParseTime(text); ok {
			t.Errorf("%s is read as %v", text, got)
		}
	}
}

func TestConfig(t *testing.T) {
	_, err := cb.New(cb.Config{Secrets: []string{"short"}, Days: -1})
	for _, want := range []string{"Secrets[0]", "Days"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
	if _, err := cb.New(cb.Config{Secrets: []string{"s"}, DangerouslyShortSecrets: true, DangerouslyEmptySalt: true}); err != nil {
		t.Error(err)
	}
}

func FuzzCheck(f *testing.F) {
	for _, c := range vectortest.Load(f, "../runner", "cb") {
		f.Add(c.Text(f, "cookie"), "2026-02-01T03:04:05.678901+00:00")
	}
	c := codec(f, time.Unix(signed, 0))
	f.Fuzz(func(t *testing.T, text, expires string) {
		if err := c.Check(text, &cb.Row{TokenHash: cb.TokenHash(raw), ExpiresAt: expires}); err == nil && text != cookie {
			t.Fatalf("%q holds", text)
		}
		if at, ok := cb.ParseTime(expires); ok && cb.FormatTime(at) != expires {
			t.Fatalf("%q has two spellings", expires)
		}
	})
}
