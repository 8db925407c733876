package latchkey

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// fields gathers everything wrong with an input.
type fields []FieldError

func (f *fields) add(field, detail string) { *f = append(*f, FieldError{field, detail}) }

// text checks a string's length in bytes and that it is UTF-8 without control characters.
func (f *fields) text(field, s string, least, most int) {
	switch {
	case least > 0 && s == "":
		f.add(field, "is required")
	case len(s) > most:
		f.add(field, fmt.Sprintf("is %d bytes long; at most %d are allowed", len(s), most))
	case hasControl(s):
		f.add(field, "control characters are not allowed")
	}
}

// Bounds of roles and methods. Together they fit a header that every proxy passes.
const (
	maxListItems = 64
	maxListBytes = 2048
)

// list checks roles or methods: they travel comma-separated in a header.
func (f *fields) list(field string, list []string) {
	if len(list) > maxListItems {
		f.add(field, fmt.Sprintf("has %d entries; at most %d are allowed", len(list), maxListItems))
		return
	}
	total := 0
	for _, s := range list {
		total += len(s) + 1
		switch {
		case s == "":
			f.add(field, "an entry is empty")
			return
		case hasControl(s) || strings.Contains(s, ","):
			f.add(field, "commas and control characters are not allowed")
			return
		}
	}
	if total > maxListBytes {
		f.add(field, fmt.Sprintf("is %d bytes long together; at most %d are allowed", total, maxListBytes))
	}
}

func (f fields) error(what string) error {
	if len(f) == 0 {
		return nil
	}
	return &Error{Code: CodeInvalidRequest, Message: "latchkey: " + what, Fields: f}
}

// hasControl reports whether s holds a control character (C0, DEL or C1) or is not UTF-8.
func hasControl(s string) bool {
	if !utf8.ValidString(s) {
		return true
	}
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return true
		}
	}
	return false
}
