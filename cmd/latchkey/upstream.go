package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/upstream"
)

// upstreamSettings says who keeps sessions that Latchkey only asks about, and how
// long answers count.
type upstreamSettings struct {
	url, kind       string
	sendAs          string // of kind http
	headers         string // as given; may hold a secret
	invalid         string // of kind http: statuses
	client          string // as given; a secret
	clientAuth      string
	audience        string
	issuer          string
	scopes          string
	fields          string
	plainHTTP       bool
	ttl, processTTL time.Duration
	negativeTTL     time.Duration
	serveStale      time.Duration
	timeout         time.Duration
	redis           string // a URL; may hold a password
	redisName       string
	redisFormat     string

	// config is what the checks derive from the texts above.
	config upstream.Config
}

// Values of --upstream-kind and --upstream-redis-format.
const (
	kindHTTP          = "http"
	kindIntrospection = "introspection"
	kindUserInfo      = "userinfo"

	formatSessionCache = "session-cache"
)

// options is the settings of the upstream, in the order of help texts.
func (u *upstreamSettings) options() []option {
	return []option{
		{name: "upstream-url", kind: "URL", into: &u.url, help: "who keeps sessions that Latchkey only asks about and caches, for POST /v1/upstream/lookup: an account, introspection or userinfo endpoint"},
		{name: "upstream-kind", kind: "kind", def: kindHTTP, into: &u.kind, allowed: []string{kindHTTP, kindIntrospection, kindUserInfo}, help: "how --upstream-url is asked: http (GET with the token, as Appwrite's account), introspection (RFC 7662) or userinfo (OpenID Connect)"},
		{name: "upstream-send-as", kind: "place", def: "bearer", into: &u.sendAs, help: "where the token goes with kind http: bearer, header:NAME or cookie:NAME"},
		{name: "upstream-headers", kind: "headers", into: &u.headers, help: "headers sent along with kind http: 'NAME: VALUE', comma-separated, or file:PATH with one a line"},
		{name: "upstream-invalid", kind: "statuses", def: "401", into: &u.invalid, help: "statuses by which an http upstream says that the token is nobody's, comma-separated"},
		{name: "upstream-client", kind: "client", into: &u.client, help: "ID:SECRET of this daemon at the introspection endpoint, or file:PATH; the secret alone with --upstream-client-auth bearer"},
		{name: "upstream-client-auth", kind: "method", def: "basic", into: &u.clientAuth, allowed: []string{"basic", "post", "bearer"}, help: "how --upstream-client is sent: basic, post or bearer"},
		{name: "upstream-audience", kind: "name", into: &u.audience, help: "audience that an introspected token must have"},
		{name: "upstream-issuer", kind: "URL", into: &u.issuer, help: "issuer that an introspected token must have"},
		{name: "upstream-scopes", kind: "scopes", into: &u.scopes, help: "scopes that an introspected token must have, comma-separated"},
		{name: "upstream-fields", kind: "fields", into: &u.fields, help: "where members of the user are in the answer, such as tier=prefs.tier,claims.groups=labels (default: Appwrite's or OpenID's)"},
		{name: "upstream-insecure-http", kind: "bool", def: "false", into: &u.plainHTTP, help: "ask over plain HTTP beyond this machine"},
		{name: "upstream-ttl", kind: "duration", into: &u.ttl, help: "how long an answer counts (default: 1m, or 5m with --upstream-redis-format session-cache)"},
		{name: "upstream-process-ttl", kind: "duration", def: "1s", into: &u.processTTL, help: "how long an answer counts without a look at --upstream-redis"},
		{name: "upstream-negative-ttl", kind: "duration", def: "5s", into: &u.negativeTTL, help: "how long a refused token is refused without asking again; 0 asks each time"},
		{name: "upstream-serve-stale", kind: "duration", def: "0", into: &u.serveStale, help: "how much longer an answer counts while the upstream gives none"},
		{name: "upstream-timeout", kind: "duration", def: "3s", into: &u.timeout, help: "how long a call of the upstream may take, at most 5s"},
		{name: "upstream-redis", kind: "URL", into: &u.redis, help: "Redis that several processes share answers in: redis://, rediss:// or unix://"},
		{name: "upstream-redis-name", kind: "name", into: &u.redisName, help: "keeps apart what must not be mixed in one Redis (default: default)"},
		{name: "upstream-redis-format", kind: "format", def: "native", into: &u.redisFormat, allowed: []string{"native", formatSessionCache}, help: "native (sealed), or session-cache: that of the Python SessionCacheService, in clear"},
	}
}

// names of the settings above.
func (u *upstreamSettings) names() (list []string) {
	for _, o := range u.options() {
		list = append(list, o.name)
	}
	return list
}

