package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/mysql"
	"github.com/latchkey-go/latchkey/store/postgres"
	"github.com/latchkey-go/latchkey/store/redis"
	"github.com/latchkey-go/latchkey/store/sqlite"
)

// engine is what the program knows of one kind of store.
type engine struct {
	// check returns what is wrong with the URL, with nothing secret in it.
	check func(s *settings) []string
	// open opens the store: as a command does, which makes nothing where it can be
	// helped, or as the daemon does.
	open func(ctx context.Context, s *settings, o opening) (latchkey.Store, error)
	// migrate makes the store or brings it to this program's schema; nil where there
	// is nothing to bring.
	migrate func(ctx context.Context, s *settings) (from, to int, err error)
}

// opening says who opens a store.
type opening struct {
	command bool // a command: the store must be there, and patience is short
	clock   latchkey.Clock
	mark    string
}

// engines are the kinds of stores by the scheme of their URLs.
func engines() map[string]engine {
	pg := engine{check: checkPostgres, open: openPostgres, migrate: func(ctx context.Context, s *settings) (int, int, error) {
		return postgres.Migrate(ctx, postgres.Config{URL: s.store, FeedURL: s.feedURL})
	}}
	rd := engine{check: checkRedis, open: openRedis}
	return map[string]engine{
		"memory": {check: checkMemory, open: openMemory},
		"sqlite": {check: checkSQLite, open: openSQLite, migrate: func(ctx context.Context, s *settings) (int, int, error) {
			_, path := s.storeScheme()
			return sqlite.Migrate(ctx, path)
		}},
		"postgres": pg, "postgresql": pg,
		"mysql": {check: checkMySQL, open: openMySQL, migrate: func(ctx context.Context, s *settings) (int, int, error) {
			return mysql.Migrate(ctx, mysql.Config{URL: s.store})
		}},
		"redis": rd, "rediss": rd, "redis+sentinel": rd, "rediss+sentinel": rd, "redis+cluster": rd, "rediss+cluster": rd,
	}
}

// storeForms is what --store takes, for messages.
const storeForms = "sqlite:PATH, postgres://…, mysql://…, redis://…, rediss://…, redis+sentinel://…, redis+cluster://… or memory:"

