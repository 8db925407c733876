// Package acr compares authentication context classes (OpenID Connect Core, 2): what
// asks for one and what answers for one go by the same rule, or somebody would be sent
// from one to the other for ever.
package acr

import "strings"

// Password is the class of a sign-in by one password: authenticator assurance level 1
// of NIST SP 800-63B.
const Password = "aal1"

// MaxClass bounds a class that is asked for, in bytes, as sessions do.
const MaxClass = 255

// Valid reports whether s can be asked for: printable ASCII without spaces, which stand
// between the classes of acr_values. "" asks for nothing.
func Valid(s string) bool {
	return len(s) <= MaxClass && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Meets reports whether a class is what is wanted, "" standing for anything. aal1, aal2
// and aal3 are levels, of which a higher one will do; all others must be equal.
func Meets(has, wants string) bool {
	if wants == "" || has == wants {
		return true
	}
	level := levelOf(wants)
	return level > 0 && levelOf(has) > level
}

func levelOf(class string) int {
	switch class {
	case "aal1":
		return 1
	case "aal2":
		return 2
	case "aal3":
		return 3
	}
	return 0
}
