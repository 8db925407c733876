package page

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/latchkey-go/latchkey"
)

// Config configures a Site. Its zero value serves pages from the root of the host.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Prefix is the path below which browsers find the pages, such as "/auth", for
	// use on a host that serves something else too. "" is the root. It begins with a
	// slash, does not end with one, and each segment is letters, digits and "-._~".
	//
	// It stands in what the pages link to. The handlers see paths without it: mount
	// them by [http.StripPrefix].
	Prefix string
	// FormTargets are sources besides 'self' that the pages' forms may lead to, in the
	// words of form-action (Content Security Policy 3, 6.4.1), such as "https:". Browsers
	// hold a form's redirects to them too, so forms that lead to an identity provider, and
	// from there to wherever it sends people, need them.
	FormTargets []string
	// Theme changes the look.
	Theme Theme
	// Logger hears of faults of the program: errors of code CodeInternal, with the
	// cause that the visitor is not told. Unset, nothing is logged.
	Logger *slog.Logger
}

// Site renders pages. Make one with New and share it; it is safe for concurrent use
// and never changes.
type Site struct {
	prefix string
	policy string // Content-Security-Policy of pages
	assets map[string]asset
	files  Assets
	base   *template.Template
	oops   *Page
	log    *slog.Logger
}

// Assets are the paths of the static files, for templates.
type Assets struct {
	Style string
	Theme string // "" without one
	Logo  string
}

// New checks cfg and parses the shared templates.
func New(cfg Config) (*Site, error) {
	if !validPrefix(cfg.Prefix) {
		return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "page: configuration",
			Fields: []latchkey.FieldError{{Field: "Prefix",
				Detail: fmt.Sprintf("%q is not a path such as /auth: a leading slash, none at the end, letters, digits and -._~ between", cfg.Prefix)}}}
	}
	for _, source := range cfg.FormTargets {
		if source == "" || strings.ContainsFunc(source, func(r rune) bool { return r <= ' ' || r > '~' || r == ';' || r == ',' }) {
			return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "page: configuration",
				Fields: []latchkey.FieldError{{Field: "FormTargets", Detail: fmt.Sprintf("%q is not a source such as https: or https://id.example.com", source)}}}
		}
	}
	if problems := cfg.Theme.Check(); len(problems) > 0 {
		return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "page: configuration", Fields: problems}
	}
	s := &Site{prefix: cfg.Prefix, policy: contentSecurityPolicy(cfg.FormTargets), assets: make(map[string]asset), log: cfg.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.files.Style, err = s.addAsset("static/style.css", "text/css; charset=utf-8"); err != nil {
		return nil, err
	}
	if s.files.Logo, err = s.addAsset("static/latchkey.svg", "image/svg+xml"); err != nil {
		return nil, err
	}
	if len(cfg.Theme) > 0 {
		s.files.Theme = s.addContent("theme.css", "text/css; charset=utf-8", cfg.Theme.css())
	}
	s.base, err = template.New("layout").Funcs(template.FuncMap{"path": s.Path}).ParseFS(templates, "templates/layout.html")
	if err != nil {
		return nil, fmt.Errorf("page: layout: %w", err)
	}
	if s.oops, err = s.Page(templates, "templates/error.html"); err != nil {
		return nil, err
	}
	return s, nil
}

// validPrefix reports whether s can be a mount path: one that means the same to
// browsers, proxies and [http.ServeMux].
func validPrefix(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != '/' {
		return false
	}
	for segment := range strings.SplitSeq(s[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
		for i := range len(segment) {
			c := segment[i]
			if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("-._~", rune(c)) {
				return false
			}
		}
	}
	return true
}

// Path returns where browsers find a page: the prefix and then path, which begins
// with a slash.
func (s *Site) Path(path string) string { return s.prefix + path }

// Register adds the routes of the static files, without the prefix.
func (s *Site) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /static/{file}", s.serveAsset)
}

// Paths lists what [Site.Register] answers to, as patterns without method, for
// mounting the mux in another one.
func (s *Site) Paths() []string { return []string{"/static/"} }

// Page is a parsed page. Render it with [Site.Render].
type Page struct{ t *template.Template }

// Page parses a page from a template file that defines "main", the content between
// the header and the footer. It executes with View.Body as its data. Templates may
// call path, which is [Site.Path]. More files may hold further definitions.
func (s *Site) Page(fsys fs.FS, files ...string) (*Page, error) {
	t, err := s.base.Clone()
	if err == nil {
		t, err = t.ParseFS(fsys, files...)
	}
	if err == nil && t.Lookup("main") == nil {
		err = errors.New(`no template "main"`)
	}
	if err != nil {
		return nil, fmt.Errorf("page: %v: %w", files, err)
	}
	return &Page{t}, nil
}

// View is what a page shows.
type View struct {
	// Title is the heading of the browser's window. The site's name is added.
	Title string
	// User is the name of whoever is signed in; "" shows neither name nor navigation.
	User string
	// Current is the path, without prefix, of the navigation entry that this page is.
	Current string
	// Refresh, when set, is the URL that the browser asks for after RefreshSeconds.
	Refresh        string
	RefreshSeconds int
	// Body is the page's own data.
	Body any
}

// frame is the layout's data.
type frame struct {
	View
	Assets Assets
}

// contentSecurityPolicy allows a page its own style sheet, images and forms, which may
// lead to targets too.
func contentSecurityPolicy(targets []string) string {
	return "default-src 'none'; style-src 'self'; img-src 'self'; form-action " + strings.Join(append([]string{"'self'"}, targets...), " ") +
		"; frame-ancestors 'none'; base-uri 'none'"
}

// SetHeaders sets the headers that every page carries. Handlers that answer
// something else below the site, such as a redirect, may use it too.
//
// The referrer policy is same-origin and not no-referrer: under the latter browsers
// send "Origin: null" with forms, which a check of cross-origin requests refuses.
func SetHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy(nil))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// Render answers with a page. The page is rendered in full before the first byte
// leaves, so that an answer is never half a page; a template that fails is a 500
// without any of it.
func (s *Site) Render(w http.ResponseWriter, r *http.Request, status int, p *Page, v View) {
	var out bytes.Buffer
	if err := p.t.ExecuteTemplate(&out, "layout", frame{v, s.files}); err != nil {
		fault := latchkey.NewError(latchkey.CodeInternal, "the page cannot be shown", err)
		s.logFault(r, fault)
		latchkey.WriteProblem(w, r, fault)
		return
	}
	h := w.Header()
	SetHeaders(h)
	h.Set("Content-Security-Policy", s.policy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(out.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // the client may be gone
}

// Redirect answers 303: the browser goes on to a path of this host by GET. The
// target is sent as it stands, with what is not printable ASCII percent-encoded;
// see [transaction.ReturnTo] for targets that came from a request.
func Redirect(w http.ResponseWriter, target string) {
	h := w.Header()
	SetHeaders(h)
	h.Set("Location", encodeLocation(target))
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusSeeOther)
}
