package reflow_test

import (
	"fmt"
	"time"

	"github.com/latchkey-go/latchkey/compat/reflow"
)

func Example() {
	c, err := reflow.New(reflow.Config{
		Secrets: []string{"AUTH_SECRET_KEY, 32 characters or more"},
		Now:     func() time.Time { return time.Date(2026, 1, 2, 3, 4, 10, 0, time.UTC) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	alice := c.NewIdentity("alice", "basic", nil, nil)
	cookie, err := c.Encode(&alice)
	if err != nil {
		fmt.Println(err)
		return
	}
	id, err := c.Decode(cookie)
	fmt.Println(id.Subject, id.ExpiresAt, err)
	fmt.Println(c.CheckCSRF(cookie, c.CSRF(cookie)), reflow.SafeNext(`/\evil.example`, "/"))
	// Output:
	// alice 2026-01-02T11:04:10Z <nil>
	// true /
}
