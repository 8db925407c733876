package sessionmanager_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/compat/apicrud"
	"github.com/latchkey-go/latchkey/compat/apicrud/sessionmanager"
)

func Example() {
	ctx := context.Background()
	cipher, err := apicrud.NewCipher(apicrud.Config{Secret: "redis_aes_secret of 32 bytes or more"})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := sessionmanager.NewClient(rueidis.ClientOption{InitAddress: []string{redis.Addr}, DisableCache: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	sessions, err := sessionmanager.New(sessionmanager.Config{Client: client, Cipher: cipher, Issuer: "example.com"})
	if err != nil {
		fmt.Println(err)
		return
	}

	s, err := sessions.Create(ctx, sessionmanager.NewSession{UID: "u-abc123", Roles: []string{"user"}, TTL: 2 * time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	ref := sessionmanager.Ref{UID: s.UID, Token: s.Token} // what the client sends back, as HTTP Basic
	if _, err := sessions.Update(ctx, ref, "theme", "dark"); err != nil {
		fmt.Println(err)
	}
	s, err = sessions.Get(ctx, ref)
	fmt.Println(s.UID, s.Roles, s.Extra, err)

	fmt.Println(sessions.Delete(ctx, ref))
	_, err = sessions.Get(ctx, ref)
	fmt.Println(errors.Is(err, latchkey.ErrInvalidSession), err)
	// Output:
	// u-abc123 [user] [{theme dark}] <nil>
	// <nil>
	// true no valid session
}
