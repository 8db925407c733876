package edge

import (
	"strings"
	"unicode/utf8"
)

// normalise appends to dst the path that a request's target (path and query) is for,
// percent-decoded. It is not ok for a path that proxies and services read in
// different ways, of which a rule can know one only:
//
//   - an encoded slash, backslash, dot, percent sign, question mark or number sign, an
//     encoding that is broken, and what is no UTF-8 (some read %c0%ae as a dot);
//   - a backslash, two slashes in a row, dot segments, also with parameters (..;x=1);
//   - control characters, encoded ones too, a fragment, and bytes that must be encoded
//     and are not.
//
// A single semicolon elsewhere is kept: see [withoutParameters].
func normalise(dst []byte, target string) (path []byte, ok bool) {
	start := len(dst)
	for i := 0; i < len(target); i++ {
		c := target[i]
		switch {
		case c == '?':
			return dst, clean(dst[start:]) && utf8.Valid(dst[start:])
		case c == '%':
			if i+2 >= len(target) {
				return dst, false
			}
			high, low := hexDigit(target[i+1]), hexDigit(target[i+2])
			if high < 0 || low < 0 {
				return dst, false
			}
			c = byte(high<<4 | low)
			if c == '/' || c == '\\' || c == '.' || c == '%' || c == '?' || c == '#' || c < 0x20 || c == 0x7f {
				return dst, false
			}
			i += 2
		case c <= 0x20 || c >= 0x7f || c == '\\' || c == '#':
			return dst, false
		}
		dst = append(dst, c)
	}
	return dst, clean(dst[start:]) && utf8.Valid(dst[start:])
}

// clean reports whether a decoded path begins with a slash and has neither empty
// segments, but for the last, nor dot segments.
func clean(path []byte) bool {
	if len(path) == 0 || path[0] != '/' {
		return false
	}
	for i := 1; i <= len(path); {
		end := i
		for end < len(path) && path[end] != '/' {
			end++
		}
		segment := path[i:end]
		if len(segment) == 0 && end < len(path) || dots(segment) {
			return false
		}
		i = end + 1
	}
	return true
}

// dots reports whether a segment is a dot segment for those who drop parameters first.
func dots(segment []byte) bool {
	n := 0
	for n < len(segment) && segment[n] == '.' {
		n++
	}
	return (n == 1 || n == 2) && (n == len(segment) || segment[n] == ';')
}

// withoutParameters removes from a path, in place, what stands from a semicolon to
// the end of its segment: some services take it for parameters of the segment (RFC
// 3986 §3.3) and look at the rest only. changed tells whether there was any.
func withoutParameters(path []byte) (out []byte, changed bool) {
	out = path[:0]
	skip := false
	for _, c := range path {
		switch {
		case c == '/':
			skip = false
		case c == ';':
			skip, changed = true, true
		}
		if !skip {
			out = append(out, c)
		}
	}
	return out, changed
}

// matchPath reports whether a normalised path falls under a rule's.
func matchPath(pattern string, path []byte) bool {
	prefix, below := strings.CutSuffix(pattern, "/*")
	if !below {
		return string(path) == pattern
	}
	return len(path) >= len(prefix) && string(path[:len(prefix)]) == prefix && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
