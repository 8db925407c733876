// Package redisstore measures a lookup in store/redis, as a miss of the near cache
// makes it: beside a bare GET of as many bytes by the same client library for one
// caller, and beside the same read through go-redis and scs's goredisstore for many.
package redisstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/bench/internal/fleet"
	"github.com/latchkey-go/latchkey/bench/internal/paired"
	"github.com/latchkey-go/latchkey/bench/internal/redismon"
)

const sessions = 100_000

// subjects are the readers compared; each reads a random one of the sessions.
type subjects struct {
	ctx context.Context
	ids []latchkey.ID

	store   latchkey.Store
	rueidis rueidis.Client
	goredis *goredis.Client
	scs     *goredisstore.RedisStore
	url     string
}

// prepare fills a Redis: the sessions, and the same records as bare values for peers.
func prepare(b *testing.B) *subjects {
	b.Helper()
	f := fleet.Named(b, "redis").Start(b)
	n := f.Node(fleet.Setting{})
	s := &subjects{ctx: context.Background(), store: n.Store, url: f.URL}
	o, err := rueidis.ParseURL(f.URL)
	if err != nil {
		b.Fatal(err)
	}
	o.DisableCache, o.ForceSingleClient = true, true
	if s.rueidis, err = rueidis.NewClient(o); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.rueidis.Close)
	g, err := goredis.ParseURL(f.URL)
	if err != nil {
		b.Fatal(err)
	}
	s.goredis = goredis.NewClient(g)
	b.Cleanup(func() { _ = s.goredis.Close() })
	s.scs = goredisstore.New(s.goredis)

	people := make([]int, sessions)
	for i := range people {
		people[i] = i / 2
	}
	const batch = 1000
	var sets []rueidis.Completed
	for i, issued := range n.Fill(b, 64, people) {
		s.ids = append(s.ids, issued.Record.ID)
		value := rueidis.BinaryString(latchkey.AppendRecord(nil, issued.Record))
		sets = append(sets, s.rueidis.B().Set().Key(bare(issued.Record.ID)).Value(value).Build(),
			s.rueidis.B().Set().Key(scsPrefix+bare(issued.Record.ID)).Value(value).Build())
		if len(sets) >= batch || i == sessions-1 {
			for _, r := range s.rueidis.DoMulti(s.ctx, sets...) {
				if r.Error() != nil {
					b.Fatal(r.Error())
				}
			}
			sets = sets[:0]
		}
	}
	return s
}

// scsPrefix stands before every key of goredisstore.
const scsPrefix = "scs:session:"

// bare is the key of a record for the peers.
func bare(id latchkey.ID) string { return "bare:" + id.String() }

func (s *subjects) latchkey(rng *rand.Rand) error {
	rec, err := s.store.Get(s.ctx, s.ids[rng.IntN(sessions)])
	if err == nil && rec.Subject == "" {
		err = fmt.Errorf("nobody's session")
	}
	return err
}

// get is the floor: a GET, and nothing made of it.
func (s *subjects) get(rng *rand.Rand) error {
	_, err := s.rueidis.Do(s.ctx, s.rueidis.B().Get().Key(bare(s.ids[rng.IntN(sessions)])).Build()).AsBytes()
	return err
}

// viaGoRedis is the same read through go-redis: a GET, and the record made of it.
func (s *subjects) viaGoRedis(rng *rand.Rand) error {
	raw, err := s.goredis.Get(s.ctx, bare(s.ids[rng.IntN(sessions)])).Bytes()
	if err != nil {
		return err
	}
	var rec latchkey.Record
	return latchkey.DecodeRecord(raw, &rec)
}

// viaSCS is what scs's store does, without the decoding that scs does on top.
func (s *subjects) viaSCS(rng *rand.Rand) error {
	_, found, err := s.scs.FindCtx(s.ctx, bare(s.ids[rng.IntN(sessions)]))
	if err == nil && !found {
		err = fmt.Errorf("not found")
	}
	return err
}

func BenchmarkRedisGet(b *testing.B) {
	s := prepare(b)
	rng := rand.New(rand.NewPCG(7, 0))
	op := func(f func(*rand.Rand) error) func(int) error { return func(int) error { return f(rng) } }
	b.Run("one", func(b *testing.B) {
		paired.Alternate(b, 20_000, []string{"get", "latchkey", "goredis", "scs_goredisstore"},
			[]func(int) error{op(s.get), op(s.latchkey), op(s.viaGoRedis), op(s.viaSCS)})
	})
	for _, callers := range []int{64, 256} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			rngs := make([]*rand.Rand, callers)
			for i := range rngs {
				rngs[i] = rand.New(rand.NewPCG(uint64(i), 1))
			}
			many := func(name string, f func(*rand.Rand) error) paired.Subject {
				return paired.Callers(name, callers, func(caller, _ int) error { return f(rngs[caller]) })
			}
			paired.Compare(b, paired.Plan{Rounds: 7, Turn: 400 * time.Millisecond}, many("latchkey", s.latchkey), many("get", s.get),
				many("goredis", s.viaGoRedis), many("scs_goredisstore", s.viaSCS))
		})
	}
	b.Run("trips", func(b *testing.B) {
		monitor := redismon.Start(b, s.goredis.Options().Addr)
		commands := monitor.Commands(func() {
			if err := s.latchkey(rng); err != nil {
				b.Fatal(err)
			}
		})
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(len(commands)), "commands/op")
	})
}
