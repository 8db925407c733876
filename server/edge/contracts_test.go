package edge_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Traefik and Envoy themselves are not at hand. Here a plain proxy asks in their
// shapes, as their sources and documentation have them, with the lists of headers on
// their pages.

// contractor is a proxy that checks each request and passes granted ones on. check
// answers w itself when it does not grant.
func (f *front) contract(check func(w http.ResponseWriter, r *http.Request) (granted bool)) {
	f.t.Helper()
	dir := f.t.TempDir()
	cert, key := f.certificate(dir)
	pair, err := tls.LoadX509KeyPair(cert, key)
	must(f.t, err)
	target, err := url.Parse(f.echo.URL)
	must(f.t, err)
	onward := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Host = p.In.Host
	}}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Host == "auth.example.com":
			w.WriteHeader(http.StatusNotFound)
		case check(w, r):
			onward.ServeHTTP(w, r)
		}
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	srv.StartTLS()
	f.t.Cleanup(srv.Close)
	f.addr = srv.Listener.Addr().String()
	f.log = func() string { return "" }
}

// client asks the edge and follows no redirect.
func client(t *testing.T) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// page parses a block of YAML on a page.
func page(t *testing.T, name string, n int, into any) {
	t.Helper()
	must(t, yaml.Unmarshal([]byte(fence(t, name, "yaml", n)), into))
}

type traefikPage struct {
	HTTP struct {
		Middlewares map[string]struct {
			ForwardAuth struct {
				Address                  string
				TrustForwardHeader       *bool    `yaml:"trustForwardHeader"`
				AuthResponseHeaders      []string `yaml:"authResponseHeaders"`
				AddAuthCookiesToResponse []string `yaml:"addAuthCookiesToResponse"`
			} `yaml:"forwardAuth"`
		}
	}
}

// hop are the headers that Traefik sends to no authorization server.
var hop = []string{"Connection", "Keep-Alive", "Te", "Trailers", "Transfer-Encoding", "Upgrade", "Proxy-Connection"}

func TestTraefikContract(t *testing.T) {
	f := newFront(t)
	var entry struct {
		Points map[string]struct {
			HTTP struct {
				Aliases string `yaml:"aliasHeadersStrategy"`
			}
		} `yaml:"entryPoints"`
	}
	var doc traefikPage
	page(t, "traefik.md", 0, &entry)
	page(t, "traefik.md", 1, &doc)
	auth := doc.HTTP.Middlewares["latchkey"].ForwardAuth
	address := strings.Replace(auth.Address, "http://127.0.0.1:8420", f.b.web.URL, 1)
	if len(auth.AuthResponseHeaders) != 8 || entry.Points["websecure"].HTTP.Aliases != "delete" || auth.TrustForwardHeader == nil || *auth.TrustForwardHeader || address == auth.Address || !slices.Equal(auth.AddAuthCookiesToResponse, []string{"__Secure-session"}) {
		t.Fatalf("%+v", doc)
	}
	web := client(t)
	f.contract(func(w http.ResponseWriter, r *http.Request) bool {
		for name := range r.Header {
			if likeCGI(name) != strings.ToLower(name) {
				delete(r.Header, name)
			}
		}
		ask, err := http.NewRequest("GET", address, nil)
		must(t, err)
		ask.Header = r.Header.Clone()
		for name := range ask.Header {
			if slices.Contains(hop, name) || strings.HasPrefix(name, "X-Forwarded-") {
				ask.Header.Del(name)
			}
		}
		ask.Header.Set("X-Forwarded-For", "192.0.2.1")
		ask.Header.Set("X-Forwarded-Method", r.Method)
		ask.Header.Set("X-Forwarded-Proto", "https")
		ask.Header.Set("X-Forwarded-Port", "443")
		ask.Header.Set("X-Forwarded-Host", r.Host)
		ask.Header.Set("X-Forwarded-Uri", r.URL.RequestURI())
		res, err := web.Do(ask)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return false
		}
		defer res.Body.Close()
		if res.StatusCode < 200 || res.StatusCode > 299 {
			for name, values := range res.Header {
				w.Header()[name] = values
			}
			if to, err := res.Location(); err == nil { // resolved against the address asked
				w.Header().Set("Location", to.String())
			}
			w.WriteHeader(res.StatusCode)
			_, _ = io.Copy(w, res.Body)
			return false
		}
		for _, name := range auth.AuthResponseHeaders {
			r.Header.Del(name)
			if values := res.Header[http.CanonicalHeaderKey(name)]; len(values) > 0 {
				r.Header[http.CanonicalHeaderKey(name)] = values
			}
		}
		if strings.Contains(strings.ToLower(strings.Join(r.Header["Connection"], ",")), "x-auth") {
			r.Header.Del("Connection") // which Traefik obeys before it asks
		}
		return true
	})
	everyContract(t, f)
}

