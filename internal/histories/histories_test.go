package histories_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/histories"
	"github.com/latchkey-go/latchkey/store/sqlite"
	"github.com/latchkey-go/latchkey/store/storetest"
)

func TestSQLite(t *testing.T) {
	for name, cfg := range map[string]histories.Config{
		"asking":    {},
		"cached":    {Staleness: 200 * time.Millisecond},
		"stateless": {Staleness: 200 * time.Millisecond, Stateless: true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.db")
			var stores []*storetest.Faulty
			cfg.Open = func(t testing.TB, _ int) latchkey.Store {
				s, err := sqlite.Open(sqlite.Config{Path: path})
				if err != nil {
					t.Fatal(err)
				}
				f := storetest.NewFaulty(s)
				stores = append(stores, f)
				return f
			}
			heal := func() {
				for _, s := range stores {
					s.Fail(nil)
				}
			}
			cfg.Faults = []histories.Fault{
				{Name: "answers lost", Break: func() { stores[0].Fail(storetest.PersistedLost) }, Heal: heal},
				{Name: "store away", Break: func() { stores[1].Fail(storetest.NotPersisted) }, Heal: heal},
				{Name: "feed cut", Apart: []int{2}, Break: func() { stores[2].CutFeed(true) }, Heal: func() { stores[2].CutFeed(false) }},
			}
			histories.Run(t, cfg)
		})
	}
}
