package latchkeytest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/latchkeytest"
)

// account is the handler to test: it greets whoever is signed in.
func account(w http.ResponseWriter, r *http.Request) {
	s, err := latchkey.FromContext(r.Context())
	if err != nil || !s.SignedIn() {
		http.Error(w, "please sign in", http.StatusUnauthorized)
		return
	}
	fmt.Fprintf(w, "hello %s", s.Subject())
}

// exampleT stands for the *testing.T of a real test.
type exampleT struct{ cleanups []func() }

func (t *exampleT) Helper()                           {}
func (t *exampleT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (t *exampleT) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *exampleT) done() {
	for _, f := range t.cleanups {
		f()
	}
}

// In a real test t is its *testing.T, and nothing needs to be closed.
func Example() {
	t := &exampleT{}
	defer t.done()

	m, clock := latchkeytest.NewManager(t, nil)
	handler := m.Middleware(http.HandlerFunc(account))

	// A signed-in request in one line.
	r := latchkeytest.Request(t, m, latchkey.SignIn{Subject: "ann"}, "GET", "/account", nil)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)

	// An hour unseen is the default idle limit.
	clock.Advance(time.Hour)
	w = httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code)
	// Output:
	// 200 hello ann
	// 401
}
