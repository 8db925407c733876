package sqlite_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/latchkey-go/latchkey/store/sqlite"
)

// A store is made on first use and found again afterwards.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "latchkey")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := sqlite.Open(sqlite.Config{Path: filepath.Join(dir, "latchkey.db")})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	counts, err := store.Count(context.Background())
	fmt.Println(counts.Live, err, store.Schema().JournalMode)
	// Output: 0 <nil> wal
}
