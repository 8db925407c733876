package crossauth_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/crossauth"
	"github.com/latchkey-go/latchkey/compat/engine"
	"github.com/latchkey-go/latchkey/compat/internal/databasetest"
)

const longSecret = "CROSSAUTH secret of 32 bytes or more"

func newSessions(t testing.TB, storage crossauth.KeyStorage, c *databasetest.Clock, change func(*crossauth.SessionCookieConfig)) *crossauth.SessionCookie {
	t.Helper()
	config := crossauth.SessionCookieConfig{Storage: storage, Secret: longSecret, Now: c.Now}
	if change != nil {
		change(&config)
	}
	s, err := crossauth.NewSessionCookie(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newSession(t testing.TB, s *crossauth.SessionCookie, user crossauth.UserID, data string) string {
	t.Helper()
	key, err := s.CreateSessionKey(t.Context(), user, data)
	if err != nil {
		t.Fatal(err)
	}
	return key.Value
}

// holds checks that a session holds, or the code of why not.
func holds(t testing.TB, s *crossauth.SessionCookie, id string, want crossauth.Code) {
	t.Helper()
	if _, err := s.GetSessionKey(t.Context(), id); code(err) != want || (err == nil) != (want == "") {
		t.Errorf("%v, want %q", err, want)
	}
}

func TestSessionLifecycle(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage crossauth.KeyStorage) {
		c := databasetest.NewClock()
		s := newSessions(t, storage, c, nil)
		ctx := t.Context()
		note := crossauth.Field{Name: "note", Value: engine.TextValue("n")}
		key, err := s.CreateSessionKey(ctx, alice, `{"a": 1}`, note)
		if err != nil || len(key.Value) != 22 || !key.Created.Equal(c.Now()) || !key.Expires.Equal(c.Now().Add(4*24*time.Hour)) || !key.LastActive.IsZero() {
			t.Fatal(key, err)
		}
		stored, err := storage.GetKey(ctx, crossauth.HashSessionID(key.Value))
		if err != nil || strings.Contains(stored.Value, key.Value) {
			t.Error(stored, err)
		}
		if got, err := s.GetSessionKey(ctx, key.Value); err != nil || !equal(got, key) {
			t.Error(got, err)
		}
		made, err := s.MakeCookie(key)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := s.UnsignCookie(made.Value); err != nil || id != key.Value {
			t.Error(id, err)
		}
		for _, id := range []string{"", token, key.Value[:21], key.Value + "A", stored.Value, made.Value, strings.Repeat("A", 10<<20)} {
			holds(t, s, id, crossauth.InvalidKey)
		}
		c.Turn(4 * 24 * time.Hour) // to expire now is not yet to have expired
		holds(t, s, key.Value, "")
		c.Turn(time.Microsecond)
		holds(t, s, key.Value, crossauth.Expired)
		for _, err := range []error{s.UpdateActivity(ctx, key.Value), s.UpdateData(ctx, key.Value, crossauth.DataEntry{Name: "a"}), s.UpdateSessionKey(ctx, crossauth.PartialKey{Value: key.Value, Expires: &never})} {
			wantCode(t, err, crossauth.Expired)
		}
		c.Turn(-time.Hour)
		if err := s.DeleteSession(ctx, key.Value); err != nil {
			t.Error(err)
		}
		holds(t, s, key.Value, crossauth.InvalidKey)

		forever := newSessions(t, storage, c, func(c *crossauth.SessionCookieConfig) { c.MaxAge = crossauth.NoExpiry })
		id := newSession(t, forever, alice, "")
		c.Turn(1e5 * time.Hour)
		holds(t, forever, id, "")
	})
}

// The idle timeout fires, and activity is what keeps it from it.
func TestIdle(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage crossauth.KeyStorage) {
		c := databasetest.NewClock()
		s := newSessions(t, storage, c, func(c *crossauth.SessionCookieConfig) { c.IdleTimeout = time.Hour })
		without := newSessions(t, storage, c, nil)
		active, idle, anonymous, foreign := newSession(t, s, alice, ""), newSession(t, s, empty, ""), newSession(t, s, nobody, ""), newSession(t, without, alice, "")
		for range 3 {
			c.Turn(time.Hour)
			if err := s.UpdateActivity(t.Context(), active); err != nil {
				t.Fatal(err)
			}
		}
		key, _ := s.GetSessionKey(t.Context(), active)
		if !key.LastActive.Equal(c.Now()) {
			t.Error(key.LastActive)
		}
		c.Turn(time.Hour)
		holds(t, s, active, "")
		c.Turn(time.Microsecond)
		holds(t, s, active, crossauth.Expired)
		holds(t, s, idle, crossauth.Expired)
		holds(t, s, foreign, crossauth.Expired) // one without activity counts from its creation
		holds(t, s, anonymous, "")
		wantCode(t, s.UpdateActivity(t.Context(), active), crossauth.Expired)
		holds(t, s, active, crossauth.Expired)
		if err := without.UpdateActivity(t.Context(), foreign); err != nil {
			t.Error(err)
		}
		if key, _ := without.GetSessionKey(t.Context(), foreign); !key.LastActive.IsZero() {
			t.Error("written without an idle timeout:", key.LastActive)
		}
	})
}

