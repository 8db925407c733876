package transaction

import (
	"strings"
	"unicode/utf8"
)

// MaxReturnTo is the longest address that ReturnTo accepts and returns, in bytes.
const MaxReturnTo = 2048

// ReturnTo judges where a visitor asks to be sent after signing in. It returns the
// address when that is surely a path of this host, or of one of the allowed ones, and
// "" otherwise. What it returns is printable ASCII, fit for a Location header: spaces
// and other characters are percent-encoded. Given its own answer it returns the same.
//
// A path begins with one slash. An address of another host is "https://", the host
// exactly as it is listed, with its port if there is one, and a path; a listed host
// that begins with "http://" or "https://" stands for that scheme. Nothing else has a
// scheme, and no user name ever stands before the host.
//
// Refused are paths that browsers, proxies or servers behind this one may read as the
// start of another host or as a way around a rule: a second slash in front, a backslash
// anywhere, dot segments, in which a second slash could appear, and control characters,
// some of which browsers drop before they read. So are the same percent-encoded,
// repeatedly too, or written with characters that look like them and that some programs
// take for them (U+FF0F for the slash, U+FF0E for the dot, …), and what is no UTF-8,
// has a broken escape or is longer than MaxReturnTo.
//
// The query and the fragment are the page's own affair, but for control characters
// and backslashes as they stand, and broken escapes in a fragment.
func ReturnTo(raw string, allowedHosts []string) string {
	if raw == "" || len(raw) > MaxReturnTo {
		return ""
	}
	origin, path := "", raw
	if raw[0] != '/' {
		if origin = allowedOrigin(raw, allowedHosts); origin == "" {
			return ""
		}
		if path = raw[len(origin):]; path == "" || path[0] != '/' {
			path = "/" + path // nothing, a query or a fragment
		}
	}
	if !safe(path) {
		return ""
	}
	out := origin + escape(path)
	if len(out) > MaxReturnTo {
		return ""
	}
	return out
}

// allowedOrigin returns the scheme and host that raw begins with if they are allowed,
// and "" otherwise. They are compared as they stand, with no reading of what else
// could be meant.
func allowedOrigin(raw string, hosts []string) string {
	scheme := len("https://")
	switch {
	case strings.HasPrefix(raw, "https://"):
	case strings.HasPrefix(raw, "http://"):
		scheme--
	default:
		return ""
	}
	origin := raw
	if i := strings.IndexAny(raw[scheme:], "/?#"); i >= 0 {
		origin = raw[:scheme+i]
	}
	for _, host := range hosts {
		if validHost(host) && (host == origin || "https://"+host == origin) {
			return origin
		}
	}
	return ""
}

// validHost reports whether an entry of a list of hosts can match: a host in lower-case
// ASCII with a port at most, as browsers write it, and perhaps a scheme in front.
func validHost(host string) bool {
	name, schemed := strings.CutPrefix(host, "https://")
	if !schemed {
		name = strings.TrimPrefix(host, "http://")
	}
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && !strings.ContainsRune("-.:[]_", r)
	})
}

// maxNested is how often a path is decoded in search of what it hides.
const maxNested = 4

// safe judges a path with query and fragment.
func safe(address string) bool {
	if !utf8.ValidString(address) || strings.Contains(address, `\`) || strings.ContainsFunc(address, isControl) {
		return false
	}
	path, fragment, _ := strings.Cut(address, "#")
	path, _, _ = strings.Cut(path, "?")
	if _, clean := unescape(fragment); !clean { // net/url could not read it back
		return false
	}
	for round := 0; ; round++ {
		if astray(path) {
			return false
		}
		decoded, clean := unescape(path)
		switch {
		case !clean && round == 0, decoded != path && round == maxNested:
			return false
		case decoded == path:
			return true
		}
		path = decoded
	}
}

// isControl reports whether r is a control character (C0, DEL or C1).
func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

// lookalikes are what Unicode's compatibility forms, domain names (UTS 46) or Windows'
// best-fit code pages take for a slash, a backslash or dots.
var lookalikes = strings.NewReplacer(
	"\uff0f", "/", "\u2044", "/", "\u2215", "/", "\u29f8", "/",
	"\uff3c", `\`, "\ufe68", `\`, "\u2216", `\`, "\u29f5", `\`,
	"\uff0e", ".", "\ufe52", ".", "\u2024", ".", "\u3002", ".", "\uff61", ".", "\u2025", "..",
)

// astray reports whether a path, without query and fragment, leads elsewhere than it
// says, for whoever reads it after decoding it so far.
func astray(path string) bool {
	path = lookalikes.Replace(path)
	if strings.HasPrefix(path, "//") || strings.Contains(path, `\`) || strings.ContainsFunc(path, isControl) {
		return true
	}
	for segment := range strings.SplitSeq(path, "/") {
		segment, _, _ = strings.Cut(segment, ";") // some servers drop parameters first
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// unescape decodes every percent-encoding once. What is none stays, and is not clean.
func unescape(s string) (decoded string, clean bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	var b strings.Builder
	clean = true
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if high, low := hexDigit(s[i+1]), hexDigit(s[i+2]); high >= 0 && low >= 0 {
				b.WriteByte(byte(high<<4 | low))
				i += 2
				continue
			}
		}
		clean = clean && s[i] != '%'
		b.WriteByte(s[i])
	}
	return b.String(), clean
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

// escape percent-encodes what may not stand in a header.
func escape(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > 0x20 && c < 0x7f {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}
