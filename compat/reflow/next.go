package reflow

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// MaxNext is the longest path that SafeNext keeps, in bytes.
const MaxNext = 2048

// SafeNext returns next when it is a path of this site, and fallback otherwise.
//
// As in the original it must begin with one slash and hold no "://". Beyond it, these
// are refused, for browsers take them for another host: a backslash anywhere (a
// slash to browsers, so /\host is //host), control characters (removed by browsers,
// so /<tab>/host is //host), an encoded one of either in front, and whatever does not
// parse as an address without scheme and host.
func SafeNext(next, fallback string) string {
	if next == "" || len(next) > MaxNext || next[0] != '/' || strings.HasPrefix(next, "//") ||
		strings.Contains(next, "://") || strings.ContainsRune(next, '\\') || !utf8.ValidString(next) {
		return fallback
	}
	for _, c := range next {
		if c < 0x20 || c >= 0x7f && c < 0xa0 {
			return fallback
		}
	}
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return fallback
	}
	// A server behind this one may decode the path before it redirects.
	if strings.HasPrefix(u.Path, "//") || strings.ContainsAny(u.Path, "\\\t\r\n") {
		return fallback
	}
	return next
}