func TestUpdateSession(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage crossauth.KeyStorage) {
		s := newSessions(t, storage, databasetest.NewClock(), nil)
		ctx := t.Context()
		id := newSession(t, s, nobody, "")
		change := crossauth.PartialKey{Value: id, UserID: &alice}
		for range 2 { // the second would fail if the first had changed the caller's
			if err := s.UpdateSessionKey(ctx, change); err != nil || change.Value != id {
				t.Error(change.Value, err)
			}
		}
		if key, err := s.GetSessionKey(ctx, id); err != nil || key.UserID != alice {
			t.Error(key, err)
		}
		wantCode(t, s.UpdateSessionKey(ctx, crossauth.PartialKey{UserID: &alice}), crossauth.InvalidKey)
		wantCode(t, s.UpdateSessionKey(ctx, crossauth.PartialKey{Value: token, UserID: &alice}), crossauth.InvalidKey)
		if err := s.UpdateData(ctx, id, crossauth.DataEntry{Name: "cart", Value: 3}); err != nil {
			t.Error(err)
		}
		if o, err := s.Data(ctx, id); err != nil || len(o) != 1 || o[0].Name != "cart" {
			t.Error(o, err)
		}
		_, err := s.Data(ctx, token)
		wantCode(t, err, crossauth.InvalidKey)
		_, err = s.CreateSessionKey(ctx, alice, "[1]")
		wantCode(t, err, crossauth.DataFormat)
	})
}

func TestSignIn(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage crossauth.KeyStorage) {
		s := newSessions(t, storage, databasetest.NewClock(), nil)
		ctx := t.Context()
		signIn := func(before string, user crossauth.UserID, data string) string {
			t.Helper()
			key, err := s.SignIn(ctx, before, user)
			if err != nil || key.Value == before || key.UserID != user {
				t.Fatal(key, err)
			}
			if got, err := s.GetSessionKey(ctx, key.Value); err != nil || got.Data != data {
				t.Error(got.Data, err)
			}
			if before != "" {
				holds(t, s, before, crossauth.InvalidKey)
			}
			return key.Value
		}
		first := signIn("", alice, "")
		signIn(first, empty, "") // another user's session ends, and its data with it
		user := signIn(newSession(t, s, nobody, `{"cart": [1]}`), alice, `{"cart": [1]}`)
		signIn(user, alice, "")
		signIn(token, alice, "")
		_, err := s.SignIn(ctx, "", nobody)
		wantCode(t, err, crossauth.BadRequest)
		id := newSession(t, s, nobody, "")
		signed, _ := s.MakeCookie(crossauth.Key{Value: id})
		_, err = s.SignIn(ctx, signed.Value, alice) // the original's mistake
		wantCode(t, err, crossauth.BadRequest)
		holds(t, s, id, "")
	})
}

func TestDeleteSessionsOfUser(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage crossauth.KeyStorage) {
		s := newSessions(t, storage, databasetest.NewClock(), nil)
		ctx := t.Context()
		one, two, anonymous, other := newSession(t, s, alice, ""), newSession(t, s, alice, ""), newSession(t, s, nobody, ""), newSession(t, s, empty, "")
		reset := save(t, storage, crossauth.Key{Value: "p:reset", UserID: alice})
		if err := s.DeleteAllForUser(ctx, alice, one); err != nil {
			t.Fatal(err)
		}
		holds(t, s, one, "")
		holds(t, s, two, crossauth.InvalidKey)
		wantCode(t, s.DeleteAllForUser(ctx, nobody, ""), crossauth.BadRequest)
		if err := s.DeleteAllForUser(ctx, alice, ""); err != nil {
			t.Fatal(err)
		}
		holds(t, s, one, crossauth.InvalidKey)
		holds(t, s, anonymous, "")
		holds(t, s, other, "")
		if _, err := storage.GetKey(ctx, reset.Value); err != nil {
			t.Error(err)
		}
	})
}