type patterns struct {
	Patterns []struct {
		Exact string
		Safe  struct{ Regex string } `yaml:"safe_regex"`
	}
}

func (p patterns) names() (list []string) {
	for _, one := range p.Patterns {
		if one.Exact != "" {
			list = append(list, http.CanonicalHeaderKey(one.Exact))
		}
	}
	return list
}

// matching are the names in h that a pattern is for. Envoy's names are in lower case.
func (p patterns) matching(t *testing.T, h http.Header) (list []string) {
	t.Helper()
	for name := range h {
		for _, one := range p.Patterns {
			if whole := regexp.MustCompile("^(?:" + one.Safe.Regex + ")$"); one.Safe.Regex != "" && whole.MatchString(strings.ToLower(name)) {
				list = append(list, name)
			}
		}
	}
	return list
}

type envoyPage struct {
	Filters []struct {
		Config struct {
			FailureModeAllow *bool `yaml:"failure_mode_allow"`
			HTTP             struct {
				Prefix  string `yaml:"path_prefix"`
				Request struct {
					Allowed patterns `yaml:"allowed_headers"`
				} `yaml:"authorization_request"`
				Response struct {
					Upstream patterns `yaml:"allowed_upstream_headers"`
					Client   patterns `yaml:"allowed_client_headers"`
					Success  patterns `yaml:"allowed_client_headers_on_success"`
				} `yaml:"authorization_response"`
			} `yaml:"http_service"`
		} `yaml:"typed_config"`
	} `yaml:"http_filters"`
}

func TestEnvoyContract(t *testing.T) {
	f := newFront(t)
	var doc envoyPage
	page(t, "envoy.md", 0, &doc)
	cfg := doc.Filters[0].Config
	request, upstream, denied, granted := cfg.HTTP.Request.Allowed.names(), cfg.HTTP.Response.Upstream.names(), cfg.HTTP.Response.Client.names(), cfg.HTTP.Response.Success.names()
	if cfg.FailureModeAllow == nil || *cfg.FailureModeAllow || len(request) != 7 || len(upstream) != 8 || len(denied) != 4 || len(granted) != 1 {
		t.Fatalf("%+v", doc)
	}
	web := client(t)
	f.contract(func(w http.ResponseWriter, r *http.Request) bool {
		r.Header.Set("X-Forwarded-Proto", "https") // by use_remote_address
		ask := &http.Request{Method: r.Method, Host: r.Host, Header: make(http.Header), URL: &url.URL{Scheme: "http", Host: f.b.web.Listener.Addr().String(), Opaque: cfg.HTTP.Prefix + r.RequestURI}}
		for _, name := range append(cfg.HTTP.Request.Allowed.matching(t, r.Header), append(request, "Authorization")...) {
			if values := r.Header[name]; len(values) > 0 {
				ask.Header[name] = values
			}
		}
		res, err := web.Do(ask)
		if err != nil || res.StatusCode >= 500 {
			w.WriteHeader(http.StatusServiceUnavailable) // status_on_error
			return false
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			for _, name := range denied {
				if values := res.Header[name]; len(values) > 0 {
					w.Header()[name] = values
				}
			}
			w.WriteHeader(res.StatusCode)
			return false
		}
		remove := strings.Split(res.Header.Get("X-Envoy-Auth-Headers-To-Remove"), ",")
		for name := range r.Header {
			if slices.Contains(remove, strings.ToLower(name)) {
				delete(r.Header, name)
			}
		}
		for _, name := range upstream {
			if values := res.Header[name]; len(values) > 0 {
				r.Header[name] = values
			}
		}
		for _, name := range granted {
			w.Header()[name] = res.Header[name]
		}
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			r.Header.Del("Connection") // it is Envoy's own business
		}
		return true
	})
	everyContract(t, f)
	t.Run("renewed-cookie", func(t *testing.T) { f.in(t).renewedCookie(true) })
}

// everyContract is everyProxy without what tests the proxy's own parser.
func everyContract(t *testing.T, f *front) {
	t.Run("journey", func(t *testing.T) { f.in(t).journey() })
	t.Run("spoofed-identity", func(t *testing.T) { f.in(t).spoofedIdentity() })
	t.Run("spoofed-questions", func(t *testing.T) { f.in(t).spoofedQuestions() })
	t.Run("paths", func(t *testing.T) { f.in(t).paths() })
	t.Run("store-down", func(t *testing.T) { f.in(t).storeDown() })
}
