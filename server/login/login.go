package login

import (
	"context"
	"embed"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/page"
	"github.com/latchkey-go/latchkey/transaction"
)

//go:embed templates
var templates embed.FS

// DemoProvider is the provider of sessions that the demo makes.
const DemoProvider = "demo"

// Config configures the sign-in page. Manager and Site are required.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Manager makes the sessions.
	Manager *latchkey.Manager
	// Site renders the page; its prefix applies.
	Site *page.Site
	// DangerouslyDemo signs in anybody under any name, without a check. It is for
	// trying Latchkey out, and for nothing else. Unset, the page says that no way to
	// sign in is configured.
	DangerouslyDemo bool
}

// Login serves the sign-in page. It is safe for concurrent use.
type Login struct {
	m         *latchkey.Manager
	site      *page.Site
	page      *page.Page
	providers []provider
}

// provider is a way to sign in, as the page lists it.
type provider struct {
	ID    string
	Label string // what the form's button says
	Hint  string
}

// New checks cfg and reports all its problems at once.
func New(cfg Config) (*Login, error) {
	var problems []latchkey.FieldError
	if cfg.Manager == nil {
		problems = append(problems, latchkey.FieldError{Field: "Manager", Detail: "required: latchkey.New makes one"})
	}
	if cfg.Site == nil {
		problems = append(problems, latchkey.FieldError{Field: "Site", Detail: "required: page.New makes one"})
	}
	if len(problems) > 0 {
		return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "login: configuration", Fields: problems}
	}
	l := &Login{m: cfg.Manager, site: cfg.Site}
	var err error
	if l.page, err = cfg.Site.Page(templates, "templates/login.html"); err != nil {
		return nil, err
	}
	if cfg.DangerouslyDemo {
		l.providers = append(l.providers, provider{DemoProvider, "Sign in", "This is a demo: any name will do, and nobody checks it."})
	}
	return l, nil
}

// Register adds GET and POST /login, without the site's prefix. The handlers find
// the session in the request's context when the mux is served inside the Manager's
// middleware, and look it up themselves otherwise.
//
// Protection from cross-origin forms is the caller's: wrap the mux in package csrf.
func (l *Login) Register(mux *http.ServeMux) {
	mux.Handle("GET /login", l.site.WithSession(l.m, l.show))
	mux.Handle("POST /login", l.site.WithSession(l.m, l.submit))
}

// Paths lists what [Login.Register] answers to, as patterns without method, for
// mounting the mux in another one.
func (l *Login) Paths() []string { return []string{"/login"} }

// form is the page's data: what was filled in, and what is wrong with it.
type form struct {
	Providers []provider
	Name      string
	Return    string // rd as it was given and found good, or ""
	NameError string
	Failure   string // about the sign-in as a whole
	MaxBytes  int
}

// Bounds of the form, in bytes.
const (
	maxName = 255
	maxBody = 16 << 10
)

// show is GET /login. Who is signed in already is sent on: a stale bookmark or the
// back button should not ask for a name again. To be somebody else, sign out first.
func (l *Login) show(w http.ResponseWriter, r *http.Request, s latchkey.Session) {
	target := l.target(r.URL.Query().Get("rd"))
	if s.SignedIn() {
		page.Redirect(w, l.destination(target))
		return
	}
	l.render(w, r, http.StatusOK, form{Return: target})
}

// submit is POST /login. Where to go afterwards stands in the form, or else in the
// query.
func (l *Login) submit(w http.ResponseWriter, r *http.Request, s latchkey.Session) {
	if len(l.providers) == 0 {
		l.site.WriteError(w, r, page.ErrNoPage)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := page.ParseForm(r); err != nil {
		l.site.WriteError(w, r, err)
		return
	}
	rd, inForm := r.PostForm["rd"]
	if !inForm {
		rd = r.URL.Query()["rd"]
	}
	in := form{Name: strings.TrimSpace(r.PostForm.Get("name"))}
	if len(rd) > 0 {
		in.Return = l.target(rd[0])
	}
	if in.NameError = checkName(in.Name); in.NameError != "" {
		in.Name = strings.ToValidUTF8(r.PostForm.Get("name"), "\uFFFD")
		l.render(w, r, http.StatusUnprocessableEntity, in)
		return
	}
	if err := l.signIn(r.Context(), s, in.Name); err != nil {
		l.fail(w, r, in, err)
		return
	}
	page.Redirect(w, l.destination(in.Return))
}

// signIn makes the session. Began stays unset: it lets a logout overtake a sign-in
// that is under way, and this one is over as soon as it has begun.
func (l *Login) signIn(ctx context.Context, s latchkey.Session, name string) error {
	return s.SignIn(ctx, latchkey.SignIn{Provider: DemoProvider, Subject: name, Name: name, Methods: []string{"demo"}})
}

// fail shows why a sign-in was refused, where that is the visitor's to know.
func (l *Login) fail(w http.ResponseWriter, r *http.Request, in form, err error) {
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

// target is rd where it is a path of this host, and "" otherwise. The sign-in page
// itself and the logout, which is no page, lead nowhere.
func (l *Login) target(rd string) string {
	target := transaction.ReturnTo(rd, nil)
	path, _, _ := strings.Cut(target, "?")
	path, _, _ = strings.Cut(path, "#")
	if path == l.site.Path("/login") || path == l.site.Path("/logout") {
		return ""
	}
	return target
}

// destination is where a visitor goes who is signed in.
func (l *Login) destination(target string) string {
	if target == "" {
		return l.site.Path("/account")
	}
	return target
}

func (l *Login) render(w http.ResponseWriter, r *http.Request, status int, f form) {
	f.Providers, f.MaxBytes = l.providers, maxName
	title := "Sign in"
	if f.NameError != "" || f.Failure != "" {
		title = "Error: Sign in" // what a screen reader says first
	}
	l.site.Render(w, r, status, l.page, page.View{Title: title, Body: f})
}
