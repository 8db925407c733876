package mysql
import ("testing";"errors";"github.com/latchkey-go/latchkey";"time")
func TestDbg(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t, shared)})
	now := time.Now()
	_, err := s.Create(t.Context(), latchkey.Create{Record: latchkey.Record{ID: latchkey.ID{1}, Subject: "a", CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour)}})
	t.Log(err, errors.Unwrap(err))
	_, err = s.Get(t.Context(), latchkey.ID{1})
	t.Log(err, errors.Unwrap(err))
}
