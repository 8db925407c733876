package mysql_test

import (
	"context"
	"fmt"

	"github.com/latchkey-go/latchkey/store/mysql"
)

// A URL is looked at before anything is connected to; what is wrong with it is
// told without the password.
func ExampleCheckURL() {
	fmt.Println(mysql.CheckURL("mysql://latchkey:hunter2@db.example?tls=maybe"))
	_, err := mysql.Open(context.Background(), mysql.Config{URL: "mysql://latchkey:hunter2@db.example/sessions", Readers: -1})
	fmt.Println(err)
	// Output:
	// names no database; has tls="maybe"; there are off, require and verify
	// latchkey: mysql store: Readers: -1 is not between 0, which means 4, and 1000
}
