package sqlite

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/latchkey-go/latchkey"
)

// Config says where a store is and how it is used. Only Path is required.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Path is the database file. Beside it SQLite keeps PATH-wal and PATH-shm while
	// the store is open. The file system must be a local one.
	Path string
	// Clock is the machine's unless set. Give the Manager and the near cache the
	// same one: their readings of it are compared.
	Clock latchkey.Clock
	// Mark is the name that a store made by this call is marked with, in the same
	// step; see Store.Marked. It does not concern a file that exists.
	Mark string
	// MustExist refuses to make a file that is absent.
	MustExist bool
	// ReadOnly opens an existing store without being able to change it: changes
	// answer CodeStoreUnavailable.
	ReadOnly bool

	// Wait is how long to wait for another process that holds the database locked:
	// 5 seconds unless set, at most a minute.
	Wait time.Duration
	// Readers is how many reads run at once: as many as the program may use
	// processors, and at least 4, unless set.
	Readers int
	// WriteCache and ReadCache bound SQLite's own page cache in bytes, that of the
	// writing connection and that of each reading one: 64 MiB and 8 MiB unless set.
	WriteCache, ReadCache int64
}

// Defaults and bounds of the configuration.
const (
	defaultWait       = 5 * time.Second
	maxWait           = time.Minute
	defaultWriteCache = 64 << 20
	defaultReadCache  = 8 << 20
	minReaders        = 4
	maxReaders        = 256
	scanners          = 2 // connections for lists, counts and purges
)

// check fills in defaults and reports every problem.
func (cfg *Config) check() error {
	var problems []latchkey.FieldError
	add := func(field, format string, args ...any) {
		problems = append(problems, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	if cfg.Path == "" || strings.ContainsRune(cfg.Path, 0) {
		add("Path", "is required: the path of a file, such as latchkey.db")
	}
	if cfg.Wait < 0 || cfg.Wait > maxWait {
		add("Wait", "%v is not between 0, which means %v, and %v", cfg.Wait, defaultWait, maxWait)
	}
	if cfg.Readers < 0 || cfg.Readers > maxReaders {
		add("Readers", "%d is not between 0, which means as many as there are processors, and %d", cfg.Readers, maxReaders)
	}
	for _, c := range []struct {
		field string
		bytes int64
	}{{"WriteCache", cfg.WriteCache}, {"ReadCache", cfg.ReadCache}} {
		if c.bytes < 0 || c.bytes > 1<<40 {
			add(c.field, "%d bytes are not between 0, which means the default, and 1 TiB", c.bytes)
		}
	}
	if len(problems) > 0 {
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: sqlite store", Fields: problems}
	}
	cfg.Wait = cmp.Or(cfg.Wait, defaultWait)
	cfg.Readers = cmp.Or(cfg.Readers, max(minReaders, runtime.GOMAXPROCS(0)))
	cfg.WriteCache = cmp.Or(cfg.WriteCache, defaultWriteCache)
	cfg.ReadCache = cmp.Or(cfg.ReadCache, defaultReadCache)
	return nil
}

// Open opens a store, and makes it first where there is none and cfg allows it. An
// empty file, or an SQLite database with nothing in it, is none: it is made a store
// in place, and becomes readable for its owner alone.
// It never changes the schema of a file that exists: an older one is an error
// that names `latchkey migrate`.
//
// A wrong Config is CodeInvalidRequest. Everything that keeps the file from being
// used is CodeStoreUnavailable, with a message of one line that names the file
// and what to do.
func Open(cfg Config) (*Store, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(cfg.Path) // whatever becomes of the working directory
	if err != nil {
		return nil, refused(cfg.Path, "has no absolute path: %v", err)
	}
	cfg.Path = path
	if _, err := ensure(&cfg); err != nil {
		return nil, err
	}
	f, err := openFiles(path)
	if err != nil {
		return nil, err
	}
	w, schema, err := openWriter(&cfg)
	if err != nil {
		return nil, cannotOpen(path, err)
	}
	var s *Store
	if err = f.opened(); err == nil {
		s, err = newStore(&cfg, w, schema, f)
	}
	if err != nil {
		_ = w.Close()
		return nil, cannotOpen(path, err)
	}
	return s, nil
}

const (
	makeIt = "check the path, or run `latchkey serve` or `latchkey migrate`, which make it"
	notYet = "so it is no Latchkey store yet; " + makeIt + " one"
)

// ensure sees to it that there is a file, and reports whether it made one. It may
// be empty; see fillBlank.
func ensure(cfg *Config) (made bool, err error) {
	path := cfg.Path
	// In this order: one who is making the store makes the file first and the log then.
	log := namesOf(path)[theLog]
	logged := !absent(log)
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return false, refused(path, "is a directory; give the path of a file in it, such as %s", filepath.Join(path, "latchkey.db"))
	case err == nil && !info.Mode().IsRegular():
		return false, refused(path, "is not a regular file")
	case err == nil && info.Size() == 0 && logged:
		return false, refused(path, "is empty, but its log %s is there; restore the database beside it, or remove the log to have a new store made", log)
	case err == nil && info.Size() == 0 && (cfg.MustExist || cfg.ReadOnly):
		return false, refused(path, "is empty, "+notYet)
	case err == nil && cfg.ReadOnly:
		return false, nil
	case err == nil:
		// Before SQLite opens it, which would leave a log beside it that its owner could not write to.
		if err := mayWrite(path); err != nil {
			return false, refused(path, "%s (%v)", cannotWrite, err)
		}
		return false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, refused(path, "%v", reason(err))
	}
	dir := filepath.Dir(path)
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return false, refused(path, "the directory %s does not exist; make it first", dir)
	case err != nil:
		return false, refused(path, "%v", reason(err))
	case !info.IsDir():
		return false, refused(path, "%s is not a directory", dir)
	}
	if logged {
		return false, refused(path, "is missing, but its log %s is there; restore the database beside it, or remove the log to have a new store made", log)
	}
	if cfg.MustExist || cfg.ReadOnly {
		return false, refused(path, "does not exist; "+makeIt)
	}
	return create(path, cfg.Mark)
}

