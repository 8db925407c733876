package lock_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey/lock"
)

// ledger stands for what a lock protects. It refuses writes that come too late.
type ledger struct{ seen uint64 }

func (l *ledger) write(_ context.Context, token uint64, what string) error {
	if token < l.seen {
		return errors.New("a later holder has written")
	}
	l.seen = token
	fmt.Println("wrote", what)
	return nil
}

func Example() {
	ctx := context.Background()
	client, err := lock.NewRedisClient(rueidis.ClientOption{InitAddress: []string{redis.Addr}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	locks, err := lock.NewRedis(lock.RedisConfig{Client: client})
	if err != nil {
		fmt.Println(err)
		return
	}

	held, err := locks.Acquire(ctx, "invoices", lock.Options{Wait: 10 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	var invoices ledger
	if err := invoices.write(held.Context(), held.Token(), "invoice 1"); err != nil {
		fmt.Println(err)
	}

	_, err = locks.Acquire(ctx, "invoices", lock.Options{})
	fmt.Println(errors.Is(err, lock.ErrTimeout), err)

	fmt.Println(held.Release(ctx))
	// Output:
	// wrote invoice 1
	// true lock "invoices": not acquired in time; somebody else holds it
	// <nil>
}

func ExampleNewPostgres() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, postgres.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	cfg := lock.PostgresConfig{Pool: pool}
	if err := cfg.CreateTable(ctx); err != nil {
		fmt.Println(err)
		return
	}
	locks, err := lock.NewPostgres(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	earlier, err := locks.Acquire(ctx, "migration", lock.Options{TTL: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(earlier.Release(ctx))
	later, err := locks.Acquire(ctx, "migration", lock.Options{TTL: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(later.Token() > earlier.Token(), later.Release(ctx))
	// Output:
	// <nil>
	// true <nil>
}
