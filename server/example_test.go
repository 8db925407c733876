package server_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/server"
	"github.com/latchkey-go/latchkey/store/memory"
)

func Example() {
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
	manager, err := latchkey.New(latchkey.Config{Store: store, Keys: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer manager.Close(context.Background())

	const key = "an admin key comes from a file, not from the source"
	srv, err := server.New(server.Config{Manager: manager, Store: store, Keys: keys,
		AdminKeys: []server.AdminKey{{Name: "billing", Key: strings.ReplaceAll(key, " ", "-")}}})
	if err != nil {
		fmt.Println(err)
		return
	}

	for _, key := range []string{strings.ReplaceAll(key, " ", "-"), "a guess"} {
		r := httptest.NewRequest("POST", "/v1/sessions", strings.NewReader(`{"subject":"alice","roles":["reader"]}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		srv.Handler().ServeHTTP(w, r)
		fmt.Println(w.Code, http.StatusText(w.Code), strings.Contains(w.Body.String(), `"subject":"alice","provider":"api"`))
	}
	// Output:
	// 201 Created true
	// 403 Forbidden false
}
