package apicrud_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/apicrud"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

func environment(vars map[string]string) apicrud.Environment {
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
}

func TestLoadSettings(t *testing.T) {
	long := map[string]string{"REDIS_AES_SECRET": strings.Repeat("a", 32), "JWT_SECRET": strings.Repeat("j", 32), "TOKEN_SECRET": strings.Repeat("t", 32)}
	s, err := apicrud.LoadSettings(environment(long), false)
	want := apicrud.Settings{RedisHost: "redis", RedisPort: 6379, TTL: 20 * time.Minute, AESSecret: long["REDIS_AES_SECRET"], Issuer: "dev.example.com",
		JWTSecret: long["JWT_SECRET"], SessionLimit: 2 * time.Hour, AdminLimit: 15 * time.Minute, TokenSecret: long["TOKEN_SECRET"],
		TokenSalt: "YI31A26j6f4&0#X*8&7QBNF", TokenTimeout: 12 * time.Hour}
	if err != nil || s != want {
		t.Errorf("%+v %v", s, err)
	}
	vars := maps.Clone(long)
	maps.Copy(vars, map[string]string{"REDIS_HOST": "r", "REDIS_PORT": "6380", "REDIS_TTL": "43200", "JWT_ISSUER": "i", "LOGIN_SESSION_LIMIT": "60",
		"LOGIN_ADMIN_LIMIT": "30", "TOKEN_SALT": "s", "TOKEN_TIMEOUT": "1", "APP_ENV": "local"})
	if s, err := apicrud.LoadSettings(environment(vars), false); err != nil || s.RedisHost != "r" || s.RedisPort != 6380 || s.TTL != 12*time.Hour ||
		s.Issuer != "i" || s.SessionLimit != time.Minute || s.AdminLimit != 30*time.Second || s.TokenSalt != "s" || s.TokenTimeout != time.Second {
		t.Errorf("%+v %v", s, err)
	}
	wrong := map[string]string{"REDIS_PORT": "0", "REDIS_TTL": "43201", "LOGIN_ADMIN_LIMIT": "many", "REDIS_AES_SECRET": "5bj27gMy6Kbb37A7P", "JWT_SECRET": "short-canary"}
	_, err = apicrud.LoadSettings(environment(wrong), false)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{"REDIS_PORT", "REDIS_TTL", "LOGIN_ADMIN_LIMIT", "REDIS_AES_SECRET is what apicrud ships", "JWT_SECRET has 12 bytes", "TOKEN_SECRET is required"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("nothing of %s in %v", name, err)
		}
	}
	if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "5bj") {
		t.Error(err)
	}
	shipped := map[string]string{"REDIS_AES_SECRET": "5bj27gMy6Kbb37A7P", "JWT_SECRET": "PY07l0g0FSqeKsyx", "TOKEN_SECRET": "6OoN6JYPp3t80BMf"}
	if s, err := apicrud.LoadSettings(environment(shipped), true); err != nil || s.AESSecret != "5bj27gMy6Kbb37A7P" {
		t.Error(err)
	}
	if _, err := apicrud.LoadSettings(nil, true); err == nil {
		t.Error("secrets out of nothing")
	}
}

func TestLifetime(t *testing.T) {
	s := apicrud.Settings{SessionLimit: 2 * time.Hour, AdminLimit: 15 * time.Minute}
	for roles, want := range map[string]time.Duration{"": 2 * time.Hour, "user": 2 * time.Hour, "user admin": 15 * time.Minute, "person pwchange": 5 * time.Minute,
		"mfarequired admin": 5 * time.Minute, "pendingtotp pwchange": 2 * time.Minute} {
		if got := s.Lifetime(strings.Fields(roles)); got != want {
			t.Errorf("%q: %v", roles, got)
		}
	}
}

func TestParseSession(t *testing.T) {
	s := session()
	s.Extra = pyjson.Object{{Name: "x", Value: "y"}}
	got, err := apicrud.ParseSession(s.Object())
	if err != nil || !slices.Equal(got.Roles, s.Roles) || got.Exp != s.Exp || got.UID != s.UID || got.Token != s.Token || got.Issuer != s.Issuer || len(got.Extra) != 1 {
		t.Errorf("%+v %v", got, err)
	}
	if at, ok := got.Expires(); !ok || at.Unix() != 1767330245 {
		t.Error(at, ok)
	}
	got.Exp = "soon"
	if _, ok := got.Expires(); ok {
		t.Error("soon is no time")
	}
	for _, o := range []pyjson.Object{nil, s.Object()[1:], s.Object().Set("sub", nil), s.Object().Set("auth", []any{"admin"})} {
		if _, err := apicrud.ParseSession(o); !errors.Is(err, apicrud.ErrInvalid) {
			t.Error(o, err)
		}
	}
}