// create makes a store under another name and gives it its own only when it is
// complete, so that nobody ever meets half of one. It reports false when
// somebody else was quicker.
func create(path, mark string) (made bool, err error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return false, latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	draft := path + ".new-" + hex.EncodeToString(random[:])
	f, err := os.OpenFile(draft, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return false, refused(path, "cannot be made: %v", reason(err))
	}
	if err := f.Close(); err != nil {
		return false, refused(path, "cannot be made: %v", reason(err))
	}
	defer func() {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			_ = os.Remove(draft + suffix)
		}
	}()
	if err := fillNew(draft, mark); err != nil {
		return false, cannotOpen(path, err)
	}
	// A link, unlike a rename, does not replace what another process made meanwhile.
	err = os.Link(draft, path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		if _, serr := os.Lstat(path); errors.Is(serr, fs.ErrNotExist) {
			err = os.Rename(draft, path) // a file system without links
		}
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case err != nil:
		return false, refused(path, "cannot be made: %v", reason(err))
	}
	syncDir(filepath.Dir(path))
	return true, nil
}

// syncDir makes the name of a new file durable, where directories can be synced.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// reason is the bare reason of a file system's error; the caller names the file.
func reason(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &l):
		return l.Err
	}
	return err
}

// settings of the writing connection. The log is moved into the database inline
// at 16,000 pages (64 MB): fewer and longer moves write each page once for many
// changes, and moving it on another connection gains nothing.
func writerSettings(cfg *Config) string {
	return fmt.Sprintf(`PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA fullfsync=ON; PRAGMA checkpoint_fullfsync=ON;
		PRAGMA wal_autocheckpoint=16000; PRAGMA journal_size_limit=67108864; PRAGMA secure_delete=ON; PRAGMA temp_store=MEMORY;
		PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA cache_size=-%d;`, max(cfg.WriteCache/1024, 64))
}

func readerSettings(cache int64) string {
	return fmt.Sprintf(`PRAGMA query_only=ON; PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF; PRAGMA cache_size=-%d;`,
		max(cache/1024, 64))
}

