package engine

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// MaxText is the longest text read from a column, in bytes. Longer ones are of kind
// Other: a row that somebody else wrote must not exhaust this program's memory.
const MaxText = 1 << 20

// Kind is what a value is.
type Kind uint8

// The kinds. Other stands for whatever these tables have no use for: blobs, JSON
// documents, text that is not UTF-8 or over MaxText.
const (
	Null Kind = iota
	Int
	Real
	Text
	Bool
	Other
)

// Value is a parameter, or a column of a row. The zero value is NULL. Values are
// comparable with ==.
type Value struct {
	kind Kind
	num  int64
	real float64
	text string
}

// NullValue is NULL.
func NullValue() Value { return Value{} }

// IntValue is an integer.
func IntValue(n int64) Value { return Value{kind: Int, num: n} }

// RealValue is a floating-point number.
func RealValue(f float64) Value { return Value{kind: Real, real: f} }

// TextValue is a text. PostgreSQL takes neither a zero byte in it nor anything that
// is not UTF-8.
func TextValue(s string) Value { return Value{kind: Text, text: s} }

// BoolValue is a truth value; SQLite and MariaDB keep 0 or 1.
func BoolValue(b bool) Value {
	if b {
		return Value{kind: Bool, num: 1}
	}
	return Value{kind: Bool}
}

// Kind returns what v is.
func (v Value) Kind() Kind { return v.kind }

// Text returns the text, and whether v is one.
func (v Value) Text() (string, bool) { return v.text, v.kind == Text }

// Int returns the integer, and whether v is one.
func (v Value) Int() (int64, bool) { return v.num, v.kind == Int }

// Real returns the floating-point number, and whether v is one.
func (v Value) Real() (float64, bool) { return v.real, v.kind == Real }

// Bool returns the truth value, and whether v is one. What SQLite calls boolean is Int.
func (v Value) Bool() (value, ok bool) { return v.num != 0, v.kind == Bool }

// postgres is v as PostgreSQL reads it, whatever the type of the parameter.
func (v Value) postgres() any {
	switch v.kind {
	case Int:
		return strconv.FormatInt(v.num, 10)
	case Real:
		return strconv.FormatFloat(v.real, 'g', -1, 64)
	case Bool:
		return strconv.FormatBool(v.num != 0)
	case Text:
		return v.text
	}
	return nil
}

// Row is one row, its columns by name in any case, as SQL has them.
type Row struct {
	names  []string
	values []Value
}

// Get returns a column, and whether the row has it.
func (r *Row) Get(name string) (Value, bool) {
	for i, n := range r.names {
		if strings.EqualFold(n, name) {
			return r.values[i], true
		}
	}
	return Value{}, false
}

// Names returns the names of the columns in their order. Do not change it.
func (r *Row) Names() []string { return r.names }

// ParseRow reads a row from the JSON object that PostgreSQL's row_to_json makes of it.
func ParseRow(text string) (Row, error) {
	o, err := pyjson.ParseObject([]byte(text))
	if err != nil {
		return Row{}, fmt.Errorf("engine: row: %w", err)
	}
	r := Row{make([]string, len(o)), make([]Value, len(o))}
	for i, m := range o {
		r.names[i], r.values[i] = m.Name, fromJSON(m.Value)
	}
	return r, nil
}

func fromJSON(v any) Value {
	switch v := v.(type) {
	case nil:
		return Value{}
	case string:
		return boundedText(v)
	case bool:
		return BoolValue(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return IntValue(n)
		}
		if f, err := v.Float64(); err == nil {
			return RealValue(f)
		}
	}
	return Value{kind: Other}
}

func boundedText(s string) Value {
	if len(s) > MaxText || !utf8.ValidString(s) {
		return Value{kind: Other}
	}
	return TextValue(s)
}
