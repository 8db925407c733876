package oidc

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// Claims says which claims become what of a session. Each is the name of a claim, or
// the path to a member of one with dots between: "realm_access.roles". A claim whose
// whole name is the text goes first, so that names that are URLs work.
type Claims struct {
	// Email is the claim of the e-mail address; unset, it is "email". An address that
	// the provider says is not verified (email_verified) is left out.
	Email string
	// VerifiedEmail leaves out an address too of which the provider says nothing.
	VerifiedEmail bool
	// Name is the claim of the name to show; unset, "name", and then "preferred_username".
	Name string
	// Roles are claims that hold a role or a list of them, such as "groups". Unset, a
	// session has no roles but Always.
	Roles []string
	// RoleMap, where it is set, says which roles a value of those claims stands for, and
	// values that are not in it stand for none.
	RoleMap map[string][]string
	// Prefix goes in front of roles that no RoleMap gave, to tell them from others.
	Prefix string
	// Always are the roles of everybody from this provider.
	Always []string
}

// Bounds of roles, those of a session (see latchkey.SignIn): with more of them a
// sign-in is refused.
const maxRole = 255

func (c *Claims) check(p *problems) {
	roles := func(field string, list []string) {
		for _, r := range list {
			if !usableRole(r) {
				p.add(field, "%q is not a role: 1 to %d bytes without commas and control characters", r, maxRole)
			}
		}
	}
	roles("Claims.Always", c.Always)
	for value, list := range c.RoleMap {
		roles("Claims.RoleMap["+value+"]", list)
	}
	if len(c.RoleMap) > 0 && len(c.Roles) == 0 {
		p.add("Claims.RoleMap", "needs Claims.Roles: which claims hold its values")
	}
	if c.Prefix != "" && (!usableRole(c.Prefix) || len(c.RoleMap) > 0) {
		p.add("Claims.Prefix", "has commas or control characters, or stands beside RoleMap, which names roles in full")
	}
	for i, path := range append([]string{c.Email, c.Name}, c.Roles...) {
		if len(path) > 255 || hasControl(path) || i > 1 && path == "" {
			p.add("Claims", "%q is not the name of a claim", path)
		}
	}
}

func usableRole(r string) bool {
	return r != "" && len(r) <= maxRole && utf8.ValidString(r) && !strings.Contains(r, ",") && !hasControl(r)
}

// claimSet is the claims of an ID token, with those of the userinfo endpoint behind.
type claimSet map[string]any

// parseClaims reads a JSON object. Numbers keep their text.
func parseClaims(raw []byte) (claimSet, bool) {
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	var c claimSet
	if err := dec.Decode(&c); err != nil || c == nil || dec.More() {
		return nil, false
	}
	return c, true
}

// find returns what a path leads to.
func (c claimSet) find(path string) (any, bool) {
	if v, ok := c[path]; ok {
		return v, v != nil
	}
	var at any = map[string]any(c)
	for part := range strings.SplitSeq(path, ".") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = m[part]; !ok {
			return nil, false
		}
	}
	return at, at != nil
}

// text is a claim that is a string, "" otherwise.
func (c claimSet) text(path string) string {
	v, _ := c.find(path)
	s, _ := v.(string)
	return s
}

// list is a claim that is a string or a list of strings.
func (c claimSet) list(path string) (list []string) {
	v, _ := c.find(path)
	switch v := v.(type) {
	case string:
		list = append(list, v)
	case []any:
		for _, item := range v {
			if s, ok := item.(string); ok {
				list = append(list, s)
			}
		}
	}
	return list
}

// emailClaim and the next are the claims with their defaults.
func (c *Claims) emailClaim() string {
	if c.Email == "" {
		return "email"
	}
	return c.Email
}

// wants reports whether a mapped claim is missing from the set.
func (c *Claims) wants(set claimSet) bool {
	missing := func(path string) bool {
		_, ok := set.find(path)
		return !ok
	}
	name := c.Name != "" && missing(c.Name) || c.Name == "" && missing("name") && missing("preferred_username")
	return name || missing(c.emailClaim()) || slices.ContainsFunc(c.Roles, missing)
}

// person is what a session says of its user.
type person struct {
	email, name string
	roles       []string
	dropped     int // values that cannot be roles
}

// read takes from the claims what the mapping names.
func (c *Claims) read(set claimSet) (p person) {
	p.email = set.text(c.emailClaim())
	verified, said := set.find("email_verified")
	if good := verified == true || verified == "true"; !good && (said || c.VerifiedEmail) {
		p.email = ""
	}
	if c.Name != "" {
		p.name = set.text(c.Name)
	} else if p.name = set.text("name"); p.name == "" {
		p.name = set.text("preferred_username")
	}
	// What a session cannot hold is not worth refusing somebody for: neither is who
	// they are.
	if len(p.email) > 320 || hasControl(p.email) || !utf8.ValidString(p.email) {
		p.email = ""
	}
	if len(p.name) > 512 || hasControl(p.name) || !utf8.ValidString(p.name) {
		p.name = ""
	}
	add := func(role string) {
		switch {
		case !usableRole(role):
			p.dropped++
		case !slices.Contains(p.roles, role):
			p.roles = append(p.roles, role)
		}
	}
	for _, r := range c.Always {
		add(r)
	}
	for _, path := range c.Roles {
		for _, value := range set.list(path) {
			if len(c.RoleMap) == 0 {
				add(c.Prefix + value)
				continue
			}
			for _, r := range c.RoleMap[value] {
				add(r)
			}
		}
	}
	return p
}