// openWriter opens the connection that writes, or with ReadOnly the one that the
// feed polls on, and checks what the file is.
func openWriter(cfg *Config) (*conn, Schema, error) {
	flags := sqlite.OpenReadWrite
	if cfg.ReadOnly {
		flags = sqlite.OpenReadOnly
	}
	c, err := openConn(cfg.Path, flags, cfg.Wait)
	if err != nil {
		return nil, Schema{}, err
	}
	if !cfg.ReadOnly && !cfg.MustExist {
		_, err = fillBlank(c, cfg.Path, cfg.Mark)
	}
	var schema Schema
	if err == nil {
		schema, err = checkSchema(c, cfg.Path)
	}
	switch {
	case err != nil:
	case cfg.ReadOnly:
		err = c.script(readerSettings(cfg.ReadCache))
	default:
		if err = c.script(writerSettings(cfg)); err == nil {
			schema.JournalMode, schema.Synchronous, err = checkWritable(c, cfg.Path)
		}
	}
	if err != nil {
		return nil, Schema{}, closing(c.Conn, err)
	}
	return c, schema, nil
}

// checkWritable finds out early what a first sign-in would find out otherwise.
// Opening alone falls back to reading without a word.
func checkWritable(c *conn, path string) (mode, sync string, err error) {
	if mode, err = c.pragma("journal_mode"); err == nil && mode != "wal" {
		err = refused(path, "cannot keep a write-ahead log (journal mode is %q); put it on a local file system", mode)
	}
	if err != nil {
		return mode, "", err
	}
	if sync, err = c.pragma("synchronous"); err == nil && sync != "2" {
		err = refused(path, "refuses to write durably (synchronous is %q)", sync)
	}
	if err != nil {
		return mode, sync, err
	}
	err = c.script("BEGIN IMMEDIATE")
	if sqlite.ErrCode(err).ToPrimary() == sqlite.ResultBusy {
		return mode, sync, nil // somebody can write, then; so can this, or it would not have asked for the lock
	}
	if err != nil {
		return mode, sync, err
	}
	// Of a file that can only be read, the transaction is quietly one for reading. A
	// statement that would write is refused then, even if it finds no row.
	err = c.query("UPDATE meta SET value=value WHERE name=''").run()
	return mode, sync, errors.Join(err, c.script("ROLLBACK"))
}

// newOrigin draws the number by which a process knows its own entries of the log.
func newOrigin() (int64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	return int64(binary.BigEndian.Uint64(b[:])>>1) + 1, nil
}

// Mark gives the store a name, such as "demo"; "" takes it away. It is durable
// when Mark returns.
func (s *Store) Mark(ctx context.Context, name string) error {
	_, err := do(ctx, s, func(t *tx) (struct{}, error) {
		return struct{}{}, t.c.query("UPDATE meta SET value=?1 WHERE name='mark'").blob([]byte(name)).run()
	})
	return err
}

// Marked returns the store's name, "" when it has none.
func (s *Store) Marked(ctx context.Context) (string, error) {
	v, err := s.meta(ctx, "mark")
	return string(v), err
}

// PlacementKey implements latchkey.PlacementKeeper. The key was drawn when the
// file was made and stays for its life.
func (s *Store) PlacementKey(ctx context.Context) ([32]byte, error) {
	v, err := s.meta(ctx, "placement key")
	if err == nil && len(v) != 32 {
		err = unavailable(errDamaged)
	}
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(v), nil
}

// meta reads one of the store's own values.
func (s *Store) meta(ctx context.Context, name string) ([]byte, error) {
	c, err := s.scans.take(ctx)
	if err != nil {
		return nil, err
	}
	defer s.scans.give(c)
	q := c.query("SELECT value FROM meta WHERE name=?1").text(name)
	ok, err := q.next()
	if err == nil && !ok {
		err = errDamaged
	}
	if err != nil {
		return nil, answer(err)
	}
	defer q.done()
	return append([]byte(nil), c.column(q, 0)...), nil
}
