package latchkey

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/keyring"
)

func hashOf(secret *[32]byte) [32]byte { return sha256.Sum256(secret[:]) }

// rotationDue reports whether a token drawn at the one instant is to be replaced
// at the other, both in Unix microseconds.
func (m *Manager) rotationDue(drawn, now int64) bool {
	return m.cfg.RotateEvery > 0 && now-drawn >= int64(m.cfg.RotateEvery/time.Microsecond)
}

// successor computes the one secret that replaces secret: a function of what is
// in the row, so that every node answers an old token alike although only hashes
// are stored. ok is false when the key is no longer accepted.
func (m *Manager) successor(rec *Record, secret *[32]byte) ([32]byte, bool) {
	return m.keys.HMAC(rec.RotateKey, keyring.PurposeRotate, rec.ID[:], secret[:], rec.RotateNonce[:])
}

// rotate replaces the session's token in mid-session. When it cannot, the session
// goes on under the old one, and a later request tries again.
func (m *Manager) rotate(ctx context.Context, st *state, rec *Record, now Moment) error {
	stay := request{passive: true}
	next := *rec
	active, ok := m.keys.Active(now.Time())
	if !ok {
		return m.accept(ctx, st, rec, Filling{}, now, stay)
	}
	if _, err := io.ReadFull(m.cfg.Rand, next.RotateNonce[:]); err != nil {
		return NewError(CodeInternal, "no randomness from the system", err)
	}
	next.RotateKey = active
	secret, ok := m.successor(&next, st.tok.secret())
	if !ok {
		return m.accept(ctx, st, rec, Filling{}, now, stay)
	}
	if err := m.rewrap(&next, rec, st.tok.secret(), &secret); err != nil {
		return err
	}
	next.PreviousHash, next.PreviousWrap, next.SupersededHash = rec.SecretHash, rec.Wrap, [32]byte{}
	next.SecretHash = hashOf(&secret)
	next.RotatedAt, next.GraceEnd = m.storeTime(now), time.Time{}
	event := m.event(audit.Rotate, "user", "rotation", rec)
	if err := m.patch(ctx, &next, &event); err != nil {
		fresh, getErr := m.store.Get(ctx, rec.ID)
		if getErr != nil {
			return m.accept(ctx, st, rec, Filling{}, now, stay)
		}
		if hash := st.tok.hash(); fresh.PreviousHash == hash && fresh.graceOpen(m.storeTime(now)) {
			return m.succeed(ctx, st, fresh, now, request{rotate: true}) // another request got in first
		}
		return m.judge(ctx, st, fresh, Filling{}, now, stay)
	}
	return m.handOver(ctx, st, &next, active, &secret, now)
}

// succeed answers the previous token with its successor.
func (m *Manager) succeed(ctx context.Context, st *state, rec *Record, now Moment, req request) error {
	secret, ok := m.successor(rec, st.tok.secret())
	if !ok || !req.rotate || subtle.ConstantTimeCompare(rec.SecretHash[:], sliceOf(hashOf(&secret))) != 1 {
		return m.accept(ctx, st, rec, Filling{}, now, request{passive: req.passive})
	}
	active, ok := m.keys.Active(now.Time())
	if !ok {
		active = rec.RotateKey
	}
	return m.handOver(ctx, st, rec, active, &secret, now)
}

func sliceOf(h [32]byte) []byte { return h[:] }

// handOver puts the successor into the client's hands. The row is not filed in
// the cache: the successor's first coming must be seen, since it starts the grace.
func (m *Manager) handOver(ctx context.Context, st *state, rec *Record, key keyring.ID, secret *[32]byte, now Moment) error {
	if err := m.draw(st, rec, key, secret, m.storeTime(now)); err != nil {
		return err
	}
	st.auto = true
	return m.accept(ctx, st, rec, Filling{}, now, request{})
}

// startGrace notes that a rotation's successor has been presented: from now on
// its predecessor stands for RotateGrace only. A failure is made up for by the
// next request, since the row is not filed meanwhile.
func (m *Manager) startGrace(ctx context.Context, rec *Record, at time.Time) *Record {
	next := *rec
	next.GraceEnd = microseconds(at.Add(m.cfg.RotateGrace))
	if err := m.patch(ctx, &next, nil); err != nil {
		return rec
	}
	return &next
}

