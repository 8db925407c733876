package latchkey_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/latchkey-go/latchkey"
)

// With several Managers on one request, each guard asks for a session of its own
// Manager, wherever in the nesting it is.
func TestRequireOfOtherManager(t *testing.T) {
	admins, _, _ := setup(t, func(c *latchkey.Config) { c.Cookie.Name = "admin" })
	users, _, _ := setup(t, nil)
	user, admin := issue(t, users, "mallory"), issue(t, admins, "root")
	var innermost, ofAdmins string
	h := admins.Middleware(users.Middleware(admins.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		innermost = mustSession(t, r).Subject()
		s, err := admins.FromContext(r.Context())
		if err != nil {
			t.Error(err)
		}
		ofAdmins = s.Subject()
	}))))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(user))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("%d for a user at the administrators' guard", w.Code)
	}
	r := request(user)
	r.AddCookie(&http.Cookie{Name: "admin", Value: admin})
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK || innermost != "mallory" || ofAdmins != "root" {
		t.Errorf("%d, innermost %q, of administrators %q", w.Code, innermost, ofAdmins)
	}
}

// A guard whose own middleware is absent is a mistake of the program, not a visitor.
func TestRequireWithoutOwnMiddleware(t *testing.T) {
	admins, _, _ := setup(t, func(c *latchkey.Config) { c.Cookie.Name = "admin" })
	users, _, _ := setup(t, nil)
	h := users.Middleware(admins.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("passed") })))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(issue(t, users, "mallory")))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("%d", w.Code)
	}
}
