package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/server/page"
	"github.com/latchkey-go/latchkey/store/memory"
)

// The checks here look and touch nothing: they come before the first file is
// made and the first port opened.

// checkServe returns everything wrong with the daemon's configuration.
func (s *settings) checkServe() []string {
	var problems []string
	problems = append(problems, s.checkListen("--listen", s.listen)...)
	if s.metricsListen != "" {
		problems = append(problems, s.checkListen("--metrics-listen", s.metricsListen)...)
		if _, port, _ := net.SplitHostPort(s.metricsListen); s.metricsListen == s.listen && port != "0" {
			problems = append(problems, "--metrics-listen: is the same address as --listen; leave it out to serve metrics there")
		}
	}
	if s.extAuthzListen != "" {
		problems = append(problems, s.checkListen("--ext-authz-listen", s.extAuthzListen)...)
		if _, port, _ := net.SplitHostPort(s.extAuthzListen); port != "0" && (s.extAuthzListen == s.listen || s.extAuthzListen == s.metricsListen) {
			problems = append(problems, "--ext-authz-listen: needs an address of its own")
		}
	}
	problems = append(problems, s.checkStore()...)
	problems = append(problems, s.checkDemo()...)
	problems = append(problems, s.checkPublic()...)
	problems = append(problems, s.checkPolicy()...)
	problems = append(problems, s.checkCache()...)
	problems = append(problems, s.checkEdge()...)
	problems = append(problems, s.checkAdmin()...)
	problems = append(problems, s.checkTLS()...)
	problems = append(problems, s.checkUpstream()...)
	problems = append(problems, s.checkProviders()...)
	problems = append(problems, s.checkUsers()...)
	problems = append(problems, s.checkTheme()...)
	return append(problems, s.checkKeys(s.demo)...)
}

// checkListen returns what is wrong with an address to listen on.
func (s *settings) checkListen(flag, address string) []string {
	if _, _, ok := splitListen(address); !ok {
		return []string{fmt.Sprintf("%s: %s is not an address such as 127.0.0.1:8420", flag, shown(address))}
	}
	return nil
}

// splitListen splits an address to listen on; ok is false for what is none.
func splitListen(address string) (host, port string, ok bool) {
	host, port, err := net.SplitHostPort(address)
	n, perr := strconv.ParseUint(port, 10, 16)
	return host, port, err == nil && perr == nil && strconv.FormatUint(n, 10) == port && !strings.ContainsAny(host, "/@ ")
}

// loopback reports whether a host, as in a URL or an address, is this machine only.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// checkDemo returns what does not go with --demo.
func (s *settings) checkDemo() (problems []string) {
	if !s.demo {
		return nil
	}
	for _, l := range []struct{ flag, address string }{{"--listen", s.listen}, {"--metrics-listen", s.metricsListen}, {"--ext-authz-listen", s.extAuthzListen}} {
		if host, _, ok := splitListen(l.address); ok && !loopback(host) {
			problems = append(problems, fmt.Sprintf("--demo: lets anybody sign in, so %s must be a loopback address; %s is not", l.flag, shown(l.address)))
		}
	}
	if s.tlsCert != "" || s.tlsKey != "" {
		problems = append(problems, "--demo: speaks plain HTTP; leave --tls-cert and --tls-key out")
	}
	return problems
}

// insecureCookie reports whether the cookie goes without Secure; the demo's always does.
func (s *settings) insecureCookie() bool { return s.insecure || s.demo }

// checkPublic parses --public-url and checks what depends on it.
func (s *settings) checkPublic() (problems []string) {
	if s.publicURL != "" {
		u, err := parsePublic(s.publicURL)
		if err != nil {
			return []string{"--public-url: " + err.Error()}
		}
		s.public = u
	}
	if !s.insecureCookie() {
		return nil
	}
	flag := "--insecure-cookie"
	if s.demo {
		flag = "--demo"
	}
	u := s.publicOr("")
	if host, _, _ := splitListen(s.listen); u == nil || s.demo && s.publicURL == "" && !loopback(host) {
		return nil // --listen is wrong, and that is said
	}
	if u.Scheme != "http" || !loopback(u.Hostname()) {
		problems = append(problems, fmt.Sprintf("%s: needs a plain http --public-url on loopback, such as http://127.0.0.1:8420; %s is not", flag, shown(u.String())))
	}
	return problems
}

