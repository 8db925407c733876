package crossauth_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/latchkey-go/latchkey/compat/crossauth"
	"github.com/latchkey-go/latchkey/compat/engine"
)

func ExampleSessionCookie() {
	dir, err := os.MkdirTemp("", "crossauth")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	pool, err := sqlitex.NewPool(filepath.Join(dir, "app.db"), sqlitex.PoolOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	keys, err := crossauth.NewKeyTable(crossauth.KeyTableConfig{DB: engine.SQLite(pool)})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	if err := keys.CreateTable(ctx); err != nil {
		fmt.Println(err)
		return
	}
	sessions, err := crossauth.NewSessionCookie(crossauth.SessionCookieConfig{
		Storage: keys, Secret: "session secret of 32 bytes or more", IdleTimeout: time.Hour,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// A visitor fills a cart, then signs in.
	visitor, err := sessions.CreateSessionKey(ctx, crossauth.UserID{}, `{"cart": ["book"]}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	session, err := sessions.SignIn(ctx, visitor.Value, crossauth.TextUser("alice"))
	if err != nil {
		fmt.Println(err)
		return
	}
	cookie, err := sessions.MakeCookie(session)
	if err != nil {
		fmt.Println(err)
		return
	}
	// The next request.
	id, err := sessions.UnsignCookie(cookie.Value)
	if err != nil {
		fmt.Println(err)
		return
	}
	key, err := sessions.GetSessionKey(ctx, id)
	fmt.Println(key.UserID, key.Data, err)
	_, err = sessions.GetSessionKey(ctx, visitor.Value)
	fmt.Println(crossauth.Refused(err), err)
	// Output:
	// alice {"cart": ["book"]} <nil>
	// true crossauth: Key is invalid
}

func ExampleSessionOptions_Config() {
	env := map[string]string{"CROSSAUTH_SESSION_COOKIE_maxAge": "3600", "CROSSAUTH_SESSION_COOKIE_NAME": "SID"}
	secret := "session secret of 32 bytes or more"
	config, err := crossauth.SessionOptions{Secret: &secret}.Config(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	fmt.Println(config.CookieName, config.MaxAge, err)
	_, err = crossauth.SessionOptions{Secret: &secret}.Config(func(string) (string, bool) { return "yes please", true })
	fmt.Println(err != nil)
	// Output:
	// SID 1h0m0s <nil>
	// true
}
