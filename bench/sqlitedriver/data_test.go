package sqlitedriver

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// preloaded is how many sessions a measured database holds beforehand.
const preloaded = 1_000_000

// session is what a row of the tables is made from. Its sizes are those of a
// real one: a subject of a dozen bytes, a record of 300, an event of 100.
type session struct {
	id         [16]byte
	subject    string
	subjectKey int64 // the first 8 bytes of a hash of the subject
	sid        string
	record     []byte
	event      []byte
	created    int64
}

// source makes sessions; seeded, so that two runs make the same ones. It is
// used by one goroutine at a time.
type source struct {
	rng    *rand.Rand
	record [300]byte
	event  [100]byte
}

func newSource(seed uint64) *source {
	s := &source{rng: rand.New(rand.NewPCG(seed, 0))}
	for i := range s.record {
		s.record[i] = byte(s.rng.Uint32())
	}
	for i := range s.event {
		s.event[i] = byte(s.rng.Uint32())
	}
	return s
}

// next returns a session signed in at the given millisecond, by one of half a
// million people. Its ID is a UUIDv7 whose rand_a belongs to the person.
func (s *source) next(ms int64) *session {
	person := s.rng.Uint64N(preloaded / 2)
	hash := (person + 1) * 0x9E3779B97F4A7C15 // spreads evenly over 64 bits
	hash ^= hash >> 29
	hash *= 0xBF58476D1CE4E5B9
	v := &session{
		subject:    fmt.Sprintf("user-%07d", person),
		subjectKey: int64(hash),
		sid:        fmt.Sprintf("%016x", s.rng.Uint64()),
		record:     s.record[:],
		event:      s.event[:],
		created:    ms * 1000,
	}
	binary.BigEndian.PutUint64(v.id[:8], uint64(ms)<<16|0x7000|hash>>52)
	binary.BigEndian.PutUint64(v.id[8:], s.rng.Uint64()>>2|1<<63)
	return v
}

// preloadStart is when the first preloaded session signed in: a million at a
// rate of 4 a second end in the past.
var preloadStart = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// workDir returns a folder for databases: below LATCHKEY_BENCH_DIR when set.
func workDir(tb testing.TB) string {
	base := os.Getenv("LATCHKEY_BENCH_DIR")
	if base == "" {
		return tb.TempDir()
	}
	dir, err := os.MkdirTemp(base, "latchkey-bench-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// fsyncRate measures how many times a second 4 KiB written to a file reach the
// disk, which is what one durable transaction costs at the least: appended,
// when the file's length must reach it too, and over what is there, as in a
// log that is used again. The second is the faster and the one to be judged by.
func fsyncRate(tb testing.TB, dir string, d time.Duration) (appended, over float64) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	must(tb, err)
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, 4096)
	rate := func(at func(n int) int64) float64 {
		n, start := 0, time.Now()
		for ; time.Since(start) < d/2; n++ {
			_, err := f.WriteAt(page, at(n))
			must(tb, err)
			must(tb, fdatasync(f))
		}
		return float64(n) / time.Since(start).Seconds()
	}
	appended = rate(func(n int) int64 { return int64(n) * 4096 })
	over = rate(func(n int) int64 { return int64(n%64) * 4096 })
	return appended, over
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// must fails the benchmark on an error.
func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// prepare prepares a statement or fails the benchmark.
func prepare(tb testing.TB, c conn, q string) stmt {
	tb.Helper()
	s, err := c.prepare(q)
	must(tb, err)
	return s
}
