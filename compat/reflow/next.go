package reflow

import (
	"strings"

	"github.com/latchkey-go/latchkey/transaction"
)

// MaxNext is the longest path that SafeNext keeps, in bytes.
const MaxNext = transaction.MaxReturnTo

// SafeNext returns next, as it stands, when it is a path of this site, and fallback
// otherwise.
//
// As in the original it must begin with one slash and hold no "://". Beyond it,
// [transaction.ReturnTo] refuses what browsers, or servers behind this one, take for
// another host's address: backslashes, control characters, dot segments and encoded
// or look-alike forms of them.
func SafeNext(next, fallback string) string {
	if strings.Contains(next, "://") || transaction.ReturnTo(next, nil) == "" {
		return fallback
	}
	return next
}
