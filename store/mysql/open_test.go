package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
	"github.com/latchkey-go/latchkey/store/internal/migration"
)

func TestOpenMakes(t *testing.T) {
	url := newURL(t, shared)
	for _, cfg := range []Config{{URL: url, MustExist: true}, {URL: url, ReadOnly: true}} {
		if s, err := Open(t.Context(), cfg); err == nil {
			_ = s.Close()
			t.Fatal("made a store although it must exist")
		} else {
			fixture.Unavailable(t, err, "no Latchkey store")
		}
	}
	s := mustOpen(t, Config{URL: url, Mark: "demo"})
	if name, err := s.Marked(t.Context()); name != "demo" || err != nil {
		t.Errorf("marked %q, %v", name, err)
	}
	schema := s.Schema()
	if schema.Version != known() || schema.Known != known() || schema.Needs != needed || schema.FlushLog != 1 || !strings.Contains(schema.Server, "MariaDB") {
		t.Errorf("schema is %+v", schema)
	}
	if warnings := s.Warnings(); len(warnings) != 0 {
		t.Errorf("warnings of a proper server: %q", warnings)
	}
	key, err := s.PlacementKey(t.Context())
	if err != nil || key == [32]byte{} {
		t.Errorf("placement key %x, %v", key, err)
	}
	if err := s.Mark(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Mark(t.Context(), strings.Repeat("x", maxMark+1)); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
		t.Errorf("a name that is too long: %v", err)
	}
	again := mustOpen(t, Config{URL: url, Mark: "demo"})
	if name, err := again.Marked(t.Context()); name != "" || err != nil {
		t.Errorf("opening marked a store that was there: %q, %v", name, err)
	}
	if same, err := again.PlacementKey(t.Context()); err != nil || same != key {
		t.Errorf("placement key changed, %v", err)
	}
}

// Many that start at once end up with one store.
func TestOpenRace(t *testing.T) {
	url := newURL(t, shared)
	keys := make([][32]byte, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			s, err := Open(context.Background(), Config{URL: url})
			if err != nil {
				t.Error(err)
				return
			}
			if keys[i], err = s.PlacementKey(context.Background()); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, key := range keys {
		if key != keys[0] {
			t.Error("two placement keys for one store")
		}
	}
}

func TestConfigProblems(t *testing.T) {
	_, err := Open(t.Context(), Config{Timeout: -1, Readers: -1, Connections: maxConns + 1, Mark: strings.Repeat("x", 300)})
	if latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
		t.Fatalf("error is %v", err)
	}
	for _, field := range []string{"URL", "Timeout", "Readers", "Connections", "Mark"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q does not name %s", err, field)
		}
	}
}

