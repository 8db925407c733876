package login

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/page"
)

// DemoProvider is the provider of sessions that the demo makes.
const DemoProvider = "demo"

// maxName bounds a name in the demo's form, in bytes.
const maxName = 255

// submitName is the demo's sign-in: any name will do.
func (l *Login) submitName(w http.ResponseWriter, r *http.Request, s latchkey.Session) {
	in := form{Name: strings.TrimSpace(r.PostForm.Get("name")), Return: l.formTarget(r)}
	if in.NameError = checkName(in.Name); in.NameError != "" {
		in.Name = strings.ToValidUTF8(r.PostForm.Get("name"), "\uFFFD")
		l.render(w, r, http.StatusUnprocessableEntity, in)
		return
	}
	l.tally.signIn(DemoProvider, Begun, "")
	if err := l.signInAs(r.Context(), s, in.Name); err != nil {
		l.tally.signIn(DemoProvider, Refused, reasonOf(err))
		l.failName(w, r, in, err)
		return
	}
	l.tally.signIn(DemoProvider, Completed, "")
	page.Redirect(w, l.destination(in.Return))
}

// signInAs makes the session. Began stays unset: it lets a logout overtake a sign-in
// that is under way, and this one is over as soon as it has begun.
func (l *Login) signInAs(ctx context.Context, s latchkey.Session, name string) error {
	return s.SignIn(ctx, latchkey.SignIn{Provider: DemoProvider, Subject: name, Name: name, Methods: []string{"demo"}})
}

// failName shows why a sign-in was refused, where that is the visitor's to know.
func (l *Login) failName(w http.ResponseWriter, r *http.Request, in form, err error) {
	code := latchkey.CodeOf(err)
	var e *latchkey.Error
	switch {
	case code == latchkey.CodeLimitReached:
		in.Failure = "This name has as many sessions as it may have. End one of them first."
	case code == latchkey.CodeInvalidRequest && errors.As(err, &e) && len(e.Fields) > 0:
		in.NameError = "This name cannot be used: it " + e.Fields[0].Detail + "."
	default:
		l.site.WriteError(w, r, err)
		return
	}
	l.render(w, r, code.Status(), in)
}

// checkName says what is wrong with a name, or "".
func checkName(name string) string {
	switch {
	case name == "":
		return "Please enter a name."
	case len(name) > maxName:
		return "This name is too long. At most 255 bytes are allowed, which is 255 plain letters."
	case !utf8.ValidString(name) || strings.ContainsFunc(name, isControl):
		return "This name holds characters that cannot be shown. Please type it anew."
	}
	return ""
}

// isControl reports whether r is a control character (C0, DEL or C1).
func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }
