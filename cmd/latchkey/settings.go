package main

import (
	"net/netip"
	"net/url"
	"time"
)

// settings is the whole configuration, from flags, variables and file. Each
// command loads the part that it names, and the rest stays zero.
type settings struct {
	configFile string

	listen, metricsListen string
	store, keys           string
	adminKey              string // as given; a secret
	demo                  bool
	publicURL             string

	idle, absolute    time.Duration // 0: the preset's
	preset            string
	limit             int
	limitPolicy       string
	feedURL           string
	staleness         time.Duration
	stateless         bool
	serveStale        time.Duration
	privacy           string
	retention         time.Duration
	cookieName        string
	cookieDomain      string
	persist, insecure bool
	prefix            string
	trustedProxies    string
	protectedHosts    string
	users             string
	loginLimit        int
	theme             string

	assertionAlgorithm string
	extAuthzListen     string
	tlsCert, tlsKey    string
	logLevel           string
	upstream           upstreamSettings

	// What the checks derive from the texts above.
	admins  []adminKey
	proxies []netip.Prefix
	rules   edgeRules        // of the configuration file
	oidc    providerSettings // of the configuration file
	public  *url.URL         // nil: from the address that is listened on

	// given tells which settings were given, and understood.
	given map[string]bool
}

// option is one setting of a command: a flag, and unless it is local also a
// variable and a key of the configuration file.
type option struct {
	name string
	// kind is what the help text shows for the value, such as "duration".
	kind string
	// def is the default, as text.
	def string
	// into is where the value goes: *string, *bool, *int, *time.Duration or *[]string,
	// the last for a flag that may be repeated.
	into any
	// allowed lists the values there are, if they can be listed.
	allowed []string
	// local options belong to one command line: no variable, not in the file.
	local bool
	help  string
}

// variable is the environment variable of a setting.
func (o *option) variable() string { return variableOf(o.name) }

// demo defaults replace those of --store and --keys.
const (
	defaultStore = "sqlite:latchkey.db"
	defaultKeys  = "latchkey.keys"
	demoStore    = "sqlite:latchkey-demo.db"
	demoKeys     = "latchkey-demo.keys"
	// demoMark is what a demo store is marked with.
	demoMark = "demo"
)