// Every problem of a URL is told, and never the password.
func TestURL(t *testing.T) {
	const secret = "s3cr%t/pa:ss"
	for name, c := range map[string]struct{ url, say string }{
		"scheme":         {"postgres://u:" + "pw" + "@h/d", "form"},
		"unescaped":      {"mysql://u:" + secret + "@h/d", "percent-encode"},
		"no-user":        {"mysql://h/d", "names no user"},
		"no-database":    {"mysql://u:hidden@h", "names no database"},
		"no-host":        {"mysql://u:hidden@/d", "names no host"},
		"two-places":     {"mysql://u:hidden@h/d?socket=/x", "leave one of them out"},
		"port":           {"mysql://u:hidden@h:70000/d", "port"},
		"option":         {"mysql://u:hidden@h/d?sslmode=off", "unknown option"},
		"twice":          {"mysql://u:hidden@h/d?tls=off&tls=off", "twice"},
		"tls":            {"mysql://u:hidden@h/d?tls=maybe", "off, require and verify"},
		"ca-missing":     {"mysql://u:hidden@h/d?ca=/nowhere.pem", "cannot be read"},
		"ca-empty":       {"mysql://u:hidden@h/d?ca=/dev/null", "no certificate"},
		"flush":          {"mysql://u:hidden@h/d?allow-weak-flush=yes", "0 and 1"},
		"several":        {"mysql://h?tls=x", "names no user"},
		"several-second": {"mysql://h?tls=x", "names no database"},
		"several-third":  {"mysql://h?tls=x", "tls="},
	} {
		_, err := Open(t.Context(), Config{URL: c.url})
		if latchkey.CodeOf(err) != latchkey.CodeInvalidRequest || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want it to say %q", name, err, c.say)
		}
		if text := fixture.Chain(err); strings.Contains(text, "hidden") || strings.Contains(text, "s3cr") || strings.Contains(text, "pa:ss") {
			t.Errorf("%s: the error tells the password: %s", name, text)
		}
	}
	for url, want := range map[string]string{
		"mysql://u:p%40ss@db.example/d":                "tcp db.example:3306 p@ss true mysql://u@db.example/d",
		"mysql://u:p@[::1]:3307/d":                     "tcp [::1]:3307 p false mysql://u@[::1]:3307/d",
		"mysql://u:p@127.0.0.1/d?tls=verify":           "tcp 127.0.0.1:3306 p true mysql://u@127.0.0.1/d",
		"mysql://u@/d?socket=/run/mysqld/mysqld.sock":  "unix /run/mysqld/mysqld.sock  false mysql://u@/d?socket=/run/mysqld/mysqld.sock",
		"mysql://u:p@db.example/d?tls=off":             "tcp db.example:3306 p false mysql://u@db.example/d",
		"mysql://u:p@localhost:1/d?allow-weak-flush=1": "tcp localhost:1 p false mysql://u@localhost:1/d",
	} {
		cfg := Config{URL: url}
		to, err := cfg.check()
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if got := fmt.Sprint(to.driver.Net, " ", to.driver.Addr, " ", to.driver.Passwd, " ", to.driver.TLS != nil, " ", to.shown); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

// Whatever is wrong with a server or a database, the error is one line that names
// it and says what to do, without the password.
func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name, say string
		url       func(t *testing.T) string
	}{
		{"wrong-password", "check the name, the password", func(t *testing.T) string {
			return strings.Replace(newURL(t, shared), servers.Password, "not-the-word", 1)
		}},
		{"unknown-database", "no such database", func(*testing.T) string { return shared.URL + "_none" }},
		{"other-database", "refuses this user", func(*testing.T) string { return strings.Replace(shared.URL, "/latchkey", "/mysql", 1) }},
		{"no-server", "cannot be reached", func(*testing.T) string { return "mysql://u:not-the-word@127.0.0.1:1/d" }},
		{"no-tls", "offers no TLS", func(t *testing.T) string { return newURL(t, shared) + "?tls=require" }},
		{"unknown-host", "not known", func(*testing.T) string { return "mysql://u:not-the-word@nowhere.invalid/d?tls=off" }},
		{"foreign-tables", "no Latchkey store", func(t *testing.T) string {
			url := newURL(t, shared)
			once(t, url, "CREATE TABLE latchkey_session (id INT)")
			return url
		}},
		{"foreign-meta", "another program's", func(t *testing.T) string {
			url := newURL(t, shared)
			once(t, url, "CREATE TABLE latchkey_meta (id INT)")
			return url
		}},
		{"older", "run `latchkey migrate`", func(t *testing.T) string {
			return tampered(t, "UPDATE latchkey_meta SET value='0' WHERE name='schema'")
		}},
		{"newer", "schema 99, which is newer than this program's 1", func(t *testing.T) string {
			return tampered(t, "UPDATE latchkey_meta SET value='99' WHERE name='schema'; UPDATE latchkey_meta SET value='98' WHERE name='needs'")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := c.url(t)
			s, err := Open(t.Context(), Config{URL: url})
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			fixture.Unavailable(t, err, c.say)
			if older := strings.Contains(c.say, "migrate") || strings.Contains(c.say, "newer"); errors.Is(err, ErrSchema) != older {
				t.Errorf("%q is an error of the schema: %v", err, !older)
			}
			if text := err.Error(); !strings.Contains(text, "mysql store mysql://") || strings.Contains(text, "\n") {
				t.Errorf("%q is not one line that names the server", text)
			}
			if text := fixture.Chain(err); strings.Contains(text, "not-the-word") || strings.Contains(text, servers.Password) {
				t.Errorf("%q tells the password", text)
			}
		})
	}
}

