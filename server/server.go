package server

import (
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/csrf"
	"github.com/latchkey-go/latchkey/server/api"
)

// Server is the assembled HTTP side of a Manager. It is safe for concurrent use,
// starts no goroutine and needs no closing.
type Server struct {
	cfg     Config
	api     *api.API
	csrf    *csrf.Protection
	cookie  string // the session cookie's name
	openapi []byte
	metrics *metrics
	mux     *http.ServeMux
}

// New checks cfg and assembles the handlers. The error is of code
// CodeInvalidRequest and lists every problem of the configuration.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = defaultStoreTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, cookie: cookieName(cfg.Manager)}
	var origins []string
	if origin := cfg.origin(); origin != "" {
		origins = append(origins, origin)
	}
	var err error
	if s.csrf, err = csrf.New(csrf.Config{CookieName: s.cookie, OwnOrigins: origins, OnError: cfg.PageError}); err != nil {
		return nil, err
	}
	s.api = s.cfg.newAPI(s.cookie, s.csrf)
	if s.openapi, err = s.api.Document(api.About{Version: cfg.Version, Server: cfg.origin(), Metrics: !cfg.MetricsElsewhere, KeySet: cfg.Assertions != nil}); err != nil {
		return nil, latchkey.NewError(latchkey.CodeInternal, "server: OpenAPI document", err)
	}
	if s.metrics, err = newMetrics(&s.cfg); err != nil {
		return nil, latchkey.NewError(latchkey.CodeInternal, "server: metrics", err)
	}
	if err := s.route(); err != nil {
		return nil, err
	}
	return s, nil
}

// Handler serves everything, but for the metrics where they are elsewhere.
func (s *Server) Handler() http.Handler {
	return s.atEdge(s.observe(s.headers(s.guard(s.atPublicURL, http.HandlerFunc(s.serve)))))
}

// MetricsHandler serves /metrics alone, for a listener of its own. In demo mode it
// is guarded as [Server.Handler] is, and answers at the listener's own address too.
func (s *Server) MetricsHandler() http.Handler {
	known := methods{http.MethodGet: {"GET /metrics", s.metrics.handler()}}
	return s.headers(s.guard(s.atListener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			notFound(w, r)
			return
		}
		known.ServeHTTP(w, r)
	})))
}

// serve matches the path as it is written: what ServeMux would redirect to a
// tidier spelling is no route.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	p := r.URL.Path
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	if p != clean || p != "" && p[0] != '/' || r.Method == http.MethodConnect {
		notFound(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// route fills the router from the API's table and the pages.
func (s *Server) route() error {
	paths := make(map[string]methods)
	add := func(path, method string, h http.Handler) {
		if paths[path] == nil {
			paths[path] = make(methods)
		}
		paths[path][method] = endpoint{method + " " + path, h}
	}
	for _, rt := range s.api.Routes() {
		h := s.api.Handler(rt)
		add(rt.Path, rt.Method, h)
		if s.cfg.Prefix != "" && rt.Who == api.Me && !strings.HasPrefix(rt.Path, s.cfg.Prefix+"/") {
			add(s.cfg.Prefix+rt.Path, rt.Method, h)
		}
	}
	add("/openapi.json", http.MethodGet, http.HandlerFunc(s.document))
	if !s.cfg.MetricsElsewhere {
		add("/metrics", http.MethodGet, s.metrics.handler())
	}
	if s.cfg.Assertions != nil {
		add("/jwks.json", http.MethodGet, s.cfg.Assertions.KeySet())
	}
	s.mux = http.NewServeMux()
	for path, m := range paths {
		s.mux.Handle(path, m)
	}
	s.mux.HandleFunc("/", notFound)
	for _, page := range s.cfg.Pages {
		if err := s.mount(page); err != nil {
			return err
		}
	}
	s.closeTrees()
	return nil
}

// endpoint is a handler and its pattern with the method, which is what the log and
// the metrics call the route.
type endpoint struct {
	pattern string
	handler http.Handler
}

// methods is what a path answers to. GET answers HEAD too.
type methods map[string]endpoint

// ServeHTTP implements http.Handler.
func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if e, ok := m[method]; ok {
		r.Pattern = e.pattern
		e.handler.ServeHTTP(w, r)
		return
	}
	var allow []string
	for known := range m {
		allow = append(allow, known)
		if known == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	slices.Sort(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	notFound(w, r)
}

var errNotFound = latchkey.NewError(latchkey.CodeNotFound, "there is no such route", nil)

// notFound answers what no route stands for. Its pattern is taken back, so that it
// is counted as no route.
func notFound(w http.ResponseWriter, r *http.Request) {
	r.Pattern = ""
	latchkey.WriteProblem(w, r, errNotFound)
}

func (s *Server) document(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache")
	_, _ = w.Write(s.openapi) // the client may be gone
}
