package postgres

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// gathered runs Gets that all wait while the only lane is taken, and then share a
// trip. It returns what each got.
func gathered(t *testing.T, s *Store, ids []latchkey.ID) (recs []*latchkey.Record, errs []error) {
	t.Helper()
	recs, errs = make([]*latchkey.Record, len(ids)), make([]error, len(ids))
	lane, _ := s.gets.Enter()
	if lane == nil {
		t.Fatal("no lane is free")
	}
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() { recs[i], errs[i] = s.Get(context.Background(), id) })
	}
	fixture.Eventually(t, "the queue", func() bool { return s.gets.Waiting() == len(ids) })
	s.gets.Leave(lane)
	wg.Wait()
	if again, _ := s.gets.Enter(); again != lane {
		t.Error("the lane was not given back")
	}
	s.gets.Leave(lane)
	return recs, errs
}

// Callers that share a trip each get their own session, or none, and a record of
// their own.
func TestSharedTrip(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t), Timeout: time.Minute, Readers: 1})
	for _, n := range []int{1, 2, 3, 64, mostMisses, mostMisses + 5} {
		var ids []latchkey.ID
		known := add(t, s, "ann")
		for i := range n {
			switch i % 4 {
			case 0:
				ids = append(ids, known)
			case 1:
				ids = append(ids, signIn(s, "nobody").Record.ID)
			default:
				ids = append(ids, add(t, s, "bob"))
			}
		}
		recs, errs := gathered(t, s, ids)
		for i, id := range ids {
			if i%4 == 1 {
				if latchkey.CodeOf(errs[i]) != latchkey.CodeNoSuchSession {
					t.Errorf("%d of %d: an unknown session: %v", i, n, errs[i])
				}
				continue
			}
			if errs[i] != nil || recs[i].ID != id {
				t.Fatalf("%d of %d: got %v, %v", i, n, recs[i], fixture.Chain(errs[i]))
			}
			for j := range i {
				if recs[j] == recs[i] {
					t.Fatalf("callers %d and %d share a record", i, j)
				}
			}
		}
	}
	recs, errs := gathered(t, s, []latchkey.ID{{}, {1}, {2}})
	for i := range recs {
		if latchkey.CodeOf(errs[i]) != latchkey.CodeNoSuchSession {
			t.Errorf("of unknown sessions only: %v", errs[i])
		}
	}
}

// The end of everything is part of the trip, alone and shared.
func TestRaisedInTheSameTrip(t *testing.T) {
	url := newURL(t)
	s, other := mustOpen(t, Config{URL: url, Timeout: time.Minute, Readers: 1}), mustOpen(t, Config{URL: url, Timeout: time.Minute})
	ids := []latchkey.ID{add(t, s, "ann"), add(t, s, "bob")}
	for _, id := range ids {
		if !fixture.Get(t, s, id).RevokedAt.IsZero() {
			t.Error("revoked from the start")
		}
	}
	_, err := other.Revoke(t.Context(), latchkey.Revocation{All: true, By: "admin:ada", Reason: "breach", Event: audit.Event{Action: audit.RevokeAll}})
	if err != nil {
		t.Fatal(err)
	}
	recs, errs := gathered(t, s, ids)
	recs = append(recs, fixture.Get(t, s, ids[0]))
	for i, rec := range recs {
		if rec == nil || rec.RevokedAt.IsZero() || rec.RevokedBy != "admin:ada" || rec.RevokedReason != "breach" {
			t.Errorf("%d: %+v, %v; want one revoked by admin:ada", i, rec, errs)
		}
	}
}

// Callers that give up leave the others alone, whichever of them was to go.
func TestGivingUp(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t), Timeout: time.Minute, Readers: 1})
	id := add(t, s, "ann")
	lane, _ := s.gets.Enter()
	ctx, cancel := context.WithCancel(t.Context())
	var gone, kept sync.WaitGroup
	for i := range 20 {
		gone.Go(func() {
			if _, err := s.Get(ctx, id); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
				t.Errorf("one that gave up: %v", err)
			}
		})
		if i%2 == 0 {
			kept.Go(func() {
				if _, err := s.Get(context.Background(), id); err != nil {
					t.Errorf("one that waited: %v", fixture.Chain(err))
				}
			})
		}
	}
	fixture.Eventually(t, "the queue", func() bool { return s.gets.Waiting() == 30 })
	cancel()
	gone.Wait()
	s.gets.Leave(lane)
	kept.Wait()
	// And while the lane changes hands all the time.
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan struct{})
				go func() { defer close(done); _, _ = s.Get(ctx, id) }()
				cancel()
				<-done
			}
		})
	}
	wg.Wait()
	if again, _ := s.gets.Enter(); again != lane {
		t.Error("the lane was lost")
	}
	s.gets.Leave(lane)
}

