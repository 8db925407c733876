package sqlitedriver

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// driverRows is the size of the table on which the drivers are compared.
const driverRows = 200_000

const driverSchema = `
PRAGMA page_size=4096;
PRAGMA journal_mode=WAL;
PRAGMA synchronous=OFF;
CREATE TABLE session (id BLOB PRIMARY KEY, created INTEGER NOT NULL, record BLOB NOT NULL) WITHOUT ROWID;`

const driverPragmas = `PRAGMA busy_timeout=5000; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536;`

const selectSession = `SELECT record FROM session WHERE id=?`

const insertSession = `INSERT INTO session (id, created, record) VALUES (?,?,?)`

// driverTable makes the table on which the drivers are compared, rows of 400
// bytes, and returns its path and its keys. Each driver has a file of its own:
// two of them in one process do not honour each other's locks.
func driverTable(b *testing.B, d driver) (path string, keys [][]byte) {
	path = filepath.Join(workDir(b), "driver.db")
	c, err := d.open(path)
	must(b, err)
	defer c.close()
	must(b, c.script(driverSchema+"BEGIN IMMEDIATE;"))
	insert := prepare(b, c, insertSession)
	src := newSource(1)
	for i := range driverRows {
		s := src.next(preloadStart + int64(i)*250)
		keys = append(keys, s.id[:])
		must(b, insert.exec(s.id[:], s.created, append(s.record, s.event...)))
	}
	must(b, c.script("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)"))
	return path, keys
}

// BenchmarkSelect reads rows by primary key, at random, each outside a
// transaction, as a miss of the near cache does.
func BenchmarkSelect(b *testing.B) {
	for _, d := range drivers {
		path, keys := driverTable(b, d)
		b.Run(d.name+"/callers=1", func(b *testing.B) {
			read := reader(b, d, path, keys)
			b.ReportAllocs()
			for b.Loop() {
				read()
			}
		})
		b.Run(d.name+"/callers=parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				read := reader(b, d, path, keys)
				for pb.Next() {
					read()
				}
			})
		})
	}
}

// reader returns a function that reads one random row over a connection of
// its own.
func reader(b *testing.B, d driver, path string, keys [][]byte) func() {
	c, err := d.open(path)
	if err != nil {
		b.Error(err)
		return func() {}
	}
	b.Cleanup(func() { c.close() })
	if err := c.script(driverPragmas); err != nil {
		b.Error(err)
	}
	get, err := c.prepare(selectSession)
	if err != nil {
		b.Error(err)
		return func() {}
	}
	rng := newSource(seeds.Add(1)).rng
	buf := make([]byte, 0, 1024)
	return func() {
		row, err := get.blob(buf[:0], keys[rng.IntN(len(keys))])
		if err != nil || len(row) != 400 {
			b.Errorf("read %d bytes: %v", len(row), err)
		}
	}
}

// seeds gives each reader keys of its own.
var seeds atomic.Uint64

// BenchmarkInsert commits rows durably, one or 64 in a transaction, in
// ascending order of keys; the time is for one transaction.
func BenchmarkInsert(b *testing.B) {
	for _, d := range drivers {
		for _, group := range []int{1, 64} {
			name := d.name + "/rows=1"
			if group == 64 {
				name = d.name + "/rows=64"
			}
			b.Run(name, func(b *testing.B) { benchmarkInsert(b, d, group) })
		}
	}
}

func benchmarkInsert(b *testing.B, d driver, group int) {
	path := filepath.Join(workDir(b), "insert.db")
	c, err := d.open(path)
	must(b, err)
	defer os.Remove(path)
	defer c.close()
	must(b, c.script(driverSchema))
	must(b, c.script(driverPragmas))
	begin, commit := prepare(b, c, "BEGIN IMMEDIATE"), prepare(b, c, "COMMIT")
	insert := prepare(b, c, insertSession)
	src := newSource(2)
	record := append(src.record[:], src.event[:]...)
	var id [16]byte
	n := uint64(0)
	for b.Loop() {
		must(b, begin.exec())
		for range group {
			n++
			binary.BigEndian.PutUint64(id[:8], n)
			must(b, insert.exec(id[:], int64(n), record))
		}
		must(b, commit.exec())
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
}
