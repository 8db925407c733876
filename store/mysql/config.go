package mysql

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/latchkey-go/latchkey"
)

// Config says where a store is and how it is used. Only URL is required.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// URL is mysql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters
	// percent-encoded; the port is 3306 unless given. The database must exist.
	// Options, after a question mark:
	//
	//	socket=PATH          the server's socket; the host is left out then
	//	tls=off              no TLS; the default for sockets and loopback addresses
	//	tls=verify           TLS with a certificate for HOST; the default for others
	//	tls=require          TLS with any certificate
	//	ca=PATH              the authorities' certificates (PEM) instead of the system's
	//	allow-weak-flush=1   accept a server that does not flush each commit to its disk
	//
	// It goes into no error, log or metric with its password.
	URL string
	// Clock is the machine's unless set. Give the Manager and the near cache the
	// same one: their readings of it are compared.
	Clock latchkey.Clock
	// Mark is the name that a store made by this call is marked with, in the same
	// step; see Store.Marked. It does not concern a store that exists.
	Mark string
	// MustExist refuses to make the tables in a database that has none.
	MustExist bool
	// ReadOnly keeps this Store from changing anything: changes answer
	// CodeStoreUnavailable, and no tables are made.
	ReadOnly bool

	// Timeout bounds each call that a context does not bound more tightly: 5 seconds
	// unless set, at most a minute. Lists and revocations of several sessions may take
	// a minute, and what looks at all rows ten.
	Timeout time.Duration
	// Connections and Readers bound the connections for changes and for Get: 16 and 4
	// unless set, at most 1,000 each. More callers of Get than Readers share queries.
	// Besides these a store keeps up to 8 connections.
	Connections, Readers int

	// handClock has the store's time follow Clock instead of the server's, for tests
	// that turn a clock by hand.
	handClock bool
}

// Defaults and bounds of the configuration.
const (
	defaultTimeout     = 5 * time.Second
	maxTimeout         = time.Minute
	defaultConnections = 16
	defaultReaders     = 4
	maxConns           = 1000
	followers          = 4 // connections that the feed polls on
	scanners           = 4 // connections for lists, counts and the search of a purge
)

// target is what a URL says.
type target struct {
	driver    *driver.Config
	shown     string // without the password
	weakFlush bool
}

// check fills in defaults and reports every problem.
func (cfg *Config) check() (*target, error) {
	var problems []latchkey.FieldError
	add := func(field, format string, args ...any) {
		problems = append(problems, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	to := parseURL(cfg.URL, func(format string, args ...any) { add("URL", format, args...) })
	if cfg.Timeout < 0 || cfg.Timeout > maxTimeout {
		add("Timeout", "%v is not between 0, which means %v, and %v", cfg.Timeout, defaultTimeout, maxTimeout)
	}
	for _, c := range []struct {
		field    string
		n, usual int
	}{{"Connections", cfg.Connections, defaultConnections}, {"Readers", cfg.Readers, defaultReaders}} {
		if c.n < 0 || c.n > maxConns {
			add(c.field, "%d is not between 0, which means %d, and %d", c.n, c.usual, maxConns)
		}
	}
	if len(cfg.Mark) > maxMark {
		add("Mark", "is longer than %d bytes", maxMark)
	}
	if len(problems) > 0 {
		return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: mysql store", Fields: problems}
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.Connections, cfg.Readers = cmp.Or(cfg.Connections, defaultConnections), cmp.Or(cfg.Readers, defaultReaders)
	if cfg.Clock == nil {
		cfg.Clock = latchkey.SystemClock()
	}
	return to, nil
}

// CheckURL reports what is wrong with a URL, as a text of one line, or "". It never
// repeats the URL: there may be a password in it.
func CheckURL(text string) string {
	var problems []string
	parseURL(text, func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) })
	return strings.Join(problems, "; ")
}

const urlForm = "mysql://USER:PASSWORD@HOST:PORT/DATABASE"

// parseURL reads a URL and names each problem without repeating any part that
// might hold the password.
func parseURL(text string, problem func(format string, args ...any)) *target {
	if text == "" {
		problem("is required: %s", urlForm)
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "mysql" || u.Opaque != "" || u.Fragment != "" {
		problem("is not of the form %s; percent-encode special characters of the password", urlForm)
		return nil
	}
	c := driver.NewConfig()
	c.Logger = &driver.NopLogger{} // it would write to the standard error
	c.MultiStatements = true       // see script
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.DBName = strings.TrimPrefix(u.Path, "/")
	to := &target{driver: c}
	if c.User == "" {
		problem("names no user")
	}
	if c.DBName == "" || strings.ContainsAny(c.DBName, "/\x00") || len(c.DBName) > 64 {
		problem("names no database")
	}
	options, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		problem("has options that cannot be read")
		return nil
	}
	to.options(options, u, problem)
	shown := url.URL{Scheme: "mysql", User: url.User(c.User), Host: u.Host, Path: u.Path}
	if to.shown = shown.String(); c.Net == "unix" {
		to.shown += "?socket=" + c.Addr
	}
	return to
}

// options reads what follows the question mark, and where the server is.
func (to *target) options(options url.Values, u *url.URL, problem func(format string, args ...any)) {
	c := to.driver
	known := []string{"socket", "tls", "ca", "allow-weak-flush"}
	for name, values := range options {
		if !slices.Contains(known, name) {
			problem("has the unknown option %q; there are %s", name, strings.Join(known, ", "))
		} else if len(values) > 1 {
			problem("has the option %s twice", name)
		}
	}
	if c.Net, c.Addr = "unix", options.Get("socket"); c.Addr == "" {
		c.Net, c.Addr = "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "3306"))
		if n, err := strconv.ParseUint(cmp.Or(u.Port(), "3306"), 10, 16); err != nil || n == 0 {
			problem("has the port %q, which is no number from 1 to 65535", u.Port())
		}
		if u.Hostname() == "" {
			problem("names no host; give one, or ?socket=PATH")
		}
	} else if u.Host != "" {
		problem("names a host and a socket; leave one of them out")
	}
	mode := options.Get("tls")
	if mode == "" {
		mode = "verify"
		if c.Net == "unix" || loopback(u.Hostname()) {
			mode = "off"
		}
	}
	switch mode {
	case "off":
	case "verify":
		c.TLS = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	case "require":
		c.TLS = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	default:
		problem("has tls=%q; there are off, require and verify", mode)
	}
	if path := options.Get("ca"); path != "" {
		switch pool, err := authorities(path); {
		case err != nil:
			problem("has ca=%s: %v", path, err)
		case mode != "verify":
			problem("has ca=%s, which only tls=verify makes use of", path)
		default:
			c.TLS.RootCAs = pool
		}
	}
	switch v := options.Get("allow-weak-flush"); v {
	case "", "0":
	case "1":
		to.weakFlush = true
	default:
		problem("has allow-weak-flush=%q; there are 0 and 1", v)
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// authorities reads certificates.
func authorities(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("holds no certificate")
	}
	return pool, nil
}
