// Package pgstore measures a lookup in store/postgres, as a miss of the near cache
// makes it: beside SELECT 1 by the same client library for one caller, and beside
// pgbench's select-only script on the same server for many.
package pgstore

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey-go/latchkey/bench/internal/fleet"
	"github.com/latchkey-go/latchkey/bench/internal/paired"
	"github.com/latchkey-go/latchkey/internal/needs"
)

const (
	sessions = 100_000
	clients  = 16  // of pgbench, and callers of Get
	waiters  = 256 // callers whose misses are read together
)

// reader is a filled store, and what reads a random session of it.
type reader struct {
	url string
	get func(rng *rand.Rand) error
}

func filled(b *testing.B) reader {
	b.Helper()
	f := fleet.Named(b, "postgres").Start(b)
	n := f.Node(fleet.Setting{})
	people := make([]int, sessions)
	for i := range people {
		people[i] = i / 2
	}
	issued := n.Fill(b, 64, people)
	return reader{f.URL, func(rng *rand.Rand) error {
		rec, err := n.Store.Get(context.Background(), issued[rng.IntN(sessions)].Record.ID)
		if err == nil && rec.Subject == "" {
			err = fmt.Errorf("nobody's session")
		}
		return err
	}}
}

func BenchmarkPostgresGet(b *testing.B) {
	b.Run("one", func(b *testing.B) {
		var r reader
		paired.Apart(b, func() { r = filled(b) })
		ctx := context.Background()
		pool, err := pgxpool.New(ctx, r.url)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(pool.Close)
		rng := rand.New(rand.NewPCG(7, 0))
		paired.Alternate(b, 20_000, []string{"select_1", "latchkey"}, []func(int) error{
			func(int) error {
				var one int
				return pool.QueryRow(ctx, "SELECT 1").Scan(&one)
			},
			func(int) error { return r.get(rng) },
		})
	})
	b.Run("many", func(b *testing.B) {
		r := filled(b)
		callers := func(name string, count int) paired.Subject {
			rngs := make([]*rand.Rand, count)
			for i := range rngs {
				rngs[i] = rand.New(rand.NewPCG(uint64(i), uint64(count)))
			}
			return paired.Callers(name, count, func(caller, _ int) error { return r.get(rngs[caller]) })
		}
		paired.Compare(b, paired.Plan{Rounds: 5, Turn: 2 * time.Second}, callers("latchkey", clients), callers("latchkey_coalesced", waiters), pgbench(b, r.url))
	})
}

// pgbench is PostgreSQL's own select-only benchmark over a million rows: an integer
// key, prepared statements, a client in C.
func pgbench(b *testing.B, address string) paired.Subject {
	b.Helper()
	bin := program(b, "pgbench")
	u, err := url.Parse(address)
	if err != nil {
		b.Fatal(err)
	}
	base := []string{"-h", u.Hostname(), "-p", u.Port(), "-U", u.User.Username(), u.Path[1:]}
	if out, err := exec.Command(bin, append([]string{"-i", "-q", "-s", "10"}, base...)...).CombinedOutput(); err != nil {
		b.Fatalf("pgbench -i: %v\n%s", err, out)
	}
	rate := regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)
	count := regexp.MustCompile(`number of transactions actually processed: (\d+)`)
	return paired.Subject{Name: "pgbench", Turn: func(d time.Duration) (paired.Done, error) {
		args := []string{"-n", "-S", "-M", "prepared", "-c", strconv.Itoa(clients), "-j", "2", "-T", strconv.Itoa(int(math.Ceil(d.Seconds())))}
		out, err := exec.Command(bin, append(args, base...)...).CombinedOutput()
		if err != nil {
			return paired.Done{}, fmt.Errorf("pgbench: %w\n%s", err, out)
		}
		tps, n := rate.FindSubmatch(out), count.FindSubmatch(out)
		if tps == nil || n == nil {
			return paired.Done{}, fmt.Errorf("pgbench says %s", out)
		}
		perSecond, _ := strconv.ParseFloat(string(tps[1]), 64)
		done, _ := strconv.Atoi(string(n[1]))
		return paired.Done{N: done, Took: time.Duration(float64(done) / perSecond * 1e9), Allocs: math.NaN()}, nil
	}}
}

// program finds a program of PostgreSQL, on the PATH or where Debian puts it.
func program(b *testing.B, name string) string {
	b.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) > 0 {
		return found[len(found)-1]
	}
	needs.Missing(b, "%s is missing; scripts/setup installs it", name)
	return ""
}
