package login

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/login/oidc"
	"github.com/latchkey-go/latchkey/server/page"
	"github.com/latchkey-go/latchkey/transaction"
)

// Names of what a transaction keeps beside its own: what the sign-in was asked for.
const (
	extraPrompt   = "prompt"
	extraMaxAge   = "max_age"
	extraACR      = "acr"
	extraRedirect = "redirect"
)

// begin is POST /login/{provider}: it sends the visitor to the provider. It needs no
// session and asks no store.
func (l *Login) begin(w http.ResponseWriter, r *http.Request) {
	p := l.provider(r)
	if p == nil {
		l.site.WriteError(w, r, page.ErrNoPage)
		return
	}
	// A form without fields, which a program may send as nothing at all, is good enough.
	if empty := r.ContentLength == 0 && len(r.Header["Content-Type"]) == 0; !empty && !l.readForm(w, r) {
		return
	}
	asked := readAsk(r.URL.Query())
	for name := range r.PostForm {
		if name == "prompt" || name == "max_age" || name == "acr_values" {
			asked = readAsk(r.PostForm) // the form's word goes before the query's
		}
	}
	target := l.formTarget(r)
	req := asked.request()
	req.RedirectURL = l.redirectURL(r, p)
	address, err := p.Begin(r.Context(), req)
	if err != nil {
		l.failed(w, r, p, wanted{target, asked}, err)
		return
	}
	t, err := l.attempts.Begin(w, r, transaction.Params{Provider: p.ID(), ReturnTo: target, Extra: extra(asked, req.RedirectURL)})
	if err != nil {
		l.tally.signIn(p.ID(), Refused, reasonOf(err))
		l.site.WriteError(w, r, err)
		return
	}
	l.tally.signIn(p.ID(), Begun, "")
	page.Redirect(w, address(t))
}

// wanted is what a sign-in was begun for: the page, and what that asked for.
type wanted struct {
	target string
	ask    ask
}

// wantedBy reads what [extra] wrote.
func wantedBy(t transaction.Transaction) wanted {
	return wanted{t.ReturnTo, ask{t.Extra[extraPrompt], t.Extra[extraMaxAge], t.Extra[extraACR]}}
}

// extra is what a transaction keeps for its callback.
func extra(a ask, redirect string) map[string]string {
	m := map[string]string{extraPrompt: a.Prompt, extraMaxAge: a.MaxAge, extraACR: a.ACR, extraRedirect: redirect}
	for name, value := range m {
		if value == "" {
			delete(m, name)
		}
	}
	return m
}

// redirectURL is this host's callback where the pages are reached under several hosts,
// and "" for the one that is configured.
func (l *Login) redirectURL(r *http.Request, p *oidc.Provider) string {
	if !l.perHost {
		return ""
	}
	for _, host := range l.returnTo {
		origin := host
		if !strings.Contains(host, "://") {
			origin = "https://" + host
		}
		if _, name, _ := strings.Cut(origin, "://"); name == r.Host {
			return origin + l.site.Path("/callback/"+p.ID())
		}
	}
	return ""
}

// callback is GET /callback/{provider}: the visitor is back from the provider.
func (l *Login) callback(w http.ResponseWriter, r *http.Request, s latchkey.Session) {
	p := l.provider(r)
	if p == nil || r.Method != http.MethodGet { // the router takes HEAD for GET
		l.site.WriteError(w, r, page.ErrNoPage)
		return
	}
	answer, err := readAnswer(r.URL.RawQuery)
	if err != nil {
		l.failed(w, r, p, wanted{}, err)
		return
	}
	ctx := r.Context()
	// A response of another issuer is looked at no further, and its attempt is given up.
	if err := p.CheckIssuer(ctx, answer.issuer, answer.hasIssuer); err != nil {
		var t transaction.Transaction
		if oidc.ReasonOf(err) != "" {
			t, _ = l.attempts.Abandon(w, r, p.ID(), answer.state) // the refusal is told anyway
		}
		l.failed(w, r, p, wantedBy(t), err)
		return
	}
	if answer.failure != "" {
		t, err := l.attempts.Abandon(w, r, p.ID(), answer.state)
		if err == nil {
			err = &refused{answer.failure}
		}
		l.failed(w, r, p, wantedBy(t), err)
		return
	}
	t, err := l.attempts.Finish(ctx, w, r, p.ID(), answer.state)
	if err != nil {
		l.failed(w, r, p, wanted{}, err)
		return
	}
	if err := l.finish(ctx, s, p, t, answer.code); err != nil {
		l.failed(w, r, p, wantedBy(t), err)
		return
	}
	l.tally.signIn(p.ID(), Completed, "")
	page.Redirect(w, l.destination(l.target(t.ReturnTo)))
}

// finish makes the session that a transaction was begun for.
func (l *Login) finish(ctx context.Context, s latchkey.Session, p *oidc.Provider, t transaction.Transaction, code string) error {
	req := wantedBy(t).ask.request()
	req.RedirectURL = t.Extra[extraRedirect]
	in, err := p.Finish(ctx, t, req, code)
	if err != nil {
		return err
	}
	return s.SignIn(ctx, in)
}

// answer is an authorization response (RFC 6749, 4.1.2).
type answer struct {
	code, state, failure string
	issuer               string
	hasIssuer            bool
}

// maxCode bounds a code, in bytes.
const maxCode = 8 << 10

var errAnswer = latchkey.NewError(latchkey.CodeMalformed, "this is no answer of an identity provider", nil)