// tampered is a store that somebody has changed.
func tampered(t *testing.T, text string) string {
	t.Helper()
	url := newURL(t, shared)
	if _, _, err := Migrate(t.Context(), Config{URL: url}); err != nil {
		t.Fatal(fixture.Chain(err))
	}
	once(t, url, text)
	return url
}

// A newer store that old programs can live with is used.
func TestOpenNewerCompatible(t *testing.T) {
	url := tampered(t, "UPDATE latchkey_meta SET value='99' WHERE name='schema'; ALTER TABLE latchkey_session ADD COLUMN later INT")
	s := mustOpen(t, Config{URL: url})
	if fixture.Get(t, s, add(t, s, "ann")).Subject != "ann" {
		t.Error("not read back")
	}
	if v := s.Schema().Version; v != 99 {
		t.Errorf("schema %d, want 99", v)
	}
}

// A store that is migrated beyond this program while it is open is given up.
func TestMigratedUnderneath(t *testing.T) {
	url := newURL(t, shared)
	s := mustOpen(t, Config{URL: url})
	id := add(t, s, "ann")
	w := fixture.Follow(t, s, 20*time.Millisecond)
	once(t, url, "UPDATE latchkey_meta SET value='99' WHERE name='needs'")
	s.checkNeeds(t.Context())
	_, err := s.Get(t.Context(), id)
	fixture.Unavailable(t, err, "use a newer latchkey")
	_, err = s.Create(t.Context(), signIn(s, "bob"))
	fixture.Unavailable(t, err, "use a newer latchkey")
	fixture.Unavailable(t, w.Ended(), "use a newer latchkey")
}

