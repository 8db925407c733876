package lock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey-go/latchkey"
)

// PostgresConfig says where locks are. Pool is required.
type PostgresConfig struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Pool is connected to a primary of PostgreSQL 12 or later, directly or by way of a
	// pooler in transaction mode. It stays the caller's to close.
	Pool *pgxpool.Pool
	// Table is the name of the table, with its schema or without: lower-case letters,
	// digits and underscores. Empty is "latchkey_locks". [PostgresConfig.CreateTable]
	// makes it.
	Table string
	// RetryMin and RetryMax bound the pause between tries, before jitter; 1 ms to 1
	// min, 20 ms and 500 ms when zero. There is no notification: LISTEN does not pass
	// a pooler.
	RetryMin, RetryMax time.Duration
	// Clock is the local clock, which judges leases; nil is the machine's. Pauses are
	// measured by timers.
	Clock latchkey.Clock
}

var tableName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?$`)

// check returns the quoted name of the table.
func (cfg PostgresConfig) check(p *problems) (table string) {
	if cfg.Pool == nil {
		p.add("Pool", "a *pgxpool.Pool is required")
	}
	name := cfg.Table
	if name == "" {
		name = "latchkey_locks"
	}
	if !tableName.MatchString(name) {
		p.add("Table", "it must be one or two names of 1 to 63 lower-case letters, digits and underscores, joined by a point")
	}
	return pgx.Identifier(strings.Split(name, ".")).Sanitize()
}

// NewPostgres checks the configuration and asks the server nothing yet. The error is
// ErrInvalid and lists every problem.
func NewPostgres(cfg PostgresConfig) (*Locker, error) {
	var p problems
	table := cfg.check(&p)
	k := &Locker{clock: cfg.Clock, backOff: newBackOff(&p, cfg.RetryMin, cfg.RetryMax, 20*time.Millisecond, 500*time.Millisecond)}
	if k.clock == nil {
		k.clock = latchkey.SystemClock()
	}
	k.backend = newPostgresBackend(cfg.Pool, table)
	return k, p.err()
}

// CreateTable makes the table where it is missing, and leaves one that is there as
// it is. Programs may call it at the same time. Where the schema is kept by
// migrations, put this into one:
//
//	CREATE TABLE latchkey_locks (
//		name       text PRIMARY KEY,
//		owner      text NOT NULL,
//		token      bigint NOT NULL,
//		expires_at timestamptz NOT NULL
//	) WITH (fillfactor = 50);
//
// Errors: ErrInvalid, ErrUnavailable.
func (cfg PostgresConfig) CreateTable(ctx context.Context) error {
	var p problems
	table := cfg.check(&p)
	if err := p.err(); err != nil {
		return err
	}
	// Half of each page stays free, so that an update, which touches no indexed
	// column, finds room for the new row beside the old one (HOT).
	sql := "CREATE TABLE IF NOT EXISTS " + table +
		" (name text PRIMARY KEY, owner text NOT NULL, token bigint NOT NULL, expires_at timestamptz NOT NULL) WITH (fillfactor = 50)"
	for try := 0; ; try++ {
		_, err := cfg.Pool.Exec(ctx, sql, pgx.QueryExecModeExec)
		if err == nil {
			return nil
		}
		// Two that create at once collide in the catalogue; for the next try it is there.
		if c := sqlState(err); try < 3 && (c == "23505" || c == "42P07") {
			continue
		}
		return failed(ErrUnavailable, "*", err)
	}
}

// postgresBackend keeps its statements, in which %s is the table.
type postgresBackend struct {
	pool                                        *pgxpool.Pool
	acquireSQL, renewSQL, releaseSQL, deleteSQL string
}

func newPostgresBackend(pool *pgxpool.Pool, table string) *postgresBackend {
	// durable makes this statement's commit wait for the disk where synchronous_commit
	// is off: a lock that a crash takes back was never held. Other values are stronger
	// and stay.
	const durable = `WITH durable AS MATERIALIZED (SELECT set_config('synchronous_commit',
 CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)) `
	return &postgresBackend{
		pool: pool,
		// The first condition keeps waiters from locking, and so rewriting, the row while
		// the lease runs; the second decides, with the row locked and read again.
		acquireSQL: durable + fmt.Sprintf(`INSERT INTO %s AS l (name, owner, token, expires_at)