// isSchemaError reports whether a store's error is about its schema, which the
// message says already.
func isSchemaError(err error) bool {
	for _, e := range []error{sqlite.ErrSchema, postgres.ErrSchema, mysql.ErrSchema, redis.ErrSchema} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func checkMemory(s *settings) []string {
	if _, rest := s.storeScheme(); rest != "" {
		return []string{"--store: nothing follows memory:"}
	}
	return nil
}

func openMemory(_ context.Context, _ *settings, o opening) (latchkey.Store, error) {
	if o.command {
		return nil, errOneProcess()
	}
	return memory.New(memory.Config{Clock: o.clock})
}

func checkSQLite(s *settings) []string {
	switch _, rest := s.storeScheme(); {
	case rest == "":
		return []string{"--store: sqlite: needs the path of a file, such as sqlite:latchkey.db"}
	case !plainPath(rest):
		return []string{"--store: sqlite: takes a plain file path, such as sqlite:/var/lib/latchkey/latchkey.db: no //host, ?, # or %41 as in a URL"}
	}
	return nil
}

func openSQLite(_ context.Context, s *settings, o opening) (latchkey.Store, error) {
	_, path := s.storeScheme()
	cfg := sqlite.Config{Path: path, Clock: o.clock, Mark: o.mark}
	if o.command {
		cfg.MustExist, cfg.Wait = true, commandWait
	}
	return opened(sqlite.Open(cfg))
}

func checkPostgres(s *settings) (problems []string) {
	if p := postgres.CheckURL(s.store); p != "" {
		problems = append(problems, "--store: "+p)
	}
	if s.feedURL != "" {
		if p := postgres.CheckURL(s.feedURL); p != "" {
			problems = append(problems, "--feed-url: "+p)
		}
	}
	return problems
}

func openPostgres(ctx context.Context, s *settings, o opening) (latchkey.Store, error) {
	cfg := postgres.Config{URL: s.store, FeedURL: s.feedURL, Clock: o.clock, Mark: o.mark, MustExist: o.command}
	if o.command {
		cfg.Timeout = 2 * commandWait
	}
	return opened(postgres.Open(ctx, cfg))
}

func checkMySQL(s *settings) []string {
	if p := mysql.CheckURL(s.store); p != "" {
		return []string{"--store: " + p}
	}
	return nil
}

func openMySQL(ctx context.Context, s *settings, o opening) (latchkey.Store, error) {
	cfg := mysql.Config{URL: s.store, Clock: o.clock, Mark: o.mark, MustExist: o.command}
	if o.command {
		cfg.Timeout = 2 * commandWait
	}
	return opened(mysql.Open(ctx, cfg))
}

// leastLease is the shortest lease of a primary that can be kept up.
const leastLease = 100 * time.Millisecond

// checkLease sees that a primary which was cut off is believed no longer than an
// entry of the near cache.
func checkLease(cfg *redis.Config, staleness time.Duration) []string {
	switch {
	case cfg.Mode == redis.Standalone || staleness == 0:
	case staleness < leastLease:
		return []string{fmt.Sprintf("--staleness: %v is less than the %v for which a primary's beat counts under Sentinel and in a cluster; give that or more, or 0 to ask the store each time", staleness, leastLease)}
	case cfg.Lease > staleness:
		return []string{fmt.Sprintf("--store: lease: %v is longer than the --staleness of %v, which would not hold; leave it out", cfg.Lease, staleness)}
	}
	return nil
}

func checkRedis(s *settings) []string {
	cfg, err := redis.ParseURL(s.store)
	if err == nil {
		return checkLease(&cfg, s.staleness)
	}
	if e, ok := errors.AsType[*latchkey.Error](err); ok && len(e.Fields) > 0 {
		var problems []string
		for _, f := range e.Fields {
			if f.Field == "URL" || f.Field == "" {
				problems = append(problems, "--store: "+f.Detail)
			} else {
				problems = append(problems, "--store: "+f.Field+" "+f.Detail)
			}
		}
		return problems
	}
	return texts("--store: ", err)
}

func openRedis(ctx context.Context, s *settings, o opening) (latchkey.Store, error) {
	cfg, err := redis.ParseURL(s.store)
	if err != nil {
		return nil, err
	}
	cfg.Clock, cfg.Mark, cfg.MustExist = o.clock, o.mark, o.command
	if cfg.Retention == 0 {
		cfg.Retention = s.retention
	}
	if cfg.Lease == 0 && s.staleness > 0 {
		cfg.Lease = min(max(s.staleness, leastLease), time.Minute) // a single server has none
	}
	if o.command {
		cfg.Timeout = 2 * commandWait
	}
	return opened(redis.Open(ctx, cfg))
}

// opened keeps a nil pointer out of the interface.
func opened[S latchkey.Store](store S, err error) (latchkey.Store, error) {
	if err != nil {
		return nil, err
	}
	return store, nil
}

// durability tells what of a store is not as durable as it should be, and what is.
func durability(store latchkey.Store) (detail string, warnings []string) {
	if w, ok := store.(interface{ Warnings() []string }); ok {
		warnings = w.Warnings()
	}
	switch s := store.(type) {
	case *sqlite.Store:
		is := s.Schema()
		detail = fmt.Sprintf("journal mode %s, synchronous %s, SQLite %s", is.JournalMode, is.Synchronous, is.SQLite)
		if !strings.EqualFold(is.JournalMode, "wal") || is.Synchronous != "2" {
			warnings = append(warnings, "what was acknowledged may not survive a loss of power: journal mode must be wal and synchronous 2 (full)")
		}
	case *postgres.Store:
		is := s.Schema()
		detail = fmt.Sprintf("PostgreSQL %s, fsync %v, full_page_writes %v, synchronous commits", is.Server, is.Fsync, is.FullPageWrites)
		if !is.Fsync || !is.FullPageWrites {
			warnings = append(warnings, "what was acknowledged may not survive a loss of power: fsync and full_page_writes must be on")
		}
		if !is.Listens {
			warnings = append(warnings, "the feed is polled; with --feed-url leading to the server directly it is woken instead")
		}
	case *mysql.Store:
		is := s.Schema()
		detail = fmt.Sprintf("%s, innodb_flush_log_at_trx_commit %d", is.Server, is.FlushLog)
	}
	return detail, warnings
}

// schemaOf returns the version of a store's schema, what a program must know to use
// it and what this one knows; ok is false where there is none to tell of.
func schemaOf(store latchkey.Store) (version, needs, known int, ok bool) {
	switch s := store.(type) {
	case *sqlite.Store:
		is := s.Schema()
		return is.Version, is.Needs, is.Known, true
	case *postgres.Store:
		is := s.Schema()
		return is.Version, is.Needs, is.Known, true
	case *mysql.Store:
		is := s.Schema()
		return is.Version, is.Needs, is.Known, true
	}
	return 0, 0, 0, false
}
