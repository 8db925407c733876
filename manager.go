package latchkey

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/keyring"
)

// Manager issues, checks, renews and ends sessions. Make one with New, share it
// between all handlers, and Close it last. It is safe for concurrent use.
type Manager struct {
	cfg        Config
	store      Store
	keys       *keyring.Ring
	cache      Cache
	ledger     Ledger        // nil: tokens of version 2 are judged by the row
	opened     *openedTokens // nil without stateless sessions
	clock      Clock
	keeper     Timekeeper // nil: the node's own clock
	cookieName string
	placement  [32]byte
	storeID    [8]byte // what tokens of version 2 know the store by
	commits    commits
	touches    toucher
	streams    streams
	counters   counters
	keysSeen   atomic.Uint64 // the keyring's version that the cache was filled under
}

// New checks cfg, reads what it needs from the store and starts the goroutine
// that writes activity; Close stops it. The error lists every problem of the
// configuration at once.
func New(cfg Config) (*Manager, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	m := &Manager{cfg: cfg, store: cfg.Store, keys: cfg.Keys, cache: cfg.Cache, clock: cfg.Clock, cookieName: cfg.Cookie.name()}
	m.keeper, _ = cfg.Store.(Timekeeper)
	if cfg.Stateless {
		m.ledger, m.opened = cfg.Cache.(Ledger), new(openedTokens) // a Ledger, as checked
		if err := m.ledger.Track(); err != nil {
			return nil, err
		}
	}
	if k, ok := cfg.Store.(PlacementKeeper); ok {
		var err error
		if m.placement, err = k.PlacementKey(context.Background()); err != nil {
			return nil, unavailable(err)
		}
	} else if _, err := cfg.Rand.Read(m.placement[:]); err != nil {
		return nil, NewError(CodeInternal, "no randomness from the system", err)
	}
	sum := sha256.Sum256(append([]byte("latchkey/store/v1"), m.placement[:]...))
	copy(m.storeID[:], sum[:])
	m.touches.start(m)
	return m, nil
}

// Close ends what is watched, waits for the changes that are being saved, writes the activity that is
// still to be recorded, and stops. It does not close the store. After ctx ends it
// gives up and returns ctx's error.
func (m *Manager) Close(ctx context.Context) error {
	if err := m.streams.close(ctx); err != nil {
		return err
	}
	if err := m.commits.wait(ctx); err != nil {
		return err
	}
	return m.touches.stop(ctx, m.FlushTouches)
}

// storeTime is the instant now by the clock that sessions are judged by.
func (m *Manager) storeTime(now Moment) time.Time { return fromMicro(m.storeMicros(now)) }

func (m *Manager) storeMicros(now Moment) int64 {
	if m.keeper != nil {
		return m.keeper.StoreTime(now)
	}
	return now.Wall / 1000
}

// Now returns the store's time, by which all limits are judged.
func (m *Manager) Now() time.Time { return m.storeTime(m.clock.Now()) }

// Lookup asks about one token.
type Lookup struct {
	// Token is the text that the client holds.
	Token string
	// Passive requests do not count as activity.
	Passive bool
	// Within is the oldest answer that will do, at most the cache's own staleness,
	// which 0 stands for; AskStore asks the store now.
	Within   time.Duration
	AskStore bool
	// Rotate allows a new token where one is due, by rotation or because half of a
	// stateless session's idle limit has passed; read it with [Session.Token].
	Rotate bool
}