// dependent names the settings that have a meaning only for one kind of upstream.
var dependent = map[string]string{
	"upstream-send-as": kindHTTP, "upstream-headers": kindHTTP, "upstream-invalid": kindHTTP,
	"upstream-client": kindIntrospection, "upstream-client-auth": kindIntrospection, "upstream-audience": kindIntrospection,
	"upstream-issuer": kindIntrospection, "upstream-scopes": kindIntrospection,
}

// checkUpstream derives the upstream's configuration and returns what is wrong with
// it. No problem repeats a URL, a header or a client: each may hold a secret.
func (s *settings) checkUpstream() (problems []string) {
	u := &s.upstream
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, o := range u.options() {
		switch needs := dependent[o.name]; {
		case o.name == "upstream-url" || !s.given[o.name]:
		case u.url == "":
			add("--%s: needs --upstream-url", o.name)
		case needs != "" && needs != u.kind:
			add("--%s: goes with --upstream-kind %s only, and it is %s", o.name, needs, u.kind)
		case strings.HasPrefix(o.name, "upstream-redis-") && u.redis == "", o.name == "upstream-process-ttl" && u.redis == "":
			add("--%s: needs --upstream-redis", o.name)
		}
	}
	if u.url == "" {
		return problems
	}
	if s.adminKey == "" {
		add("--upstream-url: needs --admin-key, because only admin keys may ask")
	}
	if u.redisFormat == formatSessionCache && s.given["upstream-redis-name"] {
		add("--upstream-redis-name: is not used with --upstream-redis-format %s, whose keys are fixed", formatSessionCache)
	}
	if u.timeout > serverTimeout {
		add("--upstream-timeout: %s is above the %s that a request may take altogether", formatDuration(u.timeout), formatDuration(serverTimeout))
	}
	asked, more := u.asked()
	problems = append(problems, more...)
	u.config = upstream.Config{Upstream: asked, TTL: u.ttl, ProcessTTL: u.processTTL, NegativeTTL: u.negativeTTL, ServeStale: u.serveStale,
		UpstreamTimeout: u.timeout, Redis: upstream.RedisConfig{URL: u.redis, Name: u.redisName}}
	if u.negativeTTL == 0 {
		u.config.NegativeTTL = -1
	}
	if u.redis == "" {
		u.config.Redis = upstream.RedisConfig{}
	} else if u.redisFormat == formatSessionCache {
		u.config.Redis.Format = upstream.FormatSessionCache
	}
	trial := u.config
	if asked == nil {
		trial.Upstream = nobody{} // what is wrong with it is said
	}
	for _, flag := range []string{"upstream-ttl", "upstream-process-ttl", "upstream-timeout"} {
		if s.given[flag] && *u.span(flag) == 0 {
			add("--%s: must be more than 0", flag)
		}
	}
	return append(problems, besides(problems, flagged(trial.Check()))...)
}

func (u *upstreamSettings) span(flag string) *time.Duration {
	return map[string]*time.Duration{"upstream-ttl": &u.ttl, "upstream-process-ttl": &u.processTTL, "upstream-timeout": &u.timeout}[flag]
}

// serverTimeout is what package server gives each request.
const serverTimeout = 5 * time.Second

// nobody stands in for an upstream while the rest of its configuration is checked.
type nobody struct{}

// Validate implements upstream.Upstream.
func (nobody) Validate(context.Context, string) (upstream.User, error) {
	return upstream.User{}, latchkey.ErrInvalidSession
}

// upstreamFlags are the library's fields in the words of the command line.
var upstreamFlags = map[string]string{
	"URL": "url", "Header": "send-as", "Cookie": "send-as", "Prefix": "send-as", "Extra": "headers", "Invalid": "invalid", "Fields.ID": "fields",
	"ClientID": "client", "ClientSecret": "client", "Auth": "client-auth", "TTL": "ttl", "ProcessTTL": "process-ttl",
	"NegativeTTL": "negative-ttl", "ServeStale": "serve-stale", "UpstreamTimeout": "timeout",
	"Redis.URL": "redis", "Redis.Name": "redis-name", "Redis.Format": "redis-format",
}

// flagged makes problems of an error of package upstream.
func flagged(err error) (problems []string) {
	e, ok := errors.AsType[*latchkey.Error](err)
	if !ok {
		return nil
	}
	for _, f := range e.Fields {
		flag := upstreamFlags[f.Field]
		if flag == "" {
			flag = "url"
		}
		problems = append(problems, fmt.Sprintf("--upstream-%s: %s", flag, strings.ReplaceAll(f.Detail, "DangerouslyPlainHTTP", "--upstream-insecure-http")))
	}
	return problems
}

