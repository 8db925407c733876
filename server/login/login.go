package login

import (
	"cmp"
	"embed"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/server/internal/acr"
	"github.com/latchkey-go/latchkey/server/login/oidc"
	"github.com/latchkey-go/latchkey/server/login/password"
	"github.com/latchkey-go/latchkey/server/page"
	"github.com/latchkey-go/latchkey/transaction"
)

//go:embed templates
var templates embed.FS

// Config configures the sign-in page. Manager and Site are required; the zero value of
// everything else is safe.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Manager makes and ends the sessions.
	Manager *latchkey.Manager
	// Site renders the pages; its prefix applies. With Providers it needs FormTargets, or
	// browsers do not follow the sign-in form to the provider.
	Site *page.Site

	// Providers are the OpenID Connect providers, in the order in which the page lists
	// them. They need Keys and Spender.
	Providers []*oidc.Provider
	// Keys seal what a browser carries through a sign-in; it may be the sessions' own.
	Keys *keyring.Ring
	// Spender sees to it that a sign-in and a logout token are used once: the sessions'
	// own store, which all nodes share.
	Spender latchkey.Spender

	// Users sign in by name and password; nil for none.
	Users *password.File

	// ReturnTo lists the other hosts that a sign-in may lead to, as transaction.Config's
	// AllowedHosts.
	ReturnTo []string
	// PerHost is set where the pages are reached under several of those hosts, each with a
	// cookie of its own: a sign-in then returns from the provider to the host that it began
	// at. Each host's callback must be registered with the provider.
	PerHost bool
	// DangerouslyInsecureCookie leaves Secure out of the cookies of sign-ins under way, for
	// plain HTTP on loopback.
	DangerouslyInsecureCookie bool

	// ClientIP finds a client's address, which limits go by; unset, it is the connection's.
	ClientIP func(*http.Request) string
	// Limits bound what one address may ask for.
	Limits Limits
	// Clock judges times; unset, it is the system's.
	Clock latchkey.Clock
	// Logger hears of sign-ins and logouts that were refused, and why. Unset, nothing is
	// logged.
	Logger *slog.Logger

	// DangerouslyDemo signs in anybody under any name, without a check. It is for
	// trying Latchkey out, and for nothing else. It stands alone: with any other way to
	// sign in it is refused.
	DangerouslyDemo bool
}

// Login serves the sign-in pages. It is safe for concurrent use, starts no goroutine
// and needs no closing.
type Login struct {
	m         *latchkey.Manager
	site      *page.Site
	page      *page.Page
	oops      *page.Page
	providers []*oidc.Provider
	attempts  *transaction.Keeper // nil without providers
	spender   latchkey.Spender
	returnTo  []string
	perHost   bool
	insecure  bool
	demo      bool
	local
	limits *limiter
	tally  *tally
	log    *slog.Logger
}

// New checks cfg and reports all its problems at once.
func New(cfg Config) (*Login, error) {
	l := &Login{m: cfg.Manager, site: cfg.Site, providers: slices.Clone(cfg.Providers), spender: cfg.Spender, returnTo: slices.Clone(cfg.ReturnTo),
		perHost: cfg.PerHost, insecure: cfg.DangerouslyInsecureCookie, demo: cfg.DangerouslyDemo, local: local{cfg.Users, password.NewVerifier()}, log: cfg.Logger}
	problems := cfg.problems()
	if len(cfg.Providers) > 0 && cfg.Keys != nil && cfg.Spender != nil {
		var err error
		l.attempts, err = transaction.New(transaction.Config{Keys: cfg.Keys, Spender: cfg.Spender, Clock: cfg.Clock, AllowedHosts: cfg.ReturnTo,
			DangerouslyInsecure: cfg.DangerouslyInsecureCookie})
		if e, ok := err.(*latchkey.Error); ok {
			problems = append(problems, e.Fields...)
		}
	}
	if len(problems) > 0 {
		return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "login: configuration", Fields: problems}
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.limits, l.tally = newLimiter(cfg.Limits, cfg.Clock, cfg.ClientIP), l.newTally()
	var err error
	if l.page, err = cfg.Site.Page(templates, "templates/login.html"); err != nil {
		return nil, err
	}
	if l.oops, err = cfg.Site.Page(templates, "templates/failed.html"); err != nil {
		return nil, err
	}
	return l, nil
}

