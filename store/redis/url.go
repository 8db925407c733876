package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
)

// schemes are how a URL begins, and what each stands for.
var schemes = map[string]struct {
	mode Mode
	tls  bool
	port string // unless given
}{
	"redis":           {Standalone, false, "6379"},
	"rediss":          {Standalone, true, "6379"},
	"redis+sentinel":  {Sentinel, false, "26379"},
	"rediss+sentinel": {Sentinel, true, "26379"},
	"redis+cluster":   {Cluster, false, "6379"},
	"rediss+cluster":  {Cluster, true, "6379"},
}

// ParseURL reads the URL of a store:
//
//	redis://[user:password@]host[:port][/db][?option=value&…]
//	redis+sentinel://[user:password@]host[:port],host[:port]…/master[/db][?…]
//	redis+cluster://[user:password@]host[:port],host[:port]…[?…]
//
// A leading rediss instead of redis means TLS. The options are
//
//	prefix=TEXT         see Config.Prefix
//	wait=N              see Config.Wait; 0 is Config.DangerouslyNoWait
//	lease=DURATION      see Config.Lease, such as 500ms
//	retention=DURATION  see Config.Retention, such as 2160h
//	timeout=DURATION    see Config.Timeout, such as 2s
//	allow-eviction=1    see Config.DangerouslyAllowEviction
//	ca=FILE             certificates, in PEM, of who may have signed the server's; the system's otherwise
//	cert=FILE, key=FILE the client's certificate and its key, in PEM
//	server-name=NAME    the name that the server's certificate is for, where it is not the host
//	sentinel-user=NAME, sentinel-password=PASSWORD
//
// The error is CodeInvalidRequest with every problem, and repeats no password.
func ParseURL(text string) (Config, error) {
	var cfg Config
	var problems []latchkey.FieldError
	add := func(field, format string, args ...any) {
		problems = append(problems, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	scheme, rest, _ := strings.Cut(text, "://")
	kind, ok := schemes[strings.ToLower(scheme)]
	if !ok {
		add("url", "begins with none of redis://, rediss://, redis+sentinel:// and redis+cluster://")
		return Config{}, invalidURL(problems)
	}
	cfg.Mode = kind.mode
	if strings.Contains(rest, "#") {
		add("url", "has a #; write %%23 where it is part of a password")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		cfg.Username, cfg.Password = userinfo(authority[:at], add)
		authority = authority[at+1:]
	}
	for _, addr := range strings.Split(authority, ",") {
		cfg.Addrs = append(cfg.Addrs, withPort(addr, kind.port))
	}
	cfg.path(path, add)
	if kind.tls {
		cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg.options(query, add)
	checked := cfg // without the defaults, so that a caller may still set fields
	if e, ok := errors.AsType[*latchkey.Error](checked.check()); ok {
		problems = append(problems, e.Fields...)
	}
	if len(problems) > 0 {
		return Config{}, invalidURL(problems)
	}
	return cfg, nil
}

func invalidURL(problems []latchkey.FieldError) error {
	return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: redis store's URL", Fields: problems}
}

// userinfo reads user:password, :password, and as Redis has had it for long, user alone.
func userinfo(text string, add func(field, format string, args ...any)) (user, password string) {
	rawUser, rawPassword, _ := strings.Cut(text, ":")
	user, uerr := url.PathUnescape(rawUser)
	password, perr := url.PathUnescape(rawPassword)
	if uerr != nil || perr != nil {
		add("url", "has a user name or password with a %% that begins no escape; write it as %%25")
	}
	return user, password
}

// withPort adds the usual port to a host.
func withPort(addr, port string) string {
	bracketed := strings.HasPrefix(addr, "[") && strings.HasSuffix(addr, "]")
	if addr == "" || !bracketed && strings.Contains(addr, ":") {
		return addr
	}
	return net.JoinHostPort(strings.Trim(addr, "[]"), port)
}

// path reads /db or /master/db.
func (cfg *Config) path(path string, add func(field, format string, args ...any)) {
	db := strings.TrimSuffix(path, "/")
	if cfg.Mode == Sentinel {
		name := ""
		name, db, _ = strings.Cut(db, "/")
		var err error
		if cfg.Master, err = url.PathUnescape(name); err != nil || cfg.Master == "" {
			add("url", "names no primary; write redis+sentinel://host:port/NAME")
		}
	}
	if db == "" {
		return
	}
	n, err := strconv.Atoi(db)
	if err != nil {
		add("url", "has %q where the number of a database is to be", db)
	}
	cfg.DB = n
}

// options reads what follows the question mark. Values are not repeated in errors:
// a password may be among them.
func (cfg *Config) options(query string, add func(field, format string, args ...any)) {
	values, err := url.ParseQuery(query)
	if err != nil {
		add("url", "has options that cannot be read")
		return
	}
	files := make(map[string]string)
	serverName := ""
	for name, list := range values {
		if len(list) != 1 {
			add(name, "is given %d times", len(list))
			continue
		}
		value := list[0]
		switch name {
		case "prefix":
			cfg.Prefix = value
		case "wait":
			if cfg.Wait, err = strconv.Atoi(value); err != nil || cfg.Wait < 0 {
				add(name, "is not the number of replicas")
			}
			cfg.DangerouslyNoWait = value == "0"
		case "lease":
			cfg.Lease = duration(name, value, add)
		case "retention":
			cfg.Retention = duration(name, value, add)
		case "timeout":
			cfg.Timeout = duration(name, value, add)
		case "allow-eviction":
			if value != "1" && value != "0" {
				add(name, "is neither 1 nor 0")
			}
			cfg.DangerouslyAllowEviction = value == "1"
		case "ca", "cert", "key":
			files[name] = value
		case "server-name":
			serverName = value
		case "sentinel-user":
			cfg.SentinelUsername = value
		case "sentinel-password":
			cfg.SentinelPassword = value
		default:
			add(name, "is no option of a redis store")
		}
	}
	if cfg.TLS == nil && (len(files) > 0 || serverName != "") {
		add("url", "has options for TLS; begin it with rediss")
		return
	}
	if cfg.TLS != nil {
		cfg.TLS.ServerName = serverName
		cfg.certificates(files, add)
	}
}

func duration(name, value string, add func(field, format string, args ...any)) time.Duration {
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		add(name, "is no length of time, such as 500ms, 2s or 2160h")
	}
	return d
}

// certificates reads the files that the options name.
func (cfg *Config) certificates(files map[string]string, add func(field, format string, args ...any)) {
	if name, ok := files["ca"]; ok {
		pem, err := os.ReadFile(name)
		pool := x509.NewCertPool()
		switch {
		case err != nil:
			add("ca", "cannot be read: %v", err)
		case !pool.AppendCertsFromPEM(pem):
			add("ca", "%s has no certificate in PEM", name)
		default:
			cfg.TLS.RootCAs = pool
		}
	}
	cert, key := files["cert"], files["key"]
	switch {
	case cert == "" && key == "":
	case cert == "" || key == "":
		add("cert", "and key are given together or not at all")
	default:
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			add("cert", "and key cannot be used: %v", err)
			return
		}
		cfg.TLS.Certificates = []tls.Certificate{pair}
	}
}
