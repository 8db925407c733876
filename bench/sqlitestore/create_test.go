package sqlitestore

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/sqlite3store"
	_ "github.com/mattn/go-sqlite3"
	zombiezen "zombiezen.com/go/sqlite"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/sqlite"
)

// callers is how many sign in at once, each waiting for its row to be durable.
const callers = 64

const rounds = 5

// result is one timed run.
type result struct {
	rate     float64 // creates a second
	p50, p99 time.Duration
}

// drive has all callers create for a while; end is what a run leaves to be done, and part of its time.
func drive(tb testing.TB, seed uint64, d time.Duration, create func(*source) error, end func()) result {
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	start := time.Now()
	for i := range callers {
		wg.Go(func() {
			src := newSource(seed<<16 | uint64(i))
			var mine []time.Duration
			for {
				at := time.Now()
				if at.Sub(start) > d {
					break
				}
				if err := create(src); err != nil {
					tb.Error(err)
					return
				}
				mine = append(mine, time.Since(at))
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	end()
	total := time.Since(start)
	slices.Sort(took)
	return result{float64(len(took)) / total.Seconds(), took[len(took)/2], took[len(took)*99/100]}
}

// BenchmarkSQLiteCreate measures, in turns, the disk, 64 callers whose creates
// are committed together, the same one after the other, and scs.
func BenchmarkSQLiteCreate(b *testing.B) {
	dir := workDir(b)
	path, _ := preload(b, dir)
	s, err := sqlite.Open(sqlite.Config{Path: path})
	must(b, err)
	defer s.Close()
	mover, err := zombiezen.OpenConn(path, zombiezen.OpenReadWrite)
	must(b, err)
	defer mover.Close()
	// The log that a run leaves is moved into the database at its cost.
	checkpoint := func() {
		q, _, err := mover.PrepareTransient("PRAGMA wal_checkpoint(PASSIVE)")
		must(b, err)
		_, err = q.Step()
		must(b, err)
		must(b, q.Finalize())
	}
	create := func(src *source) error {
		_, err := s.Create(context.Background(), src.signIn(time.Now()))
		return err
	}
	var one sync.Mutex
	alone := func(src *source) error {
		one.Lock()
		defer one.Unlock()
		return create(src)
	}
	peer := newPeer(b, dir)
	var grouped, single, scs [rounds]result
	var disk, xFsync, xAlone []float64
	b.ResetTimer()
	for round := range rounds {
		f := fsyncRate(b, dir, 500*time.Millisecond)
		seed := uint64(round*10 + 100)
		grouped[round] = drive(b, seed, 1500*time.Millisecond, create, checkpoint)
		single[round] = drive(b, seed+1, 1000*time.Millisecond, alone, checkpoint)
		scs[round] = drive(b, seed+2, 1000*time.Millisecond, peer, func() {})
		f = (f + fsyncRate(b, dir, 500*time.Millisecond)) / 2
		disk = append(disk, f)
		xFsync = append(xFsync, grouped[round].rate/f)
		xAlone = append(xAlone, grouped[round].rate/single[round].rate)
	}
	b.StopTimer()
	for _, r := range []struct {
		name string
		runs [rounds]result
	}{{"grouped", grouped}, {"alone", single}, {"scs_sqlite3store", scs}} {
		b.Run(r.name, func(b *testing.B) {
			for b.Loop() {
			}
			var rates, p50, p99 []float64
			for _, run := range r.runs {
				rates = append(rates, run.rate)
				p50, p99 = append(p50, float64(run.p50.Microseconds())), append(p99, float64(run.p99.Microseconds()))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(rates), "creates/s")
			b.ReportMetric(median(p50), "p50-us")
			b.ReportMetric(median(p99), "p99-us")
			if r.name == "grouped" {
				b.ReportMetric(median(disk), "fsyncs/s")
				b.ReportMetric(median(xFsync), "x-fsync")
				b.ReportMetric(median(xAlone), "x-alone")
			}
		})
	}
	fmt.Printf("fdatasync of 4 KiB: %.0f/s (%.0f to %.0f)\n", median(disk), slices.Min(disk), slices.Max(disk))
	page, err := s.List(context.Background(), latchkey.ListQuery{Limit: 1})
	if err != nil || len(page.Records) != 1 {
		b.Errorf("listed %d, %v", len(page.Records), err)
	}
}

// newPeer is scs's store as its users set it up, with the same durability and a
// million rows that it made room for: token, data, expiry, one row a commit.
func newPeer(b *testing.B, dir string) func(*source) error {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "scs.db")+"?_journal_mode=WAL&_synchronous=FULL&_busy_timeout=60000&_cache_size=-65536&_txlock=immediate")
	must(b, err)
	b.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1) // several only wait for each other
	for _, q := range []string{"CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL)",
		"CREATE INDEX sessions_expiry_idx ON sessions(expiry)", "PRAGMA synchronous=OFF",
		`WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<1000000)
			INSERT INTO sessions SELECT hex(randomblob(21)), randomblob(300), julianday('now')+x/1e6 FROM n`,
		"PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA synchronous=FULL"} {
		_, err := db.Exec(q)
		must(b, err)
	}
	store := sqlite3store.NewWithCleanupInterval(db, 0)
	return func(src *source) error {
		in := src.signIn(time.Now())
		var token [32]byte
		for i := range token {
			token[i] = byte(src.rng.Uint32())
		}
		return store.Commit(fmt.Sprintf("%x", token[:21]), latchkey.AppendRecord(nil, &in.Record), in.Record.ExpiresAt)
	}
}