// options is every setting that the configuration file may hold, in the order of help texts.
func (s *settings) options() []option {
	return append([]option{
		{name: "config", kind: "file", into: &s.configFile, help: "configuration file (YAML); its keys are the flags' names"},
		{name: "listen", kind: "address", def: "127.0.0.1:8420", into: &s.listen, help: "address to listen on"},
		{name: "store", kind: "URL", def: defaultStore, into: &s.store, help: "where sessions live: sqlite:PATH, postgres://, mysql://, redis://, rediss://, redis+sentinel://, redis+cluster:// or memory:"},
		{name: "feed-url", kind: "URL", into: &s.feedURL, help: "PostgreSQL without the pooler that --store leads through, for the one connection that is notified"},
		{name: "keys", kind: "source", def: defaultKeys, into: &s.keys, help: "keyring: a path, or env:NAME"},
		{name: "admin-key", kind: "keys", into: &s.adminKey, help: "NAME:KEY, comma-separated, or file:PATH; 32 characters or more; without it the admin routes are off"},
		{name: "demo", kind: "bool", def: "false", into: &s.demo, help: "try Latchkey: own files latchkey-demo.db and latchkey-demo.keys, plain HTTP on loopback, a sign-in page that takes any name"},
		{name: "public-url", kind: "URL", into: &s.publicURL, help: "the daemon as browsers reach it (default: from --listen)"},
		{name: "preset", kind: "level", def: "aal2", into: &s.preset, allowed: []string{"aal1", "aal2", "aal3"}, help: "limits after NIST SP 800-63B-4: aal1 (7d, 30d), aal2 (1h, 24h) or aal3 (15m, 12h)"},
		{name: "idle", kind: "duration", into: &s.idle, help: "end a session not seen for so long (default: the preset's, 1h)"},
		{name: "absolute", kind: "duration", into: &s.absolute, help: "end a session so long after sign-in, at most 400d (default: the preset's, 24h)"},
		{name: "limit", kind: "number", def: "0", into: &s.limit, help: "live sessions per identity; 0 is any number"},
		{name: "limit-policy", kind: "policy", def: "evict", into: &s.limitPolicy, allowed: []string{"evict", "refuse"}, help: "at the limit: evict the oldest session or refuse the new one"},
		{name: "staleness", kind: "duration", def: "1s", into: &s.staleness, help: "how long an answer from memory may lag behind the store; 0 asks the store each time"},
		{name: "stateless", kind: "bool", def: "false", into: &s.stateless, help: "sign-ins get tokens that tell of their session, so that checks read nothing from the store"},
		{name: "serve-stale", kind: "duration", def: "0", into: &s.serveStale, help: "honour cached sessions so long when the store gives no answer; 0 answers 503"},
		{name: "privacy", kind: "level", def: "truncated", into: &s.privacy, allowed: []string{"off", "truncated", "full"}, help: "how much of IP and user agent is kept: off, truncated or full"},
		{name: "retention", kind: "duration", def: "90d", into: &s.retention, help: "how long ended sessions and the audit trail stay"},
		{name: "cookie-name", kind: "name", into: &s.cookieName, help: "name of the session cookie (default: __Host-session)"},
		{name: "cookie-domain", kind: "domain", into: &s.cookieDomain, help: "share the cookie with every host below this domain"},
		{name: "persist", kind: "bool", def: "true", into: &s.persist, help: "keep the cookie when the browser closes; --persist=false leaves Max-Age out"},
		{name: "insecure-cookie", kind: "bool", def: "false", into: &s.insecure, help: "a cookie without Secure, for plain HTTP on loopback only"},
		{name: "prefix", kind: "path", into: &s.prefix, help: "mount the browser routes below this path, for use on a protected host"},
		{name: "trusted-proxies", kind: "networks", into: &s.trustedProxies, help: "networks (CIDR, comma-separated) whose forwarded headers and questions are believed"},
		{name: "protected-hosts", kind: "hosts", into: &s.protectedHosts, help: "hosts behind proxies (comma-separated) that the edge answers for and returns visitors to"},
		{name: "assertion-algorithm", kind: "name", def: "ES256", into: &s.assertionAlgorithm, allowed: []string{"ES256", "EdDSA"}, help: "how identity is signed for services: ES256 or EdDSA"},
		{name: "users", kind: "file", into: &s.users, help: "users who sign in by password, as `latchkey user` keeps them"},
		{name: "login-limit", kind: "number", def: "60", into: &s.loginLimit, help: "passwords that one address may try a minute, and a tenth of its sign-ins at providers; 0 is any number"},
		{name: "ext-authz-listen", kind: "address", into: &s.extAuthzListen, help: "answer Envoy over gRPC on this address"},
		{name: "theme", kind: "list", into: &s.theme, help: "variables of the pages' style sheet, such as 'accent=#8a2be2; dark-accent=#c9a0f0'"},
		{name: "metrics-listen", kind: "address", into: &s.metricsListen, help: "serve /metrics on an address of its own, and not on --listen"},
		{name: "tls-cert", kind: "file", into: &s.tlsCert, help: "TLS certificate chain (PEM); with --tls-key the daemon speaks HTTPS"},
		{name: "tls-key", kind: "file", into: &s.tlsKey, help: "TLS private key (PEM)"},
		{name: "log-level", kind: "level", def: "info", into: &s.logLevel, allowed: []string{"debug", "info", "warn", "error"}, help: "least level that is logged: debug, info, warn or error"},
	}, s.upstream.options()...)
}

// listSettings are comma-separated, so the configuration file may have them as lists.
var listSettings = []string{"admin-key", "trusted-proxies", "protected-hosts", "upstream-headers", "upstream-invalid", "upstream-scopes", "upstream-fields"}

// Groups of settings that several commands share.
var (
	storeOptions  = []string{"config", "store", "feed-url", "demo"}
	keyOptions    = []string{"config", "keys", "demo"}
	policyOptions = []string{"preset", "idle", "absolute", "limit", "limit-policy", "privacy", "public-url", "cookie-name", "cookie-domain", "persist", "insecure-cookie"}
)
