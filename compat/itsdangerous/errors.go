package itsdangerous

import "time"

// class is a node of the tree of error classes. Each unwraps to its parent, so that
// errors.Is matches a class and everything below it, as Python's except does.
type class struct {
	text   string
	parent error
}

func (c *class) Error() string { return c.text }
func (c *class) Unwrap() error { return c.parent }

// The classes of errors, as a tree:
//
//	ErrBadData
//	├── ErrBadSignature
//	│   └── ErrBadTimeSignature
//	│       └── ErrSignatureExpired
//	└── ErrBadPayload
//
// ErrBadPayload is not an ErrBadSignature: a program that handles only the latter
// lets a validly signed token with an unreadable payload through. Handle ErrBadData.
var (
	ErrBadData          error = &class{text: "itsdangerous: bad data"}
	ErrBadSignature     error = &class{text: "itsdangerous: bad signature", parent: ErrBadData}
	ErrBadTimeSignature error = &class{text: "itsdangerous: bad time signature", parent: ErrBadSignature}
	ErrSignatureExpired error = &class{text: "itsdangerous: signature expired", parent: ErrBadTimeSignature}
	ErrBadPayload       error = &class{text: "itsdangerous: bad payload", parent: ErrBadData}
)

// Error is every error that reading a token returns. It holds nothing of the token
// but, where it could be read, the time that the token claims to be signed at.
type Error struct {
	// Class is one of the Err variables, the most exact one that holds.
	Class error
	// Detail says what is wrong, in a few words.
	Detail string
	// DateSigned is the time in the token, zero when there is none. It is proven
	// only when Class is ErrSignatureExpired.
	DateSigned time.Time
}

// Error implements error.
func (e *Error) Error() string { return e.Class.Error() + ": " + e.Detail }

// Unwrap returns Class.
func (e *Error) Unwrap() error { return e.Class }

func bad(class error, detail string) error { return &Error{Class: class, Detail: detail} }
