package transaction

import (
	"fmt"

	"github.com/latchkey-go/latchkey"
)

// Reason is why a sign-in could not be finished. It is for logs and metrics: the
// client is told the same whatever it is. The set is closed.
type Reason uint8

// The reasons.
const (
	// Missing: this browser has no cookie for the state. The sign-in began in another
	// browser, or it was finished or given up before, or it is older than the cookie.
	Missing Reason = iota + 1
	// Duplicate: there are two cookies of the name; one of them may have been planted.
	Duplicate
	// Malformed: the state or the cookie is not of the form that Begin gives them.
	Malformed
	// Unsealed: the cookie does not open: it was changed, or made under another key,
	// for another provider or for another name.
	Unsealed
	// Mismatch: the cookie holds another state.
	Mismatch
	// Expired: the attempt is older than Config.Lifetime, or began in the future.
	Expired
	// Replayed: the attempt was finished before.
	Replayed
)

// String returns a short name for metrics, such as "replayed".
func (r Reason) String() string {
	switch r {
	case Missing:
		return "missing"
	case Duplicate:
		return "duplicate"
	case Malformed:
		return "malformed"
	case Unsealed:
		return "unsealed"
	case Mismatch:
		return "mismatch"
	case Expired:
		return "expired"
	case Replayed:
		return "replayed"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Error is String: a Reason is the private cause of a refusal.
func (r Reason) Error() string { return r.String() }

// refuse is the one answer to every attempt that cannot be finished.
func refuse(why Reason) error {
	return latchkey.NewError(latchkey.CodeDenied, "this sign-in cannot be finished; it took too long, was finished before or began elsewhere: start it again", why)
}
