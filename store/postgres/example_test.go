package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
)

// A node: the store, a near cache over it, and a Manager.
func ExampleOpen() {
	ctx := context.Background()
	url := pg.URL + "?schema=example" // postgres://USER:PASSWORD@HOST/DATABASE
	store, err := Open(ctx, Config{URL: url})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	cache, err := nearcache.New(nearcache.Config{Store: store})
	if err != nil {
		fmt.Println(err)
		return
	}
	cache.Start()
	defer cache.Stop()
	keys, err := keyring.Generate(time.Now())
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := latchkey.New(latchkey.Config{Store: store, Cache: cache, Keys: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close(ctx)

	issued, err := m.Issue(ctx, latchkey.SignIn{Provider: "idp", Subject: "ann"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = m.Lookup(ctx, latchkey.Lookup{Token: issued.Token})
	fmt.Println("signed in:", err == nil)
	_, err = m.Revoke(ctx, latchkey.Revocation{ID: issued.Record.ID, By: "admin:ada", Reason: "lost laptop"})
	fmt.Println("revoked:", err == nil)
	_, err = m.Lookup(ctx, latchkey.Lookup{Token: issued.Token})
	fmt.Println("afterwards:", latchkey.CodeOf(err))
	// Output:
	// signed in: true
	// revoked: true
	// afterwards: invalid_session
}
