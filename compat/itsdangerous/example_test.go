package itsdangerous_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-go/latchkey/compat/itsdangerous"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

func Example() {
	now := time.Unix(1767323045, 0)
	s, err := itsdangerous.NewTimed(itsdangerous.Config{
		Secrets: []string{"an old secret of 32 bytes or more", "the secret of today, 32 or longer"},
		Salt:    "confirm-email",
		Now:     func() time.Time { return now },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := s.Dumps(pyjson.Object{{Name: "id", Value: 7}})
	fmt.Println(token, err)

	now = now.Add(time.Hour)
	value, signed, err := s.Loads(token, 2*time.Hour)
	fmt.Println(value, signed.Format(time.RFC3339), err)
	_, _, err = s.Loads(token, time.Minute)
	fmt.Println(errors.Is(err, itsdangerous.ErrSignatureExpired), err)
	// Output:
	// eyJpZCI6N30.aVc1pQ.voSEJVV6no1m5Hq0WHMiMtGYQUw <nil>
	// [{id 7}] 2026-01-02T03:04:05Z <nil>
	// true itsdangerous: signature expired: older than the maximum age
}
