package pyjson

import "strconv"

// MaxDepth is how deep arrays and objects may nest, in reading and in writing. It
// is what Python's recursion limit leaves to its reader.
const MaxDepth = 990

// MaxIntegerDigits is how many digits an integer may have: Python's own limit
// against quadratic conversion. Numbers with a fraction or exponent have no limit.
const MaxIntegerDigits = 4300

// Member is one name and value of an [Object].
type Member struct {
	Name  string
	Value any
}

// Object is a JSON object with its members in order, like Python's dict. Names are
// unique in what [Parse] returns: of a repeated name the first place and the last
// value count.
type Object []Member

// Get returns the value of a name, and whether it is there.
func (o Object) Get(name string) (any, bool) {
	for i := range o {
		if o[i].Name == name {
			return o[i].Value, true
		}
	}
	return nil, false
}

// Text returns the value of a name when it is a string.
func (o Object) Text(name string) (string, bool) {
	v, _ := o.Get(name)
	s, ok := v.(string)
	return s, ok
}

// Set changes the value of a name in place, or adds it at the end, and returns the
// object: what a Python assignment to a dict does.
func (o Object) Set(name string, value any) Object {
	for i := range o {
		if o[i].Name == name {
			o[i].Value = value
			return o
		}
	}
	return append(o, Member{name, value})
}

// SyntaxError says why a text is not JSON. It holds no part of the text.
type SyntaxError struct {
	Offset int    // in bytes
	Detail string // what is wrong there
}

// Error implements error.
func (e *SyntaxError) Error() string {
	return "pyjson: " + e.Detail + " at byte " + strconv.Itoa(e.Offset)
}
