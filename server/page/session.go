package page

import (
	"errors"
	"mime"
	"net/http"

	"github.com/latchkey-go/latchkey"
)

// SessionHandler answers a request with the visitor's session in hand, which may not
// be live.
type SessionHandler func(w http.ResponseWriter, r *http.Request, s latchkey.Session)

// WithSession gives h the session of each request. It takes that of the context,
// where m's middleware has put one, and applies the middleware itself otherwise.
func (s *Site) WithSession(m *latchkey.Manager, h SessionHandler) http.Handler {
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := latchkey.FromContext(r.Context())
		if err != nil {
			s.WriteError(w, r, err)
			return
		}
		h(w, r, session)
	})
	wrapped := m.Middleware(inner)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := latchkey.FromContext(r.Context()); err == nil {
			inner.ServeHTTP(w, r)
			return
		}
		wrapped.ServeHTTP(w, r)
	})
}

// ParseForm reads an application/x-www-form-urlencoded body into r.PostForm. Bound
// the body first, by [http.MaxBytesReader]. Its error is of code CodeContentType,
// CodeBodyTooLarge or CodeMalformed.
func ParseForm(r *http.Request) error {
	given := r.Header["Content-Type"]
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || len(given) != 1 || t != "application/x-www-form-urlencoded" {
		return latchkey.NewError(latchkey.CodeContentType, "send the form as application/x-www-form-urlencoded", err)
	}
	if err := r.ParseForm(); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return latchkey.NewError(latchkey.CodeBodyTooLarge, "the form is too large", err)
		}
		return latchkey.NewError(latchkey.CodeMalformed, "the form cannot be read", err)
	}
	return nil
}
