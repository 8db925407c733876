package sqlitestore

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/sqlite"
)

// BenchmarkSQLiteRevoke ends the 10,000 sessions of one identity among a million,
// in one transaction, and everything at once, which counts all rows.
func BenchmarkSQLiteRevoke(b *testing.B) {
	path, _ := preload(b, workDir(b))
	s, err := sqlite.Open(sqlite.Config{Path: path})
	must(b, err)
	defer s.Close()
	const sessions = 10_000
	b.Run("identity_10000", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					src := newSource(uint64(i))
					for range sessions/callers + 1 {
						c := src.signIn(time.Now())
						c.Record.Subject, c.Event.Subject = "busy", "busy"
						c.Began = time.Time{}
						if _, err := s.Create(context.Background(), c); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.StartTimer()
			r, err := s.Revoke(context.Background(), latchkey.Revocation{Provider: "corp", Subject: "busy", By: "admin:ada", Reason: "test",
				Event: audit.Event{Action: audit.RevokeIdentity, Actor: "admin:ada", Provider: "corp", Subject: "busy", Outcome: audit.Done}})
			if err != nil || r.Count < sessions {
				b.Fatal(r.Count, err)
			}
		}
	})
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			_, err := s.Count(context.Background())
			must(b, err)
		}
	})
	b.Run("everything", func(b *testing.B) {
		for b.Loop() {
			_, err := s.Revoke(context.Background(), latchkey.Revocation{All: true, By: "admin:ada", Reason: "test",
				Event: audit.Event{Action: audit.RevokeAll, Actor: "admin:ada", Outcome: audit.Done}})
			must(b, err)
		}
	})
}
