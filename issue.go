package latchkey

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/keyring"
)

// SignIn describes a session to make. Subject is required; what is left zero is
// taken from the configuration or is not known.
type SignIn struct {
	// Provider and Subject are the identity. Provider is "local" unless set.
	Provider, Subject string
	Email, Name       string
	Roles             []string
	Methods           []string // amr (RFC 8176), such as "pwd", "otp"
	Assurance         string   // acr, such as "aal2"
	// AuthTime is when the user authenticated; now unless set, or AuthTimeUnknown is.
	AuthTime time.Time
	// AuthTimeUnknown leaves AuthTime out: a provider vouches for the user and does not
	// say when that was, perhaps long ago.
	AuthTimeUnknown bool
	// SID is the provider's own session.
	SID string

	// Idle and Lifetime shorten the configured limits for this session.
	Idle, Lifetime time.Duration

	// KeepData carries the data of the visitor's present session over.
	KeepData bool
	// Data is put into the session, over what is kept.
	Data map[string]json.RawMessage

	// Began is when the sign-in began, by the store's clock (see [Manager.Now]); a logout
	// that came meanwhile refuses it.
	Began time.Time
	// IP and UserAgent are those of the request unless set. The privacy setting
	// applies to them.
	IP, UserAgent string
	// By is the audit actor: "user" unless set.
	By string
}

// Issued is a session with the token that was drawn for it.
type Issued struct {
	// Record is the session's row. It must not be changed.
	Record *Record
	// Token is what the client holds. It is a secret.
	Token string
	// SetCookie is the value of the Set-Cookie header that hands the token out.
	SetCookie string
}

// Issue makes a session for a client that is not at the other end of a handler.
func (m *Manager) Issue(ctx context.Context, in SignIn) (Issued, error) {
	st := &state{m: m}
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := m.signIn(ctx, st, in); err != nil {
		return Issued{}, err
	}
	return *st.issued, nil
}

// SignIn makes a session for an identity and gives the visitor its token. Any
// session that the visitor had ends in the same step, and its token with it; its
// data goes too unless SignIn.KeepData carries it over. Call it before the first
// write of the response.
//
// The error is of code CodeLimitReached when the identity may have no more
// sessions, CodeDenied when it was signed out everywhere since Began, and
// CodeInvalidRequest with every wrong field.
func (s Session) SignIn(ctx context.Context, in SignIn) error {
	if s.st == nil {
		return ErrReadOnly
	}
	s.st.saving.Lock()
	defer s.st.saving.Unlock()
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	if !s.st.mayChange() {
		return ErrCommitted
	}
	return s.st.m.signIn(ctx, s.st, in)
}

// signIn makes the session, with st's lock held.
func (m *Manager) signIn(ctx context.Context, st *state, in SignIn) error {
	if in.Provider == "" {
		in.Provider = "local"
	}
	if err := m.checkSignIn(&in); err != nil {
		return err
	}
	rec := Record{Provider: in.Provider, Subject: in.Subject, Email: in.Email, Name: in.Name, Roles: slices.Clone(in.Roles),
		Methods: slices.Clone(in.Methods), Assurance: in.Assurance, AuthTime: microseconds(in.AuthTime), SID: in.SID,
		Idle: in.Idle, Lifetime: in.Lifetime, IP: in.IP, UserAgent: in.UserAgent}
	if rec.AuthTime.IsZero() && !in.AuthTimeUnknown {
		rec.AuthTime = m.Now()
	}
	if st.r != nil && rec.IP == "" {
		rec.IP = m.cfg.ClientIP(st.r)
	}
	if st.r != nil && rec.UserAgent == "" {
		rec.UserAgent = st.r.UserAgent()
	}
	for range maxAttempts {
		create := Create{Limit: m.cfg.Limit, Policy: m.cfg.LimitPolicy, Began: microseconds(in.Began)}
		if len(st.view) > 0 || st.refused {
			create.Replaces = *st.tok.id()
		}
		data, err := m.carryOver(ctx, st, &in, &create)
		if err != nil {
			return err
		}
		if err = m.create(ctx, st, rec, create, data.m, in.By, "sign-in"); CodeOf(err) != CodeConflict {
			return err
		}
	}
	return NewError(CodeConflict, "the session is changing too fast; try again", nil)
}

// carryOver gathers the data of a session to be made. What is kept of the present
// one is read afresh, and create is tied to its version, so that a change which
// another request has saved meanwhile is not lost.
func (m *Manager) carryOver(ctx context.Context, st *state, in *SignIn, create *Create) (*values, error) {
	data := newValues(nil)
	switch {
	case in.KeepData && len(st.view) > 0:
		rec, err := m.row(ctx, &st.tok)
		if err != nil {
			return nil, err
		}
		at := m.Now()
		if _, ok := m.currentSecret(rec, st.tok.secret(), at); !ok || rec.StateAt(at) != Live {
			break // it was ended or renewed elsewhere: nothing of it is this visitor's any more
		}
		opened, err := m.openData(rec, st.tok.secret())
		if err != nil {
			return nil, err
		}
		data, create.ReplacesVersion = newValues(opened), rec.Version
		fallthrough
	case len(st.view) == 0:
		ops, err := slices.Clone(st.ops), error(nil)
		if st.unlocked(func() { err = data.applyAll(ops, m.cfg.MaxData) }); err != nil {
			return nil, err
		}
	}
	for name, raw := range in.Data {
		compact, err := compactJSON(name, raw)
		if err == nil {
			err = data.apply(op{name: name, value: compact}, m.cfg.MaxData)
		}
		if err != nil {
			return nil, err
		}
	}
	return data, nil
}

