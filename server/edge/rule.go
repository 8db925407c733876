package edge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/internal/acr"
)

// Require says what a rule asks for before anything else.
type Require string

// The requirements. The zero value stands for RequireSession.
const (
	RequireSession Require = "session" // a session with an identity, and what the rule asks of it
	RequirePublic  Require = "public"  // nothing; identity headers are filled when there is a good session
	RequireDeny    Require = "deny"    // nobody passes
)

// Rule is one entry of the ordered list of rules: the first that matches a request
// judges it. Hosts, Paths and Methods say which requests it is for, an empty list
// standing for all; the rest says what it asks of them.
type Rule struct {
	// Hosts are host names in lower case, or "*.example.com" for every name below
	// one (not that name itself). One without a port stands for every port.
	Hosts []string
	// Paths are exact ("/status") or end in "/*" ("/admin/*"), which stands for
	// "/admin" and all below it. They are compared, with regard to case, with the
	// decoded path without its query.
	Paths []string
	// Methods are in capitals. GET stands for HEAD too.
	Methods []string

	// Require is RequireSession unless set; with another value the members from
	// Roles to Assurance must be empty.
	Require Require
	// Roles asks for at least one of these.
	Roles []string
	// Providers asks that the session came from one of these.
	Providers []string
	// Fresh asks for an authentication no older than this, when not 0: a second or more.
	Fresh time.Duration
	// Assurance asks for this authentication context class (acr). aal1, aal2 and
	// aal3 are levels, of which a higher one will do; anything else must be equal. It is
	// printable ASCII without spaces, at most 255 bytes: a sign-in can be asked for it.
	Assurance string

	// Passive says that these requests are not the user's doing and do not count as
	// activity: polling, for example.
	Passive bool
	// Audience is that of the signed assertion; unset, it is the request's origin
	// (scheme://host).
	Audience string
}

// Bounds of the configuration.
const (
	maxRules     = 1000
	maxHosts     = 1000
	maxRuleTexts = 256 // entries in one list of a rule
	maxText      = 1024
)

// problems gathers everything that is wrong with a configuration.
type problems []latchkey.FieldError

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "edge: configuration", Fields: p}
}

// check reports what is wrong with a rule. field is its name in problems.
func (r *Rule) check(field string, p *problems) {
	lists := []struct {
		name  string
		texts []string
		ok    func(string) bool
		wants string
	}{
		{"hosts", r.Hosts, validRuleHost, "a host in lower case without a port, such as app.example.com or *.example.com"},
		{"paths", r.Paths, validRulePath, "a path such as /status or /admin/*: a leading slash, no //, ., .., ;, \\, %, ? or #, and * only as the last segment"},
		{"methods", r.Methods, validMethod, "a method in capitals such as GET"},
		{"roles", r.Roles, validText, "a role: printable, without commas"},
		{"providers", r.Providers, validText, "a provider: printable, without commas"},
	}
	for _, l := range lists {
		if len(l.texts) > maxRuleTexts {
			p.add(field+"."+l.name, "has %d entries, and %d are allowed", len(l.texts), maxRuleTexts)
		}
		for _, text := range l.texts {
			if !l.ok(text) {
				p.add(field+"."+l.name, "%.80q is not %s", text, l.wants)
			}
		}
	}
	switch r.Require {
	case "", RequireSession:
	case RequirePublic, RequireDeny:
		if len(r.Roles) > 0 || len(r.Providers) > 0 || r.Fresh != 0 || r.Assurance != "" {
			p.add(field+".require", "%s asks nothing of a session; leave roles, providers, fresh and assurance out", r.Require)
		}
	default:
		p.add(field+".require", "%.80q is none of session, public, deny", string(r.Require))
	}
	// What the sign-in page does not understand it would not ask for, and visitors would
	// be sent there again and again.
	if r.Fresh != 0 && r.Fresh < time.Second {
		p.add(field+".fresh", "%v is less than a second", r.Fresh)
	}
	if !acr.Valid(r.Assurance) {
		p.add(field+".assurance", "%.80q is not a context class: printable ASCII without spaces, at most %d bytes", r.Assurance, acr.MaxClass)
	}
	if r.Audience != "" && !validText(r.Audience) {
		p.add(field+".audience", "%.80q is not printable", r.Audience)
	}
}

// clone returns a rule that shares no memory with what the caller may change.
func (r Rule) clone() Rule {
	for _, list := range []*[]string{&r.Hosts, &r.Paths, &r.Methods, &r.Roles, &r.Providers} {
		*list = slices.Clone(*list)
	}
	if r.Require == "" {
		r.Require = RequireSession
	}
	return r
}

func validRuleHost(s string) bool {
	name, wild := strings.CutPrefix(s, "*.")
	port := strings.LastIndexByte(name, ':') > strings.LastIndexByte(name, ']') // the client says which
	return validHost(name) && !port && len(s) <= maxText && (!wild || name[0] != '[')
}

func validRulePath(s string) bool {
	path, below := strings.CutSuffix(s, "/*")
	if len(s) > maxText || strings.ContainsAny(path, "%;\\?#*") || strings.ContainsFunc(path, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return false
	}
	if below && path == "" {
		return true // everything
	}
	return clean([]byte(path)) && (!below || path[len(path)-1] != '/')
}

func validMethod(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// validText reports whether s can stand in a list of a session's roles or in a token.
func validText(s string) bool {
	return s != "" && len(s) <= maxText && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == ',' || r >= 0x7f && r < 0xa0 || r == 0xfffd })
}

// validHost reports whether s is a host with perhaps a port, spelled as browsers
// send it: lower case, no empty label, no dot at the end. Another spelling of a
// name could pass by the rules for it.
func validHost(s string) bool {
	if s == "" || len(s) > 261 {
		return false
	}
	name := hostName(s)
	if name == "" || !validPort(s[len(name):]) {
		return false
	}
	if name[0] == '[' {
		return strings.Trim(name[1:len(name)-1], "0123456789abcdef:.") == ""
	}
	previous := byte('.')
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		case c == '.' && previous != '.':
		default:
			return false
		}
		previous = c
	}
	return previous != '.'
}

// hostName is s without its port, "" when it is no host at all.
func hostName(s string) string {
	if s != "" && s[0] == '[' {
		end := strings.IndexByte(s, ']')
		if end < 3 {
			return ""
		}
		return s[:end+1]
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		return s[:i]
	}
	return s
}

// validPort reports whether s is nothing, or a colon and a port.
func validPort(s string) bool {
	if s == "" {
		return true
	}
	if len(s) < 2 || len(s) > 6 || s[0] != ':' || s[1] == '0' {
		return false
	}
	n := 0
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n < 1<<16
}
