package main

import (
	"net/http"

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
	pages, err := d.pages()
	if err != nil {
		return nil, err
	}
	cfg.Pages = pages
	return server.New(cfg)
}

// pages are the sign-in page and the console, on one router.
func (d *daemon) pages() ([]server.Page, error) {
	signIn, err := login.New(login.Config{Manager: d.manager, Site: d.site, DangerouslyDemo: d.s.demo})
	if err != nil {
		return nil, err
	}
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
	return pages, nil
}