// Lookup finds the session behind a token, for programs that are not HTTP
// handlers. Its error is of code CodeInvalidSession when there is none, whatever
// the reason, and CodeStoreUnavailable when nothing is known. Changes made in the
// Session are saved by [Session.Commit].
func (m *Manager) Lookup(ctx context.Context, l Lookup) (Session, error) {
	st := &state{m: m}
	if !st.tok.parse(l.Token) {
		m.counters.lookups[outcomeInvalid].Add(1)
		return Session{}, errInvalid(nil)
	}
	within := l.Within
	if m.cache != nil && (within == 0 || within > m.cache.Staleness()) {
		within = m.cache.Staleness()
	}
	if l.AskStore {
		within = 0
	}
	fresh := l.Rotate && !l.Passive
	if err := m.find(ctx, st, request{within: within, passive: l.Passive, rotate: fresh, reissue: fresh}); err != nil {
		return Session{}, err
	}
	return st.session(), nil
}

// Token returns the token that this request drew (at sign-in, renewal, rotation
// or for a new key), or "" when the client's own still stands. It is a secret.
func (s Session) Token() string {
	if s.st == nil {
		return ""
	}
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	if s.st.issued == nil {
		return ""
	}
	return s.st.issued.Token
}

// request is how a token is to be judged.
type request struct {
	within  time.Duration
	passive bool
	rotate  bool
	reissue bool // a token of version 2 may be sealed anew
}

// errInvalid is the one answer to every token that does not stand. The cause is
// for the operator; a client learns nothing of which check failed.
func errInvalid(cause error) error {
	return NewError(CodeInvalidSession, "no valid session", cause)
}

// Causes of errInvalid, and with them of what is counted.
var (
	errForged   = errors.New("token is not genuine")
	errUnknown  = errors.New("no such session")
	errEnded    = errors.New("session has ended")
	errReplaced = errors.New("token was replaced")
	errTheft    = errors.New("a superseded token came back")
	errRefused  = errors.New("session refused by filter")
)

// find judges st.tok and, when it stands, fills st with its session. This is the
// path that every check takes.
func (m *Manager) find(ctx context.Context, st *state, req request) error {
	now := m.clock.Now()
	var told view // what a token of version 2 tells of itself
	if st.tok.isSealed() {
		var ok bool
		if told, ok = m.open(&st.tok); !ok {
			m.counters.lookups[outcomeInvalid].Add(1)
			return errInvalid(errForged)
		}
	}
	if m.remembered(st, told, now, req) {
		m.counters.hit(&st.tok)
		return m.admit(ctx, st, now, req)
	}
	err := m.miss(ctx, st, now, req)
	if CodeOf(err) == CodeStoreUnavailable && m.cfg.ServeStale > 0 && m.cache != nil && req.within >= m.cache.Staleness() {
		// The operator prefers a bounded old answer to none, where the caller asked for no newer one.
		if old := (request{within: m.cfg.ServeStale, passive: true}); m.remembered(st, told, now, old) {
			m.counters.stale.Add(1)
			return m.admit(ctx, st, now, old)
		}
	}
	m.counters.count(err)
	if err != nil {
		return err
	}
	return m.admit(ctx, st, now, req)
}

// remembered fills st without the store: from what the token tells of itself, or
// from the cache.
func (m *Manager) remembered(st *state, told view, now Moment, req request) bool {
	if told != nil && m.hitSealed(&st.tok, told, now, req) {
		st.view, st.seen, st.byToken = told, st.tok.issued, true
		return true
	}
	if m.cache == nil {
		return false
	}
	v, seen, ok := m.hit(&st.tok, now, req)
	if ok {
		st.view, st.seen = v, seen
	}
	return ok
}

// admit lets a session that stands through: past the program's own filter, which
// may refuse it for this request, with its activity noted and its token under the
// active key.
func (m *Manager) admit(ctx context.Context, st *state, now Moment, req request) error {
	if m.cfg.Filter != nil && !m.cfg.Filter(st.readOnly()) {
		st.none()
		st.refused = true
		return errInvalid(errRefused)
	}
	if req.rotate && st.issued == nil && st.rec != nil && !st.tok.isSealed() && m.rotationDue(micro(st.rec.RotatedAt), m.storeMicros(now)) {
		if err := m.rotate(ctx, st, st.rec, now); err != nil {
			return err
		}
	}
	// A token that tells of itself is as good as its issue: activity is noted when it
	// is sealed anew, twice in an idle limit at most.
	if !st.byToken || st.tok.pastHalf(m.storeMicros(now)) {
		m.active(&st.tok, st.view, st.seen, now, req)
	}
	switch {
	case st.issued != nil || st.tok.bearer:
	case st.tok.isSealed():
		m.reissue(st, now, req)
	case m.stale(&st.tok, now):
		m.resign(st, now)
	}
	return nil
}

