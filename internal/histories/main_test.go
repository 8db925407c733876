//go:build unix

package histories_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/histories"
	"github.com/latchkey-go/latchkey/store/sqlite"
)

func TestMain(m *testing.M) {
	if histories.IsNode() {
		os.Exit(histories.Serve(openStore))
	}
	goleak.VerifyTestMain(m)
}

// openStore opens the store of a node that is a process: an engine and its URL, or a path.
func openStore(ctx context.Context, store string) (latchkey.Store, error) {
	name, url, _ := strings.Cut(store, " ")
	if e, ok := engines[name]; ok {
		return e.open(ctx, url)
	}
	return sqlite.Open(sqlite.Config{Path: url})
}
