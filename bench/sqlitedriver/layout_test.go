package sqlitedriver

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// layout is one way to lay the tables, and what it indexes.
type layout struct {
	name string
	// rowid keeps sessions in a table by rowid with a unique index on the ID,
	// instead of a table whose B-tree is the primary key's.
	rowid bool
	// identity says how the sessions of a person are found: "" not at all,
	// "text" an index on (provider, subject, id), "hash" a table keyed by
	// (hash of subject, id), "tiers" that table with younger ones before it.
	identity string
	// sid indexes (provider, sid): "text", "hash" or "tiers"; sessions have
	// one then.
	sid string
	// audit writes an event for each create: "seq" ordered by position alone,
	// "session" with an index by (session, position) beside it, "subject" with
	// an index by (subject, position).
	audit string

	pageSize   int // 0: 4096
	checkpoint int // pages of log after which a checkpoint runs; 0: 16000
	unsorted   bool
	hasty      bool // do not wait for callers about to ask
	background bool // the log is moved by another connection
}

// schema returns the statements that make the empty tables.
func (l layout) schema() string {
	q := fmt.Sprintf("PRAGMA page_size=%d; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536;", cmp.Or(l.pageSize, 4096))
	columns := `provider TEXT NOT NULL, subject TEXT NOT NULL, sid TEXT NOT NULL, created INTEGER NOT NULL,
		last_seen INTEGER NOT NULL, expires INTEGER NOT NULL, version INTEGER NOT NULL, revoked INTEGER, record BLOB NOT NULL`
	if l.rowid {
		q += "CREATE TABLE session (n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, " + columns + ");"
	} else {
		q += "CREATE TABLE session (id BLOB PRIMARY KEY, " + columns + ") WITHOUT ROWID;"
	}
	for _, by := range []string{"subject", "sid"} {
		q += fmt.Sprintf("CREATE TABLE by_%s (key INTEGER, id BLOB, provider INTEGER NOT NULL, ended INTEGER NOT NULL, PRIMARY KEY (key, id)) WITHOUT ROWID;", by)
		q += fmt.Sprintf("CREATE TABLE by_%s_new (key INTEGER, id BLOB, provider INTEGER NOT NULL, ended INTEGER NOT NULL, PRIMARY KEY (key, id)) WITHOUT ROWID;", by)
		q += fmt.Sprintf("CREATE TABLE by_%s_run (run INTEGER, key INTEGER, id BLOB, provider INTEGER NOT NULL, ended INTEGER NOT NULL, PRIMARY KEY (run, key, id)) WITHOUT ROWID;", by)
	}
	q += `CREATE TABLE audit (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, session BLOB, subject INTEGER NOT NULL, event BLOB NOT NULL);`
	return q
}

// textIndexes returns the indexes that SQLite keeps by itself.
func (l layout) textIndexes() string {
	q := ""
	if l.identity == "text" {
		q += "CREATE INDEX session_identity ON session (provider, subject, id);"
	}
	if l.sid == "text" {
		q += "CREATE INDEX session_sid ON session (provider, sid) WHERE sid <> '';"
	}
	switch l.audit {
	case "session":
		q += "CREATE INDEX audit_session ON audit (session);"
	case "subject":
		q += "CREATE INDEX audit_subject ON audit (subject);"
	}
	return q
}

// writer is a connection with the statements of a create.
type writer struct {
	layout
	c                    conn
	begin, commit        stmt
	session, event       stmt
	bySubject, bySID     stmt
	foldSubject, foldSID *tiers
	groups, members      int // committed

	mover  conn // moves the log
	moved  chan error
	moving bool
	rows   int // since it began to
}

// open opens a database made by load for durable writes.
func (l layout) open(tb testing.TB, d driver, path string) *writer {
	c, err := d.open(path)
	must(tb, err)
	w := &writer{layout: l, c: c}
	must(tb, c.script(fmt.Sprintf("PRAGMA busy_timeout=5000; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536; PRAGMA wal_autocheckpoint=%d;", cmp.Or(l.checkpoint, 16000))))
	if l.background {
		w.mover, err = d.open(path)
		must(tb, err)
		must(tb, w.mover.script("PRAGMA synchronous=FULL; PRAGMA cache_size=-1024"))
		must(tb, c.script("PRAGMA wal_autocheckpoint=0"))
		w.moved = make(chan error, 1)
	}
	w.prepare(tb)
	return w
}

// close closes the connections.
func (w *writer) close() error {
	if w.moving {
		<-w.moved
	}
	if w.mover != nil {
		w.mover.close()
	}
	return w.c.close()
}

