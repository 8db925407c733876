package redis

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
)

// Mode is how the servers are arranged.
type Mode int

// The arrangements.
const (
	// Standalone is one server.
	Standalone Mode = iota
	// Sentinel is a primary with replicas, of which sentinels choose another primary
	// when it fails.
	Sentinel
	// Cluster is several primaries with replicas, which share the keys among them.
	Cluster
)

// String returns the mode's name, as it stands behind "redis+" in a URL.
func (m Mode) String() string {
	switch m {
	case Standalone:
		return "standalone"
	case Sentinel:
		return "sentinel"
	case Cluster:
		return "cluster"
	}
	return "Mode(" + strconv.Itoa(int(m)) + ")"
}

// Config says where a store is and how it is used. Only Addrs is required, and
// Master where there are sentinels. [ParseURL] makes one of a URL.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Mode is Standalone unless set.
	Mode Mode
	// Addrs are host:port of the server, of the sentinels, or of some servers of the
	// cluster, which tell of the others.
	Addrs []string
	// Master is the name by which the sentinels know the primary.
	Master string
	// Username and Password are for the servers; without a user name it is the
	// default user's password.
	Username, Password string
	// SentinelUsername and SentinelPassword are for the sentinels.
	SentinelUsername, SentinelPassword string
	// DB is the number of the database, 0 unless set. A cluster has only that.
	DB int
	// TLS, when set, is used for all connections, those to sentinels too. Its
	// ServerName is the host of each address unless set.
	TLS *tls.Config

	// Prefix begins every key and channel: "latchkey:" unless set. At most 64
	// characters out of letters, digits and :._-/ are allowed, but no two hyphens in a
	// row. Stores of different prefixes share a server without knowing of each other.
	Prefix string
	// Wait is how many replicas must have confirmed a change before it is answered,
	// and a beat before it counts, under Sentinel and Cluster: 1 unless set, at most
	// 16. It does not concern a single server.
	Wait int
	// Lease is for how long a confirmed beat vouches for a primary under Sentinel and
	// Cluster; after that its answers count as unavailable. 1 second unless set,
	// between 100 ms and a minute.
	Lease time.Duration
	// Retention is how long rows of ended sessions and events of the audit trail stay
	// before the server removes them by itself: 90 days unless set, at least a
	// minute. Purge removes them earlier.
	Retention time.Duration
	// Timeout bounds connecting, and each call that comes without a deadline of its
	// own: 5 seconds unless set, between 100 ms and a minute.
	Timeout time.Duration
	// MustExist refuses to make a store where there is none.
	MustExist bool
	// Mark is the name that a store made by this call is marked with; see
	// [Store.Marked]. It does not concern a store that exists.
	Mark string
	// Clock is the machine's unless set. Give the Manager and the near cache the
	// same one: their readings of it are compared.
	Clock latchkey.Clock
	// Rand is crypto/rand unless set. It draws the placement key.
	Rand io.Reader

	// DangerouslyNoWait has no replica confirm anything, for a cluster that has none.
	// Where there are replicas, a failover can then revive what was revoked, and a
	// primary that was cut off goes on answering.
	DangerouslyNoWait bool
	// DangerouslyAllowEviction accepts a server that may evict keys when its memory
	// is full. A revocation then misses sessions whose index was evicted.
	DangerouslyAllowEviction bool

	test *hooks
}

// hooks are set by tests of this package only.
type hooks struct {
	// micros is the store's time instead of the server's.
	micros func(latchkey.Moment) int64
	// placement is where sessions of an identity are placed.
	placement func(latchkey.Identity) uint16
}

// Defaults and bounds of the configuration.
const (
	defaultPrefix    = "latchkey:"
	maxPrefix        = 64
	maxWait          = 16
	defaultLease     = time.Second
	minLease         = 100 * time.Millisecond
	maxLease         = time.Minute
	defaultRetention = 90 * 24 * time.Hour
	minRetention     = time.Minute
	maxRetention     = 100 * 365 * 24 * time.Hour
	defaultTimeout   = 5 * time.Second
	minTimeout       = 100 * time.Millisecond
	maxTimeout       = time.Minute
	maxDB            = 1 << 20
	maxMark          = 64
)

