package keyring

import (
	"errors"
	"io/fs"
	"strings"
)

// Kind classes an [Error] by what the caller can do about it.
type Kind string

// The kinds of errors; the set is closed.
const (
	KindUsage     Kind = "usage"     // an argument is wrong: a bad source, key or duration
	KindMissing   Kind = "missing"   // there is no such file or variable
	KindExists    Kind = "exists"    // Create found a keyring where it was to make one
	KindUnsafe    Kind = "unsafe"    // other users can reach the file, or it is not a regular file
	KindMalformed Kind = "malformed" // the text is not a keyring; Problems lists every fault
	KindReadOnly  Kind = "read_only" // the source cannot be changed by this program
	KindRefused   Kind = "refused"   // the change or reload is not allowed, or not yet
	KindIO        Kind = "io"        // the operating system refused
)

// Error is every error that this package returns for sources and changes. Its
// text is one line, says what to do where something can be done, and never
// holds key material, not even that of a line that could not be parsed.
type Error struct {
	Kind Kind
	// Source is the path or "env:NAME" concerned; empty for keys in memory and
	// for a source that may itself be key material.
	Source string
	// Problems says what is wrong, one entry each; there is at least one.
	Problems []string
	// Err is the operating system's error, when there is one.
	Err error
}

// Error returns "keyring SOURCE: " and the problems, separated by semicolons.
func (e *Error) Error() string {
	where := "keyring: "
	if e.Source != "" {
		where = "keyring " + quote(e.Source) + ": "
	}
	return where + strings.Join(e.Problems, "; ")
}

// Unwrap returns the operating system's error, if any.
func (e *Error) Unwrap() error { return e.Err }

// IsKind reports whether err is or wraps an [Error] of the kind k.
func IsKind(err error, k Kind) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind == k
}

func newError(kind Kind, source string, problems ...string) *Error {
	return &Error{Kind: kind, Source: source, Problems: problems}
}

// ioError wraps an operating system's error without repeating the path that
// package os puts into its text.
func ioError(source, doing string, err error) *Error {
	reason := err.Error()
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		reason = pe.Err.Error()
	}
	return &Error{Kind: KindIO, Source: source, Problems: []string{"cannot " + doing + ": " + reason}, Err: err}
}

// quote returns s as it can be pasted into a shell: bare when nothing in it is
// special, within single quotes otherwise. Control characters become "?", so
// that a message stays on one line.
func quote(s string) string {
	bare := s != ""
	clean := strings.Map(func(r rune) rune {
		switch {
		case r < 0x20 || r == 0x7f || r == 0xfffd:
			bare = false
			return '?'
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("/._-:+@%,=", r):
		default:
			bare = false
		}
		return r
	}, s)
	if bare {
		return clean
	}
	return "'" + strings.ReplaceAll(clean, "'", `'\''`) + "'"
}
