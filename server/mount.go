package server

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/latchkey-go/latchkey"
)

// mount puts a page into the router. ServeMux panics when patterns collide, which
// is a problem of the configuration here.
func (s *Server) mount(page Page) (err error) {
	defer func() {
		if recover() != nil {
			err = &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "server: configuration",
				Fields: []latchkey.FieldError{{Field: "Pages", Detail: page.Path + " is not a pattern, or collides with another route"}}}
		}
	}()
	s.mux.Handle(s.cfg.Prefix+page.Path, s.page(page, s.cfg.Prefix))
	if page.Unprefixed && s.cfg.Prefix != "" {
		s.mux.Handle(page.Path, s.page(page, ""))
	}
	return nil
}

// page is a page's handler behind the check against cross-site requests. A
// ServeMux is asked first what it would do: its own answers to an unknown path
// (404) and to another method (405) are plain text, and here both are not_found.
func (s *Server) page(page Page, prefix string) http.Handler {
	guarded := page.Handler
	if !page.CrossSite {
		guarded = s.csrf.Handler(page.Handler)
	}
	router, _ := page.Handler.(*http.ServeMux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner, ok := below(r, prefix)
		if !ok {
			notFound(w, r)
			return
		}
		pattern := page.Path
		if router != nil {
			var refusal http.Handler
			if refusal, pattern = router.Handler(inner); pattern == "" {
				var told headerOnly
				refusal.ServeHTTP(&told, inner)
				s.noPage(w, r, told.Header().Get("Allow"))
				return
			}
		}
		r.Pattern = pageRoute(r.Method, prefix, pattern)
		guarded.ServeHTTP(w, inner)
	})
}

// below is a request as a page sees it: a copy without the prefix in its path. It is
// not ok when the prefix is written in another way, with percent-encoded letters.
func below(r *http.Request, prefix string) (*http.Request, bool) {
	inner := new(http.Request)
	*inner = *r
	if prefix == "" {
		return inner, true
	}
	inner.URL = new(url.URL)
	*inner.URL = *r.URL
	var plain, raw bool
	inner.URL.Path, plain = strings.CutPrefix(r.URL.Path, prefix)
	inner.URL.RawPath, raw = strings.CutPrefix(r.URL.RawPath, prefix)
	return inner, plain && (raw || r.URL.RawPath == "")
}

// noPage answers a page's path or method that leads nowhere: as the pages do, to
// people with a page. allow names the methods that would, or is empty.
func (s *Server) noPage(w http.ResponseWriter, r *http.Request, allow string) {
	r.Pattern = ""
	if allow != "" {
		w.Header().Set("Allow", allow)
	}
	if s.cfg.PageError != nil {
		s.cfg.PageError(w, r, errNotFound)
		return
	}
	latchkey.WriteProblem(w, r, errNotFound)
}

// pageRoute names a page's route as API routes are named: method and pattern, with
// the prefix. The page's own router may have told both.
func pageRoute(method, prefix, pattern string) string {
	if known, path, ok := strings.Cut(pattern, " "); ok {
		return known + " " + prefix + path
	}
	return methodLabel(method) + " " + prefix + pattern
}

// closeTrees makes a path that a page has only with a slash at its end lead nowhere:
// ServeMux would redirect there. Which ones it would is asked of itself.
func (s *Server) closeTrees() {
	redirect := reflect.TypeOf(http.RedirectHandler("/", http.StatusTemporaryRedirect))
	for _, page := range s.cfg.Pages {
		for _, prefix := range []string{s.cfg.Prefix, ""} {
			cut := strings.LastIndexByte(page.Path, '/')
			path := prefix + page.Path[:cut]
			if last := page.Path[cut+1:]; path == "" || last != "" && last != "{$}" && !strings.HasSuffix(last, "...}") {
				continue
			}
			if h, _ := s.mux.Handler(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}}); reflect.TypeOf(h) == redirect {
				s.mux.HandleFunc(path, notFound)
			}
		}
	}
}
