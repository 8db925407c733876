package login

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/internal/acr"
	"github.com/latchkey-go/latchkey/server/login/oidc"
	"github.com/latchkey-go/latchkey/server/login/password"
	"github.com/latchkey-go/latchkey/server/page"
)

// LocalProvider is the provider of sessions that are signed in to by password.
const LocalProvider = "local"

// errTooWeak is the answer where more was asked for than a password.
var errTooWeak = latchkey.NewError(latchkey.CodeDenied, "a password is not enough for what was asked for", oidc.WrongACR)

// submitPassword is the sign-in by name and password. A name that is not known takes as
// long and gets the same answer as a wrong password.
//
// It answers for the class [acr.Password], and for a recent authentication, which it is.
func (l *Login) submitPassword(w http.ResponseWriter, r *http.Request, s latchkey.Session) {
	in := form{Name: strings.TrimSpace(r.PostForm.Get("username")), Return: l.formTarget(r), Ask: readAsk(r.PostForm)}
	ctx := r.Context()
	l.tally.signIn(LocalProvider, Begun, "")
	if !acr.Meets(acr.Password, in.Ask.ACR) {
		l.refusePassword(w, r, in, errTooWeak)
		return
	}
	user, _, err := l.users.Lookup(in.Name)
	if err != nil {
		l.tally.signIn(LocalProvider, Refused, "users_away")
		l.log.LogAttrs(ctx, slog.LevelError, "nobody can sign in by password", slog.String("why", err.Error()))
		l.site.WriteError(w, r, latchkey.NewError(latchkey.CodeStoreUnavailable, "the users cannot be read", err))
		return
	}
	good, err := l.passwords.Verify(ctx, user.Hash, r.PostForm.Get("password"))
	switch {
	case err != nil:
		l.tally.signIn(LocalProvider, Refused, reasonOf(err))
		w.Header().Set("Retry-After", retryAfter)
		l.site.WriteError(w, r, err)
		return
	case !good:
		l.log.LogAttrs(ctx, slog.LevelWarn, "sign-in failed", slog.String("provider", LocalProvider), slog.String("code", string(latchkey.CodeDenied)), slog.String("why", "name or password"))
		l.refusePassword(w, r, in, errWrongPassword)
		return
	}
	l.limits.take(passwords, r, -1) // whoever knows the password need not be slowed down
	err = s.SignIn(ctx, latchkey.SignIn{Provider: LocalProvider, Subject: user.Name, Name: user.Display, Email: user.Email, Roles: user.Roles,
		Methods: []string{"pwd"}, Assurance: acr.Password})
	switch latchkey.CodeOf(err) {
	case "":
		l.tally.signIn(LocalProvider, Completed, "")
		page.Redirect(w, l.destination(in.Return))
	case latchkey.CodeLimitReached:
		l.refusePassword(w, r, in, err)
	default:
		l.tally.signIn(LocalProvider, Refused, reasonOf(err))
		l.site.WriteError(w, r, err)
	}
}

var errWrongPassword = latchkey.NewError(latchkey.CodeDenied, "the name or the password is wrong", nil)

// refusePassword shows the form again, with what is wrong. The password is not in it.
func (l *Login) refusePassword(w http.ResponseWriter, r *http.Request, in form, err error) {
	reason := reasonOf(err)
	if errors.Is(err, errWrongPassword) {
		reason = "password"
	}
	l.tally.signIn(LocalProvider, Refused, reason)
	if !page.IsNavigation(r) {
		l.site.WriteError(w, r, err)
		return
	}
	in.Name = strings.ToValidUTF8(in.Name, "\uFFFD")
	switch {
	case latchkey.CodeOf(err) == latchkey.CodeLimitReached:
		in.Failure = "You have as many sessions as you may have. End one of them first."
	case oidc.ReasonOf(err) == oidc.WrongACR:
		in.Failure = "A password alone is not enough for the page that you came for."
	default:
		in.Failure = "The name or the password is wrong."
	}
	l.render(w, r, latchkey.CodeOf(err).Status(), in)
}

// users of a file, and what compares their passwords.
type local struct {
	users     *password.File
	passwords *password.Verifier
}
