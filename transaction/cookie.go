package transaction

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
)

const (
	maxCookieSize = 4096 // name and value together (rfc6265bis, 5.7), and our cookies together
	maxBase       = 64   // of the names, before the id of the attempt
	idBytes       = 9    // of the hash that names an attempt
	idSize        = idBytes / 3 * 4
	maxDeleted    = 32 // cookies that one answer deletes
)

// cookie is how the cookies are written.
type cookie struct {
	base, path string
	insecure   bool
}

func newCookie(cfg *Config) cookie {
	c := cookie{base: cfg.CookieName, path: cfg.Path, insecure: cfg.DangerouslyInsecure}
	if c.path == "" {
		c.path = "/"
	}
	if c.base == "" {
		switch {
		case c.insecure:
			c.base = "signin"
		case c.path != "/":
			c.base = "__Secure-signin"
		default:
			c.base = "__Host-signin"
		}
	}
	return c
}

// check returns what is wrong with the settings.
func (c *cookie) check() (problems []latchkey.FieldError) {
	add := func(field, format string, args ...any) {
		problems = append(problems, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	if strings.ContainsFunc(c.base, func(r rune) bool { return !inName(r) }) || len(c.base) > maxBase {
		add("CookieName", "%q does not begin a cookie's name: use letters, digits and -._, at most %d", c.base, maxBase)
	}
	lower := strings.ToLower(c.base) + "-"
	if strings.HasPrefix(lower, "__host-") && (c.path != "/" || c.insecure) {
		add("CookieName", "a __Host- cookie is for the path / and Secure: choose another name or drop Path and DangerouslyInsecure")
	}
	if (strings.HasPrefix(lower, "__secure-") || strings.HasPrefix(lower, "__http-")) && c.insecure {
		add("CookieName", "a __Secure- cookie is Secure: choose another name or drop DangerouslyInsecure")
	}
	inPath := func(r rune) bool { return inName(r) || r == '/' || r == '~' }
	if c.path[0] != '/' || strings.HasPrefix(c.path, "//") || len(c.path) > 256 || strings.ContainsFunc(c.path, func(r rune) bool { return !inPath(r) }) {
		add("Path", "%q is not a path such as /callback/: a leading slash, then letters, digits and -._~/", c.path)
	}
	return problems
}

func inName(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '_' || r == '.'
}

// nameOf is the cookie of the attempt with the given state. A hash that is cut to 72
// bits names it: enough for no two to meet in one browser, and nobody must find the
// state from it.
func (c *cookie) nameOf(state string) string {
	sum := digest(nameLabel, state)
	return c.base + "-" + base64url.EncodeToString(sum[:idBytes])
}

// ours reports whether name is of the form that nameOf gives, so that it can be
// written into a header.
func (c *cookie) ours(name string) bool {
	if len(name) != len(c.base)+1+idSize || name[:len(c.base)] != c.base || name[len(c.base)] != '-' {
		return false
	}
	id := name[len(c.base)+1:]
	return !strings.ContainsFunc(id, func(r rune) bool { return !inName(r) || r == '.' })
}

// line is the Set-Cookie line; life 0 deletes.
func (c *cookie) line(name, value string, life time.Duration) string {
	s := name + "=" + value + "; Path=" + c.path + "; Max-Age=" + strconv.Itoa(int(life/time.Second)) + "; HttpOnly"
	if !c.insecure {
		s += "; Secure"
	}
	return s + "; SameSite=Lax"
}

// eachCookie calls f for every cookie of all Cookie header lines. Pairs are split at
// semicolons only, so that a malformed one hides no other.
func eachCookie(h http.Header, f func(name, value string)) {
	for _, line := range h["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			if name, value, ok := strings.Cut(strings.Trim(part, " \t"), "="); ok {
				f(name, value)
			}
		}
	}
}

// attempt is a cookie of ours, as a request carries it.
type attempt struct {
	name  string
	size  int
	began time.Time // zero when it is of no use
}

// superseded lists the cookies to delete when one of the given size is added: those
// that are over or unreadable, and the oldest while they are too many or too large.
// When they began is what they say of themselves, which is good enough for tidying:
// to whoever changes it in his own browser it does what deleting them would.
func (k *Keeper) superseded(h http.Header, now time.Time, added int) (names []string) {
	var list []attempt
	total := added
	eachCookie(h, func(name, value string) {
		if !k.cookie.ours(name) {
			return
		}
		a := attempt{name: name, size: len(name) + len(value)}
		if _, began, ok := header(value); ok && now.Sub(began) < k.life && now.Sub(began) >= -maxSkew {
			a.began = began
		}
		total += a.size
		list = append(list, a)
	})
	slices.SortStableFunc(list, func(a, b attempt) int { return a.began.Compare(b.began) })
	for i, a := range list {
		if len(names) == maxDeleted || !a.began.IsZero() && len(list)-i < k.most && total <= maxCookieSize {
			break
		}
		total -= a.size
		if !slices.Contains(names, a.name) {
			names = append(names, a.name)
		}
	}
	return names
}
