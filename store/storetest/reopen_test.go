package storetest

import (
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/memory"
)

// undying is a store that Close leaves as it is, which is what a durable one looks
// like to whoever opens it again.
type undying struct{ *memory.Store }

func (undying) Close() error { return nil }

func TestReopenPart(t *testing.T) {
	testReopen(t, Harness{Durable: true,
		Open: func(t *testing.T, o Options) latchkey.Store {
			s, err := memory.New(memory.Config{Clock: o.Clock})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return undying{s}
		},
		Reopen: func(_ *testing.T, s latchkey.Store, _ Options) latchkey.Store { return s }})
}