// parsePublic reads an origin: scheme and host, no path.
func parsePublic(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%s is not a URL such as https://auth.example.com", shown(text))
	case u.User != nil:
		return nil, errors.New("holds a user name; leave it out")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return nil, errors.New("has a path or query; give scheme and host only, and --prefix for a path")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("%s has a port that is not between 1 and 65535", shown(text))
		}
	}
	u.Host = strings.ToLower(u.Host)
	u.Path = ""
	return u, nil
}

// publicOr is --public-url or else what follows from the address listened on.
// bound is the bound address, "" before there is one. It is nil when --listen is wrong.
func (s *settings) publicOr(bound string) *url.URL {
	if s.public != nil {
		return s.public
	}
	address := s.listen
	if bound != "" {
		address = bound
	}
	_, port, ok := splitListen(address)
	if !ok {
		return nil
	}
	// The host as the operator wrote it: a bound address has lost its name.
	host, _, _ := splitListen(s.listen)
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http"
	if s.tlsCert != "" {
		scheme = "https"
	}
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return &url.URL{Scheme: scheme, Host: host}
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}
}

// checkPolicy returns what is wrong with limits, cookie, privacy and staleness.
func (s *settings) checkPolicy() []string {
	var problems []string
	for flag, value := range map[string]time.Duration{"--idle": s.idle, "--absolute": s.absolute} {
		if value == 0 && s.given[flag[2:]] {
			problems = append(problems, flag+": must be 1s or more; sessions without this limit are not offered")
		}
	}
	slices.Sort(problems) // a map has no order
	return append(problems, s.trial(func(*latchkey.Manager) error { return nil })...)
}

// checkCookie returns what is wrong with the cookie, in the words of the command
// line: the library's speak of fields and repeat values in full.
func (s *settings) checkCookie() (problems []string) {
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	lower := strings.ToLower(s.cookieName)
	plain := s.cookieName == strings.Map(func(r rune) rune {
		if isAdminName(string(r)) && r != '@' { // letters, digits and -._
			return r
		}
		return -1
	}, s.cookieName)
	switch {
	case !plain:
		add("--cookie-name: %s is not a cookie name: use letters, digits and -._", shown(s.cookieName))
	case strings.HasPrefix(lower, "__host-") && s.cookieDomain != "":
		add("--cookie-name: a __Host- cookie has no domain; choose another name or leave --cookie-domain out")
	case strings.HasPrefix(lower, "__host-") && s.insecureCookie(), strings.HasPrefix(lower, "__secure-") && s.insecureCookie():
		add("--cookie-name: browsers keep cookies named __Host- and __Secure- only when they are Secure, which --insecure-cookie and --demo turn off; choose another name")
	}
	last := s.cookieDomain[strings.LastIndexByte(s.cookieDomain, '.')+1:]
	_, notIP := netip.ParseAddr(strings.Trim(s.cookieDomain, "[]"))
	switch {
	case s.cookieDomain == "":
	case s.demo:
		add("--demo: is for this machine alone, which has no domain; leave --cookie-domain out")
	case notIP == nil || last != "" && strings.Trim(last, "0123456789") == "":
		add("--cookie-domain: is an IP address, and browsers take names only, such as example.com")
	case !isDomain(s.cookieDomain):
		add("--cookie-domain: %s is not a host name, such as example.com", shown(s.cookieDomain))
	}
	return problems
}

