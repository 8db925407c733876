package mysql

import (
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// mustOpen opens a store that is closed when the test ends.
func mustOpen(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	urls := make(map[latchkey.Store]string)
	open := func(t *testing.T, url string, o storetest.Options) latchkey.Store {
		s := mustOpen(t, Config{URL: url, Clock: o.Clock, handClock: true})
		urls[s] = url
		return s
	}
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T, o storetest.Options) latchkey.Store { return open(t, newURL(t, shared), o) },
		Reopen: func(t *testing.T, s latchkey.Store, o storetest.Options) latchkey.Store {
			return open(t, urls[s], o)
		},
		Durable: true, Sessions: servers.Sized(10_000, 2500), Histories: servers.Sized(100, 30),
	})
}