// problems lists what is wrong with c.
func (c *Config) problems() (list []latchkey.FieldError) {
	add := func(field, detail string) {
		list = append(list, latchkey.FieldError{Field: field, Detail: detail})
	}
	if c.Manager == nil {
		add("Manager", "required: latchkey.New makes one")
	}
	if c.Site == nil {
		add("Site", "required: page.New makes one")
	}
	if len(c.Providers) > 0 && c.Keys == nil {
		add("Keys", "required with Providers: keyring.Open reads them")
	}
	if len(c.Providers) > 0 && c.Spender == nil {
		add("Spender", "required with Providers: the session store is one")
	}
	seen := make(map[string]bool)
	for i, p := range c.Providers {
		field := "Providers[" + strconv.Itoa(i) + "]"
		switch {
		case p == nil:
			add(field, "is nil")
		case p.ID() == DemoProvider || p.ID() == LocalProvider || p.ID() == "api":
			add(field, "the id "+p.ID()+" is Latchkey's own")
		case seen[p.ID()]:
			add(field, "the id "+p.ID()+" is given twice")
		default:
			seen[p.ID()] = true
		}
	}
	if c.DangerouslyDemo && (len(c.Providers) > 0 || c.Users != nil) {
		add("DangerouslyDemo", "lets anybody in under any name, so it stands alone")
	}
	return append(list, c.Limits.problems()...)
}

// Register adds the routes, without the site's prefix. The handlers find the session in
// the request's context when the mux is served inside the Manager's middleware, and
// look it up themselves otherwise.
//
// Protection from cross-origin forms is the caller's: wrap the mux in package csrf, but
// for the paths of [Login.OpenPaths].
func (l *Login) Register(mux *http.ServeMux) {
	mux.Handle("GET /login", l.site.WithSession(l.m, l.show))
	mux.Handle("POST /login", l.limited(passwords, l.site.WithSession(l.m, l.submit)))
	if len(l.providers) == 0 {
		return
	}
	mux.Handle("GET /login/{provider}", l.site.WithSession(l.m, l.show))
	mux.Handle("POST /login/{provider}", l.limited(signIns, http.HandlerFunc(l.begin)))
	mux.Handle("GET /callback/{provider}", l.limited(callbacks, l.site.WithSession(l.m, l.callback)))
	mux.HandleFunc("POST /backchannel-logout/{provider}", l.backChannel)
}

// Paths lists what [Login.Register] answers to, as patterns without method, for
// mounting the mux in another one; OpenPaths are to be added.
func (l *Login) Paths() []string {
	if len(l.providers) == 0 {
		return []string{"/login"}
	}
	return []string{"/login", "/login/{provider}", "/callback/{provider}"}
}

// OpenPaths lists the routes for an identity provider's own requests. They prove
// themselves by a signature: they take no cookie, and the check against other sites'
// requests must let them through.
func (l *Login) OpenPaths() []string {
	if len(l.providers) == 0 {
		return nil
	}
	return []string{"/backchannel-logout/{provider}"}
}

// provider is the provider of a path, nil when there is none.
func (l *Login) provider(r *http.Request) *oidc.Provider {
	return l.providerByID(r.PathValue("provider"))
}

func (l *Login) providerByID(id string) *oidc.Provider {
	for _, p := range l.providers {
		if p.ID() == id {
			return p
		}
	}
	return nil
}

// LogoutTarget is where a browser goes whose session has just ended: its provider's
// sign-out, or "" where it has none. Call it before the session ends.
func (l *Login) LogoutTarget(r *http.Request, s latchkey.Session) string {
	p := l.providerByID(s.Provider())
	if p == nil {
		return ""
	}
	return p.EndSession(r.Context(), s)
}

// form is the page's data: what was filled in, and what is wrong with it.
type form struct {
	Heading   string
	Providers []*oidc.Provider
	Password  bool // there are users with passwords
	Demo      bool
	Name      string
	Return    string // rd as it was given and found good, or ""
	Ask       ask
	Again     bool // a fresh or a stronger sign-in is asked for
	NameError string
	Failure   string // about the sign-in as a whole
	MaxBytes  int
}

// ask is what a link asks of a sign-in beyond the configuration, as text that was
// found good.
type ask struct{ Prompt, MaxAge, ACR string }

// readAsk takes what is good of a request's parameters; the rest asks for nothing.
func readAsk(q url.Values) (a ask) {
	if q.Get("prompt") == "login" {
		a.Prompt = "login"
	}
	if n, err := strconv.ParseUint(q.Get("max_age"), 10, 31); err == nil && n > 0 && time.Duration(n)*time.Second <= oidc.MaxMaxAge {
		a.MaxAge = strconv.FormatUint(n, 10)
	}
	if class := q.Get("acr_values"); acr.Valid(class) {
		a.ACR = class
	}
	return a
}

