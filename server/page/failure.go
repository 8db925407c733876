package page

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/transaction"
)

// ErrNoPage is the answer to a path that leads nowhere.
var ErrNoPage = latchkey.NewError(latchkey.CodeNotFound, "there is no such page", nil)

// failure is the data of an error page.
type failure struct {
	Heading, Text string
	Status        int
	Code          latchkey.Code
	Again         string // where to try again, when that may help
	retry         bool
}

// describe gives the fixed texts for a code. Nothing of the error itself is shown:
// its cause is for operators, and its fields are for those who filled in a form.
func describe(code latchkey.Code) failure {
	f := failure{Status: code.Status(), Code: code}
	switch code {
	case latchkey.CodeStoreUnavailable:
		f.Heading, f.retry = "One moment, please", true
		f.Text = "Sessions cannot be reached right now. You have not been signed out. Please try again shortly."
	case latchkey.CodeInvalidSession:
		f.Heading, f.Text = "Please sign in", "This page is for visitors who are signed in."
	case latchkey.CodeCSRFRefused:
		f.Heading = "Request refused"
		f.Text = "The request seems to come from another site, so nothing was changed. Open the page again and use its own buttons."
	case latchkey.CodeDenied:
		f.Heading, f.Text = "Not allowed", "Your session is not allowed to do this."
	case latchkey.CodeNoSuchSession:
		f.Heading, f.Text = "No such session", "It may have ended long ago. Your account page lists the ones that are live."
	case latchkey.CodeNotFound:
		f.Heading, f.Text = "No such page", "The address leads nowhere."
	case latchkey.CodeBodyTooLarge:
		f.Heading, f.Text = "Too much at once", "The form holds more than this page takes."
	case latchkey.CodeMalformed, latchkey.CodeContentType, latchkey.CodeInvalidRequest:
		f.Heading, f.Text = "Request not understood", "Open the page again and use its own form."
	case latchkey.CodeRateLimited:
		f.Heading, f.Text, f.retry = "Too many attempts", "Please wait a little and try again.", true
	case latchkey.CodeMisdirected:
		f.Heading, f.Text = "Wrong address", "This server does not answer for that host name."
	default:
		f.Heading, f.Text = "Something went wrong", "The fault is the server's, not yours. Please try again later."
	}
	return f
}

// WriteError answers a request that cannot be served: with a page where a person's
// browser asked for one, and otherwise with application/problem+json. It fits
// latchkey.Config.OnError. It never touches the cookie.
func (s *Site) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	if !IsNavigation(r) {
		s.logFault(r, err)
		latchkey.WriteProblem(w, r, err)
		return
	}
	s.WriteErrorAs(w, r, err, "")
}

// WriteErrorAs is WriteError for pages, with the name of whoever is signed in.
func (s *Site) WriteErrorAs(w http.ResponseWriter, r *http.Request, err error, user string) {
	s.logFault(r, err)
	f := describe(latchkey.CodeOf(err))
	if f.retry {
		f.Again = s.Path("/account")
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			f.Again = cmp.Or(transaction.ReturnTo(r.RequestURI, nil), f.Again) // r.URL may be without the prefix
		}
	}
	if f.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(latchkey.RetryAfter))
	}
	s.Render(w, r, f.Status, s.oops, View{Title: f.Heading, User: user, Body: f})
}

// logFault tells the log of a fault of the program. Other errors are the visitor's
// or the store's, and whoever meets those counts them.
func (s *Site) logFault(r *http.Request, err error) {
	if latchkey.CodeOf(err) != latchkey.CodeInternal {
		return
	}
	s.log.ErrorContext(r.Context(), "a page could not be served", "route", s.route(r), "error", err, "cause", errors.Unwrap(err))
}

// route is the method and pattern that a request was routed by, with the prefix. The
// path itself stays out of logs: a visitor may have put anything there.
func (s *Site) route(r *http.Request) string {
	method, pattern, ok := strings.Cut(r.Pattern, " ")
	if !ok {
		return "none"
	}
	return method + " " + s.prefix + pattern
}
