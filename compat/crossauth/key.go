package crossauth

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/compat/engine"
)

// MaxKeysOfUser is how many keys GetAllForUser returns; a user with more is an error
// of code BadRequest.
const MaxKeysOfUser = 10_000

// UserID names a user, or nobody: the zero value is anonymous, which is NULL in the
// table. 0 and "" are users like others, where the original takes them for nobody.
// UserIDs are comparable with ==; 5 and "5" are two.
type UserID struct {
	known   bool
	integer bool
	text    string
}

// IntUser is a user whose identifier is an integer.
func IntUser(id int64) UserID { return UserID{true, true, strconv.FormatInt(id, 10)} }

// TextUser is a user whose identifier is a text.
func TextUser(id string) UserID { return UserID{true, false, id} }

// Anonymous reports whether u is nobody.
func (u UserID) Anonymous() bool { return !u.known }

// String returns the identifier, "" for nobody.
func (u UserID) String() string { return u.text }

func (u UserID) value() engine.Value {
	if !u.known {
		return engine.NullValue()
	}
	if n, err := strconv.ParseInt(u.text, 10, 64); u.integer && err == nil {
		return engine.IntValue(n)
	}
	return engine.TextValue(u.text)
}

// Field is a column that the program has added to the table, and its value.
type Field struct {
	Name  string
	Value engine.Value
}

// Key is a row of the key table: a session, a reset token, and so on by the prefix of
// its value. Times are UTC in microseconds.
type Key struct {
	Value      string
	UserID     UserID
	Created    time.Time
	Expires    time.Time // zero is never
	LastActive time.Time // zero is unknown
	Data       string    // a JSON object, or ""
	Extra      []Field   // the table's further columns
}

// PartialKey is the part of a key to change or to look for; what is nil is left alone.
// A time that is zero and a UserID that is anonymous stand for NULL.
type PartialKey struct {
	Value                        string // "" is left out
	UserID                       *UserID
	Created, Expires, LastActive *time.Time
	Data                         *string
	Extra                        []Field
}

// KeyStorage keeps keys. Implementations are safe for concurrent use. Errors are
// *Error: InvalidKey for a key that is not there, BadRequest for a question that makes
// no sense, DataFormat for a row or data that cannot be read, ConstraintViolation, and
// Connection for a database that does not answer.
type KeyStorage interface {
	// GetKey returns the key of a value, or InvalidKey.
	GetKey(ctx context.Context, value string) (Key, error)
	// SaveKey adds a key; one that is there is KeyExists and stays as it is.
	SaveKey(ctx context.Context, key Key) error
	// UpdateKey changes the key of key.Value, or is InvalidKey. It adds none.
	UpdateKey(ctx context.Context, key PartialKey) error
	// DeleteKey deletes a key. It is no error when there is none.
	DeleteKey(ctx context.Context, value string) error
	// DeleteAllForUser deletes the keys of a user whose value has a prefix, but the one
	// of value except unless that is "". For the anonymous user these are the keys of
	// nobody; no other user's call touches them.
	DeleteAllForUser(ctx context.Context, user UserID, prefix, except string) error
	// DeleteMatching deletes the keys that are like key in all it says. To say nothing
	// is BadRequest.
	DeleteMatching(ctx context.Context, key PartialKey) error
	// GetAllForUser returns the keys of a user, for the anonymous user those of nobody,
	// the oldest first.
	GetAllForUser(ctx context.Context, user UserID) ([]Key, error)
	KeyData
}

// KeyData changes the JSON object in a key's data. A name with dots walks into
// objects that are there: a.b is the member b of the object a. Values are what package
// pyjson writes. Changes of several writers to different names all survive, unless one
// of them is the original, which writes back what it read.
type KeyData interface {
	// UpdateData sets one name. Without its parents it is BadRequest.
	UpdateData(ctx context.Context, value, name string, v any) error
	// UpdateManyData makes all the changes, or none.
	UpdateManyData(ctx context.Context, value string, entries []DataEntry) error
	// DeleteData deletes one name. It is no error when it is not there.
	DeleteData(ctx context.Context, value, name string) error
}

// ownColumns are the key table's own, which no extra field may name. The user's column
// has a name of the program's choice besides.
var ownColumns = []string{"id", "value", "userid", "created", "expires", "lastactive", "data"}

// isName reports whether s is of ^[A-Za-z0-9_]+$ and short enough for PostgreSQL.
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return s != "" && len(s) <= 63
}

// checkExtra refuses names that would be SQL, or a column of the table's own: names
// go into the statement, and SQL knows no parameters for them.
func checkExtra(extra []Field, userColumn string) error {
	for i, f := range extra {
		own := func(name string) bool { return strings.EqualFold(name, f.Name) }
		switch {
		case !isName(f.Name):
			return newError(BadRequest, "Invalid field name; use letters, digits and _, at most 63")
		case own(userColumn) || slices.ContainsFunc(ownColumns, own):
			return newError(BadRequest, "Field "+f.Name+" is a column of the key's own")
		case slices.ContainsFunc(extra[:i], func(g Field) bool { return own(g.Name) }):
			return newError(BadRequest, "Field "+f.Name+" is given twice")
		case f.Value.Kind() == engine.Other:
			return newError(BadRequest, "Field "+f.Name+" has a value that cannot be written")
		}
	}
	return nil
}

func (p *PartialKey) empty() bool {
	return p.Value == "" && p.UserID == nil && p.Created == nil && p.Expires == nil && p.LastActive == nil && p.Data == nil && len(p.Extra) == 0
}

// microseconds is t as the table keeps it.
func microseconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

var errManyKeys = newError(BadRequest, "The user has more than 10000 keys")