// request is a in the words of package oidc.
func (a ask) request() oidc.Request {
	n, _ := strconv.ParseInt(a.MaxAge, 10, 64) // 0 for none
	return oidc.Request{Login: a.Prompt != "", MaxAge: time.Duration(n) * time.Second, ACR: a.ACR}
}

// more reports whether anything is asked.
func (a ask) more() bool { return a != ask{} }

// metBy reports whether a session is all that is asked: never, where a sign-in is asked
// for by itself.
func (a ask) metBy(s latchkey.Session, now time.Time) bool {
	fresh := a.request().MaxAge
	return a.Prompt == "" && acr.Meets(s.Assurance(), a.ACR) && (fresh == 0 || !s.AuthTime().IsZero() && now.Sub(s.AuthTime()) <= fresh)
}

// query adds what is asked to a link's query.
func (a ask) query(q url.Values) {
	for name, value := range map[string]string{"prompt": a.Prompt, "max_age": a.MaxAge, "acr_values": a.ACR} {
		if value != "" {
			q.Set(name, value)
		}
	}
}

// maxBody bounds a form, in bytes.
const maxBody = 16 << 10

// show is GET /login, and GET /login/{provider}. Who is signed in already is sent on: a
// stale bookmark or the back button should not ask again. To be somebody else, sign
// out first. A page that needs a fresh sign-in, or a stronger one, says so in the query,
// and the form is shown to whoever's session is not that.
func (l *Login) show(w http.ResponseWriter, r *http.Request, s latchkey.Session) {
	query := r.URL.Query()
	f := form{Return: l.target(query.Get("rd")), Ask: readAsk(query)}
	if r.PathValue("provider") != "" {
		p := l.provider(r)
		if p == nil {
			l.site.WriteError(w, r, page.ErrNoPage)
			return
		}
		f.Providers = []*oidc.Provider{p}
	}
	if s.SignedIn() && f.Ask.metBy(s, l.m.Now()) {
		page.Redirect(w, l.destination(f.Return))
		return
	}
	if s.SignedIn() && s.Provider() == LocalProvider {
		f.Name = s.Subject() // who proves again who they are need not say it again
	}
	l.render(w, r, http.StatusOK, f)
}

// readForm parses a form's body, and answers when it cannot.
func (l *Login) readForm(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := page.ParseForm(r); err != nil {
		l.site.WriteError(w, r, err)
		return false
	}
	return true
}

// formTarget is where a form, or else the query, asks to go.
func (l *Login) formTarget(r *http.Request) string {
	rd, inForm := r.PostForm["rd"]
	if !inForm {
		rd = r.URL.Query()["rd"]
	}
	if len(rd) == 0 {
		return ""
	}
	return l.target(rd[0])
}

// submit is POST /login: a sign-in without a provider.
func (l *Login) submit(w http.ResponseWriter, r *http.Request, s latchkey.Session) {
	switch {
	case !l.demo && l.users == nil:
		l.site.WriteError(w, r, page.ErrNoPage)
	case !l.readForm(w, r):
	case l.demo:
		l.submitName(w, r, s)
	default:
		l.submitPassword(w, r, s)
	}
}

// target is rd where it is a path of this host or an address of an allowed one, and ""
// otherwise. The sign-in page itself and the logout, which is no page, lead nowhere.
func (l *Login) target(rd string) string {
	target := transaction.ReturnTo(rd, l.returnTo)
	path, _, _ := strings.Cut(target, "?")
	path, _, _ = strings.Cut(path, "#")
	for _, own := range []string{"/login", "/logout"} {
		if path == l.site.Path(own) {
			return ""
		}
	}
	for _, own := range []string{"/login/", "/callback/", "/backchannel-logout/"} {
		if strings.HasPrefix(path, l.site.Path(own)) {
			return ""
		}
	}
	return target
}

// destination is where a visitor goes who is signed in.
func (l *Login) destination(target string) string {
	return cmp.Or(target, l.site.Path("/account"))
}

func (l *Login) render(w http.ResponseWriter, r *http.Request, status int, f form) {
	if r.PathValue("provider") == "" { // else the page is about that one
		f.Providers, f.Demo = l.providers, l.demo
		f.Password = l.users != nil && acr.Meets(acr.Password, f.Ask.ACR)
	}
	f.Again = f.Ask.more()
	f.MaxBytes, f.Heading = maxName, "Sign in"
	title := f.Heading
	if f.NameError != "" || f.Failure != "" {
		title = "Error: Sign in" // what a screen reader says first
	}
	l.site.Render(w, r, status, l.page, page.View{Title: title, Body: f})
}

// peer is the address of a request's connection.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	return addr.Unmap().String()
}