// check fills in defaults and reports every problem.
func (cfg *Config) check() error {
	var problems []latchkey.FieldError
	add := func(field, format string, args ...any) {
		problems = append(problems, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	cfg.checkServers(add)
	cfg.Prefix = cmp.Or(cfg.Prefix, defaultPrefix)
	if len(cfg.Prefix) > maxPrefix || strings.ContainsFunc(cfg.Prefix, notInPrefix) {
		add("Prefix", "is not at most %d letters, digits and :._-/", maxPrefix)
	} else if strings.Contains(cfg.Prefix, "--") {
		add("Prefix", "has two hyphens in a row, which begin a comment in the server's scripts; use one")
	}
	if len(cfg.Mark) > maxMark {
		add("Mark", "is longer than %d bytes", maxMark)
	}
	if cfg.Wait == 0 && !cfg.DangerouslyNoWait {
		cfg.Wait = 1
	}
	if cfg.Wait != 0 && cfg.DangerouslyNoWait {
		add("Wait", "is set, and DangerouslyNoWait too")
	}
	if cfg.Wait < 0 || cfg.Wait > maxWait {
		add("Wait", "%d is not between 1 and %d replicas", cfg.Wait, maxWait)
	}
	for _, d := range []struct {
		field       string
		value       *time.Duration
		def, lo, hi time.Duration
	}{
		{"Lease", &cfg.Lease, defaultLease, minLease, maxLease},
		{"Retention", &cfg.Retention, defaultRetention, minRetention, maxRetention},
		{"Timeout", &cfg.Timeout, defaultTimeout, minTimeout, maxTimeout},
	} {
		if *d.value = cmp.Or(*d.value, d.def); *d.value < d.lo || *d.value > d.hi {
			add(d.field, "%v is not between %v and %v", *d.value, d.lo, d.hi)
		}
	}
	if cfg.Clock == nil {
		cfg.Clock = latchkey.SystemClock()
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if len(problems) > 0 {
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: redis store", Fields: problems}
	}
	return nil
}

func (cfg *Config) checkServers(add func(field, format string, args ...any)) {
	if cfg.Mode < Standalone || cfg.Mode > Cluster {
		add("Mode", "%d is not one of Standalone, Sentinel and Cluster", cfg.Mode)
	}
	if len(cfg.Addrs) == 0 {
		add("Addrs", "is required: host:port of the server")
	}
	if len(cfg.Addrs) > 1 && cfg.Mode == Standalone {
		add("Addrs", "%d addresses are given for one server; name a single one, or use sentinels or a cluster", len(cfg.Addrs))
	}
	for _, addr := range cfg.Addrs {
		host, port, err := net.SplitHostPort(addr)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || host == "" || n < 1 || n > 65535 {
			add("Addrs", "%q is not host:port", addr)
		}
	}
	if (cfg.Master == "") == (cfg.Mode == Sentinel) {
		add("Master", "is required with sentinels, and with nothing else")
	}
	if cfg.Mode != Sentinel && (cfg.SentinelUsername != "" || cfg.SentinelPassword != "") {
		add("SentinelPassword", "is for sentinels only")
	}
	if cfg.Username != "" && cfg.Password == "" {
		add("Password", "is required with a user name")
	}
	if cfg.SentinelUsername != "" && cfg.SentinelPassword == "" {
		add("SentinelPassword", "is required with a user name")
	}
	if cfg.DB < 0 || cfg.DB > maxDB || cfg.DB != 0 && cfg.Mode == Cluster {
		add("DB", "%d is no database; a cluster has number 0 only", cfg.DB)
	}
}

func notInPrefix(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(":._-/", r)
}
