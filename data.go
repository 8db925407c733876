package latchkey

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"unicode/utf8"
)

// Key names one typed value of session data. Values are kept as JSON, sealed
// under a key that only the holder of the token can open. Make keys once, as
// package variables:
//
//	var Cart = latchkey.NewKey[[]Item]("cart")
//
// Requests that write different keys of one session never undo each other. For
// read-modify-write of a single key use Update.
type Key[T any] struct{ name string }

// Bounds of session data besides its size: how many values there may be, and how
// deep one may be nested (encoding/json reads no more than 10,000 levels, and the
// whole has one more than each value).
const (
	maxValues = 1<<16 - 1
	maxDepth  = 1000
)

// maxNameLength bounds the name of a data value, in bytes.
const maxNameLength = 128

// NewKey returns the key for values of type T under name. Two keys of one name
// read the same value.
func NewKey[T any](name string) Key[T] { return Key[T]{name} }

// Name returns the name the key was made with.
func (k Key[T]) Name() string { return k.name }

// Get returns the value, or the zero value when there is none. The error is of
// code CodeInternal when the stored JSON does not fit T.
func (k Key[T]) Get(s Session) (T, error) {
	v, _, err := k.Lookup(s)
	return v, err
}

// Lookup is Get that also tells whether there is a value.
func (k Key[T]) Lookup(s Session) (value T, found bool, err error) {
	raw, ok, err := s.raw(k.name)
	if !ok || err != nil {
		return value, false, err
	}
	if p, isString := any(&value).(*string); isString && plainString(raw) {
		*p = alias(raw[1 : len(raw)-1])
		return value, true, nil
	}
	value, err = k.decode(raw)
	return value, err == nil, err
}

// Set records a new value, saved at commit. A value that cannot be JSON, a bad
// name and a size over the cap are errors at once; after commit it is ErrCommitted.
func (k Key[T]) Set(s Session, value T) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return k.wrong("cannot be written as JSON", err)
	}
	return s.change(op{name: k.name, value: raw})
}

// Delete removes the value at commit; an absent one is no error.
func (k Key[T]) Delete(s Session) error { return s.change(op{name: k.name}) }

// Update changes the value by a function of the present one (the zero value when
// there is none). The function runs at once and again at commit, on the value
// that is stored by then, as often as another request got in first; it must have
// no other effects. Its error leaves the session as it was: at once it is
// returned here, later by the commit.
func (k Key[T]) Update(s Session, f func(T) (T, error)) error {
	return s.change(op{name: k.name, update: func(raw json.RawMessage) (json.RawMessage, error) {
		var value T
		var err error
		if raw != nil {
			if value, err = k.decode(raw); err != nil {
				return nil, err
			}
		}
		if value, err = f(value); err != nil {
			return nil, err
		}
		out, err := json.Marshal(value)
		if err != nil {
			return nil, k.wrong("cannot be written as JSON", err)
		}
		return out, nil
	}})
}

func (k Key[T]) decode(raw json.RawMessage) (value T, err error) {
	if err := json.Unmarshal(raw, &value); err != nil {
		var zero T
		return zero, k.wrong(fmt.Sprintf("does not fit %v", reflect.TypeFor[T]()), err)
	}
	return value, nil
}

// wrong reports a value that does not fit. The cause may quote data and stays private.
func (k Key[T]) wrong(what string, cause error) error {
	return NewError(CodeInternal, fmt.Sprintf("latchkey: session value %q %s", k.name, what), cause)
}

// plainString reports whether raw is a JSON string that reads as it stands:
// valid UTF-8 was ensured when it was written, so only escapes matter.
func plainString(raw json.RawMessage) bool {
	if len(raw) < 2 || raw[0] != '"' {
		return false
	}
	for _, c := range raw[1 : len(raw)-1] {
		if c == '\\' {
			return false
		}
	}
	return true
}

// op is one recorded change of session data.
type op struct {
	name   string
	value  json.RawMessage // nil deletes
	update func(json.RawMessage) (json.RawMessage, error)
}

// checkName refuses names that could not be told apart or shown.
func checkName(name string) error {
	if name == "" || len(name) > maxNameLength || hasControl(name) {
		return &Error{Code: CodeInvalidRequest, Message: "latchkey: session data",
			Fields: []FieldError{{"name", fmt.Sprintf("a data name is 1 to %d bytes of text without control characters", maxNameLength)}}}
	}
	return nil
}

// values is session data in hand, with its size as a JSON object kept along, so
// that many changes do not measure the whole each time.
type values struct {
	m    map[string]json.RawMessage
	size int // exact but for escapes in names, unless there are none
}

func newValues(m map[string]json.RawMessage) *values {
	v := &values{m: m, size: 1}
	if v.m == nil {
		v.m = make(map[string]json.RawMessage)
	}
	for name, raw := range v.m {
		v.size += sizeOf(name, raw)
	}
	return v
}

// sizeOf is what a value adds to the object: quotes, colon and comma with it.
func sizeOf(name string, raw json.RawMessage) int { return len(name) + len(raw) + 4 }

func (v *values) clone() *values { return &values{maps.Clone(v.m), v.size} }

// apply makes one change, or returns an error and leaves v as it was. most bounds
// the size of the whole.
func (v *values) apply(o op, most int) error {
	if err := checkName(o.name); err != nil {
		return err
	}
	before, had := v.m[o.name]
	after := o.value
	if o.update != nil {
		var err error
		if after, err = o.update(before); err != nil {
			return err
		}
	}
	size := v.size
	if had {
		size -= sizeOf(o.name, before)
	}
	if after == nil {
		delete(v.m, o.name)
		v.size = size
		return nil
	}
	if size += sizeOf(o.name, after); size > most || !had && len(v.m) >= maxValues {
		return NewError(CodeDataTooLarge, fmt.Sprintf("session data would exceed %d bytes or %d values", most, maxValues), nil)
	}
	if depth(after) > maxDepth {
		return &Error{Code: CodeInvalidRequest, Message: "latchkey: session data",
			Fields: []FieldError{{o.name, fmt.Sprintf("is nested more than %d deep", maxDepth)}}}
	}
	v.m[o.name], v.size = after, size
	return nil
}

// applyAll makes changes until one fails. It runs away from the request that
// recorded them, so a program's function that panics is an error here.
func (v *values) applyAll(ops []op, most int) (err error) {
	defer func() {
		if recover() != nil {
			err = NewError(CodeInternal, "latchkey: a function given to Update panicked", nil)
		}
	}()
	for _, o := range ops {
		if err := v.apply(o, most); err != nil {
			return err
		}
	}
	return nil
}

// depth is how deep valid JSON is nested.
func depth(raw json.RawMessage) (deepest int) {
	level, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

// compactJSON checks a JSON text that comes from outside and takes the space out of it.
func compactJSON(name string, raw json.RawMessage) (json.RawMessage, error) {
	var b bytes.Buffer
	if !utf8.Valid(raw) || json.Compact(&b, raw) != nil {
		return nil, &Error{Code: CodeInvalidRequest, Message: "latchkey: session data", Fields: []FieldError{{name, "not valid JSON in UTF-8"}}}
	}
	return b.Bytes(), nil
}
