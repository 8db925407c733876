package pyjson

import (
	"encoding/json"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Parse reads one JSON value: nil, bool, string, json.Number, []any or [Object].
// White space around it is allowed, anything else is not. Errors are *SyntaxError.
func Parse(text []byte) (any, error) {
	r := reader{text: text}
	v, err := r.document()
	if err != nil {
		return nil, err
	}
	return v, nil
}

// ParseObject is [Parse] for texts that must be an object.
func ParseObject(text []byte) (Object, error) {
	v, err := Parse(text)
	if err != nil {
		return nil, err
	}
	o, ok := v.(Object)
	if !ok {
		return nil, &SyntaxError{0, "not an object"}
	}
	return o, nil
}

// Check returns nil when text is one JSON value that Python would read. It builds
// nothing. Unlike [Parse] it passes escapes of half a surrogate pair: the
// text can be handed on, only no Go string can hold its value.
func Check(text []byte) error {
	r := reader{text: text, checkOnly: true}
	_, err := r.document()
	return err
}

// reader is a recursive-descent parser over text. With checkOnly it builds nothing.
type reader struct {
	text      []byte
	pos       int
	depth     int
	checkOnly bool
}

func (r *reader) fail(detail string) error { return &SyntaxError{r.pos, detail} }

func (r *reader) document() (any, error) {
	if !utf8.Valid(r.text) {
		return nil, r.fail("not UTF-8")
	}
	r.space()
	v, err := r.value()
	if err != nil {
		return nil, err
	}
	if r.space(); r.pos != len(r.text) {
		return nil, r.fail("more than one value")
	}
	return v, nil
}

func (r *reader) space() {
	for r.pos < len(r.text) {
		switch r.text[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end: no value has a 0 byte outside strings.
func (r *reader) peek() byte {
	if r.pos < len(r.text) {
		return r.text[r.pos]
	}
	return 0
}

func (r *reader) value() (any, error) {
	switch c := r.peek(); {
	case c == '"':
		s, err := r.str()
		if err != nil || r.checkOnly {
			return nil, err
		}
		return s, nil
	case c == '{':
		return r.object()
	case c == '[':
		return r.array()
	case c == '-' || '0' <= c && c <= '9':
		return r.number()
	case r.literal("true"):
		return true, nil
	case r.literal("false"):
		return false, nil
	case r.literal("null"):
		return nil, nil
	}
	return nil, r.fail("no value")
}

func (r *reader) literal(word string) bool {
	if len(r.text)-r.pos < len(word) || string(r.text[r.pos:r.pos+len(word)]) != word {
		return false
	}
	r.pos += len(word)
	return true
}

// enter counts a level of nesting; leave it by r.depth--.
func (r *reader) enter() error {
	if r.depth++; r.depth > MaxDepth {
		return r.fail("nested too deep")
	}
	r.pos++
	r.space()
	return nil
}

func (r *reader) array() (any, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	defer func() { r.depth-- }()
	var list []any
	if !r.checkOnly {
		list = []any{}
	}
	if r.peek() == ']' {
		r.pos++
		return list, nil
	}
	for {
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		if !r.checkOnly {
			list = append(list, v)
		}
		r.space()
		switch r.peek() {
		case ',':
			r.pos++
			r.space()
		case ']':
			r.pos++
			return list, nil
		default:
			return nil, r.fail("no comma or end of array")
		}
	}
}

// manyMembers is from where on repeated names are looked up in a map: comparing
// each with each would be quadratic.
const manyMembers = 16

func (r *reader) object() (any, error) {
	if err := r.enter(); err != nil {
		return nil, err
	}
	defer func() { r.depth-- }()
	var o Object
	if !r.checkOnly {
		o = Object{}
	}
	if r.peek() == '}' {
		r.pos++
		return o, nil
	}
	if !r.checkOnly {
		o = make(Object, 0, 6) // the size of what cookies hold, and no cost to speak of beyond
	}
	var seen map[string]int
	for {
		if r.peek() != '"' {
			return nil, r.fail("no name of a member")
		}
		name, err := r.str()
		if err != nil {
			return nil, err
		}
		if r.space(); r.peek() != ':' {
			return nil, r.fail("no colon after a name")
		}
		r.pos++
		r.space()
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		if !r.checkOnly {
			o, seen = add(o, seen, name, v)
		}
		r.space()
		switch r.peek() {
		case ',':
			r.pos++
			r.space()
		case '}':
			r.pos++
			return o, nil
		default:
			return nil, r.fail("no comma or end of object")
		}
	}
}

// add is Object.Set that turns to a map once there are many members.
func add(o Object, seen map[string]int, name string, v any) (Object, map[string]int) {
	if len(o) < manyMembers {
		return o.Set(name, v), seen
	}
	if seen == nil {
		seen = make(map[string]int, 2*manyMembers)
		for i := range o {
			seen[o[i].Name] = i
		}
	}
	if i, ok := seen[name]; ok {
		o[i].Value = v
		return o, seen
	}
	seen[name] = len(o)
	return append(o, Member{name, v}), seen
}

func (r *reader) digits() int {
	from := r.pos
	for r.pos < len(r.text) && r.text[r.pos]-'0' < 10 {
		r.pos++
	}
	return r.pos - from
}

func (r *reader) number() (any, error) {
	from := r.pos
	if r.peek() == '-' {
		r.pos++
	}
	whole, integer := 1, true
	if r.peek() == '0' {
		r.pos++
	} else if whole = r.digits(); whole == 0 {
		return nil, r.fail("no digit in a number")
	}
	if r.peek() == '.' {
		r.pos++
		if integer = false; r.digits() == 0 {
			return nil, r.fail("no digit after the point")
		}
	}
	if c := r.peek(); c == 'e' || c == 'E' {
		r.pos++
		if c := r.peek(); c == '+' || c == '-' {
			r.pos++
		}
		if integer = false; r.digits() == 0 {
			return nil, r.fail("no digit in an exponent")
		}
	}
	if integer && whole > MaxIntegerDigits {
		return nil, r.fail("an integer of too many digits")
	}
	if r.checkOnly {
		return nil, nil
	}
	return json.Number(r.text[from:r.pos]), nil
}

// str reads a string. The common one without escapes is copied once.
func (r *reader) str() (string, error) {
	r.pos++
	from := r.pos
	for r.pos < len(r.text) {
		switch c := r.text[r.pos]; {
		case c == '"':
			s := r.text[from:r.pos]
			r.pos++
			if r.checkOnly {
				return "", nil
			}
			return string(s), nil
		case c == '\\':
			if r.checkOnly {
				return r.escaped(nil)
			}
			return r.escaped(append(make([]byte, 0, 2*(r.pos-from)+32), r.text[from:r.pos]...))
		case c < 0x20:
			return "", r.fail("a control character in a string")
		}
		r.pos++
	}
	return "", r.fail("a string without end")
}

// escaped reads the rest of a string that has escapes; out holds what came before.
func (r *reader) escaped(out []byte) (string, error) {
	for r.pos < len(r.text) {
		c := r.text[r.pos]
		switch {
		case c == '"':
			r.pos++
			return string(out), nil
		case c < 0x20:
			return "", r.fail("a control character in a string")
		case c != '\\':
			if !r.checkOnly {
				out = append(out, c)
			}
			r.pos++
			continue
		}
		r.pos++
		short := byte(0)
		switch c := r.peek(); c {
		case '"', '\\', '/':
			short = c
		case 'b':
			short = '\b'
		case 'f':
			short = '\f'
		case 'n':
			short = '\n'
		case 'r':
			short = '\r'
		case 't':
			short = '\t'
		case 'u':
			u, err := r.unicode()
			if err != nil {
				return "", err
			}
			if !r.checkOnly {
				out = utf8.AppendRune(out, u)
			}
			continue
		default:
			return "", r.fail("an unknown escape")
		}
		if !r.checkOnly {
			out = append(out, short)
		}
		r.pos++
	}
	return "", r.fail("a string without end")
}

// unicode reads from the u of an escape on, with the other half of a pair.
func (r *reader) unicode() (rune, error) {
	u, ok := r.hex()
	if !ok {
		return 0, r.fail("an escape without four hexadecimal digits")
	}
	if !utf16.IsSurrogate(u) {
		return u, nil
	}
	if r.pos+1 < len(r.text) && r.text[r.pos] == '\\' && r.text[r.pos+1] == 'u' {
		before := r.pos
		r.pos++
		if low, ok := r.hex(); ok {
			if pair := utf16.DecodeRune(u, low); pair != utf8.RuneError {
				return pair, nil
			}
		}
		r.pos = before // the second escape stands for itself
	}
	if r.checkOnly {
		return utf8.RuneError, nil
	}
	return 0, r.fail("half a surrogate pair")
}

func (r *reader) hex() (rune, bool) {
	if len(r.text)-r.pos < 5 {
		return 0, false
	}
	for _, c := range r.text[r.pos+1 : r.pos+5] {
		if !('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f') {
			return 0, false
		}
	}
	u, err := strconv.ParseUint(string(r.text[r.pos+1:r.pos+5]), 16, 32)
	r.pos += 5
	return rune(u), err == nil
}
