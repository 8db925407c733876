package crossauth_test

import (
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/crossauth"
	"github.com/latchkey-go/latchkey/compat/internal/databasetest"
)

func TestAPIKeys(t *testing.T) {
	storages := func(t *testing.T, test func(t *testing.T, s crossauth.KeyStorage)) {
		t.Run("memory", func(t *testing.T) { test(t, &crossauth.MemoryKeys{}) })
		databases.Each(t, func(t *testing.T, db database) {
			k := made(t, db.DB, func(c *crossauth.KeyTableConfig) { c.Table = "ApiKey" })
			databasetest.Execute(t, db.DB, "ALTER TABLE ApiKey ADD COLUMN name TEXT")
			test(t, k)
		})
	}
	storages(t, func(t *testing.T, storage crossauth.KeyStorage) {
		c, ctx := databasetest.NewClock(), t.Context()
		keys, err := crossauth.NewAPIKeys(crossauth.APIKeyConfig{Storage: storage, Secret: longSecret, Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		text, made, err := keys.Create(ctx, alice, "ci", c.Now().Add(time.Hour))
		if err != nil || !strings.HasPrefix(made.Value, "api:") || len(made.Value) != 47 {
			t.Fatal(made, err)
		}
		for _, header := range []string{"ApiKey " + text, "apikey " + text} {
			if got, err := keys.Validate(ctx, header); err != nil || got.UserID != alice || got.Value != made.Value {
				t.Error(got, err)
			}
		}
		signer, _ := crossauth.NewSigner(longSecret)
		foreign, _ := signer.Sign(nil, "s", c.Now())
		for _, header := range []string{"", "ApiKey", "ApiKey ", "Bearer " + text, text, "ApiKey " + text + "0", "ApiKey " + text[1:], "ApiKey " + foreign, "ApiKey " + signer.SignSecureToken("x"), "ApiKey " + strings.Repeat("x", 10<<20)} {
			_, err := keys.Validate(ctx, header)
			wantCode(t, err, crossauth.InvalidKey)
		}
		_, _, err = keys.Create(ctx, alice, "ci", never)
		wantCode(t, err, crossauth.KeyExists)
		if _, _, err := keys.Create(ctx, empty, "ci", never); err != nil {
			t.Error("another user's name:", err)
		}
		_, _, err = keys.Create(ctx, nobody, "ci", never)
		wantCode(t, err, crossauth.BadRequest)
		c.Turn(time.Hour)
		if _, err := keys.Validate(ctx, "ApiKey "+text); err != nil {
			t.Error(err)
		}
		c.Turn(time.Microsecond)
		_, err = keys.Validate(ctx, "ApiKey "+text)
		wantCode(t, err, crossauth.Expired)
		if err := storage.DeleteKey(ctx, made.Value); err != nil {
			t.Error(err)
		}
		_, err = keys.Validate(ctx, "ApiKey "+text)
		wantCode(t, err, crossauth.InvalidKey)
	})
	_, err := crossauth.NewAPIKeys(crossauth.APIKeyConfig{Secret: "short", Length: 8, Prefix: "s:"})
	for _, want := range []string{"Storage", "Secret", "Length", "Prefix"} {
		if code(err) != crossauth.Configuration || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
}

func TestEmailTokens(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage crossauth.KeyStorage) {
		c, ctx := databasetest.NewClock(), t.Context()
		verify := crossauth.EmailTokens{Storage: storage, Prefix: crossauth.PrefixEmailVerification, Now: c.Now}
		reset := crossauth.EmailTokens{Storage: storage, Prefix: crossauth.PrefixPasswordReset, Expires: time.Hour, Now: c.Now}
		create := func(e *crossauth.EmailTokens, data string) string {
			t.Helper()
			token, err := e.Create(ctx, alice, data)
			if err != nil || len(token) != 22 {
				t.Fatal(token, err)
			}
			return token
		}
		refused := func(e *crossauth.EmailTokens, token string, want crossauth.Code) {
			t.Helper()
			_, err := e.Redeem(ctx, token)
			wantCode(t, err, want)
		}
		one := create(&verify, `{"newEmail": "a@example.com"}`)
		refused(&reset, one, crossauth.InvalidKey)
		if key, err := verify.Redeem(ctx, one); err != nil || key.UserID != alice || key.Data != `{"newEmail": "a@example.com"}` {
			t.Error(key, err)
		}
		refused(&verify, one, crossauth.InvalidKey)
		old := create(&verify, "")
		create(&verify, "")
		refused(&verify, old, crossauth.InvalidKey)
		late := create(&reset, "")
		c.Turn(time.Hour + time.Microsecond)
		refused(&reset, late, crossauth.Expired)
		for _, token := range []string{"", "x", crossauth.Hash(one), strings.Repeat("A", 10<<20)} {
			refused(&reset, token, crossauth.InvalidKey)
		}
		_, err := verify.Create(ctx, nobody, "")
		wantCode(t, err, crossauth.BadRequest)
		_, err = verify.Create(ctx, alice, "[]")
		wantCode(t, err, crossauth.DataFormat)
		if left := values(t, storage, alice); strings.Contains(left, "redeemed") {
			t.Error(left)
		}

		token := create(&reset, "")
		var wg sync.WaitGroup
		var had atomic.Int32
		for range 8 {
			wg.Go(func() {
				switch _, err := reset.Redeem(ctx, token); {
				case err == nil:
					had.Add(1)
				case code(err) != crossauth.InvalidKey:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if had.Load() != 1 {
			t.Errorf("%d have redeemed one token", had.Load())
		}
	})
}

func TestPasswordOptions(t *testing.T) {
	env := func(pairs map[string]string) crossauth.Environment {
		return func(name string) (string, bool) { v, ok := pairs[name]; return v, ok }
	}
	o, err := crossauth.PasswordOptionsFrom(env(map[string]string{"PBKDF2_DIGEST": "sha512", "PBKDF2_ITERATIONS": "210000", "PBKDF2_KEYLENGTH": "64", "PBKDF2_SALTLENGTH": "32"}))
	if err != nil {
		t.Fatal(err)
	}
	h, err := o.Hash(rand.Reader, "x")
	if err != nil || !strings.HasPrefix(h.String(), "pbkdf2:sha512:64:210000:0:") || len(h.Salt) != 43 || !h.Matches("x") || h.Matches("y") {
		t.Error(h, err)
	}
	if o, err := crossauth.PasswordOptionsFrom(nil); err != nil || o != (crossauth.PasswordOptions{}) {
		t.Error(o, err)
	}
	_, err = crossauth.PasswordOptionsFrom(env(map[string]string{"PBKDF2_DIGEST": "md5", "PBKDF2_ITERATIONS": "1000", "PBKDF2_KEYLENGTH": "4", "PBKDF2_SALTLENGTH": "x"}))
	for _, want := range []string{"md5", "1000 iterations", "4 bytes", "PBKDF2_SALTLENGTH is"} {
		if code(err) != crossauth.Configuration || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "CROSSAUTH_") {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
	if _, err := (crossauth.PasswordOptions{Iterations: 10, DangerouslyFewIterations: true}).Hash(rand.Reader, "x"); err != nil {
		t.Error(err)
	}
	secret := longSecret
	c, err := crossauth.APIKeyOptions{Secret: &secret}.Config(env(map[string]string{"CROSSAUTH_APIKEY_LENGTH": "24", "CROSSAUTH_APIKEY_PREFIX": "k:", "CROSSAUTH_APIKEY_AUTHSCHEME": "Key"}))
	if err != nil || c.Length != 24 || c.Prefix != "k:" || c.Scheme != "Key" {
		t.Error(c.Length, c.Prefix, c.Scheme, err)
	}
	if _, err := (crossauth.APIKeyOptions{}).Config(nil); code(err) != crossauth.Configuration {
		t.Error(err)
	}
	verify, reset, err := crossauth.TokenExpiries(env(map[string]string{"CROSSAUTH_VERIFY_EMAIL_EXPIRES": "60"}))
	if verify != time.Minute || reset != crossauth.DefaultTokenExpiry || err != nil {
		t.Error(verify, reset, err)
	}
}
