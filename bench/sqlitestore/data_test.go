package sqlitestore

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	zombiezen "zombiezen.com/go/sqlite"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/sqlite"
)

const preloaded = 1_000_000

// must fails the benchmark on an error.
func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// workDir returns a folder for databases: below LATCHKEY_BENCH_DIR when set.
func workDir(tb testing.TB) string {
	base := os.Getenv("LATCHKEY_BENCH_DIR")
	if base == "" {
		return tb.TempDir()
	}
	dir, err := os.MkdirTemp(base, "latchkey-bench-")
	must(tb, err)
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// source makes sign-ins. It is used by one goroutine at a time.
type source struct{ rng *rand.Rand }

func newSource(seed uint64) *source { return &source{rand.New(rand.NewPCG(seed, 0))} }

// id draws a session ID of a millisecond.
func (s *source) id(ms int64) (id latchkey.ID) {
	binary.BigEndian.PutUint64(id[:8], uint64(ms)<<16|0x7000|s.rng.Uint64()>>52)
	binary.BigEndian.PutUint64(id[8:], s.rng.Uint64()>>2|1<<63)
	return id
}

// signIn is a Create as the Manager makes it, by one of half a million people.
func (s *source) signIn(at time.Time) latchkey.Create {
	subject := fmt.Sprintf("user-%07d", s.rng.IntN(preloaded/2))
	rec := latchkey.Record{ID: s.id(at.UnixMilli()), Provider: "corp", Subject: subject, Email: subject + "@example.com", Name: "Ada Lovelace",
		Roles: []string{"staff", "editor"}, Methods: []string{"pwd", "otp"}, Assurance: "aal2", AuthTime: at, CreatedAt: at, LastSeenAt: at, RotatedAt: at,
		Idle: time.Hour, Lifetime: 24 * time.Hour, ExpiresAt: at.Add(24 * time.Hour), IP: "192.0.2.0", UserAgent: "Firefox on Linux"}
	for i := range rec.SecretHash {
		rec.SecretHash[i] = byte(s.rng.Uint32())
	}
	return latchkey.Create{Record: rec, Began: at, Event: audit.Event{Time: at, Action: audit.Create, Actor: "user", Session: rec.ID.String(),
		Provider: "corp", Subject: subject, IP: "192.0.2.0", Outcome: audit.Done, Reason: "sign-in"}}
}

// preload makes a store of a million sessions and returns its path and their
// IDs. The rows are put in past the store, copies of one that it made itself,
// with keys of their own. by_subject is filled in two sorted passes, the second
// of which splits nearly every page that the first has filled: what is left is
// about as full as pages are that were filled in a random order.
func preload(tb testing.TB, dir string) (path string, ids []latchkey.ID) {
	path = filepath.Join(dir, "latchkey.db")
	began := time.Now()
	s, err := sqlite.Open(sqlite.Config{Path: path})
	must(tb, err)
	src := newSource(3)
	_, err = s.Create(context.Background(), src.signIn(time.Now().Add(-48*time.Hour)))
	must(tb, err)
	must(tb, s.Close())

	c, err := zombiezen.OpenConn(path, zombiezen.OpenReadWrite)
	must(tb, err)
	defer c.Close()
	run := func(script string) {
		q, _, err := c.PrepareTransient(script)
		must(tb, err)
		_, err = q.Step()
		must(tb, err)
		must(tb, q.Finalize())
	}
	for _, p := range []string{"PRAGMA synchronous=OFF", "PRAGMA cache_size=-262144", "PRAGMA wal_autocheckpoint=20000"} {
		run(p)
	}
	prepare := func(q string) *zombiezen.Stmt {
		st, err := c.Prepare(q)
		must(tb, err)
		return st
	}
	session := prepare(`INSERT INTO session SELECT ?1, generation, ?2, ?3, ?3, idle, ?3+86400000000, 1, NULL, NULL, NULL, record FROM session LIMIT 1`)
	event := prepare(`INSERT INTO audit (at, session, event) SELECT ?1, ?2, event FROM audit WHERE seq=1`)
	bySubject := prepare(`INSERT INTO by_subject (key, ended, created, id) VALUES (?1,0,?2,?3)`)
	step := func(st *zombiezen.Stmt) {
		_, err := st.Step()
		must(tb, err)
		must(tb, st.Reset())
	}
	type entry struct {
		key, created int64
		id           latchkey.ID
	}
	entries := make([]entry, preloaded)
	const every = 100 // milliseconds between two of them
	first := time.Now().Add(-24 * time.Hour).Add(-preloaded * every * time.Millisecond).UnixMilli()
	for i := range entries {
		if i%50_000 == 0 {
			if i > 0 {
				run("COMMIT")
			}
			run("BEGIN IMMEDIATE")
		}
		ms := first + int64(i)*every
		e := entry{int64(src.rng.Uint64()), ms * 1000, src.id(ms)}
		entries[i] = e
		ids = append(ids, e.id)
		session.BindBytes(1, e.id[:])
		session.BindInt64(2, e.key)
		session.BindInt64(3, e.created)
		step(session)
		event.BindInt64(1, e.created)
		event.BindBytes(2, e.id[:])
		step(event)
	}
	for _, part := range [][]entry{entries[:preloaded*6/10], entries[preloaded*6/10:]} {
		slices.SortFunc(part, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
		for i := range part {
			bySubject.BindInt64(1, part[i].key)
			bySubject.BindInt64(2, part[i].created)
			bySubject.BindBytes(3, part[i].id[:])
			step(bySubject)
		}
	}
	run("COMMIT")
	run("PRAGMA wal_checkpoint(TRUNCATE)")
	info, err := os.Stat(path)
	must(tb, err)
	fmt.Printf("preloaded %d sessions, %.0f MB, in %s\n", preloaded, float64(info.Size())/1e6, time.Since(began).Round(time.Millisecond))
	return path, ids
}

// fsyncRate measures how many times a second 4 KiB written over what is there
// reach the disk, as in a log that is used again: what one durable transaction
// costs at the least.
func fsyncRate(tb testing.TB, dir string, d time.Duration) float64 {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	must(tb, err)
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, 4096)
	for i := range int64(64) {
		_, err := f.WriteAt(page, i*4096)
		must(tb, err)
	}
	must(tb, f.Sync())
	n, start := 0, time.Now()
	for ; time.Since(start) < d; n++ {
		_, err := f.WriteAt(page, int64(n%64)*4096)
		must(tb, err)
		must(tb, fdatasync(f))
	}
	return float64(n) / time.Since(start).Seconds()
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}
