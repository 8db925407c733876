// Package acr compares authentication context classes (OpenID Connect Core, 2): what
// asks for one and what answers for one go by the same rule, or somebody would be sent
// from one to the other for ever.
package acr

// Password is the class of a sign-in by one password: authenticator assurance level 1
// of NIST SP 800-63B.
const Password = "aal1"

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
