package crossauth_test

import (
	"fmt"

	"github.com/latchkey-go/latchkey/compat/crossauth"
)

func ExampleCSRF() {
	c, err := crossauth.NewCSRF(crossauth.CSRFConfig{Secret: "CROSSAUTH_SECRET of 32 bytes or more"})
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := c.NewToken()
	if err != nil {
		fmt.Println(err)
		return
	}
	cookie := c.CookieValue(token) // into the cookie
	header, err := c.Mask(token)   // into the page or the header
	fmt.Println(len(token), len(cookie), len(header), err)
	fmt.Println(c.Validate(cookie, header))
	fmt.Println(c.Validate(cookie, token))
	// Output:
	// 22 87 45 <nil>
	// <nil>
	// crossauth: CSRF token in header or form not in correct format
}
