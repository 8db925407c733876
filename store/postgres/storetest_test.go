package postgres

import (
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// turned has the server's clock follow one that is turned by hand.
func turned(c latchkey.Clock) func() int64 {
	start := c.Now()
	return func() int64 { return (start.Wall + c.Now().Mono - start.Mono) / 1000 }
}

// harness opens stores whose URL has options behind it.
func harness(options string) storetest.Harness {
	open := func(t *testing.T, url string, o storetest.Options) latchkey.Store {
		return mustOpen(t, Config{URL: url, Clock: o.Clock, Timeout: time.Minute, now: turned(o.Clock)})
	}
	return storetest.Harness{
		Open: func(t *testing.T, o storetest.Options) latchkey.Store { return open(t, newURL(t)+options, o) },
		Reopen: func(t *testing.T, s latchkey.Store, o storetest.Options) latchkey.Store {
			return open(t, s.(*Store).t.URL, o)
		},
		Durable: true, Sessions: servers.Sized(10_000, 2500), Histories: servers.Sized(100, 30),
	}
}

func TestConformance(t *testing.T) { storetest.Run(t, harness("")) }
