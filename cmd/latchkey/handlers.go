package main

import (
	"net"
	"net/http"
	"strings"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server"
	"github.com/latchkey-go/latchkey/server/console"
	"github.com/latchkey-go/latchkey/server/login"
)

// server assembles the HTTP side: the API and the pages.
func (d *daemon) server() (*server.Server, error) {
	cfg := server.Config{Manager: d.manager, Store: d.store, Keys: d.ring, PublicURL: d.s.public, Prefix: d.s.prefix, Demo: d.s.demo,
		MetricsElsewhere: d.metrics != nil, Version: thisBuild().Version, Logger: d.log, PageError: d.site.WriteError}
	for _, k := range d.s.admins {
		cfg.AdminKeys = append(cfg.AdminKeys, server.AdminKey{Name: k.name, Key: k.key})
	}
	if d.cache != nil {
		cfg.CacheStats = d.cache.Stats
	}
	cfg.Upstream, cfg.Edge, cfg.Assertions = d.upstream, d.edge, d.assertions
	signIn, err := d.signIn()
	if err != nil {
		return nil, err
	}
	cfg.SignIn, cfg.LogoutTarget = signIn, signIn.LogoutTarget
	if cfg.Pages, err = d.pages(signIn); err != nil {
		return nil, err
	}
	return server.New(cfg)
}

// metricsHandler serves the metrics. A demo's are guarded as all of it is: a page
// elsewhere that has its own name point at this machine is refused by its Host, and
// so is what a proxy passes on.
func (d *daemon) metricsHandler(srv *server.Server) http.Handler {
	next := srv.MetricsHandler()
	if !d.s.demo {
		return next
	}
	_, port, _ := net.SplitHostPort(d.metrics.Addr().String()) // it has one: it is bound
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, given, err := net.SplitHostPort(r.Host)
		if err != nil {
			host, given = strings.Trim(r.Host, "[]"), "80"
		}
		if !loopback(host) || given != port || forwarded(r.Header) {
			latchkey.WriteProblem(w, r, latchkey.NewError(latchkey.CodeMisdirected, "the demo answers at its own address only, without a proxy in between", nil))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// forwarded reports whether a proxy passed a request on.
func forwarded(h http.Header) bool {
	for name := range h {
		if name == "Forwarded" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded") {
			return true
		}
	}
	return false
}

// pages are the sign-in page and the console, on one router.
func (d *daemon) pages(signIn *login.Login) ([]server.Page, error) {
	cfg := console.Config{Manager: d.manager, Site: d.site}
	cfg.Counter, _ = d.store.(latchkey.Counter)
	if d.cache != nil {
		cfg.CacheStats = d.cache.Stats
	}
	account, err := console.New(cfg)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	var pages []server.Page
	for _, part := range []interface {
		Register(*http.ServeMux)
		Paths() []string
	}{d.site, signIn, account} {
		part.Register(mux)
		for _, path := range part.Paths() {
			pages = append(pages, server.Page{Path: path, Handler: mux})
		}
	}
	for _, path := range signIn.OpenPaths() {
		pages = append(pages, server.Page{Path: path, Handler: mux, Unprefixed: true, CrossSite: true})
	}
	return pages, nil
}
