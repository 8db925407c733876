package console

import (
	"embed"
	"net/http"
	"sync"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/server/page"
)

//go:embed templates
var templates embed.FS

// Config configures the pages. Manager and Site are required.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Manager judges and ends the sessions.
	Manager *latchkey.Manager
	// Site renders the pages; its prefix applies.
	Site *page.Site
	// Counter counts sessions for the status page: the store, where it can. Unset,
	// the page says that this store does not count.
	Counter latchkey.Counter
	// CacheStats reads the near cache, where there is one, for the status page. It is
	// called by several goroutines at once.
	CacheStats func() nearcache.Stats
}

// Console serves the pages. It is safe for concurrent use.
type Console struct {
	m       *latchkey.Manager
	site    *page.Site
	counter latchkey.Counter
	cache   func() nearcache.Stats
	account *page.Page
	status  *page.Page

	mu     sync.Mutex // guards the last count
	counts counted
}

// New checks cfg and reports all its problems at once.
func New(cfg Config) (*Console, error) {
	var problems []latchkey.FieldError
	if cfg.Manager == nil {
		problems = append(problems, latchkey.FieldError{Field: "Manager", Detail: "required: latchkey.New makes one"})
	}
	if cfg.Site == nil {
		problems = append(problems, latchkey.FieldError{Field: "Site", Detail: "required: page.New makes one"})
	}
	if len(problems) > 0 {
		return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "console: configuration", Fields: problems}
	}
	c := &Console{m: cfg.Manager, site: cfg.Site, counter: cfg.Counter, cache: cfg.CacheStats}
	var err error
	if c.account, err = cfg.Site.Page(templates, "templates/account.html"); err != nil {
		return nil, err
	}
	if c.status, err = cfg.Site.Page(templates, "templates/status.html"); err != nil {
		return nil, err
	}
	return c, nil
}

// Register adds the routes, without the site's prefix:
//
//	GET  /                           leads to the account page
//	GET  /account                    the visitor's sessions
//	POST /account/sessions/{id}/end  ends one of them
//	POST /account/revoke-others      ends all but this one
//	GET  /status                     live counts
//
// The handlers find the session in the request's context when the mux is served
// inside the Manager's middleware, and look it up themselves otherwise. The pages'
// sign-out button posts to /logout, which is not among these routes.
//
// Protection from cross-origin forms is the caller's: wrap the mux in package csrf.
// The status page asks for itself again every few seconds, with the query
// passive=1; set latchkey.Config.Passive so that this does not count as activity
// (see [Passive]).
func (c *Console) Register(mux *http.ServeMux) {
	handle := func(method, path string, h page.SessionHandler) {
		mux.Handle(method+" "+path, c.site.WithSession(c.m, c.signedIn(h)))
	}
	handle("GET", "/{$}", c.showRoot)
	handle("GET", "/account", c.showAccount)
	handle("POST", "/account/sessions/{id}/end", c.endOne)
	handle("POST", "/account/revoke-others", c.endOthers)
	handle("GET", "/status", c.showStatus)
}

// Paths lists what [Console.Register] answers to, as patterns without method, for
// mounting the mux in another one.
func (c *Console) Paths() []string { return []string{"/{$}", "/account", "/account/", "/status"} }

// Passive tells the requests that the status page makes by itself: it fits
// latchkey.Config.Passive, alone or joined with the program's own rule. Only
// requests that change nothing can be passive.
func Passive(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.URL.Query().Get("passive") == "1"
}

// signedIn lets only visitors with an identity through. Others are sent to sign in
// where a page was asked for, and get the 401 of the API otherwise.
func (c *Console) signedIn(h page.SessionHandler) page.SessionHandler {
	return func(w http.ResponseWriter, r *http.Request, s latchkey.Session) {
		switch {
		case s.SignedIn():
			h(w, r, s)
		case page.IsNavigation(r):
			page.Redirect(w, c.site.LoginPath(c.returnTo(r)))
		default:
			latchkey.WriteProblem(w, r, latchkey.NewError(latchkey.CodeInvalidSession, "no valid session", nil))
		}
	}
}

// returnTo is the page to come back to after signing in. The account page is where
// a sign-in leads anyway; queries hold only messages and the refresh.
func (c *Console) returnTo(r *http.Request) string {
	if r.URL.Path == "/status" {
		return c.site.Path("/status")
	}
	return c.site.Path("/account")
}

func (c *Console) showRoot(w http.ResponseWriter, _ *http.Request, _ latchkey.Session) {
	page.Redirect(w, c.site.Path("/account"))
}

// fail answers an error with a page that still shows who is signed in.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, s latchkey.Session, err error) {
	if latchkey.CodeOf(err) == latchkey.CodeInvalidSession || !page.IsNavigation(r) {
		c.site.WriteError(w, r, err)
		return
	}
	c.site.WriteErrorAs(w, r, err, display(s))
}

// display is the name to show for whoever is signed in.
func display(s latchkey.Session) string {
	if name := s.Name(); name != "" {
		return name
	}
	return s.Subject()
}
