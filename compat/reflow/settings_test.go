package reflow

import (
	"strings"
	"testing"
	"time"
)

func settings(env map[string]string) (Settings, error) {
	return Environment{Lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}.Settings()
}

func TestSettings(t *testing.T) {
	s, err := settings(nil)
	if err != nil || s.Mode != ModeNone || s.SessionTTL != 8*time.Hour || s.SessionCookieName != "reflow_session" || s.InsecureCookies || s.PostLoginRedirect != "/" || s.NoAPIKeyAuth || s.APIKeyHeader != "X-API-Key" {
		t.Errorf("%+v %v", s, err)
	}
	s, err = settings(map[string]string{"AUTH_MODE": "basic", "AUTH_SECRET_KEY": secret, "AUTH_SESSION_TTL_SECONDS": "300", "AUTH_SESSION_COOKIE_NAME": "sid", "AUTH_COOKIE_SECURE": "Off",
		"AUTH_BASIC_USERS": "alice:$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA; bob : $argon2i$x ;", "AUTH_POST_LOGIN_REDIRECT": "/home", "ENABLE_API_KEY_AUTH": "0", "API_KEYS": "x:" + secret})
	if err != nil || len(s.BasicUsers) != 2 || s.BasicUsers[0] != (BasicUser{"alice", "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"}) || s.BasicUsers[1].Name != "bob" || !s.NoAPIKeyAuth {
		t.Errorf("%+v %v", s, err)
	}
	if c, err := New(s.Config()); err != nil || c.config.TTL != 5*time.Minute || c.config.CookieName != "sid" || !c.config.InsecureCookies {
		t.Error(err)
	}
	s, err = settings(map[string]string{"AUTH_MODE": "oidc", "AUTH_SECRET_KEY": secret, "AUTH_OIDC_PROVIDERS": `[
		{"id":"one","display_name":"One","discovery_url":"https://one.example/.well-known/openid-configuration","client_id":"c","client_secret":"s"},
		{"id":"two","display_name":"Two","discovery_url":"http://127.0.0.1:9/x","client_id":"c","client_secret":"s","scopes":"openid","extra":1}]`})
	if err != nil || len(s.OIDCProviders) != 2 || s.OIDCProviders[0].Scopes != DefaultScopes || s.OIDCProviders[1].Scopes != "openid" || s.OIDCProviders[1].ClientID != "c" {
		t.Errorf("%+v %v", s, err)
	}
}

func TestSettingsProblems(t *testing.T) {
	_, err := settings(map[string]string{"AUTH_MODE": "saml", "AUTH_SECRET_KEY": "hunter2", "AUTH_SESSION_TTL_SECONDS": "299", "AUTH_COOKIE_SECURE": "maybe", "AUTH_BASIC_USERS": "a:b;c;d:$argon2;d:$argon2id",
		"AUTH_OIDC_PROVIDERS":      `[{"id":"a/b","display_name":"d","discovery_url":"http://example.com","client_id":"c","client_secret":"hunter2","scopes":[]},5,{"id":"a/b"}]`,
		"AUTH_POST_LOGIN_REDIRECT": "//evil", "ENABLE_API_KEY_AUTH": "", "API_KEYS": "hunter2"})
	for _, want := range []string{"AUTH_MODE", "AUTH_SECRET_KEY has 7", "AUTH_SESSION_TTL_SECONDS", "AUTH_COOKIE_SECURE", "AUTH_BASIC_USERS entry 1", "entry 2", "AUTH_BASIC_USERS entry 4", "AUTH_OIDC_PROVIDERS entry 1: id",
		"entry 1: discovery_url", "entry 1: scopes", "AUTH_OIDC_PROVIDERS entry 2 has no id", "AUTH_OIDC_PROVIDERS entry 3 has the id", "AUTH_POST_LOGIN_REDIRECT", "ENABLE_API_KEY_AUTH", "API_KEYS"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("a secret is in:", err)
	}
	for name, env := range map[string]map[string]string{
		"AUTH_SECRET_KEY":          {"AUTH_MODE": "basic", "AUTH_BASIC_USERS": "a:$argon2id"},
		"AUTH_BASIC_USERS":         {"AUTH_MODE": "basic", "AUTH_SECRET_KEY": secret},
		"AUTH_OIDC_PROVIDERS":      {"AUTH_MODE": "oidc", "AUTH_SECRET_KEY": secret},
		"is no JSON array":         {"AUTH_OIDC_PROVIDERS": "{}"},
		"AUTH_SESSION_TTL_SECONDS": {"AUTH_SESSION_TTL_SECONDS": "99999999999999999999"},
	} {
		if _, err := settings(env); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever the variables hold: settings that make sense, or problems without secrets.
func FuzzSettings(f *testing.F) {
	f.Add("oidc", `[{"id":"one","display_name":"One","discovery_url":"https://one.example/x","client_id":"c","client_secret":"s","scopes":"openid"}]`, "a:$argon2id$x;b", "k:0123456789abcdef0123456789abcdef,x", "/home", "300")
	f.Add("basic", `[[]]`, ";:;", ":,", "//x", "-1")
	f.Fuzz(func(t *testing.T, mode, providers, users, keys, next, ttl string) {
		s, err := settings(map[string]string{"AUTH_MODE": mode, "AUTH_SECRET_KEY": secret, "AUTH_OIDC_PROVIDERS": providers, "AUTH_BASIC_USERS": users,
			"API_KEYS": keys, "AUTH_POST_LOGIN_REDIRECT": next, "AUTH_SESSION_TTL_SECONDS": ttl})
		if err != nil {
			return
		}
		if _, err := New(s.Config()); err != nil {
			t.Fatal(err)
		}
		for _, p := range s.OIDCProviders {
			if p.ID == "" || p.ClientSecret == "" || !discoverable(p.DiscoveryURL) {
				t.Fatalf("%+v", p)
			}
		}
		for _, u := range s.BasicUsers {
			if u.Name == "" || !strings.HasPrefix(u.Hash, "$argon2") {
				t.Fatalf("%+v", u)
			}
		}
		if _, ok := s.APIKeys.Match(""); ok {
			t.Fatal("the empty key is one")
		}
	})
}