func (w *writer) prepare(tb testing.TB) {
	w.begin, w.commit = prepare(tb, w.c, "BEGIN IMMEDIATE"), prepare(tb, w.c, "COMMIT")
	w.session = prepare(tb, w.c, `INSERT INTO session (id, provider, subject, sid, created, last_seen, expires, version, record) VALUES (?1,?2,?3,?4,?5,?5,?5+86400000000,1,?6)`)
	w.event = prepare(tb, w.c, `INSERT INTO audit (at, session, subject, event) VALUES (?,?,?,?)`)
	key := func(by string) stmt {
		return prepare(tb, w.c, "INSERT INTO "+by+" (key, id, provider, ended) VALUES (?,?,1,0)")
	}
	switch w.identity {
	case "hash":
		w.bySubject = key("by_subject")
	case "tiers":
		w.bySubject = key("by_subject_new")
		w.foldSubject = newTiers(tb, w.c, "by_subject")
	}
	switch w.sid {
	case "hash":
		w.bySID = key("by_sid")
	case "tiers":
		w.bySID = key("by_sid_new")
		w.foldSID = newTiers(tb, w.c, "by_sid")
	}
}

// insert writes all rows of a group inside the open transaction. Each table is
// filled in the order of its key, so that rows which share a page meet there.
func (w *writer) insert(group []*session) error {
	sorted := slices.Clone(group)
	if !w.unsorted {
		slices.SortFunc(sorted, func(a, b *session) int { return slices.Compare(a.id[:], b.id[:]) })
	}
	for _, s := range sorted {
		sid := s.sid
		if w.sid == "" {
			sid = ""
		}
		if err := w.session.exec(s.id[:], "api", s.subject, sid, s.created, s.record); err != nil {
			return err
		}
		if w.audit != "" {
			if err := w.event.exec(s.created, s.id[:], s.subjectKey, s.event); err != nil {
				return err
			}
		}
	}
	if w.bySubject != nil {
		if !w.unsorted {
			slices.SortFunc(sorted, func(a, b *session) int { return cmp.Compare(a.subjectKey, b.subjectKey) })
		}
		for _, s := range sorted {
			if err := w.bySubject.exec(s.subjectKey, s.id[:]); err != nil {
				return err
			}
		}
	}
	if w.bySID != nil {
		if !w.unsorted {
			slices.SortFunc(sorted, func(a, b *session) int { return cmp.Compare(a.sidKey(), b.sidKey()) })
		}
		for _, s := range sorted {
			if err := w.bySID.exec(s.sidKey(), s.id[:]); err != nil {
				return err
			}
		}
	}
	for _, t := range []*tiers{w.foldSubject, w.foldSID} {
		if t != nil {
			if err := t.fold(len(group)); err != nil {
				return err
			}
		}
	}
	return nil
}

// sidKey is the first 8 bytes of a hash of the sid, which here is random
// already.
func (s *session) sidKey() int64 {
	var v uint64
	fmt.Sscanf(s.sid, "%x", &v)
	return int64(v)
}

// load makes a database with a million sessions, and returns its path. Tables
// in a random order are filled in two sorted passes, the second of which
// splits nearly every page the first has filled: what is left is about as full
// as pages are that were filled in random order.
func (l layout) load(tb testing.TB, d driver, dir string) string {
	path := filepath.Join(dir, l.name+".db")
	if _, err := os.Stat(path); err == nil {
		return path // kept by an earlier run
	}
	c, err := d.open(path)
	must(tb, err)
	defer c.close()
	must(tb, c.script(l.schema()+"PRAGMA wal_autocheckpoint=20000; BEGIN IMMEDIATE;"))
	plain := l
	plain.identity, plain.sid = "", ""
	w := &writer{layout: plain, c: c}
	w.prepare(tb)
	src := newSource(3)
	type key struct {
		key int64
		id  [16]byte
	}
	subjects, sids := make([]key, preloaded), make([]key, preloaded)
	for i := range preloaded {
		s := src.next(preloadStart + int64(i)*25)
		if i%50_000 == 0 { // a driver may bound the memory of a transaction
			must(tb, c.script("COMMIT; BEGIN IMMEDIATE"))
		}
		subjects[i], sids[i] = key{s.subjectKey, s.id}, key{s.sidKey(), s.id}
		sid := s.sid
		if l.sid == "" {
			sid = ""
		}
		must(tb, w.session.exec(s.id[:], "api", s.subject, sid, s.created, s.record))
		if l.audit != "" {
			must(tb, w.event.exec(s.created, s.id[:], s.subjectKey, s.event))
		}
	}
	fill := func(by string, keys []key) {
		insert := prepare(tb, c, "INSERT INTO "+by+" (key, id, provider, ended) VALUES (?,?,1,0)")
		first := len(keys) * 6 / 10
		for _, part := range [][]key{keys[:first], keys[first:]} {
			slices.SortFunc(part, func(a, b key) int { return cmp.Compare(a.key, b.key) })
			for i := range part {
				if i%50_000 == 0 {
					must(tb, c.script("COMMIT; BEGIN IMMEDIATE"))
				}
				must(tb, insert.exec(part[i].key, part[i].id[:]))
			}
		}
	}
	if l.identity == "hash" || l.identity == "tiers" {
		fill("by_subject", subjects)
	}
	if l.sid == "hash" || l.sid == "tiers" {
		fill("by_sid", sids)
	}
	must(tb, c.script(l.textIndexes()+"COMMIT; PRAGMA wal_checkpoint(TRUNCATE)"))
	return path
}
