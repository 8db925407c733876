package server

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/latchkey-go/latchkey"
)

// headers sets what every answer carries; pages may replace what suits them not.
// The policy on referrers is same-origin rather than none, because with none
// browsers send "Origin: null" with a site's own forms, which look cross-site then.
func (s *Server) headers(next http.Handler) http.Handler {
	secure := s.cfg.PublicURL != nil && s.cfg.PublicURL.Scheme == "https"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

var errMisdirected = latchkey.NewError(latchkey.CodeMisdirected, "the demo answers at its own address only, without a proxy in between", nil)

// guard refuses, in demo mode, forwarded requests and those for a host that is not
// the demo's.
func (s *Server) guard(ours func(*http.Request) bool, next http.Handler) http.Handler {
	if !s.cfg.Demo {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ours(r) || forwarded(r.Header) {
			latchkey.WriteProblem(w, r, errMisdirected)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// atPublicURL reports whether a request is for the public URL's host and port.
func (s *Server) atPublicURL(r *http.Request) bool {
	return publicHost(&url.URL{Scheme: s.cfg.PublicURL.Scheme, Host: r.Host}) == publicHost(s.cfg.PublicURL)
}

// atListener reports whether a request is for the public URL, or for the address
// that it came in by under a name that no other site can point there: the public
// URL's, or the address itself. The listener of the metrics has a port of its own.
func (s *Server) atListener(r *http.Request) bool {
	if s.atPublicURL(r) {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	name, port, err := net.SplitHostPort(r.Host)
	at, atErr := netip.ParseAddrPort(local.String())
	if err != nil || atErr != nil || port != strconv.Itoa(int(at.Port())) {
		return false
	}
	given, err := netip.ParseAddr(name)
	return err == nil && given.Unmap() == at.Addr().Unmap() || strings.EqualFold(name, s.cfg.PublicURL.Hostname())
}

// forwarded reports whether a proxy passed the request on: RFC 7239 and the
// headers that stood for it before.
func forwarded(h http.Header) bool {
	for name := range h {
		switch {
		case strings.HasPrefix(name, "X-Forwarded"), strings.HasPrefix(name, "X-Original"):
			return true
		}
		switch name {
		case "Forwarded", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip":
			return true
		}
	}
	return false
}

// ClientIP returns a function that finds a client's address, for
// latchkey.Config.ClientIP. It is the connection's, or, when that is within
// trusted, the last one of X-Forwarded-For that is not: what stands before was
// written by the client.
func ClientIP(trusted []netip.Prefix) func(*http.Request) string {
	trusts := func(a netip.Addr) bool {
		for _, p := range trusted {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	return func(r *http.Request) string {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return ""
		}
		addr := peer.Addr().Unmap()
		if !trusts(addr) {
			return addr.String()
		}
		hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
		for i := len(hops) - 1; i >= 0; i-- {
			hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
			if err != nil {
				break // beyond this nothing can be trusted
			}
			if addr = hop.Unmap(); !trusts(addr) {
				break
			}
		}
		return addr.String()
	}
}