func TestConfirmations(t *testing.T) {
	now := time.Unix(1767323045, 0)
	s := apicrud.Settings{TokenSecret: strings.Repeat("t", 32), TokenSalt: "s", TokenTimeout: time.Hour}
	c, err := apicrud.NewConfirmations(s, func() time.Time { return now }, false)
	if err != nil {
		t.Fatal(err)
	}
	what := apicrud.Confirmation{ContactID: "c-1", Info: "a:b", Nonce: "n"}
	token, err := c.Sign(what)
	if err != nil {
		t.Fatal(err)
	}
	for age, ok := range map[time.Duration]bool{0: true, time.Hour: true, time.Hour + time.Second: false} {
		now = time.Unix(1767323045, 0).Add(age)
		if got, err := c.Read(token); (err == nil) != ok || ok && got != what {
			t.Error(age, got, err)
		}
	}
	now = time.Unix(1767323045, 0)
	s.TokenSalt = "other"
	other, _ := apicrud.NewConfirmations(s, func() time.Time { return now }, false)
	if _, err := other.Read(token); !errors.Is(err, apicrud.ErrInvalid) {
		t.Error("another salt reads it:", err)
	}
	for _, bad := range []apicrud.Confirmation{{}, {ContactID: "a:b", Nonce: "n"}, {ContactID: "a", Nonce: "n:"}, {ContactID: "a"}} {
		if _, err := c.Sign(bad); err == nil {
			t.Error(bad, "is signed")
		}
	}
	_, err = apicrud.NewConfirmations(apicrud.Settings{TokenSecret: "short"}, nil, false)
	if err == nil || !strings.Contains(err.Error(), "TokenTimeout") || !strings.Contains(err.Error(), "5 bytes") {
		t.Error(err)
	}
}

// FuzzSession: whatever stands in a value, what is read is written back as it was read.
func FuzzSession(f *testing.F) {
	f.Add(content, "6Xy9abcd")
	f.Add(`{"sub": "u", "x": [1.50, {"y": null}], "auth": "", "exp": "", "iss": "", "jti": ""}`, "")
	f.Add(`{"auth": 1, "exp": "1", "iss": "i", "jti": "j", "sub": "s", "sub": "t"}`, "j")
	c := newCipher(f, false)
	f.Fuzz(func(t *testing.T, text, token string) {
		v, err := c.EncryptWith(iv, text)
		if err != nil {
			return
		}
		o, err := c.Open(v, token)
		if err != nil {
			return
		}
		s, err := apicrud.ParseSession(o)
		if err != nil {
			return
		}
		sealed, err := c.Seal(s.Object())
		if errors.Is(err, pyjson.ErrUnwritable) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		o, err = c.Open(sealed, token)
		again, err2 := apicrud.ParseSession(o)
		if err != nil || err2 != nil || again.UID != s.UID || again.Exp != s.Exp || !slices.Equal(again.Roles, s.Roles) || len(again.Extra) != len(s.Extra) {
			t.Fatalf("%+v becomes %+v, %v %v", s, again, err, err2)
		}
	})
}

// FuzzConfirmation: only what was signed is read.
func FuzzConfirmation(f *testing.F) {
	now := func() time.Time { return time.Unix(1767323045, 0) }
	c, err := apicrud.NewConfirmations(apicrud.Settings{TokenSecret: strings.Repeat("t", 32), TokenSalt: "s", TokenTimeout: time.Hour}, now, false)
	if err != nil {
		f.Fatal(err)
	}
	token, _ := c.Sign(apicrud.Confirmation{ContactID: "c", Info: "i", Nonce: "n"})
	f.Add(token, "c", "i:j", "n")
	f.Fuzz(func(t *testing.T, text, id, info, nonce string) {
		if got, err := c.Read(text); err == nil && (got.ContactID == "" || got.Nonce == "") {
			t.Fatal(got)
		}
		token, err := c.Sign(apicrud.Confirmation{ContactID: id, Info: info, Nonce: nonce})
		if err != nil {
			return
		}
		if got, err := c.Read(token); err == nil && got != (apicrud.Confirmation{ContactID: id, Info: info, Nonce: nonce}) {
			t.Fatalf("%+v %v", got, err)
		}
	})
}
