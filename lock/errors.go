package lock

import (
	"fmt"

	"github.com/latchkey-go/latchkey"
)

// The errors of this package, to compare with by [errors.Is]; there are no others.
// Each is a *[latchkey.Error] and has one of its codes. What is returned also names
// the lock, and unwraps to the cause where there is one: a driver's error, or that
// of a context that ended.
var (
	// ErrTimeout: somebody else had the lock until Wait was over or the context
	// ended; in the latter case the context's error is in the chain as well. Code
	// conflict.
	ErrTimeout = &latchkey.Error{Code: latchkey.CodeConflict, Message: "not acquired in time; somebody else holds it"}
	// ErrLost: the lock was held and is no longer, without having been released: the
	// lease ended before a renewal got through, or somebody else has the lock. What
	// was done under it may have overlapped with another's work. Code conflict.
	ErrLost = &latchkey.Error{Code: latchkey.CodeConflict, Message: "lost while it was held"}
	// ErrNotHeld: the lock has been released already. Code conflict.
	ErrNotHeld = &latchkey.Error{Code: latchkey.CodeConflict, Message: "not held; it has been released"}
	// ErrUnavailable: the server gave no usable answer. An acquisition has not
	// succeeded, though the name may be taken until a TTL has passed; a release may
	// have happened, and if not the lease ends by itself. Code store_unavailable.
	ErrUnavailable = &latchkey.Error{Code: latchkey.CodeStoreUnavailable, Message: "the lock server gave no usable answer"}
	// ErrInvalid: a name, an option or the configuration is wrong; the fields say
	// which, all of them. Code invalid_request.
	ErrInvalid = &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "lock: invalid arguments"}
)

// failed is an error of one of the kinds above about the lock called name.
func failed(kind *latchkey.Error, name string, cause error) error {
	return fmt.Errorf("lock %q: %w", name, latchkey.NewError(kind.Code, kind.Message, cause))
}

// problems gathers what is wrong with arguments.
type problems []latchkey.FieldError

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return &latchkey.Error{Code: ErrInvalid.Code, Message: ErrInvalid.Message, Fields: p}
}
