package cb_test

import (
	"fmt"
	"time"

	"github.com/latchkey-go/latchkey/compat/cb"
)

func ExampleCodec_Check() {
	c, err := cb.New(cb.Config{
		Secrets: []string{"secret_key of at least 32 bytes, please"},
		Days:    30,
		Now:     func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	cookie, err := c.Cookie("a random value")
	if err != nil {
		fmt.Println(err)
		return
	}
	row := cb.Row{TokenHash: cb.TokenHash("a random value"), ExpiresAt: "2026-02-01T03:04:05+00:00"}
	fmt.Println(c.Check(cookie, &row))
	now := "2026-01-02T03:05:00+00:00"
	row.RevokedAt = &now
	fmt.Println(c.Check(cookie, &row))
	// Output:
	// <nil>
	// cb: the session is not valid
}
