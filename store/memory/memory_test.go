package memory_test

import (
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{Open: func(t *testing.T, o storetest.Options) latchkey.Store {
		s, err := memory.New(memory.Config{Clock: o.Clock})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}})
}
