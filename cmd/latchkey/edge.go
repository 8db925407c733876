package main

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey-go/latchkey/server/console"
	"github.com/latchkey-go/latchkey/server/edge"
	"github.com/latchkey-go/latchkey/server/edge/assertion"
	"github.com/latchkey-go/latchkey/server/edge/extauthz"
)

// policy is what the edge goes by. public is where browsers find the daemon.
func (s *settings) policy(public *url.URL) (*edge.Policy, error) {
	cfg := edge.PolicyConfig{Rules: s.rules.list, PublicURL: public, Prefix: s.prefix, PerHost: s.prefix != "" && s.cookieDomain == ""}
	if s.protectedHosts != "" {
		for host := range strings.SplitSeq(s.protectedHosts, ",") {
			cfg.ProtectedHosts = append(cfg.ProtectedHosts, strings.TrimSpace(host))
		}
	}
	return edge.NewPolicy(cfg)
}

// checkPolicyOfEdge returns what is wrong with rules and protected hosts.
func (s *settings) checkPolicyOfEdge() []string {
	if _, err := s.policy(s.publicOrAny()); err != nil {
		return s.rules.ruleProblems(err)
	}
	return nil
}

// publicOrAny is the public URL as far as it is known before a port is open.
func (s *settings) publicOrAny() *url.URL {
	if u := s.publicOr(""); u != nil {
		return u
	}
	return &url.URL{Scheme: "https", Host: "localhost"} // --listen is wrong, and that is said
}

// edgeWarnings is what an operator should know of the edge's settings.
func (s *settings) edgeWarnings() (list []string) {
	switch {
	case s.demo && s.trustedProxies != "":
		list = append(list, "--trusted-proxies: a demo answers no proxies")
	case len(s.rules.list) > 0 && s.trustedProxies == "":
		list = append(list, "there are rules for proxies, and --trusted-proxies names none: the edge refuses every question")
	case s.trustedProxies != "" && s.protectedHosts == "":
		list = append(list, "--protected-hosts is not set: proxies are answered for any host, and after signing in visitors return to --public-url only")
	}
	if apart := s.hostsApart(); len(apart) > 0 && s.trustedProxies != "" {
		list = append(list, "--protected-hosts: "+apart[0]+" does not get the cookie that the sign-in page sets, and would send people there and back for ever; set --cookie-domain to a domain of both, or have the page on each host by --prefix")
	}
	return list
}

// hostsApart lists the protected hosts that browsers do not send the session cookie to.
func (s *settings) hostsApart() (apart []string) {
	if s.protectedHosts == "" || s.cookieDomain == "" && s.prefix != "" { // the page is on each of them
		return nil
	}
	policy, err := s.policy(s.publicOrAny())
	if err != nil {
		return nil // which is told elsewhere
	}
	own, domain := s.publicOrAny().Hostname(), strings.ToLower(s.cookieDomain)
	for _, origin := range policy.ReturnOrigins() {
		u, err := url.Parse(origin)
		if err != nil {
			continue
		}
		// A cookie is for every port of its host (RFC 6265, 8.5).
		switch host := u.Hostname(); {
		case domain == "" && !strings.EqualFold(host, own), domain != "" && host != domain && !strings.HasSuffix(host, "."+domain):
			apart = append(apart, u.Host)
		}
	}
	return apart
}

// openEdge makes what answers proxies.
func (d *daemon) openEdge() (err error) {
	policy, err := d.s.policy(d.s.public)
	if err != nil {
		return err
	}
	d.assertions, err = assertion.New(assertion.Config{Keys: d.ring, Issuer: d.s.public.String(), Algorithm: assertion.Algorithm(d.s.assertionAlgorithm)})
	if err != nil {
		return err
	}
	d.edge, err = edge.New(edge.Config{Manager: d.manager, Policy: policy, TrustedProxies: d.s.proxies, Assertions: d.assertions, Logger: d.log})
	return err
}

// startAuthz answers Envoy over gRPC, where that is asked for, until the daemon stops.
func (d *daemon) startAuthz(failures chan<- error) (err error) {
	if d.authz == nil {
		return nil
	}
	cfg := extauthz.Config{Edge: d.edge, Logger: d.log}
	if d.certificate != nil {
		cfg.TLS = d.certificate.config()
	}
	if d.extauthz, err = extauthz.New(cfg); err != nil {
		return err
	}
	d.background.Go(func() {
		if err := d.extauthz.Serve(d.authz); err != nil {
			failures <- failedToServe(err)
		}
	})
	return nil
}

// passive tells the requests that are not the user's doing.
func passive(r *http.Request) bool { return edge.Passive(r) || console.Passive(r) }
