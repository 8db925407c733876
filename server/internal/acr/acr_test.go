package acr

import (
	"strings"
	"testing"
)

func TestMeets(t *testing.T) {
	for _, c := range []struct{ has, wants string }{{"", ""}, {"x", ""}, {"x", "x"}, {"aal2", "aal2"}, {"aal3", "aal1"}, {"aal2", "aal1"}, {"urn:x:otp", "urn:x:otp"}} {
		if !Meets(c.has, c.wants) {
			t.Errorf("%q does not do for %q", c.has, c.wants)
		}
	}
	for _, c := range []struct{ has, wants string }{{"aal1", "aal2"}, {"", "aal1"}, {"AAL3", "aal1"}, {"aal4", "aal1"}, {"x", "y"}, {"aal3", "x"}, {"aal2 ", "aal2"}} {
		if Meets(c.has, c.wants) {
			t.Errorf("%q does for %q", c.has, c.wants)
		}
	}
}

func TestValid(t *testing.T) {
	for s, want := range map[string]bool{"": true, "aal2": true, "urn:mace:incommon:iap:silver": true, strings.Repeat("x", MaxClass): true,
		strings.Repeat("x", MaxClass+1): false, "a b": false, "a\tb": false, "höher": false, "\x7f": false, "\xff": false} {
		if Valid(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}
