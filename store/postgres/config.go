package postgres

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey-go/latchkey"
)

// Config says where a store is and how it is used. Only URL is required.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// URL is postgres://user:password@host:port/database, with the options of libpq
	// behind it, and of this store: schema=NAME is where the tables are ("latchkey"
	// unless set), pooler=1 says that a pooler stands before the server and pooler=0
	// that it lets prepared statements pass (found out unless set), feed=poll has
	// followers poll the log without being woken.
	URL string
	// FeedURL leads to the same database directly where URL leads through a pooler,
	// for the one connection that is woken by notifications.
	FeedURL string
	// Clock is the machine's unless set. Give the Manager and the near cache the
	// same one: their readings of it are compared. It does not judge sessions, the
	// server's does.
	Clock latchkey.Clock
	// Mark is the name that a store made by this call is marked with, in the same
	// step; see Store.Marked. It does not concern a store that exists.
	Mark string
	// MustExist refuses to make the tables where there are none.
	MustExist bool

	// Timeout is how long a call waits for the server, and a connection for being
	// made: 5 seconds unless set, at most a minute. Lists, counts, purges and a
	// revocation of everything may take a minute.
	Timeout time.Duration
	// Connections is how many changes and lists run at once: 8 unless set. Readers is
	// how many trips of Get do, which carry up to 256 sessions each: 2 unless
	// set. Two or three connections are used besides.
	Connections, Readers int

	// now stands for the server's clock in tests: Unix microseconds.
	now func() int64
}

// Defaults and bounds of the configuration.
const (
	defaultTimeout     = 5 * time.Second
	maxTimeout         = time.Minute
	scanTimeout        = time.Minute
	defaultConnections = 8
	defaultReaders     = 2
	maxConnections     = 1000
	defaultSchema      = "latchkey"
)

// target is a checked Config.
type target struct {
	Config
	where  string // for messages: host:port/database
	schema string
	pooler string // "0", "1" or "" for finding out
	polled bool   // feed=poll
	main   *pgxpool.Config
	feed   *pgx.ConnConfig // nil: as main
}

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// CheckURL reports what is wrong with a URL, as a text of one line, or "". It
// never repeats the URL: there may be a password in it.
func CheckURL(text string) string {
	var t target
	if _, err := t.parse(text); err != nil {
		return err.Error()
	}
	return ""
}

// check fills in defaults and reports every problem.
func (cfg *Config) check() (*target, error) {
	var problems []latchkey.FieldError
	add := func(field, format string, args ...any) {
		problems = append(problems, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	t := &target{Config: *cfg}
	var err error
	if t.main, err = t.parse(cfg.URL); err != nil {
		add("URL", "%v", err)
	}
	if cfg.FeedURL != "" {
		feed := &target{}
		c, err := feed.parse(cfg.FeedURL)
		switch {
		case err != nil:
			add("FeedURL", "%v", err)
		case t.polled:
			add("FeedURL", "is of no use with feed=poll; leave one of them out")
		default:
			t.feed = c.ConnConfig
		}
	}
	if cfg.Timeout < 0 || cfg.Timeout > maxTimeout {
		add("Timeout", "%v is not between 0, which means %v, and %v", cfg.Timeout, defaultTimeout, maxTimeout)
	}
	for _, n := range []struct {
		field      string
		value, def int
	}{{"Connections", cfg.Connections, defaultConnections}, {"Readers", cfg.Readers, defaultReaders}} {
		if n.value < 0 || n.value > maxConnections {
			add(n.field, "%d is not between 0, which means %d, and %d", n.value, n.def, maxConnections)
		}
	}
	if len(problems) > 0 {
		return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: postgres store", Fields: problems}
	}
	t.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	t.Connections, t.Readers = cmp.Or(cfg.Connections, defaultConnections), cmp.Or(cfg.Readers, defaultReaders)
	if t.Clock == nil {
		t.Clock = latchkey.SystemClock()
	}
	t.prepare(t.main.ConnConfig)
	if t.feed != nil {
		t.prepare(t.feed)
	}
	return t, nil
}

// A pooler makes numbers of its own up, by which it knows its clients.
const textValidate = `SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean,
CASE WHEN pg_backend_pid() = $1::bigint
THEN set_config('jit', 'off', false) || set_config('default_transaction_isolation', 'read committed', false) IS NULL
ELSE current_setting('transaction_isolation') <> 'read committed' END`

// prepare sets what every connection has in common: it is made in time, and to a
// server that can be written to. A standby's answer could refill a cache after its
// invalidation. Statements are never compiled, which would take longer than any of
// them. What waits for a lock sees what was committed meanwhile, as only READ
// COMMITTED lets it. But a pooler's connections are others' too, and stay as they
// are: one of another isolation is refused.
func (t *target) prepare(c *pgx.ConnConfig) {
	if c.ConnectTimeout == 0 || c.ConnectTimeout > t.Timeout {
		c.ConnectTimeout = t.Timeout
	}
	c.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		p := newParams(1).int(int64(conn.PID()))
		result := conn.ExecParams(ctx, textValidate, p.values, p.oids, binaryFormat, binaryFormat).Read()
		switch {
		case result.Err != nil:
			return result.Err
		case len(result.Rows) != 1 || len(result.Rows[0]) != 2 || len(result.Rows[0][0]) != 1 || len(result.Rows[0][1]) != 1:
			return errWire
		case result.Rows[0][0][0] != 0:
			return errStandby
		case result.Rows[0][1][0] != 0:
			return errIsolation
		}
		return nil
	}
}

// parse takes the store's own options out of a URL and has the driver read the
// rest. Its errors tell nothing of the URL's text.
func (t *target) parse(text string) (*pgxpool.Config, error) {
	const form = "give postgres://USER@HOST:PORT/DATABASE"
	if text == "" {
		return nil, fmt.Errorf("is required; %s", form)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be read; %s, and write special characters of the password as %%40 and the like", form)
	case u.Scheme != "postgres" && u.Scheme != "postgresql":
		return nil, fmt.Errorf("is not a PostgreSQL URL; %s", form)
	case u.Opaque != "" || u.Fragment != "":
		return nil, fmt.Errorf("cannot be read; %s, and write # in a password as %%23", form)
	}
	options, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("has options that cannot be read; give them as ?name=value&name=value")
	}
	t.schema, t.pooler = cmp.Or(options.Get("schema"), defaultSchema), options.Get("pooler")
	switch {
	case !schemaName.MatchString(t.schema) || strings.HasPrefix(t.schema, "pg_"):
		return nil, fmt.Errorf("schema: is a name of lower-case letters, digits and underscores, not beginning with pg_")
	case t.pooler != "" && t.pooler != "0" && t.pooler != "1":
		return nil, fmt.Errorf("pooler: is 0 or 1")
	}
	switch options.Get("feed") {
	case "", "listen":
	case "poll":
		t.polled = true
	default:
		return nil, fmt.Errorf("feed: is listen or poll")
	}
	for _, own := range []string{"schema", "pooler", "feed"} {
		options.Del(own)
	}
	u.RawQuery = strings.ReplaceAll(options.Encode(), "+", "%20") // as libpq has spaces
	c, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		return nil, fmt.Errorf("is not understood; %s, and check the options behind it and the files that they name", form)
	}
	t.where = net.JoinHostPort(c.ConnConfig.Host, strconv.Itoa(int(c.ConnConfig.Port))) + "/" + c.ConnConfig.Database
	if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = "latchkey"
	}
	return c, nil
}
