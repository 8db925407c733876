package sessioncache_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/internal/vectortest"
	"github.com/latchkey-go/latchkey/compat/sessioncache"
)

const entryText = `{"user_id": "user_id_123", "email": "player@example.com", "name": "Zo\u00eb", "email_verified": true, "tier": "premium", ` +
	`"created_at": "2025-11-14T12:00:00+00:00", "updated_at": "2025-11-14T12:00:00+00:00", "session_expire": "2026-01-03T03:04:05+00:00", "cached_at": 1767323045.678901}`

func entry(t testing.TB) *sessioncache.Entry {
	t.Helper()
	e, err := sessioncache.ParseEntry([]byte(entryText))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEntryText(t *testing.T) {
	e := entry(t)
	if text, err := e.Text(); err != nil || string(text) != entryText {
		t.Errorf("%s %v", text, err)
	}
	e.SessionExpire = ""
	text, err := e.Text()
	if err != nil || !bytes.Contains(text, []byte(`"session_expire": null,`)) {
		t.Errorf("%s %v", text, err)
	}
	if again, err := sessioncache.ParseEntry(text); err != nil || *again != *e {
		t.Error(again, err)
	}
}

func TestMalformedEntries(t *testing.T) {
	for name, change := range map[string][2]string{
		"no-user": {`"user_id"`, `"uid"`}, "number-email": {`"player@example.com"`, "1"}, "text-verified": {"true", `"true"`},
		"null-tier": {`"premium"`, "null"}, "bad-created": {"2025-11-14T12:00:00+00:00", "then"}, "number-expire": {`"2026-01-03T03:04:05+00:00"`, "5"},
		"bad-expire": {"2026-01-03T03", "2026-13-03T03"}, "text-cached": {"1767323045.678901", `"1"`}, "huge-cached": {"1767323045.678901", "1e999"},
		"list": {entryText, "[]"}, "cut": {"}", ""}, "empty": {entryText, ""}, "long": {"Zo", strings.Repeat("x", 70000)},
	} {
		text := strings.Replace(entryText, change[0], change[1], 1)
		if e, err := sessioncache.ParseEntry([]byte(text)); !errors.Is(err, sessioncache.ErrMalformed) {
			t.Errorf("%s: %v %v", name, e, err)
		}
	}
}

func TestDecide(t *testing.T) {
	at := func(s string) time.Time { v, _ := time.Parse(time.RFC3339Nano, s); return v }
	now := at("2026-01-02T03:04:06Z")
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		name           string
		now            time.Time
		marker         *string
		change         func(*sessioncache.Entry)
		want, original bool
	}{
		{"hit", now, nil, nil, true, true},
		{"expires-now", at("2026-01-03T03:04:05Z"), nil, nil, false, true},
		{"expired", at("2026-01-03T03:04:05.000001Z"), nil, nil, false, false},
		{"naive-is-utc", at("2026-01-03T03:04:04Z"), nil, func(e *sessioncache.Entry) { e.SessionExpire = "2026-01-03T03:04:05" }, true, true},
		{"no-expiry", at("2036-01-03T03:04:04Z"), nil, func(e *sessioncache.Entry) { e.SessionExpire = "" }, true, true},
		{"unreadable-expiry", now, nil, func(e *sessioncache.Entry) { e.SessionExpire = "soon" }, false, false},
		{"unreadable-creation", now, nil, func(e *sessioncache.Entry) { e.CreatedAt = "" }, false, false},
		{"marker-before", now, text("1767323045.6789"), nil, true, true},
		{"marker-equal", now, text("1767323045.678901"), nil, false, true},
		{"marker-after", now, text("1767323045.678902"), nil, false, false},
		{"marker-junk", now, text("x"), nil, false, false},
		{"marker-nan", now, text("nan"), nil, false, false},
		{"marker-infinite", now, text(" -inf\n"), nil, true, true},
		{"marker-of-nobody", now, text("1767323045.678902"), func(e *sessioncache.Entry) { e.UserID = "" }, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := entry(t)
			if c.change != nil {
				c.change(e)
			}
			if got := e.Decide(c.now, c.marker); got != c.want {
				t.Error("decides", got)
			}
			if got := e.DecideAsOriginal(c.now, c.marker); got != c.original {
				t.Error("as original", got)
			}
		})
	}
}

func TestKeysAndTimes(t *testing.T) {
	if got := sessioncache.Key("tok"); got != "session_cache:1a7674eb4ee78df7e1ac439a93c3fa8e" {
		t.Error(got)
	}
	if got := sessioncache.MarkerKey("u"); got != "user_invalidated:u" {
		t.Error(got)
	}
	if got := sessioncache.Marker(time.Unix(1767323045, 678901999)); got != "1767323045.678901" {
		t.Error(got)
	}
	if got := sessioncache.Marker(time.Unix(1767323045, 0)); got != "1767323045.0" {
		t.Error(got)
	}
	for _, c := range []struct {
		ttl, remaining, want time.Duration
		original             float64
	}{{300, 86400, 300, 300}, {300, 10, 10, 10}, {300, 0, 0, 1}, {300, -5, 0, 1}, {0, 5, 0, 0}} {
		if got := sessioncache.TTL(c.ttl*time.Second, c.remaining*time.Second); got != c.want*time.Second {
			t.Errorf("%d %d: %v", c.ttl, c.remaining, got)
		}
		if got := sessioncache.OriginalTTL(float64(c.ttl), float64(c.remaining)); got != c.original {
			t.Errorf("%d %d: %v", c.ttl, c.remaining, got)
		}
	}
	if got := sessioncache.TTL(time.Minute, 10_700*time.Millisecond); got != 10*time.Second {
		t.Error(got)
	}
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte(entryText), "1767323045.6")
	for _, c := range vectortest.Load(f, "../runner", "session_cache") {
		f.Add([]byte(c.In), c.ID)
	}
	f.Fuzz(func(t *testing.T, text []byte, marker string) {
		e, err := sessioncache.ParseEntry(text)
		if err != nil {
			return
		}
		if e.Decide(time.Unix(1767323046, 0), &marker) && !e.DecideAsOriginal(time.Unix(1767323046, 0), &marker) {
			t.Fatal("the stricter decision serves more")
		}
		again, err := e.Text()
		if err != nil {
			t.Fatal(err)
		}
		if e2, err := sessioncache.ParseEntry(again); err != nil || *e2 != *e {
			t.Fatalf("%s: %v", again, err)
		}
	})
}