SELECT $1::text, $2::text, floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint, clock_timestamp() + $3::bigint * interval '1 microsecond'
FROM durable WHERE NOT EXISTS (SELECT FROM %[1]s h WHERE h.name = $1 AND h.owner <> $2 AND h.expires_at > clock_timestamp())
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, token = greatest(l.token + 1, excluded.token),
 expires_at = clock_timestamp() + $3::bigint * interval '1 microsecond'
WHERE l.expires_at <= clock_timestamp() OR l.owner = excluded.owner
RETURNING token`, table),
		renewSQL: durable + fmt.Sprintf(`UPDATE %s SET expires_at = clock_timestamp() + $3::bigint * interval '1 microsecond'
FROM durable WHERE name = $1 AND owner = $2 AND expires_at > clock_timestamp() RETURNING token`, table),
		// The row stays, for its token. A release that a crash takes back leaves a lease
		// that ends by itself, so it need not wait for the disk.
		releaseSQL: fmt.Sprintf(`UPDATE %s SET owner = '', expires_at = clock_timestamp()
WHERE name = $1 AND owner = $2 AND expires_at > clock_timestamp() RETURNING token`, table),
		deleteSQL: fmt.Sprintf(`DELETE FROM %s WHERE expires_at < clock_timestamp() - $1::bigint * interval '1 microsecond'`, table),
	}
}

// token runs a statement that returns one row with the token, or none. The mode
// sends the statement and its arguments in one trip and prepares nothing, for the
// next trip may meet another connection of a pooler.
func (b *postgresBackend) token(ctx context.Context, sql string, args ...any) (uint64, error) {
	var token int64
	err := b.pool.QueryRow(ctx, sql, append([]any{pgx.QueryExecModeExec}, args...)...).Scan(&token)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, nil
	case err != nil:
		return 0, err
	case token <= 0:
		return 0, errors.New("the fencing counter holds something else")
	}
	return uint64(token), nil
}

func (b *postgresBackend) acquire(ctx context.Context, name, owner string, ttl time.Duration) (uint64, error) {
	token, err := b.token(ctx, b.acquireSQL, name, owner, microseconds(ttl))
	if sqlState(err) == "40001" { // where transactions are REPEATABLE READ by default: another was first
		return 0, nil
	}
	return token, err
}

func (b *postgresBackend) renew(ctx context.Context, name, owner string, ttl time.Duration) (bool, error) {
	token, err := b.token(ctx, b.renewSQL, name, owner, microseconds(ttl))
	return token != 0, err
}

func (b *postgresBackend) release(ctx context.Context, name, owner string) (bool, error) {
	token, err := b.token(ctx, b.releaseSQL, name, owner)
	return token != 0, err
}

// microseconds of a lease, rounded up: the server must not be the first to end it.
func microseconds(d time.Duration) int64 {
	return int64((d + time.Microsecond - 1) / time.Microsecond)
}

func (b *postgresBackend) watch(context.Context, string) <-chan struct{} { return nil }

// permanent: no such table or column, no permission, no such database or user.
func (b *postgresBackend) permanent(err error) bool {
	state := sqlState(err)
	return strings.HasPrefix(state, "42") || strings.HasPrefix(state, "3D") || strings.HasPrefix(state, "28")
}

func (b *postgresBackend) purge(ctx context.Context, age time.Duration) (int64, error) {
	tag, err := b.pool.Exec(ctx, b.deleteSQL, pgx.QueryExecModeExec, microseconds(age))
	return tag.RowsAffected(), err
}

func (b *postgresBackend) owner(time.Time) string { return rand.Text() }

// sqlState is the five-character code of a server's error, "" for any other.
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
