package upstream

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/compat/sessioncache"
)

type nobody struct{}

func (nobody) Validate(context.Context, string) (User, error) {
	return User{}, latchkey.ErrInvalidSession
}

func newBare(t *testing.T) *Cache {
	c, err := New(Config{Upstream: nobody{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// served reports that the process answers for the token with a user.
func served(c *Cache, s *subject) bool {
	_, ok := c.recallStale(s, c.Clock.Now())
	return ok
}

// A flight that departed when the token was refused already, because its lookup had
// looked before, does not bring the user back.
func TestRefusalOutlivesFill(t *testing.T) {
	c := newBare(t)
	s := newSubject(c, "token")
	now := c.Clock.Now()
	c.refuse(s, now, time.Hour)
	c.raise(&c.tokenMarks[tokenBucket(&s.digest)])
	c.keep(s, &User{ID: "u"}, c.counter.Load(), now, time.Hour, time.Hour)
	if served(c, s) || !c.isRefused(&s.digest, now) {
		t.Fatal("the user is back")
	}
}

// An ended token's fill does not stand even when the refusal was displaced by others.
func TestEndedTokenWithoutRefusal(t *testing.T) {
	c := newBare(t)
	s := newSubject(c, "token")
	now, mark := c.Clock.Now(), c.counter.Load()
	if err := c.InvalidateToken(context.Background(), s.token); err != nil {
		t.Fatal(err)
	}
	c.refused.Clear()
	c.keep(s, &User{ID: "u"}, mark, now, time.Hour, time.Hour)
	if served(c, s) {
		t.Fatal("the user is back")
	}
}

// A lookup that reads Redis after the process' own mark was raised, and before the
// invalidation reached Redis, is overtaken as well.
func TestInvalidationWhileRedisIsTold(t *testing.T) {
	c := newBare(t)
	c.remote = &remote{} // there is one
	s := newSubject(c, "token")
	now := c.Clock.Now()
	fill := func() { c.keep(s, &User{ID: "u"}, c.counter.Load(), now, time.Hour, time.Hour) }
	fill()
	if !served(c, s) {
		t.Fatal("not kept")
	}
	err := c.invalidate(context.Background(), &c.userMarks[bucketOf("u")], func(context.Context) error {
		if served(c, s) {
			t.Error("still served")
		}
		fill()
		return nil
	})
	if err != nil || served(c, s) {
		t.Fatal("served again", err)
	}
	c.remote = nil
}

// The invalidations that wait are bounded; what no longer matters makes room.
func TestPendingIsBounded(t *testing.T) {
	clock := &still{}
	r := &remote{clock: clock, keepFor: time.Second, wake: make(chan struct{}, 1), pending: make(map[pendingKey]pendingOp)}
	for i := range maxPending + 10 {
		r.postpone(pendingKey{token: [32]byte{byte(i), byte(i >> 8), byte(i >> 16)}})
	}
	r.postpone(pendingKey{token: [32]byte{}}) // one that waits already
	if r.waiting.Load() != maxPending || r.lost.Load() != 10 {
		t.Fatal(r.waiting.Load(), r.lost.Load())
	}
	clock.now.Store(int64(time.Second))
	r.postpone(pendingKey{user: "u"})
	if r.waiting.Load() != 1 || r.lost.Load() != 10 {
		t.Fatal(r.waiting.Load(), r.lost.Load())
	}
}

type still struct{ now atomic.Int64 }

func (s *still) Now() latchkey.Moment {
	return latchkey.Moment{Mono: s.now.Load(), Wall: s.now.Load()}
}

func packed(u User) []byte { return appendUser(nil, &u) }

func TestPackedUsers(t *testing.T) {
	u := User{ID: "u", Email: "e", Name: "Zoë", EmailVerified: true, Tier: "free", Claims: `{"a":1}`, ExpiresAt: time.UnixMicro(5).UTC(), CheckedAt: time.UnixMicro(-7).UTC()}
	var got User
	if err := decodeUser(packed(u), &got); err != nil || got != u {
		t.Fatal(err, got)
	}
	whole := packed(u)
	for n := range whole {
		if decodeUser(whole[:n], &got) == nil {
			t.Errorf("the first %d of %d bytes are taken", n, len(whole))
		}
	}
	for name, b := range map[string][]byte{"trailing": append(packed(u), 0), "format": append([]byte{2}, whole[1:]...), "flag": append([]byte{1, 2}, whole[2:]...),
		"nobody": packed(User{}), "long": make([]byte, maxPacked+1)} {
		if decodeUser(b, &got) == nil {
			t.Error(name, "is taken")
		}
	}
}

func FuzzDecodeUser(f *testing.F) {
	f.Add(packed(User{ID: "u", Email: "e", Name: "Zoë", EmailVerified: true, Tier: "free", Claims: `{"a":1}`, ExpiresAt: time.UnixMicro(5)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var u, again User
		if decodeUser(b, &u) != nil {
			return
		}
		if err := decodeUser(packed(u), &again); err != nil || u != again {
			t.Fatalf("%+v %+v %v", u, again, err)
		}
	})
}

// FuzzNativeEntry: bytes in Redis never become a user but by the token's own sealing.
func FuzzNativeEntry(f *testing.F) {
	l := newNativeLayout(nil, defaultName)
	s := &subject{token: "token"}
	u := User{ID: "u1", Name: "n"}
	entry, err := l.seal(s, "0123456789abcdef", 7, bucketField(u.ID), &u, time.Second)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(entry), byte(0), uint16(0))
	f.Add([]byte(entry), byte(1), uint16(40))
	f.Fuzz(func(t *testing.T, b []byte, flip byte, at uint16) {
		if len(b) > 0 {
			b[int(at)%len(b)] ^= flip
		}
		if _, ok := entryCounter(string(b)); !ok {
			return
		}
		var got User
		stale, err := l.open(s, string(b), &got)
		if err == nil && (got != u || stale != time.Second) { // entries of other runs are among the inputs
			t.Fatalf("%q opens as %+v", b, got)
		}
		other := &subject{token: "another"}
		if _, err := l.open(other, string(b), &got); err == nil {
			t.Fatal("another token opens it")
		}
	})
}

// FuzzAnswer: no JSON text makes a user that the cache would not take, or a panic.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"sub":"u","email":"e","email_verified":"true","updated_at":1.5,"exp":1767323045,"a":{"b":[1,2]}}`))
	f.Add([]byte(`{"sub":12345678901234567890,"exp":"x"}`))
	fields := OpenIDFields()
	fields.ExpiresAt, fields.Claims = "exp", map[string]string{"b": "a.b"}
	f.Fuzz(func(t *testing.T, text []byte) {
		object, err := readObject(text)
		if err != nil {
			return
		}
		u, err := fields.user(object)
		if err != nil || u.check() != nil {
			return
		}
		u.CheckedAt = time.UnixMicro(1).UTC()
		var got User
		if err := decodeUser(appendUser(nil, &u), &got); err != nil || got != u {
			t.Fatalf("%+v\n%+v %v", u, got, err)
		}
	})
}

// FuzzSharedEntry: no entry of the shared format makes a user that the cache would not take.
func FuzzSharedEntry(f *testing.F) {
	e := sessioncache.Entry{UserID: "u", CreatedAt: "2025-01-01", UpdatedAt: "1970-01-01T00:00:00", SessionExpire: "2026-01-03T03:04:05+00:00", CachedAt: 1767323045.5}
	text, err := e.Text()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := sessioncache.ParseEntry(text)
		if err != nil {
			return
		}
		var u, got User
		if !userOf(e, &u) {
			return
		}
		if err := decodeUser(packed(u), &got); err != nil || u.check() != nil || got.ID != e.UserID {
			t.Fatalf("%+v %+v %v", u, got, err)
		}
	})
}
