package redis

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// placedBySuite is how the suite places the sessions of an identity.
func placedBySuite(who latchkey.Identity) uint16 {
	sum := uint16(0)
	for _, c := range who.Provider + "\x00" + who.Subject {
		sum = sum*31 + uint16(c)
	}
	var id latchkey.ID
	binary.BigEndian.PutUint16(id[6:], sum)
	return id.Placement()
}

// The whole suite takes long in a cluster: lists of everybody ask 4,096 tags.
func TestClusterConformance(t *testing.T) {
	if os.Getenv("LATCHKEY_CHAOS_ROUNDS") == "" {
		t.Skip("runs for minutes; make chaos runs it")
	}
	group := servers.StartRedisCluster(t, 3, 1)
	cfg, err := ParseURL(group.URL)
	if err != nil {
		t.Fatal(err)
	}
	open := func(t *testing.T, prefix string, clock latchkey.Clock) *Store {
		own := cfg
		own.Prefix, own.Clock, own.test = prefix, clock, turned(clock)
		own.test.placement = placedBySuite
		return mustOpen(t, own)
	}
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T, o storetest.Options) latchkey.Store { return open(t, newPrefix(), o.Clock) },
		Reopen: func(t *testing.T, s latchkey.Store, o storetest.Options) latchkey.Store {
			return open(t, s.(*Store).cfg.Prefix, o.Clock)
		},
		Durable:  true,
		Sessions: 1000,
	})
}
