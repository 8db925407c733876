package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/upstream"
)

// An authorization server's introspection endpoint, asked at most once a minute for each session.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.PostFormValue("token") != "good" {
			fmt.Fprint(w, `{"active": false}`)
			return
		}
		fmt.Fprintf(w, `{"active": true, "sub": "u1", "name": "Ada", "exp": %d}`, time.Now().Add(time.Hour).Unix())
	}))
	defer server.Close()

	idp, err := upstream.NewIntrospection(upstream.IntrospectionConfig{URL: server.URL, ClientID: "shop", ClientSecret: "secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	cache, err := upstream.New(upstream.Config{Upstream: idp, TTL: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cache.Close()

	for _, token := range []string{"good", "good", "bad"} {
		user, err := cache.Lookup(context.Background(), token)
		switch {
		case err == nil:
			fmt.Println(user.ID, user.Name)
		case errors.Is(err, latchkey.ErrInvalidSession):
			fmt.Println("not signed in")
		default:
			fmt.Println("try again later")
		}
	}
	fmt.Println(cache.Stats().Calls, "calls")
	// Output:
	// u1 Ada
	// u1 Ada
	// not signed in
	// 2 calls
}