// isDomain reports whether s has the shape of a domain: labels with dots between.
func isDomain(s string) bool {
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || strings.Trim(l, "-") != l || strings.Trim(strings.ToLower(l), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return len(labels) > 1 && len(s) <= 253
}

// trial runs f with a Manager of these settings over parts in memory. The library
// has checked the settings then, so that there is one set of rules; what it found
// wrong comes back in the words of the command line.
func (s *settings) trial(f func(*latchkey.Manager) error) (problems []string) {
	own := s.checkCookie()
	return append(own, besides(own, s.tried(f))...)
}

func (s *settings) tried(f func(*latchkey.Manager) error) (problems []string) {
	ring, err := keyring.Generate(time.Now())
	if err != nil {
		return texts("", err)
	}
	store, err := memory.New(memory.Config{})
	if err != nil {
		return texts("", err)
	}
	defer store.Close()
	if s.staleness != 0 {
		_, err := nearcache.New(nearcache.Config{Store: store, Staleness: s.staleness})
		problems = append(problems, texts("", err)...)
	}
	cfg := s.library()
	cfg.Store, cfg.Keys = store, ring
	m, err := latchkey.New(cfg)
	if err != nil {
		return append(problems, texts("", err)...)
	}
	problems = append(problems, texts("", f(m))...)
	// Nothing waits to be written, so this does not block.
	return append(problems, texts("", m.Close(context.Background()))...)
}

// library is the library's configuration, without its parts.
func (s *settings) library() latchkey.Config {
	cfg := latchkey.Config{
		Cookie:     latchkey.Cookie{Name: s.cookieName, Domain: s.cookieDomain, Temporary: !s.persist, DangerouslyInsecure: s.insecureCookie()},
		Preset:     latchkey.Preset(s.preset),
		Idle:       s.idle,
		Absolute:   s.absolute,
		Limit:      s.limit,
		ServeStale: s.serveStale,
		Privacy:    latchkey.Privacy(s.privacy),
	}
	if s.limitPolicy == "refuse" {
		cfg.LimitPolicy = latchkey.RefuseNew
	}
	return cfg
}

// limits are the idle and absolute limits in effect.
func (s *settings) limits() (idle, absolute time.Duration) {
	idle, absolute, _ = latchkey.Preset(s.preset).Limits()
	if s.absolute != 0 {
		absolute = s.absolute
	}
	if idle = min(idle, absolute); s.idle != 0 {
		idle = s.idle
	}
	return idle, absolute
}

// checkCache returns what is wrong with staleness, stale service and retention.
func (s *settings) checkCache() (problems []string) {
	if s.serveStale > 0 && s.staleness == 0 {
		problems = append(problems, "--serve-stale: needs answers in memory, which --staleness 0 turns off")
	}
	if s.stateless && s.staleness == 0 {
		problems = append(problems, "--stateless: needs the list of changed sessions in memory, which --staleness 0 turns off")
	}
	if _, absolute := s.limits(); s.serveStale > absolute {
		problems = append(problems, fmt.Sprintf("--serve-stale: %s is above the absolute limit of %s", formatDuration(s.serveStale), formatDuration(absolute)))
	}
	if s.retention < time.Hour {
		problems = append(problems, fmt.Sprintf("--retention: %s is below the least of 1h", formatDuration(s.retention)))
	}
	return problems
}

// checkEdge parses --trusted-proxies, and has the server's own rules applied to --prefix.
func (s *settings) checkEdge() (problems []string) {
	if s.trustedProxies != "" {
		list, errs := parseNetworks(s.trustedProxies)
		problems = append(problems, texts("--trusted-proxies: ", errs...)...)
		s.proxies = list
	}
	if _, err := page.New(page.Config{Prefix: s.prefix}); err != nil {
		problems = append(problems, fmt.Sprintf("--prefix: %s is not a path such as /auth: a leading slash, none at the end, letters, digits and -._~ between", shown(s.prefix)))
		return problems
	}
	return append(problems, s.checkPolicyOfEdge()...)
}

// checkAdmin reads the admin keys.
func (s *settings) checkAdmin() []string {
	if s.adminKey == "" {
		return nil
	}
	keys, errs := readAdminKeys(s.adminKey)
	s.admins = keys
	return texts("--admin-key: ", errs...)
}

// checkTLS loads the certificate and its key.
func (s *settings) checkTLS() (problems []string) {
	switch {
	case s.tlsCert == "" && s.tlsKey == "":
		return nil
	case s.tlsCert == "":
		return []string{"--tls-key: needs --tls-cert as well"}
	case s.tlsKey == "":
		return []string{"--tls-cert: needs --tls-key as well"}
	}
	for flag, path := range map[string]string{"--tls-cert": s.tlsCert, "--tls-key": s.tlsKey} {
		if _, err := readSmall(path, maxConfigFile); err != nil {
			problems = append(problems, fmt.Sprintf("%s: file %s: %v", flag, shownPath(path), err))
		}
	}
	if len(problems) > 0 {
		slices.Sort(problems) // a map has no order
		return problems
	}
	if _, err := tls.LoadX509KeyPair(s.tlsCert, s.tlsKey); err != nil {
		return []string{"--tls-cert: cannot be used with --tls-key: " + err.Error()}
	}
	return nil
}

// checkKeys returns why the keyring cannot be opened. made says that a missing one
// will be made.
func (s *settings) checkKeys(made bool) []string {
	_, err := keyring.Open(s.keys, keyring.Options{})
	if err == nil || made && keyring.IsKind(err, keyring.KindMissing) && !strings.HasPrefix(s.keys, "env:") {
		return nil
	}
	if k, ok := errors.AsType[*keyring.Error](err); ok {
		return []string{"--keys: " + strings.TrimPrefix(keyringText(k), "keyring: ")}
	}
	return []string{"--keys: " + err.Error()}
}

// level is --log-level.
func (s *settings) level() slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s.logLevel)); err != nil {
		return slog.LevelInfo // the allowed values were checked
	}
	return l
}
