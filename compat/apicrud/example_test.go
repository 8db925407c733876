package apicrud_test

import (
	"fmt"
	"time"

	"github.com/latchkey-go/latchkey/compat/apicrud"
)

func Example() {
	c, err := apicrud.NewCipher(apicrud.Config{Secret: "redis_aes_secret of 32 bytes or more"})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := apicrud.Session{Roles: []string{"user"}, Exp: apicrud.Exp(now, apicrud.DefaultTTL), Issuer: "example.com", Token: "6Xy9abcd", UID: "u-abc123"}
	value, err := c.Seal(s.Object())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("SET", apicrud.Key(s.UID, s.Token), len(value))
	content, err := c.Open(value, s.Token)
	fmt.Println(content, err)
	// Output:
	// SET ses:u-abc123:bcd 172
	// [{auth user} {exp 1767324245} {iss example.com} {jti 6Xy9abcd} {sub u-abc123}] <nil>
}