// asked makes the upstream that is asked, nil with problems.
func (u *upstreamSettings) asked() (made upstream.Upstream, problems []string) {
	fields, problems := u.parseFields()
	var err error
	switch u.kind {
	case kindUserInfo:
		made, err = upstream.NewUserInfo(upstream.UserInfoConfig{URL: u.url, Fields: fields, DangerouslyPlainHTTP: u.plainHTTP})
	case kindIntrospection:
		cfg := upstream.IntrospectionConfig{URL: u.url, Auth: upstream.ClientSecretBasic, Audience: u.audience, Issuer: u.issuer, Scopes: items(u.scopes),
			Fields: fields, DangerouslyPlainHTTP: u.plainHTTP}
		problems = append(problems, u.readClient(&cfg)...)
		made, err = upstream.NewIntrospection(cfg)
	default:
		cfg := upstream.CheckConfig{URL: u.url, Fields: fields, DangerouslyPlainHTTP: u.plainHTTP}
		problems = append(problems, u.readPlace(&cfg)...)
		problems = append(problems, u.readHeaders(&cfg)...)
		for _, text := range items(u.invalid) {
			status, err := strconv.Atoi(text)
			if err != nil || status < 400 || status > 499 {
				problems = append(problems, "--upstream-invalid: holds what is no status from 400 to 499")
				break
			}
			cfg.Invalid = append(cfg.Invalid, status)
		}
		made, err = upstream.NewCheck(cfg)
	}
	problems = append(problems, besides(problems, flagged(err))...)
	if len(problems) > 0 {
		return nil, problems
	}
	return made, nil
}

// items splits what is comma-separated; spaces around are no part of it.
func items(text string) (list []string) {
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// readPlace reads --upstream-send-as.
func (u *upstreamSettings) readPlace(cfg *upstream.CheckConfig) []string {
	where, name, _ := strings.Cut(u.sendAs, ":")
	switch {
	case u.sendAs == "bearer":
		cfg.Header, cfg.Prefix = "Authorization", "Bearer "
	case where == "header" && name != "":
		cfg.Header = name
	case where == "cookie" && name != "":
		cfg.Cookie = name
	default:
		return []string{"--upstream-send-as: is none of bearer, header:NAME and cookie:NAME"}
	}
	return nil
}

// readHeaders reads --upstream-headers.
func (u *upstreamSettings) readHeaders(cfg *upstream.CheckConfig) []string {
	list := items(u.headers)
	if path, isFile := strings.CutPrefix(u.headers, "file:"); isFile {
		text, err := readSmall(path, maxAdminFile)
		if err != nil {
			return []string{fmt.Sprintf("--upstream-headers: file %s: %v", shownPath(path), err)}
		}
		list = nil
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" {
				list = append(list, line)
			}
		}
	}
	cfg.Extra = make(http.Header)
	for i, item := range list {
		name, value, ok := strings.Cut(item, ":")
		name = strings.TrimSpace(name)
		if !ok || name == "" || slices.Contains([]string{"Host", "Content-Length", http.CanonicalHeaderKey(cfg.Header)}, http.CanonicalHeaderKey(name)) {
			return []string{fmt.Sprintf("--upstream-headers: number %d of %d is not NAME: VALUE, or names a header that is not free", i+1, len(list))}
		}
		cfg.Extra.Add(name, strings.TrimSpace(value))
	}
	return nil
}

// readClient reads --upstream-client.
func (u *upstreamSettings) readClient(cfg *upstream.IntrospectionConfig) []string {
	cfg.Auth = map[string]upstream.ClientAuth{"basic": upstream.ClientSecretBasic, "post": upstream.ClientSecretPost, "bearer": upstream.ClientBearer}[u.clientAuth]
	text := u.client
	if path, isFile := strings.CutPrefix(text, "file:"); isFile {
		content, err := readSmall(path, maxAdminFile)
		if err != nil {
			return []string{fmt.Sprintf("--upstream-client: file %s: %v", shownPath(path), err)}
		}
		text = strings.TrimSpace(content)
	}
	if cfg.Auth == upstream.ClientBearer {
		cfg.ClientSecret = text
	} else {
		cfg.ClientID, cfg.ClientSecret, _ = strings.Cut(text, ":")
	}
	switch {
	case cfg.ClientSecret == "" && cfg.Auth == upstream.ClientBearer:
		return []string{"--upstream-client: the secret is required with --upstream-kind introspection"}
	case cfg.ClientSecret == "" || cfg.ClientID == "" && cfg.Auth != upstream.ClientBearer:
		return []string{"--upstream-client: ID:SECRET is required with --upstream-kind introspection"}
	}
	return nil
}