// readAnswer reads a response's query. Parameters must not be there twice (RFC 6749,
// 3.1): two programs would read two different ones.
func readAnswer(query string) (a answer, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return a, errAnswer
	}
	for _, name := range []string{"code", "state", "iss", "error"} {
		if len(values[name]) > 1 {
			return a, errAnswer
		}
	}
	a = answer{code: values.Get("code"), state: values.Get("state"), failure: values.Get("error"), issuer: values.Get("iss"), hasIssuer: values.Has("iss")}
	if a.state == "" || (a.code == "") == (a.failure == "") || len(a.code) > maxCode {
		return a, errAnswer
	}
	return a, nil
}

// refused is a provider's answer that it signs nobody in (RFC 6749, 4.1.2.1; OpenID
// Connect Core, 3.1.2.6).
type refused struct{ code string }

// answers are the error codes that are told apart. The code and its description are the
// provider's words, or those of whoever made the link: they are never shown.
var answers = []string{"access_denied", "login_required", "interaction_required", "account_selection_required", "consent_required",
	"unmet_authentication_requirements", "temporarily_unavailable", "server_error", "invalid_request", "unauthorized_client", "invalid_scope",
	"unsupported_response_type"}

// Error implements error, with the code where it is a known one.
func (f *refused) Error() string {
	if slices.Contains(answers, f.code) {
		return f.code
	}
	return "other"
}

// failure is the data of the page about a sign-in that failed.
type failure struct {
	Heading, Text string
	Status        int
	Code          latchkey.Code
	Again         string
}

// failed answers a sign-in that did not come about, and tells the log why.
func (l *Login) failed(w http.ResponseWriter, r *http.Request, p *oidc.Provider, begun wanted, err error) {
	l.tally.signIn(p.ID(), Refused, reasonOf(err))
	code := latchkey.CodeOf(err)
	why := "unknown"
	var no *refused
	switch reason := oidc.ReasonOf(err); {
	case errors.As(err, &no):
		code, why = latchkey.CodeDenied, "provider: "+no.Error()
		err = latchkey.NewError(code, "the identity provider did not sign you in", no)
	case reason != "":
		why = string(reason)
	case transaction.ReasonOf(err) != 0:
		why = "transaction: " + transaction.ReasonOf(err).String()
	case errors.Unwrap(err) != nil:
		why = errors.Unwrap(err).Error()
	case code != "":
		why = string(code)
	}
	l.log.LogAttrs(r.Context(), slog.LevelWarn, "sign-in failed", slog.String("provider", p.ID()), slog.String("code", string(code)), slog.String("why", why))
	if !page.IsNavigation(r) {
		l.site.WriteError(w, r, err)
		return
	}
	f := describe(code, p.Name(), oidc.IsAway(err), no)
	f.tooLittle(oidc.ReasonOf(err), p.Name(), no)
	f.Again = l.site.Path("/login")
	again := make(url.Values)
	if target := l.target(begun.target); target != "" {
		again.Set("rd", target)
	}
	if begun.ask.query(again); len(again) > 0 {
		f.Again += "?" + again.Encode()
	}
	if f.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	l.site.Render(w, r, f.Status, l.oops, page.View{Title: f.Heading, Body: f})
}

// tooLittle says that somebody did authenticate, and not recently or strongly enough.
// They are told so at once: sending them back would bring them here again.
func (f *failure) tooLittle(why oidc.Reason, name string, no *refused) {
	switch {
	case why == oidc.TooOld:
		f.Text = name + " went by an earlier sign-in of yours, and the page that you came for needs a fresh one. Sign out at " + name + " and try again."
	case why == oidc.NoAuthTime:
		f.Text = name + " does not say when you signed in there, and the page that you came for needs to know. Please tell whoever runs this service."
	case why == oidc.WrongACR, no != nil && no.code == "unmet_authentication_requirements":
		f.Text = name + " signed you in less strongly than is asked for here. Try again, and choose a stronger way there, such as a second factor."
	default:
		return
	}
	f.Heading = "This sign-in is not enough"
}

// describe gives the fixed texts of a failure. Nothing that the provider wrote is
// shown.
func describe(code latchkey.Code, name string, away bool, no *refused) failure {
	f := failure{Status: code.Status(), Code: code, Heading: "You are not signed in"}
	switch {
	case no != nil && no.code == "access_denied":
		f.Text = name + " says that the sign-in was cancelled or is not allowed."
	case no != nil && (no.code == "temporarily_unavailable" || no.code == "server_error"):
		f.Text = name + " cannot sign anybody in at the moment. Please try again shortly."
	case no != nil:
		f.Text = name + " did not sign you in."
	case away:
		f.Heading, f.Text = "One moment, please", name+" cannot be reached right now. Please try again shortly."
	case code == latchkey.CodeStoreUnavailable:
		f.Heading, f.Text = "One moment, please", "Sessions cannot be reached right now. Please try again shortly."
	case code == latchkey.CodeLimitReached:
		f.Text = "You have as many sessions as you may have. End one of them first."
	case code == latchkey.CodeMalformed:
		f.Text = "The address is not complete. Please start the sign-in again."
	case code == latchkey.CodeInvalidRequest, code == latchkey.CodeDataTooLarge:
		f.Text = name + " says more of you than a session can hold, such as too many groups. Please tell whoever runs this service."
	case code == latchkey.CodeDenied:
		f.Text = "This sign-in cannot be finished: it took too long, was finished before, began in another browser, or was not accepted. Please start it again."
	default:
		f.Heading, f.Text = "Something went wrong", "The fault is the server's, not yours. Please try again later."
	}
	return f
}
