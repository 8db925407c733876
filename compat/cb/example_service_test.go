package cb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/latchkey-go/latchkey/compat/cb"
	"github.com/latchkey-go/latchkey/compat/engine"
)

func ExampleService() {
	dir, err := os.MkdirTemp("", "cb")
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
	settings := cb.Settings{SecretKey: "secret_key of at least 32 bytes, please", SessionMaxDays: 14, AppEnv: "production"}
	codec, err := cb.New(settings.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	service, err := cb.NewService(cb.ServiceConfig{Codec: codec, DB: engine.SQLite(pool)})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	if err := service.CreateTable(ctx); err != nil {
		fmt.Println(err)
		return
	}
	session, cookie, err := service.Create(ctx, 7, "203.0.113.9", "Firefox")
	fmt.Println(session.UserID, service.Cookie(cookie).Secure, err)
	found, err := service.Lookup(ctx, cookie)
	fmt.Println(found == session, err)
	fmt.Println(service.Revoke(ctx, session))
	_, err = service.Lookup(ctx, cookie)
	fmt.Println(errors.Is(err, cb.ErrInvalid), err)
	// Output:
	// 7 true <nil>
	// true <nil>
	// <nil>
	// true cb: the session is not valid
}