// taken is a storage that has every key already, or fails otherwise.
type taken struct {
	crossauth.KeyStorage
	code  crossauth.Code
	tries int
	until int
}

func (s *taken) SaveKey(ctx context.Context, k crossauth.Key) error {
	if s.tries++; s.tries > s.until {
		return s.KeyStorage.SaveKey(ctx, k)
	}
	return &crossauth.Error{Code: s.code}
}

func TestTenTries(t *testing.T) {
	for _, c := range []struct {
		code         crossauth.Code
		until, tries int
		want         crossauth.Code
	}{{crossauth.KeyExists, 9, 10, ""}, {crossauth.InvalidKey, 10, 10, crossauth.KeyExists}, {crossauth.KeyExists, 99, 10, crossauth.KeyExists}, {crossauth.Connection, 1, 1, crossauth.Connection}} {
		storage := &taken{KeyStorage: &crossauth.MemoryKeys{}, code: c.code, until: c.until}
		key, err := newSessions(t, storage, databasetest.NewClock(), nil).CreateSessionKey(t.Context(), alice, "")
		if code(err) != c.want || storage.tries != c.tries || (key.Value == "") != (err != nil) {
			t.Errorf("%d tries, %v, key %q", storage.tries, err, key.Value)
		}
	}
	// The same bytes once, then others: the second identifier is the one that is saved.
	b := bytes.Repeat([]byte{1}, 16)
	s := newSessions(t, &crossauth.MemoryKeys{}, databasetest.NewClock(), func(c *crossauth.SessionCookieConfig) {
		c.Random = io.MultiReader(bytes.NewReader(append(b, b...)), bytes.NewReader(bytes.Repeat([]byte{2}, 16)))
	})
	one, two := newSession(t, s, alice, ""), newSession(t, s, alice, "")
	if one == two {
		t.Error("one identifier for two sessions")
	}
	if _, err := s.CreateSessionKey(t.Context(), alice, ""); err == nil {
		t.Error("a session without randomness")
	}
}

func TestFilterAndUsers(t *testing.T) {
	var seen crossauth.Key
	pass := true
	away := errors.New("away")
	s := newSessions(t, &crossauth.MemoryKeys{}, databasetest.NewClock(), func(c *crossauth.SessionCookieConfig) {
		c.Filter = func(k crossauth.Key) bool { seen = k; return pass }
		c.Users = func(_ context.Context, id crossauth.UserID) (*crossauth.User, error) {
			if id != alice {
				return nil, away
			}
			return &crossauth.User{ID: id, Username: "alice", State: "active"}, nil
		}
	})
	ctx := t.Context()
	id := newSession(t, s, alice, "")
	user, key, err := s.GetUserForSessionID(ctx, id)
	if err != nil || user.Username != "alice" || key.UserID != alice || seen.Value != id {
		t.Error(user, key, seen, err)
	}
	user, key, err = s.GetUserForSessionID(ctx, newSession(t, s, nobody, ""))
	if err != nil || user != nil || !key.UserID.Anonymous() {
		t.Error(user, key, err)
	}
	if user, key, err := s.GetUserForSessionID(ctx, newSession(t, s, empty, "")); !errors.Is(err, away) || user != nil || key.Value != "" || crossauth.Refused(err) {
		t.Error(user, key, err)
	}
	pass = false
	user, key, err = s.GetUserForSessionID(ctx, id)
	if user != nil || key.Value != "" || !crossauth.Refused(err) {
		t.Error(user, key, err)
	}
}

