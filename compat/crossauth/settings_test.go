package crossauth_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/crossauth"
)

func environment(env map[string]string) crossauth.Environment {
	return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
}

func ptr[T any](v T) *T { return &v }

func TestSessionSettings(t *testing.T) {
	o := crossauth.SessionOptions{Secret: ptr(longSecret)}
	c, err := o.Config(nil)
	if err != nil || c.Secret != longSecret || c.MaxAge != 0 || c.IdleTimeout != 0 || c.BrowserSession || c.Cookie != (crossauth.CookieOptions{}) {
		t.Error(c.Cookie, c.MaxAge, err)
	}
	env := map[string]string{
		"CROSSAUTH_SESSION_COOKIE_NAME": "SID", "CROSSAUTH_SESSION_COOKIE_maxAge": "60", "CROSSAUTH_SESSION_COOKIE_DOMAIN": "example.com",
		"CROSSAUTH_SESSIONCOOKIE_HTTPONLY": "0", "CROSSAUTH_SESSION_COOKIE_PATH": "/a", "CROSSAUTH_SESSION_COOKIE_SECURE": "False",
		"CROSSAUTH_SESSION_COOKIE_SAMESITE": "Strict", "CROSSAUTH_SESSION_IDLE_TIMEOUT": "30", "CROSSAUTH_PERSIST_SESSION_ID": "",
		// Names that the original does not read.
		"CROSSAUTH_SESSION_COOKIE_MAX_AGE": "1", "CROSSAUTH_SESSION_COOKIE_MAXAGE": "1", "CROSSAUTH_SESSION_COOKIE_HTTPONLY": "true", "SESSION_COOKIE_NAME": "no", "CROSSAUTH_SECRET": "no",
	}
	want := crossauth.CookieOptions{Domain: "example.com", Path: "/a", SameSite: http.SameSiteStrictMode, Readable: true, Insecure: true}
	c, err = o.Config(environment(env))
	if err != nil || c.CookieName != "SID" || c.MaxAge != time.Minute || c.IdleTimeout != 30*time.Second || !c.BrowserSession || c.Cookie != want || c.Secret != longSecret {
		t.Error(c.CookieName, c.MaxAge, c.IdleTimeout, c.BrowserSession, c.Cookie, err)
	}
	// The option goes over the environment, a false one too.
	o.CookieName, o.MaxAge, o.Persist, o.HTTPOnly, o.Secure, o.SameSite, o.IdleTimeout = ptr("X"), ptr(0), ptr(true), ptr(true), ptr(true), ptr("none"), ptr(0)
	env["CROSSAUTH_SESSION_COOKIE_DOMAIN"], env["CROSSAUTH_SESSION_COOKIE_PATH"] = "null", "null"
	c, err = o.Config(environment(env))
	if err != nil || c.CookieName != "X" || c.MaxAge != crossauth.NoExpiry || c.IdleTimeout != 0 || c.BrowserSession || c.Cookie != (crossauth.CookieOptions{SameSite: http.SameSiteNoneMode}) {
		t.Error(c.CookieName, c.MaxAge, c.IdleTimeout, c.BrowserSession, c.Cookie, err)
	}
	c.Storage = &crossauth.MemoryKeys{}
	if _, err := crossauth.NewSessionCookie(c); err != nil {
		t.Error(err)
	}
	_, err = crossauth.SessionOptions{}.Config(environment(map[string]string{
		"CROSSAUTH_SESSION_COOKIE_maxAge": "4 days", "CROSSAUTH_SESSIONCOOKIE_HTTPONLY": "on", "CROSSAUTH_SESSION_COOKIE_SECURE": "yes",
		"CROSSAUTH_SESSION_COOKIE_SAMESITE": "loose", "CROSSAUTH_SESSION_IDLE_TIMEOUT": "999999999999", "CROSSAUTH_PERSIST_SESSION_ID": "null",
	}))
	for _, name := range []string{"SESSION_COOKIE_maxAge", "SESSIONCOOKIE_HTTPONLY", "COOKIE_SECURE", "SAMESITE", "IDLE_TIMEOUT", "PERSIST", "secret is required"} {
		if code(err) != crossauth.Configuration || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not in: %v", name, err)
		}
	}
}

func TestCSRFSettings(t *testing.T) {
	c, err := crossauth.CSRFOptions{}.Config(environment(map[string]string{
		"CROSSAUTH_SECRET": longSecret, "CROSSAUTH_CSRF_HEADER_NAME": "X-T", "CROSSAUTH_CSRF_COOKIE_NAME": "T", "CROSSAUTH_CSRF_COOKIE_HTTPONLY": "TRUE", "CROSSAUTH_CSRF_COOKIE_SECURE": "1",
		"CROSSAUTH_CSRF_COOKIE_SAMESITE": "lax", "CROSSAUTH_CSRF_COOKIE_PATH": "/b", "CROSSAUTH_CSRF_COOKIE_DOMAIN": "example.org"}))
	want := crossauth.CookieOptions{Domain: "example.org", Path: "/b", SameSite: http.SameSiteLaxMode}
	if err != nil || c.Secret != longSecret || c.HeaderName != "X-T" || c.CookieName != "T" || c.Cookie != want {
		t.Error(c.HeaderName, c.CookieName, c.Cookie, err)
	}
	if _, err := crossauth.NewCSRF(c); err != nil {
		t.Error(err)
	}
	if _, err := (crossauth.CSRFOptions{}).Config(nil); code(err) != crossauth.Configuration || !strings.Contains(err.Error(), "secret is required") {
		t.Error(err)
	}
	k := crossauth.KeyStorageOptions{UserIDColumn: ptr("owner")}.Config(environment(map[string]string{"CROSSAUTH_KEY_STORAGE_TABLE": "keys", "CROSSAUTH_USER_ID_FOREIGN_KEY_COLUMN": "x"}))
	if k.Table != "keys" || k.UserIDColumn != "owner" {
		t.Error(k.Table, k.UserIDColumn)
	}
}
