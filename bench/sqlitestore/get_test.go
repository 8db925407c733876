package sqlitestore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	zombiezen "zombiezen.com/go/sqlite"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/bench/internal/paired"
	"github.com/latchkey-go/latchkey/store/sqlite"
)

// BenchmarkSQLiteGet reads random sessions of a million, as a miss of the near
// cache does: through the store, which yields a whole decoded record judged
// against the present generation, and by the prepared statement alone, which
// yields the packed bytes. Both have page caches of the same size.
func BenchmarkSQLiteGet(b *testing.B) {
	path, ids := preload(b, workDir(b))
	s, err := sqlite.Open(sqlite.Config{Path: path})
	must(b, err)
	defer s.Close()
	c, err := zombiezen.OpenConn(path, zombiezen.OpenReadWrite)
	must(b, err)
	defer c.Close()
	set, _, err := c.PrepareTransient("PRAGMA cache_size=-8192")
	must(b, err)
	_, err = set.Step()
	must(b, err)
	must(b, set.Finalize())
	get, err := c.Prepare("SELECT record FROM session WHERE id=?1")
	must(b, err)
	buf := make([]byte, 4096)
	for _, keys := range []struct {
		name string
		ids  []latchkey.ID
	}{{"", ids}, {"_hot10k", ids[len(ids)/2:][:10_000]}} {
		rng := rand.New(rand.NewPCG(7, 0))
		ctx := context.Background()
		id := func() *latchkey.ID { return &keys.ids[rng.IntN(len(keys.ids))] }
		// Nothing is waited for: pages come from memory, the system's or SQLite's own.
		paired.Compare(b, paired.Plan{}, paired.Compute("bare"+keys.name, func(int) error {
			get.BindBytes(1, id()[:])
			ok, err := get.Step()
			if err != nil || !ok || get.ColumnBytes(0, buf) < 100 {
				return fmt.Errorf("not found: %w", err)
			}
			return get.Reset()
		}), paired.Compute("latchkey"+keys.name, func(int) error {
			rec, err := s.Get(ctx, *id())
			if err != nil || rec.Subject == "" {
				return fmt.Errorf("not found: %w", err)
			}
			return nil
		}))
	}
	b.Run("latchkey_parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			src := newSource(9)
			ctx := context.Background()
			for pb.Next() {
				if _, err := s.Get(ctx, ids[src.rng.IntN(len(ids))]); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