// createAnonymous makes a session for a visitor whose first value is to be kept.
func (m *Manager) createAnonymous(ctx context.Context, st *state) error {
	if st.data == nil || len(st.data.m) == 0 {
		st.ops = nil // set and deleted again: nothing to keep
		return nil
	}
	var rec Record
	if st.r != nil {
		rec.IP, rec.UserAgent = m.cfg.ClientIP(st.r), st.r.UserAgent()
	}
	return m.create(ctx, st, rec, Create{}, st.data.m, "user", "anonymous")
}

// create completes the record, stores it and hands its token out.
func (m *Manager) create(ctx context.Context, st *state, rec Record, c Create, data map[string]json.RawMessage, by, reason string) error {
	now := m.clock.Now()
	at := m.storeTime(now)
	key, ok := m.keys.Active(now.Time())
	if !ok {
		return NewError(CodeInternal, "no key is active", nil)
	}
	secret, err := m.newSecret()
	if err != nil {
		return err
	}
	placement, err := placementOf(&m.placement, rec.Identity(), m.cfg.Rand)
	if err != nil {
		return err
	}
	if rec.ID, err = newID(at, placement, m.cfg.Rand); err != nil {
		return err
	}
	rec.SecretHash = hashOf(&secret)
	rec.CreatedAt, rec.LastSeenAt, rec.RotatedAt = at, at, at
	if rec.Idle == 0 {
		rec.Idle = m.cfg.Idle
	}
	if rec.Lifetime == 0 {
		rec.Lifetime = m.cfg.Absolute
	}
	rec.ExpiresAt = at.Add(rec.Lifetime)
	rec.Version = 1
	rec.Stateless = m.cfg.Stateless && rec.Subject != "" // an anonymous one is there for its data
	rec.IP, rec.UserAgent = m.cfg.Privacy.address(rec.IP), m.cfg.Privacy.agent(rec.UserAgent)
	if err := m.fits(&rec); err != nil {
		return err
	}
	if err := m.sealInto(&rec, &secret, data); err != nil {
		return err
	}
	if by == "" {
		by = "user"
	}
	c.Record, c.Event = rec, m.event(audit.Create, by, reason, &rec)
	created, err := m.store.Create(ctx, c)
	if err != nil {
		m.drop(c.Replaces) // it may have ended although the answer was lost
		if created.Generation, err = m.lostCreate(ctx, unavailable(err), &c); err != nil {
			return err
		}
	}
	rec.Generation = created.Generation
	m.drop(append(created.Evicted, c.Replaces)...)
	m.counters.created.Add(1)
	st.ops, st.view = nil, nil
	if err := m.draw(st, &rec, key, &secret, at); err != nil {
		return err
	}
	return st.adopt(&rec)
}

// lostCreate finds out whether a create took effect although its answer was lost:
// the ID was ours alone, so a row with our secret is ours. It returns the generation
// that the session was made under.
//
// A store that keeps the predecessor elsewhere ends it in a step of its own, which
// may be what failed. Then the new session is no success, or the old token would
// stand beside it; nobody has its token, and it is taken back.
func (m *Manager) lostCreate(ctx context.Context, err error, c *Create) (uint64, error) {
	if CodeOf(err) != CodeStoreUnavailable {
		return 0, err
	}
	rec := &c.Record
	got, getErr := m.store.Get(ctx, rec.ID)
	if getErr != nil || got.SecretHash != rec.SecretHash || !got.RevokedAt.IsZero() {
		return 0, err
	}
	if c.Replaces.IsZero() {
		return got.Generation, nil
	}
	old, getErr := m.store.Get(ctx, c.Replaces)
	if CodeOf(getErr) == CodeNoSuchSession || getErr == nil && !old.RevokedAt.IsZero() {
		return got.Generation, nil
	}
	r := Revocation{ID: rec.ID, By: "system", Reason: "conflict", Event: m.event(audit.Revoke, "system", "conflict", rec)}
	_, _ = m.revoke(ctx, r) // what cannot be ended now ends by its limits
	return 0, err
}

