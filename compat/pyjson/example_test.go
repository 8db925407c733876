package pyjson_test

import (
	"fmt"

	"github.com/latchkey-go/latchkey/compat/pyjson"
)

func Example() {
	o := pyjson.Object{{Name: "sub", Value: "Zoë"}, {Name: "exp", Value: 1767330245}}
	for _, style := range []pyjson.Style{pyjson.Compact, pyjson.Default} {
		text, err := pyjson.Marshal(style, o)
		fmt.Println(string(text), err)
	}
	// Output:
	// {"sub":"Zoë","exp":1767330245} <nil>
	// {"sub": "Zo\u00eb", "exp": 1767330245} <nil>
}
