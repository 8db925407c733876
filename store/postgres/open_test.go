package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// secret is a password that no message may hold.
const secret = "s3cr3t-canary"

// wantNoSecret checks that neither an error nor anything it leads to tells the password.
func wantNoSecret(t testing.TB, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, text := range []string{e.Error(), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e)} {
			if strings.Contains(text, secret) {
				t.Fatalf("the password is told by %T: %s", e, text)
			}
		}
	}
	if strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("more than one line: %q", err)
	}
}

func TestConfig(t *testing.T) {
	good := "postgres://u:" + secret + "@db.example:5432/sessions"
	for name, test := range map[string]struct {
		cfg  Config
		want []string
	}{
		"Nothing":       {Config{}, []string{"URL: is required"}},
		"OtherScheme":   {Config{URL: "mysql://u:" + secret + "@h/d"}, []string{"URL: is not a PostgreSQL URL"}},
		"Words":         {Config{URL: "host=h password=" + secret}, []string{"URL: is not a PostgreSQL URL"}},
		"BadEscape":     {Config{URL: "postgres://u:" + secret + "%zz@h/d"}, []string{"URL: cannot be read"}},
		"Space":         {Config{URL: "postgres://u:" + secret + " x@h/d"}, []string{"URL: cannot be read"}},
		"Hash":          {Config{URL: "postgres://u:" + secret + "#x@h/d"}, []string{"URL: "}},
		"BadPort":       {Config{URL: "postgres://u:" + secret + "@h:port/d"}, []string{"URL: cannot be read"}},
		"BadOptions":    {Config{URL: good + "?a=%zz"}, []string{"URL: has options that cannot be read"}},
		"BadSchema":     {Config{URL: good + `?schema=a"b`}, []string{"schema: is a name"}},
		"SystemSchema":  {Config{URL: good + "?schema=pg_temp"}, []string{"schema: is a name"}},
		"BadPooler":     {Config{URL: good + "?pooler=yes"}, []string{"pooler: is 0 or 1"}},
		"BadFeed":       {Config{URL: good + "?feed=push"}, []string{"feed: is listen or poll"}},
		"BadMode":       {Config{URL: good + "?sslmode=perhaps"}, []string{"URL: is not understood"}},
		"FeedOfPolled":  {Config{URL: good + "?feed=poll", FeedURL: good}, []string{"FeedURL: is of no use"}},
		"BadFeedURL":    {Config{URL: good, FeedURL: "redis://h"}, []string{"FeedURL: is not a PostgreSQL URL"}},
		"AllOfThem":     {Config{URL: "x", Timeout: -1, Readers: -1, Connections: 5000}, []string{"URL: ", "Timeout: ", "Readers: ", "Connections: "}},
		"LongTimeout":   {Config{URL: good, Timeout: time.Hour}, []string{"Timeout: 1h0m0s"}},
		"MissingTLSKey": {Config{URL: good + "?sslmode=verify-full&sslrootcert=/nowhere"}, []string{"URL: is not understood"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), test.cfg)
			if latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
				t.Fatalf("Open: %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error is %q, want it to say %q", err, want)
				}
			}
			wantNoSecret(t, err)
			if _, _, err := Migrate(t.Context(), test.cfg); test.cfg.FeedURL == "" && latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
				t.Errorf("Migrate: %v", err)
			}
		})
	}
	if what := CheckURL(good); what != "" {
		t.Errorf("CheckURL of a good one: %s", what)
	}
	if what := CheckURL("postgres://u:" + secret + "%zz@h/d"); what == "" || strings.Contains(what, secret) {
		t.Errorf("CheckURL: %q", what)
	}
}