// What was acknowledged before a call is seen by it, however calls are gathered.
func TestReadsOwnWrites(t *testing.T) {
	url := newURL(t)
	a, b := mustOpen(t, Config{URL: url, Timeout: time.Minute, Readers: 1}), mustOpen(t, Config{URL: url, Timeout: time.Minute})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 20 {
				id := add(t, b, "ann")
				if fixture.Get(t, a, id).Version != 1 {
					t.Error("not as it was made")
				}
				fixture.Revoke(t, b, id)
				if fixture.Get(t, a, id).RevokedAt.IsZero() {
					t.Error("a revocation that was acknowledged is not seen")
				}
			}
		})
	}
	wg.Wait()
}

// Two nodes that sign one identity in at once keep to its limit.
func TestLimitAcrossNodes(t *testing.T) {
	url := newURL(t)
	nodes := []*Store{mustOpen(t, Config{URL: url, Timeout: time.Minute}), mustOpen(t, Config{URL: url, Timeout: time.Minute})}
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for i := range 32 {
		wg.Go(func() {
			c := signIn(nodes[i%2], "ann")
			c.Limit, c.Policy = 3, latchkey.RefuseNew
			_, err := nodes[i%2].Create(context.Background(), c)
			mu.Lock()
			defer mu.Unlock()
			switch latchkey.CodeOf(err) {
			case "":
				made++
			case latchkey.CodeLimitReached:
			default:
				t.Errorf("Create: %v", fixture.Chain(err))
			}
		})
	}
	wg.Wait()
	page, err := nodes[0].List(t.Context(), latchkey.ListQuery{Provider: "idp", Subject: "ann"})
	if err != nil || made != 3 || len(page.Records) != 3 {
		t.Errorf("%d made and %d live, %v; want 3", made, len(page.Records), err)
	}
}

// Changes that lock several sessions each, in every way there is, do not stop each other.
func TestNoDeadlock(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t), Timeout: time.Minute, Connections: 16})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for range 10 {
				var ids []latchkey.ID
				for range 4 {
					c := signIn(s, []string{"ann", "bob"}[worker%2])
					c.Record.SID, c.Limit = "sid", 6
					if _, err := s.Create(context.Background(), c); err != nil {
						t.Errorf("Create: %v", fixture.Chain(err))
					}
					ids = append(ids, c.Record.ID)
				}
				slices.Reverse(ids)
				var touches []latchkey.Touch
				for _, id := range ids {
					touches = append(touches, latchkey.Touch{ID: id, At: storeNow(s)})
				}
				if err := s.Touch(context.Background(), touches); err != nil {
					t.Errorf("Touch: %v", fixture.Chain(err))
				}
				r := latchkey.Revocation{Provider: "idp", SID: "sid", Event: audit.Event{Action: audit.RevokeSID}}
				if worker%3 == 0 {
					r = latchkey.Revocation{Provider: "idp", Subject: "ann", Event: audit.Event{Action: audit.RevokeIdentity}}
				}
				if _, err := s.Revoke(context.Background(), r); err != nil {
					t.Errorf("Revoke: %v", fixture.Chain(err))
				}
			}
		})
	}
	wg.Wait()
}

// Whoever reads the trail upwards is given nothing while an earlier position may
// still be to come.
func TestTrailWaits(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t), Timeout: time.Minute})
	add(t, s, "ann")
	ctx := t.Context()
	first, err := s.Audit(ctx, audit.Query{Ascending: true})
	if err != nil || len(first.Events) != 1 {
		t.Fatalf("%v, %v", first, fixture.Chain(err))
	}
	conn, err := pgx.Connect(ctx, pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	early := "BEGIN; SELECT latchkey.record(1, 0, ARRAY['session.create','early','','','','','done','','0'])"
	if err := script(ctx, conn.PgConn(), inSchema(early, s.t.schema)); err != nil {
		t.Fatal(err)
	}
	add(t, s, "bob")
	after := audit.Query{Ascending: true, After: first.Events[0].Seq}
	page, err := s.Audit(ctx, after)
	if latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Errorf("read past a position that is to come: %v, %v", page, err)
	}
	if down, err := s.Audit(ctx, audit.Query{}); err != nil || len(down.Events) != 2 {
		t.Errorf("downwards: %v, %v; want the two that are committed", down, fixture.Chain(err))
	}
	if err := script(ctx, conn.PgConn(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	page, err = s.Audit(ctx, after)
	if err != nil || len(page.Events) != 2 || page.Events[0].Actor != "early" {
		t.Errorf("%v, %v; want both, the early one first", page, fixture.Chain(err))
	}
}