// active notes activity, unless it was noted within the touch interval.
func (m *Manager) active(tok *token, v view, seen int64, now Moment, req request) {
	if req.passive {
		return
	}
	if us := m.storeMicros(now); us-seen >= touchInterval(v.int(viewIdle)) {
		first := us
		if tok.isSealed() && tok.issued < us {
			first = tok.issued // the row may not have been told of that
		}
		m.touch(*tok.id(), first, us)
	}
}

// hit judges by the cache. It only ever grants: whatever does not fit is a miss,
// because another node may have renewed or touched the session since.
func (m *Manager) hit(tok *token, now Moment, req request) (v view, seen int64, ok bool) {
	if version := m.keys.Version(); version != m.keysSeen.Load() {
		m.cache.Clear() // what was verified under other keys is to be verified again
		m.keysSeen.Store(version)
		return nil, 0, false
	}
	v, seen, ok = m.cache.Find(*tok.id(), now, req.within)
	if !ok || len(v) < viewStrings {
		return nil, 0, false
	}
	us := m.storeMicros(now)
	idle := v.int(viewIdle)
	if !view(v).verifiedWith(tok) || us >= v.int(viewExpires) || idle > 0 && us >= seen+idle ||
		req.rotate && !view(v).ofSealed() && m.rotationDue(v.int(viewDrawn), us) {
		return nil, 0, false
	}
	return v, seen, true
}

// stale reports whether a good token is under a key that is no longer the active one.
func (m *Manager) stale(tok *token, now Moment) bool {
	active, ok := m.keys.Active(now.Time())
	return ok && active != tok.key
}

// miss judges the token by a fresh row. A token that is not genuine costs no trip.
func (m *Manager) miss(ctx context.Context, st *state, now Moment, req request) error {
	version := m.keys.Version()
	if !st.tok.genuine(m.keys) {
		return errInvalid(errForged)
	}
	rec, filling, err := m.load(ctx, *st.tok.id(), req.within)
	if err != nil {
		if errors.Is(err, ErrNoSuchSession) {
			return errInvalid(errUnknown)
		}
		return unavailable(err)
	}
	if m.keys.Version() != version { // what was verified under other keys is not filed
		filling = Filling{Joined: filling.Joined}
	}
	if err := m.judge(ctx, st, rec, filling, now, req); err != errReread {
		return err
	}
	// The row came from another caller's trip, sent before this one arrived: it may
	// grant, but only a fresh read refuses.
	if rec, filling, err = m.load(ctx, *st.tok.id(), 0); err != nil {
		if errors.Is(err, ErrNoSuchSession) {
			return errInvalid(errUnknown)
		}
		return unavailable(err)
	}
	if filling.Joined = false; m.keys.Version() != version {
		filling = Filling{}
	}
	return m.judge(ctx, st, rec, filling, now, req)
}

// errReread asks for a fresh row. It never leaves miss.
var errReread = errors.New("joined trip refuses")

