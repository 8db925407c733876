package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T, o storetest.Options) latchkey.Store {
			return mustOpen(t, Config{Path: filepath.Join(t.TempDir(), "latchkey.db"), Clock: o.Clock})
		},
		Reopen: func(t *testing.T, s latchkey.Store, o storetest.Options) latchkey.Store {
			return mustOpen(t, Config{Path: s.(*Store).path, Clock: o.Clock, MustExist: true})
		},
		Durable: true,
	})
}
