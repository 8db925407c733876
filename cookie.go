package latchkey

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Cookie is how the session cookie is written (RFC 6265, rfc6265bis). Its zero
// value is the safest form: __Host-session, Secure, HttpOnly, SameSite=Lax,
// Path=/, no Domain, with Max-Age.
type Cookie struct {
	// Name replaces the default name: __Host-session, or __Secure-session with a
	// Domain, or session when DangerouslyInsecure.
	Name string
	// Domain shares the cookie with every host below it, for one sign-in across
	// several hosts. Each of those hosts can then read and plant it.
	Domain string
	// Temporary leaves Max-Age out, so that the browser forgets the cookie when it
	// closes. The limits on the server are the same.
	Temporary bool
	// SameSite is Lax unless set to Strict. None is refused.
	SameSite http.SameSite
	// DangerouslyInsecure leaves Secure out, for plain HTTP on loopback. Anybody on
	// the network path can then take the session.
	DangerouslyInsecure bool
}

// MaxCookieAge is the longest life that browsers give a cookie (rfc6265bis §5.5).
const MaxCookieAge = 400 * 24 * time.Hour

// maxCookieSize bounds name and value together (rfc6265bis §5.7).
const maxCookieSize = 4096

// name is the cookie's name with its default applied.
func (c *Cookie) name() string {
	switch {
	case c.Name != "":
		return c.Name
	case c.DangerouslyInsecure:
		return "session"
	case c.Domain != "":
		return "__Secure-session"
	}
	return "__Host-session"
}

// check returns what is wrong with the settings.
func (c *Cookie) check() (problems []FieldError) {
	add := func(field, format string, args ...any) {
		problems = append(problems, FieldError{field, fmt.Sprintf(format, args...)})
	}
	name := c.name()
	if !validCookieName(name) {
		add("Cookie.Name", "%q is not a cookie name: use letters, digits and -._", name)
	}
	if len(name)+TokenLength > maxCookieSize {
		add("Cookie.Name", "name and token together exceed %d bytes", maxCookieSize)
	}
	lower := strings.ToLower(name)
	if strings.HasPrefix(lower, "__host-") && (c.Domain != "" || c.DangerouslyInsecure) {
		add("Cookie.Name", "a __Host- cookie has no Domain and is Secure: choose another name or drop Domain and DangerouslyInsecure")
	}
	if strings.HasPrefix(lower, "__secure-") && c.DangerouslyInsecure {
		add("Cookie.Name", "a __Secure- cookie is Secure: choose another name or drop DangerouslyInsecure")
	}
	if c.Domain != "" && !validDomain(c.Domain) {
		add("Cookie.Domain", "%q is not a host name, such as example.com", c.Domain)
	}
	if c.SameSite != 0 && c.SameSite != http.SameSiteLaxMode && c.SameSite != http.SameSiteStrictMode {
		add("Cookie.SameSite", "only Lax and Strict are allowed: a session cookie that other sites' requests carry invites CSRF")
	}
	return problems
}

func validCookieName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return s != ""
}

func validDomain(s string) bool {
	if len(s) > 253 || !strings.Contains(s, ".") {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' {
				return false
			}
		}
	}
	return true
}

// set returns the Set-Cookie line that hands out a token which ends at expires.
func (c *Cookie) set(value string, now, expires time.Time) string {
	age := min(expires.Sub(now), MaxCookieAge)
	return c.line(value, int64(age/time.Second), !c.Temporary)
}

// clear returns the Set-Cookie line that deletes the cookie.
func (c *Cookie) clear() string { return c.line("", 0, true) }

func (c *Cookie) line(value string, maxAge int64, withAge bool) string {
	var b strings.Builder
	b.Grow(256)
	b.WriteString(c.name())
	b.WriteByte('=')
	b.WriteString(value)
	b.WriteString("; Path=/")
	if c.Domain != "" {
		b.WriteString("; Domain=")
		b.WriteString(c.Domain)
	}
	if withAge {
		b.WriteString("; Max-Age=")
		b.WriteString(strconv.FormatInt(max(maxAge, 0), 10))
	}
	b.WriteString("; HttpOnly")
	if !c.DangerouslyInsecure {
		b.WriteString("; Secure")
	}
	if c.SameSite == http.SameSiteStrictMode {
		b.WriteString("; SameSite=Strict")
	} else {
		b.WriteString("; SameSite=Lax")
	}
	return b.String()
}

// findCookie looks for the named cookie in all Cookie header lines. It returns
// the value and how often the name occurs: twice is refused, because the other
// one may have been planted by a neighbouring host (cookie tossing).
func findCookie(header http.Header, name string) (value string, count int) {
	for _, line := range header["Cookie"] {
		for line != "" {
			var part string
			if i := strings.IndexByte(line, ';'); i >= 0 {
				part, line = line[:i], line[i+1:]
			} else {
				part, line = line, ""
			}
			for len(part) > 0 && (part[0] == ' ' || part[0] == '\t') {
				part = part[1:]
			}
			if len(part) > len(name) && part[len(name)] == '=' && part[:len(name)] == name {
				value = part[len(name)+1:]
				count++
			}
		}
	}
	for len(value) > 0 && (value[len(value)-1] == ' ' || value[len(value)-1] == '\t') {
		value = value[:len(value)-1]
	}
	return value, count
}