// Each way in which a server cannot be used is told in one line that says so.
func TestCannotOpen(t *testing.T) {
	server := servers.StartPostgres(t)
	host := server.Addr
	tamper(t, server.URL, `CREATE DATABASE readonly`)
	tamper(t, server.URL, `CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`)
	tamper(t, server.URL, `CREATE ROLE locked LOGIN PASSWORD '`+secret+`x'; CREATE ROLE plain LOGIN;
		ALTER DATABASE readonly SET default_transaction_read_only = on; CREATE SCHEMA theirs; CREATE TABLE theirs.session (id int);
		CREATE SCHEMA alike; CREATE TABLE alike.meta (name text, value text); INSERT INTO alike.meta VALUES ('application', 'another')`)
	rules := "host all locked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
	if err := os.WriteFile(filepath.Join(server.Dir, "data", "pg_hba.conf"), []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	server.Restart(t)
	for name, test := range map[string]struct {
		url string
		say string
	}{
		"Unreachable":   {"postgres://u:" + secret + "@127.0.0.1:1/d", "127.0.0.1:1/d: the server cannot be reached"},
		"NoSuchHost":    {"postgres://u:" + secret + "@nowhere.invalid/d", "the server's name is not known"},
		"WrongPassword": {"postgres://locked:" + secret + "@" + host + "/latchkey", "refuses the user or the password"},
		"WrongUser":     {"postgres://nobody:" + secret + "@" + host + "/latchkey", "refuses the user or the password"},
		"WrongDatabase": {"postgres://plain:" + secret + "@" + host + "/nothere", "no such database"},
		"ReadOnly":      {"postgres://plain:" + secret + "@" + host + "/readonly", "standby"},
		"Encoding":      {"postgres://plain:" + secret + "@" + host + "/latin", "encoding LATIN1"},
		"NoRights":      {"postgres://plain:" + secret + "@" + host + "/latchkey", "the user may not do this"},
		"Foreign":       {server.URL + "?schema=theirs", `schema "theirs" with tables that are not of a Latchkey store`},
		"ForeignAlike":  {server.URL + "?schema=alike", `schema "alike" with tables that are not of a Latchkey store`},
		"NoTLS":         {"postgres://plain:" + secret + "@" + host + "/latchkey?sslmode=require", "tls"},
		"BadSetting":    {server.URL + "?no_such_setting=1", "no_such_setting"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), Config{URL: test.url, Timeout: 20 * time.Second})
			fixture.Unavailable(t, err, test.say)
			wantNoSecret(t, err)
			if !strings.Contains(err.Error(), "postgres store ") {
				t.Errorf("the message does not name the server: %v", err)
			}
			_, _, err = Migrate(t.Context(), Config{URL: test.url, Timeout: 20 * time.Second})
			fixture.Unavailable(t, err, test.say)
			wantNoSecret(t, err)
		})
	}
	if n := query(t, server.URL, "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname IN ('theirs', 'alike')"); n != 2 {
		t.Errorf("%d tables in other people's schemas, want the 2 there were", n)
	}
	_, err := Open(t.Context(), Config{URL: server.URL + "?schema=absent", MustExist: true})
	fixture.Unavailable(t, err, `no Latchkey store in schema "absent"`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Open(ctx, Config{URL: server.URL})
	fixture.Unavailable(t, err, "canceled")
}

