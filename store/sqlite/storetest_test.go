package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T, o storetest.Options) latchkey.Store {
			return mustOpen(t, Config{Path: filepath.Join(servers.Folder(t), "latchkey.db"), Clock: o.Clock})
		},
		Reopen: func(t *testing.T, s latchkey.Store, o storetest.Options) latchkey.Store {
			return mustOpen(t, Config{Path: s.(*Store).path, Clock: o.Clock, MustExist: true})
		},
		Durable: true, Sessions: servers.Sized(10_000, 2500), Histories: servers.Sized(100, 30),
	})
}
