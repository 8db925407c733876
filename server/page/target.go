package page

import (
	"net/http"
	"net/url"
	"strings"
)

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
