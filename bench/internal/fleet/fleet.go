// Package fleet starts the stores that benchmarks compare, each with a private
// server of its own, and opens nodes over them.
package fleet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/mysql"
	"github.com/latchkey-go/latchkey/store/postgres"
	"github.com/latchkey-go/latchkey/store/redis"
	"github.com/latchkey-go/latchkey/store/sqlite"
)

// Kind is a kind of store.
type Kind struct {
	Name string
	// Nodes is how many may share it: memory is one node's.
	Nodes int
	// start makes an empty one that lasts as long as the benchmark, and returns what
	// opens a node's Store over it, and the server's URL where there is one.
	start func(tb testing.TB) (open func() (latchkey.Store, error), url string)
}

// Kinds are all kinds there are, in the order of tables.
func Kinds() []Kind {
	return []Kind{
		{"memory", 1, startMemory},
		{"sqlite", 2, startSQLite},
		{"redis", 2, startRedis},
		{"postgres", 2, startPostgres},
		{"mariadb", 2, startMariaDB},
	}
}

// Named is the kind of that name.
func Named(tb testing.TB, name string) Kind {
	tb.Helper()
	i := slices.IndexFunc(Kinds(), func(k Kind) bool { return k.Name == name })
	if i < 0 {
		tb.Fatal("no store is called ", name)
	}
	return Kinds()[i]
}

func startMemory(testing.TB) (func() (latchkey.Store, error), string) {
	return func() (latchkey.Store, error) { return memory.New(memory.Config{}) }, ""
}

func startSQLite(tb testing.TB) (func() (latchkey.Store, error), string) {
	path := filepath.Join(Dir(tb), "latchkey.db")
	return func() (latchkey.Store, error) { return sqlite.Open(sqlite.Config{Path: path}) }, ""
}

// startRedis starts a server that writes an append-only file, to the disk once a second.
func startRedis(tb testing.TB) (func() (latchkey.Store, error), string) {
	s := servers.StartRedis(tb, "--appendonly", "yes")
	return func() (latchkey.Store, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cfg, err := redis.ParseURL(s.URL)
		if err != nil {
			return nil, err
		}
		return redis.Open(ctx, cfg)
	}, s.URL
}

// startPostgres starts a server that holds a million sessions in memory, and flushes
// each commit as it must.
func startPostgres(tb testing.TB) (func() (latchkey.Store, error), string) {
	s := servers.StartPostgres(tb, "fsync=on", "shared_buffers=1GB", "max_wal_size=4GB")
	return func() (latchkey.Store, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return postgres.Open(ctx, postgres.Config{URL: s.URL, Timeout: patience})
	}, s.URL
}

// startMariaDB starts a server that holds a million sessions in memory, and flushes
// each commit as it must.
func startMariaDB(tb testing.TB) (func() (latchkey.Store, error), string) {
	s := servers.StartMariaDB(tb, "--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M", "--innodb-flush-method=O_DIRECT", "--debug-no-sync=OFF")
	return func() (latchkey.Store, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return mysql.Open(ctx, mysql.Config{URL: s.URL, Timeout: patience})
	}, s.URL
}

// patience is how long a store may take to open, and its feed to come, and a server to
// answer one of the many callers that fill it.
const patience = 30 * time.Second

// Dir returns a folder for files: below LATCHKEY_BENCH_DIR when that is set, which
// should be on the disk in question.
func Dir(tb testing.TB) string {
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

// Fleet is one store, and the keys of all its nodes.
type Fleet struct {
	Kind Kind
	// URL is the server's; "" without one.
	URL string

	tb   testing.TB
	open func() (latchkey.Store, error)
	keys *keyring.Ring
}

// Start starts an empty store of a kind.
func (k Kind) Start(tb testing.TB) *Fleet {
	tb.Helper()
	keys, err := keyring.Generate(time.Now().Add(-time.Minute))
	if err != nil {
		tb.Fatal(err)
	}
	f := &Fleet{Kind: k, tb: tb, keys: keys}
	f.open, f.URL = k.start(tb)
	return f
}

// Node is a Manager over its own connection to the store.
type Node struct {
	*latchkey.Manager
	Store latchkey.Store
	Cache *nearcache.Cache // nil without one
}

// Setting says what a node is like.
type Setting struct {
	// Cache gives it a near cache.
	Cache bool
	// Idle is the sessions' idle limit, an hour unless set.
	Idle time.Duration
	// Wrap, when set, stands between the Manager and the store.
	Wrap func(latchkey.Store) latchkey.Store
}

// Node opens a node, which is closed with the benchmark. With a cache it returns when
// the cache may answer.
func (f *Fleet) Node(s Setting) *Node {
	f.tb.Helper()
	store, err := f.open()
	if err != nil {
		f.tb.Fatal(f.Kind.Name, ": ", err)
	}
	n := &Node{Store: store}
	shown := store
	if s.Wrap != nil {
		shown = s.Wrap(store)
	}
	cfg := latchkey.Config{Store: shown, Keys: f.keys, Idle: s.Idle}
	if s.Cache {
		if n.Cache, err = nearcache.New(nearcache.Config{Store: shown}); err != nil {
			f.tb.Fatal(err)
		}
		n.Cache.Start()
		cfg.Cache = n.Cache
	}
	if n.Manager, err = latchkey.New(cfg); err != nil {
		f.tb.Fatal(err)
	}
	f.tb.Cleanup(func() {
		_ = n.Close(context.Background())
		if n.Cache != nil {
			n.Cache.Stop()
		}
		_ = store.Close()
	})
	for began := time.Now(); s.Cache && n.Cache.Stats().LeaseAge < 0; runtime.Gosched() {
		if time.Since(began) > patience {
			f.tb.Fatal(f.Kind.Name, ": the feed does not come")
		}
	}
	return n
}

// SignIn is what the person of a number signs in with.
func SignIn(person int) latchkey.SignIn {
	subject := fmt.Sprintf("user-%07d", person)
	return latchkey.SignIn{Provider: "corp", Subject: subject, Email: subject + "@example.com", Name: "Ada Lovelace",
		Roles: []string{"staff", "editor"}, Methods: []string{"pwd", "otp"}, Assurance: "aal2", IP: "192.0.2.17", UserAgent: "Firefox on Linux"}
}

// Fill signs in each of the people in turn, by as many callers at a time, and
// returns what was issued, in the same order.
func (n *Node) Fill(tb testing.TB, callers int, people []int) []latchkey.Issued {
	tb.Helper()
	out := make([]latchkey.Issued, len(people))
	var work sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for c := range callers {
		work.Go(func() {
			for i := c; i < len(people); i += callers {
				issued, err := n.Issue(context.Background(), SignIn(people[i]))
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				out[i] = issued
			}
		})
	}
	work.Wait()
	if failed != nil {
		tb.Fatal(failed)
	}
	return out
}
