package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey"
)

// maxBody bounds request bodies, in bytes. Of a longer one maxDrain more bytes
// are read and thrown away: many clients read no answer before they have sent
// their all, and would see a broken connection instead of the 413.
const (
	maxBody  = 1 << 20
	maxDrain = 7 << 20
)

// Bounds of what a refusal repeats of a request.
const (
	maxProblems  = 32
	maxFieldName = 31 // an admin key has 32 characters at least
	withheld     = "(name withheld)"
)

var errTime = errors.New("must be an RFC 3339 time from 1970 on, such as 2026-01-02T15:04:05Z")

var errTooLarge = latchkey.NewError(latchkey.CodeBodyTooLarge, fmt.Sprintf("the body is longer than %d bytes", maxBody), nil)

// malformed is the answer to what cannot be read at all. The text is fixed, so
// that nothing of the body comes back.
func malformed(what string) error { return latchkey.NewError(latchkey.CodeMalformed, what, nil) }

// problems gathers wrong fields.
type problems []latchkey.FieldError

// add notes a wrong field. Of several things wrong with one the first is told.
func (p *problems) add(field, detail string) {
	field = printable(field)
	known := slices.ContainsFunc(*p, func(f latchkey.FieldError) bool { return f.Field == field })
	if len(*p) < maxProblems && !known {
		*p = append(*p, latchkey.FieldError{Field: field, Detail: detail})
	}
}

const fieldsMessage = "the request has wrong fields; errors says which"

func (p problems) error() error {
	if len(p) == 0 {
		return nil
	}
	return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: fieldsMessage, Fields: p}
}

// wrong is a refusal of one field.
func wrong(field, detail string) error {
	var p problems
	p.add(field, detail)
	return p.error()
}

// printable is a member's name as it may be repeated: without control characters,
// and not at all when it is long or looks like a token. Secrets end up as names when
// a client builds its request wrongly, and answers end up in logs.
func printable(s string) string {
	if len(s) > maxFieldName {
		return withheld
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if strings.Contains(strings.ToLower(s), "lk_") {
		return withheld
	}
	return s
}

// textDetail says what is wrong with a text: that it is not UTF-8, or holds control
// characters (C0, DEL, C1). It is "" for one that is well.
func textDetail(s string) string {
	switch {
	case !utf8.ValidString(s):
		return "is not UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "control characters are not allowed"
	}
	return ""
}

// readBody reads a body of the given media type, at most maxBody bytes.
func readBody(r *http.Request, mediaType string) ([]byte, error) {
	given, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, encoding := params["charset"], strings.Join(r.Header["Content-Encoding"], "")
	if err != nil || len(r.Header["Content-Type"]) != 1 || given != mediaType || charset != "" && !strings.EqualFold(charset, "utf-8") || encoding != "" {
		return nil, latchkey.NewError(latchkey.CodeContentType, "the body must be "+mediaType+" in UTF-8, not compressed", nil)
	}
	var body []byte
	if r.ContentLength <= maxBody {
		if body, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1)); err != nil {
			return nil, malformed("the body could not be read")
		}
	}
	if r.ContentLength > maxBody || len(body) > maxBody {
		_, _ = io.CopyN(io.Discard, r.Body, maxDrain) // the answer is the same however much there is
		return nil, errTooLarge
	}
	return body, nil
}

// decodeJSON reads a JSON object strictly into the struct that into points at:
// no member twice at any depth, nothing behind the object, no unknown members, no
// control characters in any string. null stands for an absent member. Wrong
// members are reported together.
func decodeJSON(body []byte, into any) error {
	body = bytes.TrimLeft(body, " \t\r\n")
	if len(body) == 0 {
		return malformed("a JSON object is required")
	}
	// Invalid UTF-8 and half surrogate pairs would become U+FFFD, and two different subjects one.
	if !utf8.Valid(body) || !json.Valid(body) || halfSurrogate(body) {
		return malformed("the body is not JSON in UTF-8")
	}
	if body[0] != '{' {
		return wrong("", "the body must be a JSON object")
	}
	var p problems
	if err := walk(body, &p); err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return malformed("the body is not JSON in UTF-8")
	}
	v := reflect.ValueOf(into).Elem()
	known := make(map[string]bool)
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		known[name] = true
		raw, ok := members[name]
		if !ok || string(raw) == "null" {
			continue
		}
		if err := json.Unmarshal(raw, v.Field(i).Addr().Interface()); err != nil {
			p.add(name, expected(v.Field(i).Type()))
		}
	}
	names := make([]string, 0, len(members))
	for name := range members {
		if !known[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		p.add(name, "there is no such member")
	}
	return p.error()
}