func TestMigrate(t *testing.T) {
	url := newURL(t, shared)
	cfg := Config{URL: url}
	if from, to, err := Migrate(t.Context(), cfg); from != 0 || to != known() || err != nil {
		t.Fatalf("made: %d to %d, %v", from, to, err)
	}
	if from, to, err := Migrate(t.Context(), cfg); from != known() || to != known() || err != nil {
		t.Errorf("nothing to do: %d to %d, %v", from, to, err)
	}
	first, err := migration.Steps(migrations)
	if err != nil {
		t.Fatal(err)
	}
	later := fstest.MapFS{}
	for i, text := range first {
		later[fmt.Sprintf("migrations/%04d_x.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	next := fmt.Sprintf("migrations/%04d_next.sql", len(first)+1)

	// One that is broken off is begun anew by the next attempt.
	later[next] = &fstest.MapFile{Data: []byte("CREATE TABLE IF NOT EXISTS later (x INT);\nINSERT INTO nowhere VALUES (1);\n")}
	if from, to, err := migrate(t.Context(), cfg, later); err == nil || from != to {
		t.Errorf("failing: %d to %d, %v", from, to, err)
	}
	later[next] = &fstest.MapFile{Data: []byte("CREATE TABLE IF NOT EXISTS later (x INT);\n")}
	if from, to, err := migrate(t.Context(), cfg, later); from != known() || to != known()+1 || err != nil {
		t.Errorf("next: %d to %d, %v", from, to, err)
	}
	newer := tampered(t, "UPDATE latchkey_meta SET value='99' WHERE name='schema'; UPDATE latchkey_meta SET value='98' WHERE name='needs'")
	if _, _, err := Migrate(t.Context(), Config{URL: newer}); !errors.Is(err, ErrSchema) {
		t.Errorf("a newer store: %v, want an error of the schema", err)
	}
	s := mustOpen(t, cfg)
	add(t, s, "ann") // this program can still use it
}

// The making of the tables was broken off, by a kill say; the next program that
// starts goes on, and loses no key that might have been in use.
func TestMakingBrokenOff(t *testing.T) {
	url := newURL(t, shared)
	text, err := migration.Steps(migrations)
	if err != nil {
		t.Fatal(err)
	}
	all := statements(text[0])
	for n := 1; n <= len(all); n += 4 {
		once(t, url, strings.Join(all[:n], ";\n"))
	}
	begun := time.Now().Add(time.Minute)
	s := mustOpen(t, Config{URL: url, Mark: "demo"})
	if name, err := s.Marked(t.Context()); name != "demo" || err != nil {
		t.Errorf("marked %q, %v", name, err)
	}
	if first := fixture.Get(t, s, add(t, s, "ann")).Generation; first == 0 || first > uint64(begun.UnixMicro()) {
		t.Errorf("the generation is %d", first)
	}
}

// The scripts in the binary are in order, and numbered without gaps.
func TestSteps(t *testing.T) {
	if known() < 1 {
		t.Fatal("no migrations")
	}
	if _, err := migration.Steps(fstest.MapFS{"migrations/0002_x.sql": {}}); err == nil {
		t.Error("a gap was accepted")
	}
}

// Settings that would break a promise are refused; others are warned of.
func TestServerSettings(t *testing.T) {
	good := server{version: "10.11.19-MariaDB-log", flush: 1, syncBinlog: 1, format: "MIXED"}
	weak := &target{weakFlush: true}
	for name, c := range map[string]struct {
		edit     func(s *server)
		to       *target
		say      string // of the refusal
		warnings int
	}{
		"good":          {func(*server) {}, &target{}, "", 0},
		"flush-0":       {func(s *server) { s.flush = 0 }, &target{}, "allow-weak-flush=1", 1},
		"flush-2":       {func(s *server) { s.flush = 2 }, &target{}, "allow-weak-flush=1", 1},
		"flush-allowed": {func(s *server) { s.flush = 2 }, weak, "", 1},
		"binlog-sync":   {func(s *server) { s.binlog, s.syncBinlog = true, 0 }, &target{}, "", 1},
		"binlog":        {func(s *server) { s.binlog = true }, &target{}, "", 0},
		"statement":     {func(s *server) { s.binlog, s.format = true, "STATEMENT" }, &target{}, "binlog_format", 0},
		"no-statement":  {func(s *server) { s.format = "STATEMENT" }, &target{}, "", 0},
		"replica":       {func(s *server) { s.replica = true }, weak, "primary", 0},
		"old-mariadb":   {func(s *server) { s.version = "10.4.34-MariaDB" }, &target{}, "10.5", 0},
		"new-mariadb":   {func(s *server) { s.version = "11.4.2-MariaDB" }, &target{}, "", 0},
		"old-mysql":     {func(s *server) { s.version = "5.7.44" }, &target{}, "8.0", 1},
		"mysql":         {func(s *server) { s.version = "8.0.36" }, &target{}, "", 1},
		"unknown":       {func(s *server) { s.version = "fast" }, &target{}, "fast", 1},
	} {
		s := good
		c.edit(&s)
		err := c.to.fit(&s)
		if (err == nil) != (c.say == "") || err != nil && !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want %q", name, err, c.say)
		}
		if got := s.warnings(); len(got) != c.warnings {
			t.Errorf("%s: warnings are %q, want %d", name, got, c.warnings)
		}
	}
}

func TestReadOnlyStore(t *testing.T) {
	url := newURL(t, shared)
	w := mustOpen(t, Config{URL: url})
	id := add(t, w, "bob")
	s := mustOpen(t, Config{URL: url, ReadOnly: true})
	if fixture.Get(t, s, id).Subject != "bob" {
		t.Error("not read")
	}
	_, err := s.Create(t.Context(), signIn(s, "cid"))
	fixture.Unavailable(t, err, "for reading only")
	_, err = s.Purge(t.Context(), latchkey.Purge{Erase: latchkey.Identity{Provider: "idp", Subject: "bob"}})
	fixture.Unavailable(t, err, "for reading only")
	seen := fixture.Follow(t, s, 20*time.Millisecond)
	fixture.Revoke(t, w, id)
	fixture.Eventually(t, "the other's revocation", func() bool { return seen.Saw(id) })
}
