package redis

import (
	"crypto/tls"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

func tlsConfig() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} }

// longest is for machines with much else to do; a test that waits this long has failed.
const longest = fixture.Patience

const beatInterval = 20 * time.Millisecond

// follow follows a store's feed.
func follow(t *testing.T, s *Store) *fixture.Follower {
	t.Helper()
	return fixture.Follow(t, s, beatInterval)
}

// What one node changes, another one's follower hears of.
func TestTwoNodes(t *testing.T) {
	first := mustOpen(t, Config{})
	second := mustOpen(t, Config{Prefix: first.cfg.Prefix})
	stranger := mustOpen(t, Config{})
	if first.name != second.name || first.placement != second.placement || first.name == stranger.name {
		t.Fatal("two nodes of one prefix are not of one store, or those of two are")
	}
	f, other := follow(t, second), follow(t, stranger)
	var ids []latchkey.ID
	for range 50 {
		ids = append(ids, add(t, first))
	}
	for _, id := range ids[:25] {
		if _, err := first.Revoke(t.Context(), fixture.Revocation(id)); err != nil {
			t.Fatal(err)
		}
		f.Await(t, "the revocation", func(b latchkey.Batch) bool { return slices.Contains(b.IDs, id) })
		if rec, err := second.Get(t.Context(), id); err != nil || rec.RevokedAt.IsZero() {
			t.Errorf("revoked on one node, %+v, %v on the other", rec, err)
		}
	}
	if _, err := first.Revoke(t.Context(), latchkey.Revocation{All: true, By: "x"}); err != nil {
		t.Fatal(err)
	}
	f.Await(t, "the end of everything", func(b latchkey.Batch) bool { return b.All })
	if rec, err := second.Get(t.Context(), ids[30]); err != nil || rec.RevokedAt.IsZero() || rec.RevokedBy != "x" {
		t.Errorf("everything was ended on one node, %+v, %v on the other", rec, err)
	}
	for _, b := range other.All() {
		if len(b.IDs) > 0 || b.All {
			t.Errorf("another store's follower was told %+v", b)
		}
	}
}

// The node's idea of the server's time is the server's, whatever its own clocks show.
func TestStoreTime(t *testing.T) {
	s := mustOpen(t, Config{Clock: skewed{}})
	before := time.Now().UnixMicro()
	got := s.StoreTime(s.cfg.Clock.Now())
	after := time.Now().UnixMicro()
	if got < before-20_000 || got > after+20_000 {
		t.Errorf("the store's time is %d, the server's between %d and %d", got, before, after)
	}
}

// skewed is the machine's clock, with the wall clock a year behind.
type skewed struct{}

func (skewed) Now() latchkey.Moment {
	m := latchkey.SystemClock().Now()
	m.Wall -= int64(365 * 24 * time.Hour)
	return m
}

// The best sample counts, until one that contradicts it shows that a clock has jumped.
func TestOffset(t *testing.T) {
	at := func(mono time.Duration) latchkey.Moment { return latchkey.Moment{Mono: int64(mono)} }
	var o offset
	step := func(sent, rtt time.Duration, server int64, want int64) {
		t.Helper()
		o.sample(at(sent), at(sent+rtt), server)
		if o.micros != want {
			t.Errorf("offset is %d, want %d", o.micros, want)
		}
	}
	step(time.Second, 2*time.Millisecond, 5_001_000, 4_000_000)
	step(2*time.Second, 10*time.Millisecond, 6_009_000, 4_000_000)   // worse, and no contradiction
	step(3*time.Second, time.Millisecond, 7_000_600, 4_000_100)      // better
	step(4*time.Second, 10*time.Millisecond, 68_005_000, 64_000_000) // this machine slept for a minute
	step(20*time.Second, 50*time.Millisecond, 84_025_000, 64_000_000)
}

// A line comes up while others publish.
func TestSubscribeWhileBusy(t *testing.T) {
	s := mustOpen(t, Config{})
	busy := make(chan struct{})
	done := make(chan error, 4)
	for range cap(done) {
		go func() { // ends with busy
			c := s.one().client()
			for {
				select {
				case <-busy:
					done <- nil
					return
				default:
				}
				channel := s.cfg.Prefix + "feed:" + s.name
				if err := c.Do(t.Context(), c.B().Publish().Channel(channel).Message("0123:1:i:").Build()).Error(); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range 300 {
		c, err := s.cfg.dialRaw(t.Context(), shared.Addr, "", "", 0)
		if err != nil {
			t.Fatal(err)
		}
		err = s.subscribe(newLine(s.one(), "test"), c)
		_ = c.Close()
		if err != nil {
			t.Errorf("subscribe: %v", err)
			break
		}
	}
	close(busy)
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