// Any number of programs may find an empty database at once: one makes the store.
func TestMadeOnce(t *testing.T) {
	url := newURL(t)
	keys := make([][32]byte, 6)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			s, err := Open(context.Background(), Config{URL: url, Timeout: time.Minute, Mark: fmt.Sprint("mark", i)})
			if err != nil {
				t.Error(fixture.Chain(err))
				return
			}
			defer s.Close()
			if keys[i], err = s.PlacementKey(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != keys[0] || k == ([32]byte{}) {
			t.Fatal("the programs differ about the placement key")
		}
	}
	s := mustOpen(t, Config{URL: url, Timeout: time.Minute, MustExist: true})
	if name, err := s.Marked(t.Context()); err != nil || !strings.HasPrefix(name, "mark") {
		t.Errorf("marked %q, %v", name, err)
	}
	if err := s.Mark(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	if name, err := s.Marked(t.Context()); err != nil || name != "other" {
		t.Errorf("marked %q, %v", name, err)
	}
}

func TestMigrate(t *testing.T) {
	schema, url := newSchema(t)
	cfg := Config{URL: url, Timeout: time.Minute}
	if from, to, err := Migrate(t.Context(), cfg); err != nil || from != 0 || to != known() {
		t.Fatalf("from %d to %d, %v", from, to, err)
	}
	if from, to, err := Migrate(t.Context(), cfg); err != nil || from != known() || to != known() {
		t.Fatalf("again: from %d to %d, %v", from, to, err)
	}
	running := mustOpen(t, cfg)
	id := add(t, running, "ann")

	// A newer program's migration that this program can live with.
	first, err := migrations.ReadFile("migrations/0001_sessions.sql")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"migrations/0001_sessions.sql": {Data: first}}
	files["migrations/0002_more.sql"] = &fstest.MapFile{Data: []byte("ALTER TABLE latchkey.session ADD COLUMN more bigint;")}
	if from, to, err := migrate(t.Context(), cfg, files); err != nil || from != known() || to != 2 {
		t.Fatalf("newer: from %d to %d, %v", from, to, fixture.Chain(err))
	}
	fixture.Get(t, running, id) // whose statement was prepared before
	fixture.Revoke(t, running, add(t, running, "ann"))
	s := mustOpen(t, cfg)
	if sc := s.Schema(); sc.Version != 2 || sc.Needs != needed || sc.Known != known() {
		t.Errorf("schema is %+v", sc)
	}
	if from, to, err := Migrate(t.Context(), cfg); err != nil || from != 2 || to != 2 {
		t.Errorf("by the older program: from %d to %d, %v", from, to, err)
	}

	// One that fails leaves everything as it was.
	files["migrations/0003_bad.sql"] = &fstest.MapFile{Data: []byte("DROP TABLE latchkey.spent; SELECT 1/0;")}
	if _, _, err := migrate(t.Context(), cfg, files); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Errorf("a migration that fails: %v", err)
	}
	if n := query(t, pg.URL, "SELECT count(*) FROM "+schema+".spent"); n != 0 {
		t.Errorf("%d", n)
	}

	// One that this program cannot live with.
	tamper(t, pg.URL, "UPDATE "+schema+".meta SET value = '99' WHERE name IN ('version', 'needs')")
	for _, open := range []func() error{
		func() error { _, err := Open(t.Context(), cfg); return err },
		func() error { _, _, err := Migrate(t.Context(), cfg); return err },
	} {
		err := open()
		fixture.Unavailable(t, err, "has schema 99, which is newer than this program's")
		if !errors.Is(err, ErrSchema) {
			t.Error("the cause is not ErrSchema")
		}
	}
	if err := running.run(t.Context(), running.aside, stClock, running.nowParam(newParams(1)), true, running.clockRow(running.clock.Now())); err != nil {
		t.Fatal(err)
	}
	_, err = running.Get(t.Context(), id)
	fixture.Unavailable(t, err, "use a newer latchkey")

	tamper(t, pg.URL, "UPDATE "+schema+".meta SET value = '0' WHERE name IN ('version', 'needs')")
	_, err = Open(t.Context(), cfg)
	fixture.Unavailable(t, err, "run `latchkey migrate`")
	if !errors.Is(err, ErrSchema) {
		t.Error("the cause is not ErrSchema")
	}
}

// A store that is made anew where another one was begins above all generations that
// the other had: nodes which know the other still may hold tokens of them.
func TestMadeAnew(t *testing.T) {
	schema, url := newSchema(t)
	s := mustOpen(t, Config{URL: url, Timeout: time.Minute})
	if _, err := s.Revoke(t.Context(), latchkey.Revocation{All: true}); err != nil {
		t.Fatal(fixture.Chain(err))
	}
	former := fixture.Get(t, s, add(t, s, "ann")).Generation
	tamper(t, pg.URL, "DROP SCHEMA "+schema+" CASCADE")
	if _, _, err := Migrate(t.Context(), Config{URL: url, Timeout: time.Minute}); err != nil {
		t.Fatal(fixture.Chain(err))
	}
	again := mustOpen(t, Config{URL: url, Timeout: time.Minute})
	if first := fixture.Get(t, again, add(t, again, "ann")).Generation; first <= former {
		t.Errorf("generation %d after %d", first, former)
	}
}

