package main

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server"
	"github.com/latchkey-go/latchkey/server/login"
	"github.com/latchkey-go/latchkey/server/login/oidc"
	"github.com/latchkey-go/latchkey/server/login/password"
	"github.com/latchkey-go/latchkey/server/page"
)

// signIn makes the sign-in pages with the ways that are configured.
func (d *daemon) signIn() (*login.Login, error) {
	policy, err := d.s.policy(d.s.public)
	if err != nil {
		return nil, err
	}
	cfg := login.Config{Manager: d.manager, Site: d.site, Keys: d.ring, ReturnTo: policy.ReturnOrigins(), PerHost: d.s.prefix != "" && d.s.cookieDomain == "",
		DangerouslyInsecureCookie: d.s.insecureCookie(), ClientIP: server.ClientIP(d.s.proxies), Clock: d.clock, Logger: d.log, DangerouslyDemo: d.s.demo}
	cfg.Spender, _ = d.store.(latchkey.Spender) // where there is none, New says so
	if d.s.users != "" {
		if cfg.Users, err = password.Open(d.s.users); err != nil {
			return nil, err
		}
	}
	if cfg.Limits = (login.Limits{Passwords: d.s.loginLimit, SignIns: 10 * d.s.loginLimit, Callbacks: 10 * d.s.loginLimit}); d.s.loginLimit == 0 {
		cfg.Limits = login.Limits{DangerouslyNone: true}
	}
	for _, c := range d.s.complete(d.s.public) {
		c.Clock = d.clock
		p, err := oidc.New(c)
		if err != nil {
			return nil, err
		}
		cfg.Providers = append(cfg.Providers, p)
	}
	return login.New(cfg)
}

// providers checks that each identity provider publishes what a sign-in needs.
func (d *doctor) providers(ctx context.Context) {
	for _, c := range d.s.complete(&url.URL{Scheme: "https", Host: "localhost"}) { // its callback is not used
		name := "provider " + c.ID
		p, err := oidc.New(c)
		if err != nil {
			d.add(name, fail, err.Error(), "the daemon does not start with it")
			continue
		}
		began := time.Now()
		if err := p.Ready(ctx); err != nil {
			text := "gives no usable answer"
			if cause := errors.Unwrap(err); cause != nil {
				text = cause.Error()
			}
			d.add(name, fail, shown(c.Issuer)+": "+text, "nobody can sign in there; sessions that are live go on")
			continue
		}
		d.add(name, fine, c.Issuer+" answered in "+time.Since(began).Round(time.Millisecond).String(), "")
	}
}

// themed is --theme.
func (s *settings) themed() page.Theme {
	t := make(page.Theme)
	for item := range strings.SplitSeq(s.theme, ";") {
		if name, value, _ := strings.Cut(item, "="); strings.TrimSpace(item) != "" {
			t[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return t
}

// checkTheme returns what is wrong with --theme.
func (s *settings) checkTheme() (problems []string) {
	for _, f := range s.themed().Check() {
		problems = append(problems, "--theme: "+f.Detail)
	}
	return problems
}