func TestSessionCookies(t *testing.T) {
	c := databasetest.NewClock()
	key := crossauth.Key{Value: token, Expires: time.Date(2026, 1, 6, 5, 4, 5, 678901000, time.FixedZone("", 7200))}
	signer, _ := crossauth.NewSigner(longSecret)
	value := signer.SignSecureToken(token)
	for _, test := range []struct {
		change func(*crossauth.SessionCookieConfig)
		key    crossauth.Key
		want   string
	}{
		{nil, key, "SESSIONID=" + value + "; Path=/; Expires=Tue, 06 Jan 2026 03:04:05 GMT; HttpOnly; Secure; SameSite=Lax"},
		{nil, crossauth.Key{Value: token}, "SESSIONID=" + value + "; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{func(c *crossauth.SessionCookieConfig) { c.BrowserSession = true }, key, "SESSIONID=" + value + "; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{func(c *crossauth.SessionCookieConfig) {
			c.CookieName, c.Cookie = "sid", crossauth.CookieOptions{Domain: "example.com", Path: "/a", SameSite: http.SameSiteStrictMode, Readable: true}
		}, key, "sid=" + value + "; Path=/a; Domain=example.com; Expires=Tue, 06 Jan 2026 03:04:05 GMT; Secure; SameSite=Strict"},
	} {
		s := newSessions(t, &crossauth.MemoryKeys{}, c, test.change)
		got, err := s.MakeCookieString(test.key)
		if err != nil || got != test.want {
			t.Errorf("%s %v, want %s", got, err, test.want)
		}
		if _, err := http.ParseSetCookie(got); err != nil {
			t.Error(err)
		}
		if cleared, err := s.ClearCookie(); err != nil || cleared.Name != s.CookieName() || cleared.Value != "" || !strings.Contains(cleared.String(), "Max-Age=0") {
			t.Error(cleared, err)
		}
	}
	s := newSessions(t, &crossauth.MemoryKeys{}, c, nil)
	if made, err := s.MakeCookieFor(key, false); err != nil || !made.Expires.IsZero() {
		t.Error(made, err)
	}
	for _, bad := range []string{"", "x", crossauth.HashSessionID(token), value} {
		_, err := s.MakeCookie(crossauth.Key{Value: bad})
		wantCode(t, err, crossauth.InvalidKey)
	}
	for _, bad := range []string{"", token, value + "0", value[:len(value)-1], signer.SignSecureToken(""), signer.SignSecureToken("x"), strings.Repeat("x", 10<<20)} {
		_, err := s.UnsignCookie(bad)
		wantCode(t, err, crossauth.InvalidKey)
	}
}

// One cookie's values are not the other's.
func TestDomainSeparation(t *testing.T) {
	csrf := func(secret string) *crossauth.CSRF {
		return newCSRF(t, func(c *crossauth.CSRFConfig) { c.Secret = secret })
	}
	config := crossauth.SessionCookieConfig{Storage: &crossauth.MemoryKeys{}, Secret: longSecret, CSRF: csrf(longSecret)}
	_, err := crossauth.NewSessionCookie(config)
	if code(err) != crossauth.Configuration || !strings.Contains(err.Error(), "CSRF") || strings.Contains(err.Error(), longSecret) {
		t.Error(err)
	}
	config.DangerouslySharedSecret = true
	if _, err := crossauth.NewSessionCookie(config); err != nil {
		t.Error(err)
	}
	config.DangerouslySharedSecret, config.CSRF = false, csrf(longSecret+"2")
	s, err := crossauth.NewSessionCookie(config)
	if err != nil {
		t.Fatal(err)
	}
	fresh, _ := config.CSRF.NewToken()
	_, err = s.UnsignCookie(config.CSRF.CookieValue(fresh))
	wantCode(t, err, crossauth.InvalidKey)
	cookie, _ := s.MakeCookie(crossauth.Key{Value: token})
	_, err = config.CSRF.CheckCookie(cookie.Value)
	wantCode(t, err, crossauth.InvalidCsrf)
}

func TestSessionConfig(t *testing.T) {
	_, err := crossauth.NewSessionCookie(crossauth.SessionCookieConfig{Secret: "short", CookieName: "a b", MaxAge: -time.Hour, IdleTimeout: 1,
		Cookie: crossauth.CookieOptions{Expires: at, SameSite: http.SameSiteNoneMode, Insecure: true}, CSRF: newCSRF(t, func(c *crossauth.CSRFConfig) { c.CookieName = "x" })})
	for _, want := range []string{"Storage", "5 bytes", "cookie", "MaxAge", "IdleTimeout", "Expires", "SameSite=None"} {
		if code(err) != crossauth.Configuration || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
	_, err = crossauth.NewSessionCookie(crossauth.SessionCookieConfig{Storage: &crossauth.MemoryKeys{}, Secret: longSecret, CookieName: crossauth.DefaultCSRFCookie, CSRF: newCSRF(t, nil)})
	if code(err) != crossauth.Configuration || !strings.Contains(err.Error(), "CookieName") {
		t.Error(err)
	}
	if _, err := crossauth.NewSessionCookie(crossauth.SessionCookieConfig{Storage: &crossauth.MemoryKeys{}, Secret: "", DangerouslyShortSecret: true}); err != nil {
		t.Error(err)
	}
	if crossauth.Refused(nil) || crossauth.Refused(errors.New("x")) || crossauth.Refused(&crossauth.Error{Code: crossauth.Connection}) || !crossauth.Refused(&crossauth.Error{Code: crossauth.Expired}) {
		t.Error("Refused")
	}
}
