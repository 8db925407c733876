package mysql

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// Callers that find the connections busy share a query, and each gets its own.
func TestGetShared(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t, shared), Readers: 1})
	ids := make([]latchkey.ID, 100)
	for i := range ids {
		ids[i] = add(t, s, fmt.Sprint("subject-", i))
	}
	if _, err := s.Revoke(t.Context(), fixture.Revocation(ids[7])); err != nil {
		t.Fatal(err)
	}
	// The one lane is taken until all others wait.
	if _, ok := s.reads.lanes.Enter(); !ok {
		t.Fatal("no lane is free")
	}
	before := questions(t, s)
	left, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { _, err := s.Get(left, ids[0]); gone <- err }()
	var wg sync.WaitGroup
	records := make([]*latchkey.Record, len(ids))
	for i, id := range ids {
		wg.Go(func() {
			rec, err := s.Get(context.Background(), id)
			if err != nil {
				t.Error(fixture.Chain(err))
			}
			records[i] = rec
		})
		wg.Go(func() {
			if _, err := s.Get(context.Background(), latchkey.ID{1: byte(i)}); latchkey.CodeOf(err) != latchkey.CodeNoSuchSession {
				t.Errorf("an unknown one: %v", err)
			}
		})
	}
	fixture.Eventually(t, "all to wait", func() bool { return s.reads.lanes.Waiting() == 2*len(ids)+1 })
	leave()
	fixture.Unavailable(t, <-gone, "canceled")
	s.reads.lanes.Leave(struct{}{})
	wg.Wait()
	for i, rec := range records {
		if rec == nil || rec.ID != ids[i] || rec.Subject != fmt.Sprint("subject-", i) || rec.RevokedAt.IsZero() == (i == 7) {
			t.Errorf("caller %d got %+v", i, rec)
		}
	}
	// Four trips of up to 64, and their preparation.
	if n := questions(t, s) - before; n > 12 {
		t.Errorf("%d statements for %d callers", n, 2*len(ids))
	}
	if _, ok := s.reads.lanes.Enter(); !ok {
		t.Error("the lane was not given back")
	}
	if _, ok := s.reads.lanes.Enter(); ok {
		t.Error("there are two lanes, want one")
	}
	s.reads.lanes.Leave(struct{}{})
}

// questions counts the statements that the store's one reading connection has sent.
func questions(t *testing.T, s *Store) (n int) {
	t.Helper()
	var name string
	if err := s.reads.db.QueryRow("SHOW SESSION STATUS LIKE 'Questions'").Scan(&name, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// One damaged row is no one else's trouble.
func TestGetDamaged(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t, shared)})
	good, bad := add(t, s, "ann"), add(t, s, "bob")
	if _, err := s.scans.Exec("UPDATE latchkey_session SET record=x'ff' WHERE id=" + string(rawID(bad))); err != nil {
		t.Fatal(err)
	}
	trip := []*want{{Key: good}, {Key: bad}, {Key: latchkey.ID{1}}, {Key: good}}
	s.reads.query(t.Context(), trip)
	if trip[0].Err != nil || trip[0].Value.Subject != "ann" || trip[3].Value == nil || trip[3].Value == trip[0].Value {
		t.Errorf("good: %+v, %+v", trip[0], trip[3])
	}
	if trip[1].Err == nil || latchkey.CodeOf(trip[2].Err) != latchkey.CodeNoSuchSession {
		t.Errorf("damaged: %v, unknown: %v", trip[1].Err, trip[2].Err)
	}
	_, err := s.Get(t.Context(), bad)
	fixture.Unavailable(t, err, "damaged")
}

func BenchmarkGet(b *testing.B) {
	for _, lanes := range []int{1, 2, 4, 8} {
		s := mustOpen(b, Config{URL: newURL(b, shared), Readers: lanes})
		ids := make([]latchkey.ID, 2000)
		for i := range ids {
			ids[i] = add(b, s, "ann")
		}
		for _, callers := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("lanes=%d/callers=%d", lanes, callers), func(b *testing.B) {
				start := time.Now()
				var wg sync.WaitGroup
				for c := range callers {
					wg.Go(func() {
						for i := range b.N/callers + 1 {
							if _, err := s.Get(context.Background(), ids[(i*7+c*13)%len(ids)]); err != nil {
								b.Error(fixture.Chain(err))
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "gets/s")
			})
		}
	}
}