// expected says what a member of type t must be.
func expected(t reflect.Type) string {
	if t == reflect.TypeFor[*Timestamp]() {
		return errTime.Error()
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "must be true or false"
	case reflect.Int64:
		return "must be a whole number"
	case reflect.Slice:
		return "must be a list of strings"
	case reflect.Map:
		return "must be an object"
	}
	return "must be a string"
}

// scope is an open object or list during walk.
type scope struct {
	names map[string]bool // of an object; nil for a list
	key   bool            // the next token is a member's name
}

// walk goes through valid JSON, refuses members that occur twice and notes the
// top-level members that hold control characters.
func walk(body []byte, p *problems) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var open []scope
	top := ""
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return malformed("the body is not JSON in UTF-8")
		}
		var in *scope
		if len(open) > 0 {
			in = &open[len(open)-1]
		}
		if s, ok := tok.(string); ok {
			isName := in != nil && in.key
			if isName && in.names[s] {
				return malformed("a member occurs twice")
			}
			if isName {
				in.names[s] = true
				if len(open) == 1 {
					top = s
				}
			}
			if detail := textDetail(s); detail != "" {
				p.add(top, detail)
			}
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			next := scope{}
			if tok == json.Delim('{') {
				next = scope{names: make(map[string]bool), key: true}
			}
			open = append(open, next)
			continue // the value is complete at its closing delimiter
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
			if len(open) > 0 {
				in = &open[len(open)-1]
			} else {
				in = nil
			}
		}
		if in != nil && in.names != nil {
			in.key = !in.key
		}
	}
}

// halfSurrogate reports whether valid JSON escapes half of a UTF-16 surrogate pair alone.
func halfSurrogate(b []byte) bool {
	unit := func(i int) (u uint16, ok bool) {
		if i+6 > len(b) || b[i] != '\\' || b[i+1] != 'u' {
			return 0, false
		}
		for _, c := range b[i+2 : i+6] {
			u <<= 4
			switch {
			case c >= '0' && c <= '9':
				u |= uint16(c - '0')
			case c >= 'a' && c <= 'f':
				u |= uint16(c - 'a' + 10)
			default:
				u |= uint16(c - 'A' + 10)
			}
		}
		return u, true
	}
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		u, ok := unit(i)
		switch {
		case !ok:
			i++ // a short escape, such as \" or \\
		case u&0xfc00 == 0xd800:
			if low, ok := unit(i + 6); !ok || low&0xfc00 != 0xdc00 {
				return true
			}
			i += 11
		case u&0xfc00 == 0xdc00:
			return true
		default:
			i += 5
		}
	}
	return false
}

// decodeForm reads the members of into from a form (application/x-www-form-urlencoded);
// into has members of type *string only. Others are passed over, as RFC 7662 §2.1 wants.
func decodeForm(body []byte, into any) error {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return malformed("the body is not a form")
	}
	var p problems
	v := reflect.ValueOf(into).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("json")
		values, target := form[name], v.Field(i).Addr().Interface()
		field, ok := target.(**string)
		switch {
		case len(values) > 1:
			return malformed("a form field occurs twice")
		case len(values) == 0 || !ok:
		case textDetail(values[0]) != "":
			p.add(name, textDetail(values[0]))
		default:
			*field = &values[0]
		}
	}
	return p.error()
}

// decodeQuery reads the query strictly: each parameter at most once, and only
// those that the route has.
func decodeQuery(raw string, params []Param) (map[string]string, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, malformed("the query cannot be read")
	}
	var p problems
	out := make(map[string]string, len(values))
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch known := slices.ContainsFunc(params, func(q Param) bool { return q.Name == name }); {
		case !known:
			p.add(name, "there is no such parameter")
		case len(values[name]) > 1:
			return nil, malformed("a parameter occurs twice")
		case textDetail(values[name][0]) != "":
			p.add(name, textDetail(values[name][0]))
		default:
			out[name] = values[name][0]
		}
	}
	return out, p.error()
}
