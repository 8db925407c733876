package upstream

import (
	"context"
	"encoding/hex"
	"math"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey/compat/sessioncache"
)

// sharedLayout is FormatSessionCache: the keys and texts of compat/sessioncache, and
// one more key, latchkey:session_ended: with the entry's hash, that the Python
// service does not know: a token that was ended stays so for this package even if a
// Python process that was just asking about it writes the entry again.
type sharedLayout struct {
	doer
	ttl time.Duration // how old an entry may be, whoever wrote it

	reading, filling, vouching, ending *script
}

func newSharedLayout(d doer, ttl time.Duration) *sharedLayout {
	return &sharedLayout{doer: d, ttl: ttl, reading: newScript(sharedRead), filling: newScript(sharedFill),
		vouching: newScript(sharedVouch), ending: newScript(sharedEnd)}
}

const endedPrefix = "latchkey:session_ended:"

// clockMargin is how far apart the hosts' clocks may be for markers and entries to be
// put in order. A marker is dated that much later than it is made, and an
// entry that is dated later than this from now on is not believed.
const clockMargin = time.Second

// epoch0 stands in an entry for a time that the upstream did not tell.
var epoch0 = time.Unix(0, 0).UTC()

func endedKey(digest *[32]byte) string { return endedPrefix + hex.EncodeToString(digest[:16]) }

// The original asks for the entry and then for its user's marker, in two trips. The
// script reads the user out of the JSON where it lies; that it reads the same user as
// this package does is checked. A marker's text is cut to what a number needs.
const sharedRead = `
local n = redis.call('STRLEN', KEYS[1])
local e, u, m, t = '', '', '', 0
if n > 0 then t = redis.call('PTTL', KEYS[1]) end
if n > 0 and n <= tonumber(ARGV[1]) then
  e = redis.call('GET', KEYS[1])
  local ok, o = pcall(cjson.decode, e)
  if ok and type(o) == 'table' and type(o.user_id) == 'string' then
    u = o.user_id
    m = redis.call('GETRANGE', ARGV[2] .. u, 0, 63)
  end
end
return {n, t, redis.call('EXISTS', KEYS[2]), e, u, m}`

func (l *sharedLayout) read(ctx context.Context, s *subject, now time.Time) (found, error) {
	f := found{seen: ticket{valid: true, asked: now}}
	out, err := l.exec(ctx, l.reading, []string{sessioncache.Key(s.token), endedKey(&s.digest)},
		[]string{strconv.Itoa(sessioncache.MaxEntry), sessioncache.MarkerPrefix})
	if err != nil {
		return found{}, err
	}
	reply, err := readReply(out, 3, 3)
	if err != nil {
		return found{}, err
	}
	if reply.numbers[2] != 0 {
		f.ended = true
		return f, nil
	}
	n, ttl := reply.numbers[0], reply.numbers[1]
	if n == 0 {
		return f, nil
	}
	entry, err := sessioncache.ParseEntry([]byte(reply.texts[0]))
	if err != nil || entry.UserID != reply.texts[1] {
		return f, errGarbage
	}
	marker := &reply.texts[2]
	if *marker == "" {
		marker = nil
	}
	if !entry.Decide(now, marker) || !userOf(entry, &f.user) {
		return f, nil
	}
	age := now.Sub(f.user.CheckedAt)
	f.fresh = l.ttl - age
	if ttl >= 0 {
		f.fresh = min(f.fresh, time.Duration(ttl)*time.Millisecond)
	}
	f.known = age >= -clockMargin && f.fresh > 0
	return f, nil
}

// userOf is the user of an entry whose times can be read.
func userOf(e *sessioncache.Entry, u *User) bool {
	*u = User{ID: e.UserID, Email: e.Email, Name: e.Name, EmailVerified: e.EmailVerified, Tier: e.Tier}
	created, ok1 := sessioncache.Time(e.CreatedAt)
	updated, ok2 := sessioncache.Time(e.UpdatedAt)
	if !ok1 || !ok2 {
		return false
	}
	if !created.Equal(epoch0) {
		u.CreatedAt = created
	}
	if !updated.Equal(epoch0) {
		u.UpdatedAt = updated
	}
	if e.SessionExpire != "" {
		var ok bool
		if u.ExpiresAt, ok = sessioncache.Time(e.SessionExpire); !ok {
			return false
		}
	}
	if !(math.Abs(e.CachedAt) < 1e11) { // microseconds of it fit an int64 with room to spare
		return false
	}
	u.CheckedAt = time.UnixMicro(int64(e.CachedAt * 1e6)).UTC()
	return u.check() == nil
}