// sealInto seals data into a record whose secret is given, under the record's
// data key or a new one. Without data the record holds neither.
func (m *Manager) sealInto(rec *Record, secret *[32]byte, data map[string]json.RawMessage) error {
	if len(data) == 0 && len(rec.Wrap) == 0 {
		return nil
	}
	plain, err := marshalData(data)
	if err != nil {
		return NewError(CodeInternal, "session data", err)
	}
	var key *[32]byte
	if len(rec.Wrap) > 0 {
		if key, err = m.dataKey(rec, secret); err != nil {
			return err
		}
	} else {
		key = new([32]byte)
		if _, err := io.ReadFull(m.cfg.Rand, key[:]); err != nil {
			return NewError(CodeInternal, "no randomness from the system", err)
		}
		if rec.Wrap, err = keyring.WrapDataKey(secret, rec.ID, key, m.cfg.Rand); err != nil {
			return NewError(CodeInternal, "session data key", err)
		}
	}
	if rec.Data, err = keyring.SealData(key, rec.ID, plain, m.cfg.Rand); err != nil {
		return NewError(CodeInternal, "session data", err)
	}
	return nil
}

// marshalData writes data as one JSON object, just as long as it was measured:
// without the escapes that JSON inside HTML needs.
func marshalData(data map[string]json.RawMessage) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(data); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// replay records ops again after the session under them was exchanged.
func (st *state) replay(ops []op) error {
	st.ops, st.data = ops, nil
	for len(st.ops) > 0 {
		st.data = nil
		st.loadData()
		if st.broken != nil {
			return st.broken
		}
		again, data, err := slices.Clone(st.ops), st.data.clone(), error(nil)
		if st.unlocked(func() { err = data.applyAll(again, st.m.cfg.MaxData) }); err != nil {
			return err
		}
		if len(st.ops) == len(again) {
			st.data = data
			break
		} // else another goroutine changed the session meanwhile
	}
	return nil
}

// End ends the session and deletes the visitor's cookie: a logout. Without a
// session it only deletes the cookie. When the store gives no answer the cookie
// stays and the error is of code CodeStoreUnavailable: the user is then told that
// the logout did not happen, instead of a session living on unseen.
func (s Session) End(ctx context.Context) error {
	if s.st == nil {
		return ErrReadOnly
	}
	st := s.st
	st.saving.Lock()
	defer st.saving.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.mayChange() {
		return ErrCommitted
	}
	if len(st.view) > 0 || st.refused {
		rec := Record{ID: *st.tok.id(), Provider: st.view.str(strProvider), Subject: st.view.str(strSubject), IP: st.view.str(strIP)}
		r := Revocation{ID: rec.ID, By: "user", Reason: "logout", Event: st.m.event(audit.Revoke, "user", "logout", &rec)}
		if _, err := st.m.revoke(ctx, r); err != nil && CodeOf(err) != CodeNoSuchSession {
			return err
		}
	}
	st.none()
	st.refused = false
	st.issued, st.auto = &Issued{SetCookie: st.m.cfg.Cookie.clear()}, false
	return nil
}

// maxSkew is how far ahead of the store's clock a provider's may be.
const maxSkew = time.Minute

// checkSignIn reports every wrong field of a sign-in.
func (m *Manager) checkSignIn(in *SignIn) error {
	f := fields{}
	f.text("subject", in.Subject, 1, 255)
	f.text("provider", in.Provider, 1, 255)
	f.text("email", in.Email, 0, 320)
	f.text("name", in.Name, 0, 512)
	f.list("roles", in.Roles)
	f.list("methods", in.Methods)
	f.text("assurance", in.Assurance, 0, 255)
	f.text("sid", in.SID, 0, 255)
	if _, err := netip.ParseAddr(in.IP); in.IP != "" && err != nil {
		f.add("ip", "is not an IP address")
	}
	if hasControl(in.UserAgent) {
		f.add("user_agent", "control characters are not allowed")
	}
	if in.Idle < 0 || in.Idle != 0 && in.Idle < minIdle || m.cfg.Idle > 0 && in.Idle > m.cfg.Idle {
		f.add("idle_seconds", fmt.Sprintf("is between 1 and the configured %d", int(m.cfg.Idle/time.Second)))
	}
	if in.Lifetime < 0 || in.Lifetime != 0 && in.Lifetime < minIdle || in.Lifetime > m.cfg.Absolute {
		f.add("ttl_seconds", fmt.Sprintf("is between 1 and the configured %d", int(m.cfg.Absolute/time.Second)))
	}
	if in.AuthTime.After(m.Now().Add(maxSkew)) {
		f.add("auth_time", "is in the future")
	}
	return f.error("sign-in")
}

// check reports every wrong field of a renewal.
func (n *Renewal) check(now time.Time) error {
	f := fields{}
	if n.AuthTime.After(now.Add(maxSkew)) {
		f.add("auth_time", "is in the future")
	}
	f.list("roles", n.Roles)
	f.list("methods", n.Methods)
	f.text("assurance", n.Assurance, 0, 255)
	return f.error("renewal")
}

// ClearCookie deletes the session cookie in the browser, for handlers outside the middleware.
func (m *Manager) ClearCookie(w http.ResponseWriter) {
	w.Header().Add("Set-Cookie", m.cfg.Cookie.clear())
}