// judge decides by a row, and fills st when the token stands.
func (m *Manager) judge(ctx context.Context, st *state, rec *Record, filling Filling, now Moment, req request) error {
	rec = m.touches.ahead(rec)
	at := m.storeTime(now)
	rec = m.provenActive(ctx, st.tok.issued, rec, at)
	hash := st.tok.hash()
	current := subtle.ConstantTimeCompare(rec.SecretHash[:], hash[:]) == 1
	previous := subtle.ConstantTimeCompare(rec.PreviousHash[:], hash[:]) == 1
	live := rec.StateAt(at) == Live
	switch {
	case live && current && rec.graceWaits():
		return m.accept(ctx, st, m.startGrace(ctx, rec, at), Filling{}, now, req)
	case live && current:
		return m.accept(ctx, st, rec, filling, now, req)
	case live && previous && rec.graceOpen(at):
		return m.succeed(ctx, st, rec, now, req)
	case filling.Joined:
		return errReread
	case !live:
		return errInvalid(errEnded)
	case previous, rec.SupersededHash == hash && at.Before(rec.RotatedAt.Add(m.cfg.RotateGrace)):
		return errInvalid(errReplaced)
	}
	return m.theft(ctx, rec)
}

// accept fills st from a row that the token opens, and the cache with it.
func (m *Manager) accept(ctx context.Context, st *state, rec *Record, filling Filling, now Moment, req request) error {
	st.rec = rec
	// Without a cache the row is at hand when a value is first asked for, and most
	// requests ask for none.
	sealed := len(rec.Data) > 0 && (m.cache == nil || m.cfg.SealedCache)
	var values map[string]json.RawMessage
	if !sealed {
		var err error
		if values, err = m.openData(rec, st.tok.secret()); err != nil {
			return err
		}
	}
	v, err := newView(rec, &st.tok, values, sealed)
	if err != nil {
		return err
	}
	st.view, st.seen = v, micro(rec.LastSeenAt)
	if m.cache != nil && !filling.ID.IsZero() {
		m.cache.Fill(filling, v, st.seen)
	}
	return nil
}

// load reads a row, by way of the cache where there is one.
func (m *Manager) load(ctx context.Context, id ID, within time.Duration) (*Record, Filling, error) {
	m.counters.loads.Add(1)
	if m.cache != nil {
		return m.cache.Load(ctx, id, within)
	}
	rec, err := m.store.Get(ctx, id)
	return rec, Filling{}, err
}

// openData returns a row's data, opened with the secret of its current or previous token.
func (m *Manager) openData(rec *Record, secret *[32]byte) (map[string]json.RawMessage, error) {
	if len(rec.Data) == 0 {
		return nil, nil
	}
	key, err := m.dataKey(rec, secret)
	if err != nil {
		return nil, err
	}
	plain, err := keyring.OpenData(key, rec.ID, rec.Data)
	if err != nil {
		return nil, errSealed(err)
	}
	var data map[string]json.RawMessage
	if err := json.Unmarshal(plain, &data); err != nil || data == nil {
		return nil, errSealed(err)
	}
	return data, nil
}

// dataKey unwraps a row's data key with the secret of its current or previous token.
func (m *Manager) dataKey(rec *Record, secret *[32]byte) (*[32]byte, error) {
	wrap := rec.Wrap
	if hashOf(secret) != rec.SecretHash {
		if wrap = rec.PreviousWrap; len(wrap) == 0 { // there was no data yet at the rotation
			if next, ok := m.successor(rec, secret); ok {
				secret, wrap = &next, rec.Wrap
			}
		}
	}
	key, err := keyring.UnwrapDataKey(secret, rec.ID, wrap)
	if err != nil {
		return nil, errSealed(err)
	}
	return &key, nil
}

// errSealed answers a row whose data does not open: it was damaged or exchanged
// in the store. That is no reason to sign anybody out, nor to serve without data.
func errSealed(cause error) error {
	return NewError(CodeStoreUnavailable, "the session's data is damaged", cause)
}

// event begins an audit event about a session.
func (m *Manager) event(action audit.Action, actor, reason string, rec *Record) audit.Event {
	return audit.Event{Time: m.Now(), Action: action, Actor: actor, Session: rec.ID.String(), Provider: rec.Provider,
		Subject: rec.Subject, IP: rec.IP, Outcome: audit.Done, Reason: reason}
}