// parseFields reads --upstream-fields over the usual ones of the kind.
func (u *upstreamSettings) parseFields() (f upstream.Fields, problems []string) {
	f = upstream.OpenIDFields()
	switch u.kind {
	case kindHTTP:
		f = upstream.AppwriteFields()
	case kindIntrospection:
		f.ExpiresAt = "exp"
	}
	members := map[string]*string{"id": &f.ID, "email": &f.Email, "name": &f.Name, "tier": &f.Tier, "email_verified": &f.EmailVerified,
		"created_at": &f.CreatedAt, "updated_at": &f.UpdatedAt, "expires_at": &f.ExpiresAt}
	f.Claims = make(map[string]string)
	for _, item := range items(u.fields) {
		member, path, ok := strings.Cut(item, "=")
		claim, isClaim := strings.CutPrefix(member, "claims.")
		switch into := members[member]; {
		case !ok:
			problems = append(problems, fmt.Sprintf("--upstream-fields: %s is not MEMBER=PATH", shown(item)))
		case isClaim && claim != "" && path != "":
			f.Claims[claim] = path
		case into == nil:
			problems = append(problems, fmt.Sprintf("--upstream-fields: %s is no member; there are id, email, name, tier, email_verified, created_at, updated_at, expires_at and claims.NAME", shown(member)))
		default:
			*into = path
		}
	}
	return f, problems
}

// openUpstream makes the cache in front of the upstream; nil where there is none.
func (s *settings) openUpstream(clock latchkey.Clock, log *slog.Logger) (*upstream.Cache, error) {
	if s.upstream.url == "" {
		return nil, nil
	}
	cfg := s.upstream.config
	cfg.Clock, cfg.Log = clock, log
	return upstream.New(cfg)
}

// upstreamHost is the upstream for the log: a URL's path and query may hold secrets.
func (u *upstreamSettings) host() string {
	at, err := url.Parse(u.url)
	if err != nil {
		return hidden
	}
	return at.Scheme + "://" + at.Host
}

// warnings is what an operator should know of an upstream that is allowed.
func (u *upstreamSettings) warnings() (list []string) {
	if u.url == "" {
		return nil
	}
	if u.plainHTTP && strings.HasPrefix(u.url, "http:") {
		list = append(list, "--upstream-insecure-http: tokens cross the network in the clear")
	}
	if u.kind == kindUserInfo || u.kind == kindIntrospection && u.audience == "" {
		list = append(list, "the upstream's tokens are accepted whoever they were issued to; --upstream-kind introspection with --upstream-audience takes those meant for one service")
	}
	if at, err := url.Parse(u.redis); err == nil && at.Scheme == "redis" && !loopback(at.Hostname()) {
		list = append(list, "--upstream-redis is not TLS: its password crosses the network in the clear, and entries of the format session-cache too")
	}
	if u.redisFormat == formatSessionCache {
		list = append(list, "--upstream-redis-format session-cache: whoever reads the Redis reads names and addresses, and whoever writes it makes himself anybody")
	}
	if u.serveStale > 0 {
		list = append(list, "--upstream-serve-stale: while the upstream is away a session that it ended may be honoured for "+formatDuration(u.serveStale))
	}
	for flag, value := range map[string]string{"--upstream-client": u.client, "--upstream-headers": u.headers} {
		if path, ok := strings.CutPrefix(value, "file:"); ok && othersCanRead(path) {
			list = append(list, "the file of "+flag+" can be read by other users; chmod 600 it")
		}
	}
	slices.Sort(list) // a map has no order
	return list
}

// upstream checks that the upstream answers, and that it refuses a token that
// nobody can have, and that the shared Redis is there.
func (d *doctor) upstream(ctx context.Context) {
	u := &d.s.upstream
	if u.url == "" {
		return
	}
	cache, err := d.s.openUpstream(latchkey.SystemClock(), nil)
	if err != nil {
		d.add("upstream", fail, strings.Join(flagged(err), "; "), "the daemon does not start with it")
		return
	}
	defer func() { _ = cache.Close() }() // nothing waits in it
	began := time.Now()
	_, err = cache.Lookup(ctx, "latchkey-doctor-"+rand.Text())
	detail := fmt.Sprintf("%s by %s, answered in %s", u.host(), u.kind, time.Since(began).Round(100*time.Microsecond))
	switch code := latchkey.CodeOf(err); {
	case err == nil:
		d.add("upstream", fail, u.host()+" accepts a token that was just made up", "look at --upstream-url and --upstream-send-as: it answers without a look at the token")
	case code == latchkey.CodeInvalidSession:
		d.add("upstream", fine, detail, "")
	default:
		text := u.host() + " gives no usable answer"
		if cause := errors.Unwrap(err); cause != nil {
			text += ": " + cause.Error()
		}
		d.add("upstream", fail, text, "look at --upstream-url, and at --upstream-client where there is one: the daemon runs, and lookups of its tokens are 503")
	}
	if u.redis == "" {
		return
	}
	if cache.Stats().RedisAway {
		d.add("upstream Redis", warn, redact(u.redis)+" gives no answer", "lookups go on without it; answers and invalidations are not shared with other processes")
		return
	}
	d.add("upstream Redis", fine, redact(u.redis)+" answers", "")
}
