package pyjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Style is how Python was told to write.
type Style uint8

const (
	// Compact is separators=(",", ":"), ensure_ascii=False: itsdangerous.
	Compact Style = iota
	// Default is what json.dumps does by itself: a space after commas and colons,
	// and nothing but ASCII.
	Default
	// CompactASCII is separators=(",", ":") alone: PyJWT.
	CompactASCII
	// Verbatim is CompactASCII with the text of a json.Number kept as it is.
	Verbatim
)

// ErrUnwritable is what values that JSON has no form for are refused with: NaN and
// infinities, text that is not UTF-8, nesting beyond [MaxDepth].
var ErrUnwritable = errors.New("pyjson: JSON has no form for a value")

// Append writes v after dst. Besides what [Parse] returns, v may be any Go integer
// or float, *big.Int, map[string]any (members by name), or whatever encoding/json
// can marshal, whose order of members is then kept. A json.Number is written as
// Python writes the number it reads from that text: 1.50 as 1.5, 1e3 as 1000.0, -0
// as 0; only Verbatim keeps its text. Errors wrap [ErrUnwritable].
func Append(dst []byte, style Style, v any) ([]byte, error) {
	w := writer{style: style, out: dst}
	if err := w.value(v, 0); err != nil {
		return dst, err
	}
	return w.out, nil
}

// Marshal is [Append] to a new slice.
func Marshal(style Style, v any) ([]byte, error) { return Append(nil, style, v) }

type writer struct {
	style Style
	out   []byte
}

func unwritable(detail string) error { return fmt.Errorf("%w: %s", ErrUnwritable, detail) }

func (w *writer) text(s string) { w.out = append(w.out, s...) }

func (w *writer) value(v any, depth int) error {
	if depth > MaxDepth {
		return unwritable("nested too deep")
	}
	switch v := v.(type) {
	case nil:
		w.text("null")
	case bool:
		w.out = strconv.AppendBool(w.out, v)
	case string:
		return w.str(v)
	case json.Number:
		return w.number(string(v))
	case int:
		w.out = strconv.AppendInt(w.out, int64(v), 10)
	case int64:
		w.out = strconv.AppendInt(w.out, v, 10)
	case uint64:
		w.out = strconv.AppendUint(w.out, v, 10)
	case *big.Int:
		if v == nil {
			w.text("null")
			return nil
		}
		w.out = v.Append(w.out, 10)
	case float64:
		return w.float(v)
	case []any:
		return w.array(v, depth)
	case Object:
		return w.object(v, depth)
	case map[string]any:
		o := make(Object, 0, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			o = append(o, Member{name, v[name]})
		}
		return w.object(o, depth)
	default:
		return w.other(v, depth)
	}
	return nil
}

// other lets encoding/json write v and writes what that text says.
func (w *writer) other(v any, depth int) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrUnwritable, err)
	}
	parsed, err := Parse(b.Bytes())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnwritable, err)
	}
	return w.value(parsed, depth)
}

func (w *writer) comma() {
	if w.style == Default {
		w.text(", ")
	} else {
		w.text(",")
	}
}

func (w *writer) array(list []any, depth int) error {
	w.text("[")
	for i, v := range list {
		if i > 0 {
			w.comma()
		}
		if err := w.value(v, depth+1); err != nil {
			return err
		}
	}
	w.text("]")
	return nil
}

func (w *writer) object(o Object, depth int) error {
	w.text("{")
	for i := range o {
		if i > 0 {
			w.comma()
		}
		if err := w.str(o[i].Name); err != nil {
			return err
		}
		if w.text(":"); w.style == Default {
			w.text(" ")
		}
		if err := w.value(o[i].Value, depth+1); err != nil {
			return err
		}
	}
	w.text("}")
	return nil
}

// number writes the number that Python would have read from text.
func (w *writer) number(text string) error {
	r := reader{text: []byte(text)}
	if _, err := r.number(); err != nil || r.pos != len(text) {
		return unwritable("a json.Number that is no number")
	}
	if w.style == Verbatim {
		w.text(text)
		return nil
	}
	if strings.ContainsAny(text, ".eE") {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return unwritable("a number out of range")
		}
		return w.float(f)
	}
	if text == "-0" {
		text = "0"
	}
	w.text(text)
	return nil
}

// float writes repr(f): the shortest digits, an exponent below 1e-4 and from 1e16 on.
func (w *writer) float(f float64) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return unwritable("not a finite number")
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		w.out = strconv.AppendFloat(w.out, f, 'e', -1, 64)
		return nil
	}
	from := len(w.out)
	w.out = strconv.AppendFloat(w.out, f, 'f', -1, 64)
	if !bytes.ContainsRune(w.out[from:], '.') {
		w.text(".0")
	}
	return nil
}

const hexDigits = "0123456789abcdef"

func (w *writer) unicode(u uint16) {
	w.out = append(w.out, '\\', 'u', hexDigits[u>>12], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
}

func (w *writer) str(s string) error {
	if !utf8.ValidString(s) {
		return unwritable("text that is not UTF-8")
	}
	w.out = append(w.out, '"')
	for _, u := range s {
		switch {
		case u == '"' || u == '\\':
			w.out = append(w.out, '\\', byte(u))
		case u < 0x20:
			w.control(byte(u))
		case u < 0x7f || w.style == Compact:
			w.out = utf8.AppendRune(w.out, u)
		case u < 0x10000:
			w.unicode(uint16(u))
		default:
			u -= 0x10000
			w.unicode(uint16(0xd800 + u>>10))
			w.unicode(uint16(0xdc00 + u&0x3ff))
		}
	}
	w.out = append(w.out, '"')
	return nil
}

func (w *writer) control(c byte) {
	if i := strings.IndexByte("\b\f\n\r\t", c); i >= 0 {
		w.out = append(w.out, '\\', "bfnrt"[i])
		return
	}
	w.unicode(uint16(c))
}