// theft ends a session whose token of two generations ago, or one never issued
// under this secret, was presented: two parties hold it, and no telling which is
// the user.
func (m *Manager) theft(ctx context.Context, rec *Record) error {
	m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "superseded session token presented; session ended",
		slog.String("session", rec.ID.String()), slog.String("provider", rec.Provider))
	m.counters.thefts.Add(1)
	r := Revocation{ID: rec.ID, By: "system", Reason: "theft", Event: m.event(audit.Theft, "system", "theft", rec)}
	if _, err := m.revoke(ctx, r); err != nil {
		m.cfg.Logger.LogAttrs(ctx, slog.LevelError, "session could not be ended after theft signal",
			slog.String("session", rec.ID.String()), slog.Any("error", err))
	}
	return errInvalid(errTheft)
}

// rewrap seals the row's data key under a new secret.
func (m *Manager) rewrap(next, rec *Record, old, secret *[32]byte) error {
	if len(rec.Wrap) == 0 {
		return nil
	}
	key, err := m.dataKey(rec, old)
	if err != nil {
		return err
	}
	if next.Wrap, err = keyring.WrapDataKey(secret, rec.ID, key, m.cfg.Rand); err != nil {
		return NewError(CodeInternal, "session data key", err)
	}
	return nil
}

// draw makes the token for a secret, and hands it out.
func (m *Manager) draw(st *state, rec *Record, key keyring.ID, secret *[32]byte, now time.Time) error {
	var tok token
	var ok bool
	if rec.Stateless {
		v, err := newView(rec, &token{}, nil, len(rec.Data) > 0)
		if err != nil {
			return err
		}
		tok, ok = m.drawSealed(key, v, rec.Generation, secret, micro(rec.LastSeenAt))
	} else {
		tok, ok = newToken(m.keys, key, rec.ID, secret)
	}
	if !ok {
		return NewError(CodeInternal, "no key is active", nil)
	}
	st.tok, st.byToken = tok, false
	text := tok.text()
	line := m.cfg.Cookie.set(text, now, rec.ExpiresAt)
	st.issued, st.auto = &Issued{Record: rec, Token: text, SetCookie: line}, false
	return nil
}

// resign puts the token under the active key: the same ID and secret, a new MAC.
func (m *Manager) resign(st *state, now Moment) {
	active, ok := m.keys.Active(now.Time())
	if !ok {
		return
	}
	rec := &Record{ID: *st.tok.id(), ExpiresAt: st.view.time(viewExpires)}
	secret := *st.tok.secret()
	if m.draw(st, rec, active, &secret, m.storeTime(now)) == nil {
		st.auto = true
		m.counters.resigned.Add(1)
	}
}

// patch stores next, whose Version is the one expected, and raises it on success.
// After a lost answer the row itself tells: version+1 with our id means done.
func (m *Manager) patch(ctx context.Context, next *Record, event *audit.Event) error {
	if _, err := io.ReadFull(m.cfg.Rand, next.PatchID[:]); err != nil {
		return NewError(CodeInternal, "no randomness from the system", err)
	}
	err := m.store.Patch(ctx, Patch{Record: *next, Event: event})
	if CodeOf(err) == CodeInvalidSession && m.writeTouch(ctx, next.ID) {
		// It was seen just before its idle limit, and the store had yet to be told.
		err = m.store.Patch(ctx, Patch{Record: *next, Event: event})
	}
	if err == nil {
		next.Version++
		m.drop(next.ID)
		return nil
	}
	err = unavailable(err)
	if CodeOf(err) == CodeStoreUnavailable {
		m.drop(next.ID)
		if rec, getErr := m.store.Get(ctx, next.ID); getErr == nil && rec.Version == next.Version+1 && rec.PatchID == next.PatchID {
			next.Version++
			return nil
		}
	}
	return err
}

// drop forgets cached sessions.
func (m *Manager) drop(ids ...ID) {
	if m.cache != nil {
		m.cache.Drop(ids...)
	}
}

// newSecret draws 32 random bytes.
func (m *Manager) newSecret() (secret [32]byte, err error) {
	if _, err := io.ReadFull(m.cfg.Rand, secret[:]); err != nil {
		return secret, NewError(CodeInternal, "no randomness from the system", err)
	}
	return secret, nil
}

