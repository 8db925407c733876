package edge

import (
	"net/http"
	"strings"

	"github.com/latchkey-go/latchkey"
)

// The identity headers, in their canonical spelling. Every grant carries all of them.
const (
	HeaderSubject   = "X-Auth-Subject"
	HeaderProvider  = "X-Auth-Provider"
	HeaderEmail     = "X-Auth-Email"
	HeaderName      = "X-Auth-Name"
	HeaderRoles     = "X-Auth-Roles" // comma-separated; no role contains one
	HeaderSession   = "X-Auth-Session"
	HeaderAssertion = "X-Auth-Assertion"
)

// IdentityHeaders lists the identity headers: what a proxy has to take from an
// answer, and to drop from what clients send.
func IdentityHeaders() []string {
	return []string{HeaderSubject, HeaderProvider, HeaderEmail, HeaderName, HeaderRoles, HeaderSession, HeaderAssertion}
}

// Aliases lists the names that gateways such as CGI and WSGI cannot tell from an
// identity header's, because they turn dashes into underscores. A client's own must
// not reach a service.
func Aliases() (list []string) {
	for _, name := range IdentityHeaders() {
		last := strings.LastIndexByte(name, '-')
		list = append(list, "x_auth_"+strings.ToLower(name[last+1:]), "x_auth-"+strings.ToLower(name[last+1:]), "x-auth_"+strings.ToLower(name[last+1:]))
	}
	return list
}

// aliasesIn joins, with commas, the names in h that are taken for an identity header's
// by those who see one sign in anything but letters and digits (PHP's ".", the CGI of
// some servers in all of "!#$%&'*+.^_`|~"): there are too many to list them all.
func aliasesIn(h http.Header) string {
	var b strings.Builder
	for name := range h {
		if isAlias(name) {
			if b.Len() > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.ToLower(name))
		}
	}
	return b.String()
}

// isAlias reports whether a header's name differs from an identity header's in what
// stands between the words only.
func isAlias(name string) bool {
	const prefix = "x-auth-"
	if len(name) <= len(prefix) {
		return false
	}
	dashes := true
	for i := range len(prefix) {
		c := name[i] | 0x20 // a letter in lower case
		switch {
		case prefix[i] != '-':
			if c != prefix[i] {
				return false
			}
		case c >= 'a' && c <= 'z' || name[i] >= '0' && name[i] <= '9':
			return false
		case name[i] != '-':
			dashes = false
		}
	}
	if dashes {
		return false
	}
	for _, own := range [...]string{HeaderSubject, HeaderProvider, HeaderEmail, HeaderName, HeaderRoles, HeaderSession, HeaderAssertion} {
		if strings.EqualFold(own[len(prefix):], name[len(prefix):]) {
			return true
		}
	}
	return false
}

// setIdentity sets every identity header, empty where nothing is known, and Cookie:
// what the client sent in lines, without the session cookie. It allocates twice: for
// the values, and for those of their texts that are not at hand.
func (e *Edge) setIdentity(h http.Header, s latchkey.Session, assertion string, lines []string) {
	v := new([8]string)
	var room [512]byte
	text := room[:0]
	if s.Live() {
		v[0], v[1], v[2], v[3] = encode(s.Subject()), encode(s.Provider()), encode(s.Email()), encode(s.Name())
		text, _ = s.ID().AppendText(text) // it has no error
		text = s.AppendRoles(text, ',')
		v[6] = assertion
	}
	known := len(text)
	if len(lines) == 1 && !strings.Contains(lines[0], e.cookie) {
		v[7] = lines[0]
	} else {
		text = appendCookiesWithout(text, lines, e.cookie)
	}
	all := string(text)
	if known > 0 {
		v[5], v[4] = all[:idLength], encode(all[idLength:known])
	}
	if known < len(all) {
		v[7] = all[known:]
	}
	h[HeaderSubject] = v[0:1:1]
	h[HeaderProvider] = v[1:2:2]
	h[HeaderEmail] = v[2:3:3]
	h[HeaderName] = v[3:4:4]
	h[HeaderRoles] = v[4:5:5]
	h[HeaderSession] = v[5:6:6]
	h[HeaderAssertion] = v[6:7:7]
	h["Cookie"] = v[7:8:8]
}

// idLength is the length of a session ID's text.
const idLength = 36

// encode percent-encodes "%" and what is not printable ASCII, as UTF-8 bytes, and
// spaces at either end, which servers drop from a header's value: two identities
// must not become one.
func encode(s string) string {
	plain := true
	for i := range len(s) {
		if !plainByte(s, i) {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plainByte(s, i) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

func plainByte(s string, i int) bool {
	c := s[i]
	if c == ' ' {
		return i > 0 && i < len(s)-1
	}
	return c > 0x20 && c < 0x7f && c != '%'
}
