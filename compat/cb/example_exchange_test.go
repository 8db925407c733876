package cb_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/compat/cb"
	"github.com/latchkey-go/latchkey/compat/engine"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/store/memory"
)

// A visitor who comes with an old cookie gets a session of Latchkey's for it, once, and
// notices nothing.
func ExampleService_exchange() {
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
	codec, err := cb.New(cb.Settings{SecretKey: "secret_key of at least 32 bytes, please", SessionMaxDays: 14, AppEnv: "production"}.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	old, err := cb.NewService(cb.ServiceConfig{Codec: codec, DB: engine.SQLite(pool)})
	if err != nil {
		fmt.Println(err)
		return
	}
	store, err := memory.New(memory.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	keys, err := keyring.Generate(time.Now())
	if err != nil {
		fmt.Println(err)
		return
	}
	const absolute = 24 * time.Hour
	manager, err := latchkey.New(latchkey.Config{Store: store, Keys: keys, Absolute: absolute})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer manager.Close(context.Background())

	exchange := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			visitor, err := latchkey.FromContext(r.Context())
			cookie, missing := r.Cookie(cb.CookieName)
			if err != nil || missing != nil || visitor.Live() {
				next.ServeHTTP(w, r)
				return
			}
			was, err := old.Lookup(r.Context(), cookie.Value)
			if err == nil {
				err = visitor.SignIn(r.Context(), latchkey.SignIn{Provider: "app", Subject: strconv.FormatInt(was.UserID, 10), AuthTime: was.CreatedAt,
					SID: "cb-" + strconv.FormatInt(was.ID, 10), Lifetime: min(time.Until(was.ExpiresAt), absolute)})
				err = errors.Join(err, old.Revoke(r.Context(), was))
			}
			switch {
			case errors.Is(err, cb.ErrInvalid): // the visitor signs in again
			case err != nil:
				http.Error(w, "try again", http.StatusServiceUnavailable)
				return
			}
			http.SetCookie(w, old.Clear())
			next.ServeHTTP(w, r)
		})
	}
	site := manager.Middleware(exchange(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		visitor, err := latchkey.FromContext(r.Context())
		if err != nil || !visitor.SignedIn() {
			http.Error(w, "sign in", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "hello, user ", visitor.Subject())
	})))

	ctx := context.Background()
	if err := old.CreateTable(ctx); err != nil {
		fmt.Println(err)
		return
	}
	_, value, err := old.Create(ctx, 7, "203.0.113.9", "Firefox")
	if err != nil {
		fmt.Println(err)
		return
	}
	visit := func(cookies ...*http.Cookie) []*http.Cookie {
		r := httptest.NewRequest("GET", "https://app.example.com/", nil)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		fmt.Printf("%d %s\n", w.Code, w.Body)
		return w.Result().Cookies()
	}
	set := visit(old.Cookie(value)) // the old cookie is exchanged
	for _, c := range set {
		fmt.Println(c.Name, c.MaxAge > 0)
	}
	visit(set[1])            // the new one is good
	visit(old.Cookie(value)) // the old one is not any more
	// Output:
	// 200 hello, user 7
	// cb_session false
	// __Host-session true
	// 200 hello, user 7
	// 401 sign in
}