// Renewal says what changes with a new token.
type Renewal struct {
	// Roles and Methods replace the present ones; nil keeps them, an empty list clears.
	Roles, Methods []string
	// Assurance replaces the present one; "" keeps it.
	Assurance string
	// AuthTime, when later than the present one, says that the user authenticated
	// again: both limits start anew (NIST SP 800-63B-4 §5.2).
	AuthTime time.Time
	// By is the audit actor: "user" unless set.
	By string
}

// Renew draws a new token for the session, at re-authentication or a change of
// privilege. The old token ends at once here and within the staleness elsewhere.
// In a handler it sets the cookie, so call it before the first write; elsewhere
// the token is in what it returns.
func (s Session) Renew(ctx context.Context, n Renewal) (Issued, error) {
	if s.st == nil {
		return Issued{}, ErrReadOnly
	}
	if err := n.check(s.m.Now()); err != nil {
		return Issued{}, err
	}
	st := s.st
	st.saving.Lock()
	defer st.saving.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.mayChange() {
		return Issued{}, ErrCommitted
	}
	if len(st.view) == 0 {
		return Issued{}, ErrNoSession
	}
	for range maxAttempts {
		err := st.m.renew(ctx, st, n)
		if CodeOf(err) != CodeConflict {
			if err != nil {
				return Issued{}, err
			}
			return *st.issued, nil
		}
	}
	return Issued{}, NewError(CodeConflict, "the session is changing too fast; try again", nil)
}

// maxAttempts bounds how often a compare-and-swap is tried again.
const maxAttempts = 32

// renew makes one attempt.
func (m *Manager) renew(ctx context.Context, st *state, n Renewal) error {
	rec, err := m.row(ctx, &st.tok)
	if err != nil {
		return err
	}
	now := m.clock.Now()
	at := m.storeTime(now)
	old, ok := m.currentSecret(rec, st.tok.secret(), at)
	if rec.StateAt(at) != Live || !ok {
		return errInvalid(errEnded)
	}
	key, ok := m.keys.Active(now.Time())
	if !ok {
		return NewError(CodeInternal, "no key is active", nil)
	}
	secret, err := m.newSecret()
	if err != nil {
		return err
	}
	next := *rec
	if err := m.rewrap(&next, rec, old, &secret); err != nil {
		return err
	}
	// The old hash is kept, its grace over, so that a request still in flight with
	// the old token is refused and is not taken for a thief's.
	next.SupersededHash = [32]byte{}
	if at.Before(rec.RotatedAt.Add(m.cfg.RotateGrace)) || rec.graceOpen(at) {
		next.SupersededHash = rec.PreviousHash
	}
	next.PreviousHash, next.PreviousWrap, next.RotateNonce, next.RotateKey = rec.SecretHash, nil, [16]byte{}, 0
	next.SecretHash, next.RotatedAt, next.GraceEnd = hashOf(&secret), at, at
	next.LastSeenAt = at
	n.apply(&next, at)
	if err := m.fits(&next); err != nil {
		return err
	}
	event := m.event(audit.Renew, n.By, "renewal", rec)
	if event.Actor == "" {
		event.Actor = "user"
	}
	if err := m.patch(ctx, &next, &event); err != nil {
		return err
	}
	if err := m.draw(st, &next, key, &secret, at); err != nil {
		return err
	}
	ops := st.ops
	if err := st.adopt(&next); err != nil {
		return err
	}
	return st.replay(ops)
}

// apply writes the renewal into a record.
func (n *Renewal) apply(next *Record, now time.Time) {
	if n.Roles != nil {
		next.Roles = slices.Clone(n.Roles)
	}
	if n.Methods != nil {
		next.Methods = slices.Clone(n.Methods)
	}
	if n.Assurance != "" {
		next.Assurance = n.Assurance
	}
	if auth := microseconds(n.AuthTime); auth.After(next.AuthTime) {
		next.AuthTime = auth
		next.ExpiresAt = now.Add(next.Lifetime)
	}
}

// sessionGone turns a store's answer about the session in hand into an outcome.
func sessionGone(err error) error {
	if CodeOf(err) == CodeNoSuchSession {
		return errInvalid(errUnknown)
	}
	return unavailable(err)
}
