// Package redisstore measures a lookup in store/redis, as a miss of the near cache
// makes it: beside a bare GET of as many bytes by the same client library for one
// caller, and beside the same read through go-redis and scs's goredisstore for many.
package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
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
	ctx        context.Context
	ids        []latchkey.ID
	rows       []string // the keys of the sessions' rows, which peers read too
	packed     [][]byte // their records, which peers decode
	generation string   // the key that the store reads with a row

	store   latchkey.Store
	rueidis rueidis.Client
	goredis *goredis.Client
	scs     *goredisstore.RedisStore
}

// prepare fills a Redis.
func prepare(b *testing.B) *subjects {
	b.Helper()
	f := fleet.Named(b, "redis").Start(b)
	n := f.Node(fleet.Setting{})
	s := &subjects{ctx: context.Background(), store: n.Store}
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
	s.scs = goredisstore.NewWithPrefix(s.goredis, "")

	people := make([]int, sessions)
	for i := range people {
		people[i] = i / 2
	}
	for _, issued := range n.Fill(b, 64, people) {
		text := issued.Record.ID.String()
		s.ids = append(s.ids, issued.Record.ID)
		s.rows = append(s.rows, "latchkey:{"+text[15:18]+"}s:"+text)
		s.packed = append(s.packed, latchkey.AppendRecord(nil, issued.Record))
	}
	s.generation = s.trip(b)
	return s
}

// trip returns the key that the store reads along with a row, and sees that a read is
// one command.
func (s *subjects) trip(b *testing.B) string {
	b.Helper()
	commands := s.commands(b)
	fields := strings.Fields(commands[0])
	if len(commands) != 1 || len(fields) != 3 || !strings.EqualFold(fields[0], `"MGET"`) || fields[2] != strconv.Quote(s.rows[0]) {
		b.Fatalf("the store reads by %q, not by an MGET of a generation and a row: the peers do not do the same", commands)
	}
	generation, _ := strconv.Unquote(fields[1])
	return generation
}

// trips reports how many commands a read is.
func (s *subjects) trips(b *testing.B) {
	n := len(s.commands(b))
	b.Run("trips", func(b *testing.B) {
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(n), "commands/op")
	})
}

// commands are what the store sends for a read.
func (s *subjects) commands(b *testing.B) []string {
	b.Helper()
	return redismon.Start(b, s.goredis.Options().Addr).Commands(func() {
		if _, err := s.store.Get(s.ctx, s.ids[0]); err != nil {
			b.Fatal(err)
		}
	})
}

func (s *subjects) latchkey(rng *rand.Rand) error {
	rec, err := s.store.Get(s.ctx, s.ids[rng.IntN(sessions)])
	if err == nil && rec.Subject == "" {
		err = errors.New("nobody's session")
	}
	return err
}

// get is the floor: a GET of the row, and nothing made of it.
func (s *subjects) get(rng *rand.Rand) error {
	_, err := s.rueidis.Do(s.ctx, s.rueidis.B().Get().Key(s.rows[rng.IntN(sessions)]).Build()).AsBytes()
	return err
}

// viaGoRedis is the same read through go-redis: the generation and the row, and a
// record decoded.
func (s *subjects) viaGoRedis(rng *rand.Rand) error {
	i := rng.IntN(sessions)
	values, err := s.goredis.MGet(s.ctx, s.generation, s.rows[i]).Result()
	if err != nil {
		return err
	}
	if row, ok := values[1].(string); !ok || len(row) < len(s.packed[i])/2 {
		return errors.New("not found")
	}
	var rec latchkey.Record
	return latchkey.DecodeRecord(s.packed[i], &rec)
}

// viaSCS is what scs's store does, without the decoding that scs does on top.
func (s *subjects) viaSCS(rng *rand.Rand) error {
	_, found, err := s.scs.FindCtx(s.ctx, s.rows[rng.IntN(sessions)])
	if err == nil && !found {
		err = errors.New("not found")
	}
	return err
}

// prime has a reader used by many at once.
func prime(b *testing.B, read func(*rand.Rand) error) {
	b.Helper()
	_, err := paired.Callers("", 64, func(caller, i int) error { return read(rand.New(rand.NewPCG(uint64(caller), uint64(i)))) }).Turn(200 * time.Millisecond)
	if err != nil {
		b.Fatal(err)
	}
}

func BenchmarkRedisGet(b *testing.B) {
	b.Run("one", func(b *testing.B) {
		var s *subjects
		paired.Apart(b, func() { s = prepare(b) })
		// rueidis begins to pipeline when two callers meet, and goes on with it. A server's
		// connection has seen that, so the floor's shall have.
		prime(b, s.get)
		prime(b, s.latchkey)
		rng := rand.New(rand.NewPCG(7, 0))
		op := func(f func(*rand.Rand) error) func(int) error { return func(int) error { return f(rng) } }
		paired.Alternate(b, 20_000, []string{"get", "latchkey", "goredis", "scs_goredisstore"},
			[]func(int) error{op(s.get), op(s.latchkey), op(s.viaGoRedis), op(s.viaSCS)})
	})
	s := prepare(b)
	s.trips(b)
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
}