// Where the row that describes the store is gone, nothing is known: least of all
// that no generation has ended.
func TestMissingStoreRow(t *testing.T) {
	schema, url := newSchema(t)
	s := mustOpen(t, Config{URL: url, Timeout: time.Minute})
	id := add(t, s, "ann")
	tamper(t, pg.URL, "DELETE FROM "+schema+".store")
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"Get":     func() error { _, err := s.Get(ctx, id); return err },
		"Create":  func() error { _, err := s.Create(ctx, signIn(s, "bob")); return err },
		"Patch":   func() error { return s.Patch(ctx, latchkey.Patch{Record: latchkey.Record{ID: id, Version: 1}}) },
		"Touch":   func() error { return s.Touch(ctx, []latchkey.Touch{{ID: id}}) },
		"Revoke":  func() error { _, err := s.Revoke(ctx, fixture.Revocation(id)); return err },
		"All":     func() error { _, err := s.Revoke(ctx, latchkey.Revocation{All: true}); return err },
		"List":    func() error { _, err := s.List(ctx, latchkey.ListQuery{}); return err },
		"Count":   func() error { _, err := s.Count(ctx); return err },
		"Changed": func() error { _, err := s.Changed(ctx, latchkey.ID{}, 0); return err },
		"Marked":  func() error { _, err := s.Marked(ctx); return err },
		"Open":    func() error { _, err := Open(ctx, Config{URL: url, MustExist: true}); return err },
	} {
		t.Run(name, func(t *testing.T) { fixture.Unavailable(t, call(), "the row that describes the store is missing") })
	}
	recs, errs := gathered(t, mustOpenAnyway(t, s), []latchkey.ID{id, id})
	for i := range recs {
		fixture.Unavailable(t, errs[i], "the row that describes the store is missing")
	}
}

// mustOpenAnyway is a store with one lane, on the tables of another.
func mustOpenAnyway(t *testing.T, s *Store) *Store {
	t.Helper()
	tamper(t, pg.URL, inSchema("INSERT INTO latchkey.store (id, generation, placement_key) VALUES (gen_random_uuid(), 1, sha256(''))", s.t.schema))
	again := mustOpen(t, Config{URL: s.t.URL, Timeout: time.Minute, Readers: 1})
	tamper(t, pg.URL, inSchema("DELETE FROM latchkey.store", s.t.schema))
	return again
}

// A program that only serves needs no more rights than docs/postgres.md grants it.
func TestLeastRights(t *testing.T) {
	page, err := os.ReadFile("../../docs/postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	schema, url := newSchema(t)
	if _, _, err := Migrate(t.Context(), Config{URL: url, Timeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	grants := 0
	tamper(t, pg.URL, "CREATE ROLE service LOGIN")
	t.Cleanup(func() { tamper(t, pg.URL, "DROP OWNED BY service; DROP ROLE service") })
	for _, line := range strings.Split(string(page), "\n") {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "GRANT ") && strings.HasSuffix(line, ";") {
			tamper(t, pg.URL, strings.ReplaceAll(line, "SCHEMA latchkey", "SCHEMA "+schema))
			grants++
		}
	}
	if grants != 3 {
		t.Errorf("the page has %d grants, want 3", grants)
	}
	s := mustOpen(t, Config{URL: strings.Replace(url, servers.User+"@", "service@", 1), Timeout: time.Minute, MustExist: true})
	f := fixture.Follow(t, s, often)
	ctx, id := t.Context(), add(t, s, "ann")
	if err := s.Patch(ctx, latchkey.Patch{Record: *fixture.Get(t, s, id)}); err != nil {
		t.Error(fixture.Chain(err))
	}
	if err := s.Touch(ctx, []latchkey.Touch{{ID: id, At: storeNow(s)}}); err != nil {
		t.Error(fixture.Chain(err))
	}
	if err := s.Spend(ctx, [32]byte{1}, storeNow(s).Add(time.Minute)); err != nil {
		t.Error(fixture.Chain(err))
	}
	fixture.Revoke(t, s, id)
	if _, err := s.Revoke(ctx, latchkey.Revocation{All: true}); err != nil {
		t.Error(fixture.Chain(err))
	}
	if n, err := s.Purge(ctx, latchkey.Purge{EndedBefore: storeNow(s).Add(time.Minute), Erase: latchkey.Identity{Provider: "idp", Subject: "ann"}}); err != nil || n != 1 {
		t.Errorf("purged %d, %v", n, fixture.Chain(err))
	}
	if page, err := s.Audit(ctx, audit.Query{Ascending: true, Subject: "x"}); err != nil || len(page.Events) != 0 {
		t.Errorf("%v, %v", page, fixture.Chain(err))
	}
	if err := s.housekeep(ctx); err != nil {
		t.Error(fixture.Chain(err))
	}
	resets := f.Resets()
	tamper(t, pg.URL, "DELETE FROM "+schema+".run") // as after a crash
	fixture.Eventually(t, "a new run", func() bool { return f.Resets() > resets+1 })
	f.Proven(t)
}
