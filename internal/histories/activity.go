//go:build unix

package histories

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

const (
	// activityIdle makes a touch interval of a second, the shortest there is.
	activityIdle  = 20 * time.Second
	touchInterval = activityIdle / 20
	gathered      = 500 * time.Millisecond // how long a Manager gathers activity
	slow          = 2 * time.Second        // what a busy machine may take to write it
)

// RunActivity uses sessions at a node of p, kills it, and fails t if a session is gone
// or if more of its activity than a touch interval was forgotten, and what was being
// gathered to be written. store is for a look at the rows; the caller closes it.
func RunActivity(t *testing.T, p *Processes, cfg Config, store latchkey.Store) {
	t.Helper()
	if cfg.Seed == 0 {
		cfg.Seed = Seed(t)
	}
	t.Logf("seed %d", cfg.Seed)
	rnd := rand.New(rand.NewPCG(cfg.Seed, 0))
	cfg.Nodes, p.Idle = 2, activityIdle
	nodes := p.open(t, &cfg)
	defer func() {
		for _, n := range nodes {
			if err := n.close(); err != nil {
				t.Error(err)
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	row := func(id latchkey.ID) *latchkey.Record {
		rec, err := store.Get(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	type used struct {
		id    latchkey.ID
		token string
		made  time.Time
		asked time.Time // for the last time; it was active then, or a moment later
	}
	sessions := make([]used, 3)
	for i := range sessions {
		id, token, err := nodes[0].issue(ctx, "ann")
		if err != nil {
			t.Fatal(err)
		}
		sessions[i] = used{id: id, token: token, made: row(id).LastSeenAt}
	}
	use := func() {
		for i := range sessions {
			s := &sessions[i]
			at := time.Now()
			if _, err := nodes[0].lookup(ctx, s.token, false); err != nil {
				t.Fatal(err)
			}
			s.asked = at
		}
		time.Sleep(5 * time.Millisecond)
	}
	// Activity is written while the node lives, and some is not when it dies.
	for deadline := time.Now().Add(time.Minute); !row(sessions[0].id).LastSeenAt.After(sessions[0].made.Add(touchInterval / 2)); use() {
		if time.Now().After(deadline) {
			t.Fatal("no activity was written for a minute")
		}
	}
	for range rnd.IntN(200) {
		use()
	}
	p.Kill(0)
	p.Start(0)
	for _, s := range sessions {
		if lost := s.asked.Sub(row(s.id).LastSeenAt); lost > touchInterval+gathered+slow {
			t.Errorf("the last %v of a session's activity are lost, want %v at most", lost, touchInterval+gathered)
		}
		if _, err := nodes[1].lookup(ctx, s.token, true); err != nil {
			t.Errorf("a session of the node that was killed, on another one: %v", err)
		}
	}
}
