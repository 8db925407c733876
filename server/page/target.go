package page

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxTarget bounds a path to return to, in bytes.
const maxTarget = 2048

// ReturnPath judges where a visitor asks to be sent after signing in. It returns
// the target when that is surely a path of this host and fallback otherwise.
//
// A path begins with one slash. Refused are a second slash or a backslash, which
// browsers read as the start of another host; control characters, some of which
// browsers drop before they read; dot segments, which could make a second slash
// appear; and what is longer than 2,048 bytes.
func ReturnPath(target, fallback string) string {
	if !isLocal(target) {
		return fallback
	}
	return target
}

func isLocal(target string) bool {
	if target == "" || len(target) > maxTarget || target[0] != '/' || strings.HasPrefix(target, "//") {
		return false
	}
	if !utf8.ValidString(target) || strings.Contains(target, `\`) {
		return false
	}
	for _, c := range target {
		if c < 0x20 || c >= 0x7f && c < 0xa0 {
			return false
		}
	}
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "" || u.Opaque != "" || u.Host != "" || u.User != nil {
		return false
	}
	// u.Path is decoded, so this sees "%2e" too, which browsers take for a dot.
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// encodeLocation percent-encodes what may not stand in a header: spaces, and bytes
// outside printable ASCII.
func encodeLocation(target string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(target) {
		if c := target[i]; c > 0x20 && c < 0x7f {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// IsNavigation reports whether a person's browser asked for a page, by a link, the
// address bar or a form, so that a page is the answer and not JSON. Browsers say so
// in Sec-Fetch-Mode (Fetch Metadata); others are judged by what they accept.
func IsNavigation(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// LoginPath is the sign-in page, with the path to return to from there. Pages that
// are the default anyway pass "".
func (s *Site) LoginPath(target string) string {
	login := s.Path("/login")
	if target == "" {
		return login
	}
	return login + "?rd=" + url.QueryEscape(target)
}