// An entry that says nothing newer than the marker is not written.
const sharedFill = `
if redis.call('EXISTS', KEYS[2]) == 1 then return {0} end
local m = redis.call('GETRANGE', KEYS[3], 0, 63)
if m ~= '' then
  m = tonumber(m)
  if not m or m >= tonumber(ARGV[1]) then return {0} end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return {1}`

// fill dates the entry at the moment before its upstream was asked, and not at the
// moment of writing as the original does: what was read before a change is then
// older than the marker that the change left, and Python refuses it as well.
func (l *sharedLayout) fill(ctx context.Context, s *subject, u *User, seen ticket, fresh, _ time.Duration) (bool, error) {
	or0 := func(t time.Time) string {
		if t.IsZero() {
			t = epoch0
		}
		return sessioncache.TimeText(t)
	}
	asked := seen.asked.UnixMicro() - 1 // Python lets an equal marker through
	e := sessioncache.Entry{UserID: u.ID, Email: u.Email, Name: u.Name, EmailVerified: u.EmailVerified, Tier: u.Tier,
		CreatedAt: or0(u.CreatedAt), UpdatedAt: or0(u.UpdatedAt), CachedAt: float64(asked) / 1e6}
	if !u.ExpiresAt.IsZero() {
		e.SessionExpire = sessioncache.TimeText(u.ExpiresAt)
	}
	text, err := e.Text()
	if err != nil {
		return false, err
	}
	px := sessioncache.TTL(l.ttl, fresh)
	if px <= 0 {
		return true, nil // as good as over: nothing to write, and nothing against it
	}
	keys := []string{sessioncache.Key(s.token), endedKey(&s.digest), sessioncache.MarkerKey(u.ID)}
	args := []string{sessioncache.Marker(time.UnixMicro(asked)), string(text), strconv.FormatInt(px.Milliseconds(), 10)}
	out, err := l.exec(ctx, l.filling, keys, args)
	return stored(out, err)
}

const sharedVouch = `
return {redis.call('EXISTS', KEYS[1]), redis.call('GETRANGE', KEYS[2], 0, 63)}`

// vouches is asked for entries that the process held on to: those in Redis are gone at the end of their TTL.
func (l *sharedLayout) vouches(ctx context.Context, s *subject, u *User) (bool, error) {
	out, err := l.exec(ctx, l.vouching, []string{endedKey(&s.digest), sessioncache.MarkerKey(u.ID)}, nil)
	if err != nil {
		return false, err
	}
	reply, err := readReply(out, 1, 1)
	if err != nil || reply.numbers[0] != 0 {
		return false, err
	}
	e := sessioncache.Entry{UserID: u.ID, CreatedAt: sessioncache.TimeText(epoch0), UpdatedAt: sessioncache.TimeText(epoch0),
		CachedAt: float64(u.CheckedAt.UnixMicro()) / 1e6}
	return reply.texts[0] == "" || e.Decide(u.CheckedAt, &reply.texts[0]), nil
}

func (l *sharedLayout) drop(ctx context.Context, digest *[32]byte) error {
	return l.do(ctx, "DEL", entryKey(digest))
}

func (l *sharedLayout) repair(ctx context.Context, digest *[32]byte) error {
	return l.drop(ctx, digest)
}

func entryKey(digest *[32]byte) string {
	return sessioncache.EntryPrefix + hex.EncodeToString(digest[:16])
}

func (l *sharedLayout) endToken(ctx context.Context, digest *[32]byte, keep time.Duration) error {
	marked := l.do(ctx, "SET", endedKey(digest), "1", "PX", strconv.FormatInt(keep.Milliseconds(), 10))
	if err := l.do(ctx, "DEL", entryKey(digest)); err != nil {
		return err
	}
	return marked
}

// A marker is only ever moved forward: another host's clock may be ahead.
const sharedEnd = `
local old = tonumber(redis.call('GETRANGE', KEYS[1], 0, 63))
if old and old > tonumber(ARGV[1]) and old < math.huge then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
return {1}`

func (l *sharedLayout) endUser(ctx context.Context, id string, now time.Time) error {
	at := sessioncache.Marker(now.Add(clockMargin))
	_, err := l.exec(ctx, l.ending, []string{sessioncache.MarkerKey(id)}, []string{at, strconv.Itoa(int(sessioncache.MarkerTTL.Seconds()))})
	return err
}
