package latchkey

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"strings"
	"time"
)

// Session is one request's hold on a session. It is a small value: copy it
// freely. All methods are safe for concurrent use.
//
// The zero Session, and that of a visitor without a valid token, is not Live;
// reading it yields zero values, and setting data in it makes an anonymous
// session at commit.
//
// When the response has begun, changes answer ErrCommitted. Strings it returned stay valid for ever, but may
// keep a block of the cache in memory: clone what you hold for long.
type Session struct {
	v    view
	seen int64  // last activity, Unix microseconds
	st   *state // nil for what can only be read
	m    *Manager
}

// now returns the view that is current: a handler's own renewals and sign-ins show at once.
func (s *Session) now() (view, int64) {
	if s.st != nil && s.st.changed() {
		return s.st.snapshot()
	}
	return s.v, s.seen
}

func (s Session) str(i int) string {
	v, _ := s.now()
	return v.str(i)
}

func (s Session) time(at int) time.Time {
	v, _ := s.now()
	return v.time(at)
}

// Live reports whether there is a session: its token was good, and it had not
// ended when it was looked up.
func (s Session) Live() bool {
	v, _ := s.now()
	return len(v) > 0
}

// SignedIn reports whether there is a session and it has an identity.
func (s Session) SignedIn() bool { return s.str(strSubject) != "" }

// ID returns the session's public handle, or the zero ID when there is none.
func (s Session) ID() ID {
	v, _ := s.now()
	return v.id()
}

// Provider and the following return what was recorded at sign-in or renewal.
func (s Session) Provider() string { return s.str(strProvider) }

// Subject returns who the session is for, unique within the provider; "" when anonymous.
func (s Session) Subject() string { return s.str(strSubject) }

// Identity returns provider and subject together.
func (s Session) Identity() Identity {
	v, _ := s.now()
	return Identity{v.str(strProvider), v.str(strSubject)}
}

// Email returns the e-mail address given at sign-in. It names nobody uniquely.
func (s Session) Email() string { return s.str(strEmail) }

// Name returns the name to show.
func (s Session) Name() string { return s.str(strName) }

// Assurance returns the authentication context class (acr), such as "aal2".
func (s Session) Assurance() string { return s.str(strAssurance) }

// SID returns the provider's own session, for back-channel logout.
func (s Session) SID() string { return s.str(strSID) }

// IP returns the client's address at sign-in, as far as the privacy setting keeps it.
func (s Session) IP() string { return s.str(strIP) }

// UserAgent returns the client's user agent at sign-in, as far as the privacy setting keeps it.
func (s Session) UserAgent() string { return s.str(strUserAgent) }

// Roles returns a copy of the roles.
func (s Session) Roles() []string {
	v, _ := s.now()
	return v.list(strRoles)
}

// AppendRoles appends the roles, with a separator between two of them, to b and returns
// the longer slice. Without roles it appends nothing.
func (s Session) AppendRoles(b []byte, separator byte) []byte {
	v, _ := s.now()
	start := len(b)
	b = append(b, v.str(strRoles)...)
	for i := start; i < len(b); i++ {
		if b[i] == '\n' {
			b[i] = separator
		}
	}
	return b
}

// HasRole reports whether the session has the role, without allocating.
func (s Session) HasRole(role string) bool {
	v, _ := s.now()
	for r := range strings.SplitSeq(v.str(strRoles), "\n") {
		if r == role && role != "" {
			return true
		}
	}
	return false
}

// Methods returns a copy of the authentication methods (amr, RFC 8176).
func (s Session) Methods() []string {
	v, _ := s.now()
	return v.list(strMethods)
}

// AuthTime returns when the user last authenticated; zero when not known.
func (s Session) AuthTime() time.Time { return s.time(viewAuth) }

// CreatedAt returns when the session was made.
func (s Session) CreatedAt() time.Time { return s.time(viewCreated) }

// ExpiresAt returns the absolute limit.
func (s Session) ExpiresAt() time.Time { return s.time(viewExpires) }

// LastSeenAt returns the latest activity that was recorded, which may be one
// touch interval (a twentieth of the idle limit, a minute at most) behind.
func (s Session) LastSeenAt() time.Time {
	_, seen := s.now()
	return fromMicro(seen)
}

// IdleExpiresAt returns when the session ends if it is not seen again.
func (s Session) IdleExpiresAt() time.Time {
	v, seen := s.now()
	idle := v.int(viewIdle)
	if idle == 0 || seen == 0 {
		return v.time(viewExpires)
	}
	return fromMicro(seen + idle)
}

// Version returns the row's version: 1 at creation, raised by every change.
func (s Session) Version() uint64 {
	v, _ := s.now()
	return uint64(v.int(viewVersion))
}

// Data returns the session's whole data as a JSON object, with this request's changes.
func (s Session) Data() (json.RawMessage, error) {
	out := make(map[string]json.RawMessage)
	for name, raw := range s.values() {
		out[name] = raw
	}
	if err := s.openError(); err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

// values ranges over the data, with this request's changes. Sealed data that does
// not open yields nothing; openError says so.
func (s Session) values() iter.Seq2[string, json.RawMessage] {
	if s.st != nil {
		if data, ok := s.st.working(); ok {
			return maps.All(data)
		}
	}
	v, _ := s.now()
	return v.values
}

// openError is why the session's data cannot be read, or nil.
func (s Session) openError() error {
	if s.st == nil {
		return nil
	}
	return s.st.openError()
}

// raw returns one value, with this request's changes.
func (s *Session) raw(name string) (json.RawMessage, bool, error) {
	v, _ := s.now()
	switch {
	case s.st == nil && v.sealed():
		return nil, false, ErrReadOnly
	case s.st != nil && (s.st.changed() || v.sealed()):
		return s.st.value(name)
	}
	raw, ok := v.value(name)
	return raw, ok, nil
}

// SetJSON sets a data value to a JSON text, for programs whose values have no
// type of their own; others use [Key]. Names are up to 128 bytes without control
// characters.
func (s Session) SetJSON(name string, value json.RawMessage) error {
	compact, err := compactJSON(name, value)
	if err != nil {
		return err
	}
	return s.change(op{name: name, value: compact})
}

// Delete removes a data value; an absent one is no error.
func (s Session) Delete(name string) error { return s.change(op{name: name}) }

func (s Session) change(o op) error {
	if s.st == nil {
		return ErrReadOnly
	}
	return s.st.change(o)
}

// Commit saves the changes made so far. The middleware calls it before the first
// byte of the response leaves; call it yourself to learn of a failure while you
// can still answer otherwise, or after [Manager.Lookup].
func (s Session) Commit(ctx context.Context) error {
	if s.st == nil {
		return ErrReadOnly
	}
	return s.st.commit(ctx)
}

// FromContext returns the session of a request that passed through
// [Manager.Middleware]. Otherwise the error is ErrNoMiddleware, and the Session
// reads as that of an unknown visitor and refuses changes. Where several Managers'
// middlewares are nested it is the innermost one's; see [Manager.FromContext].
func FromContext(ctx context.Context) (Session, error) { return fromContext(ctx, nil) }

// FromContext returns the session that this Manager found, for programs with
// several Managers.
func (m *Manager) FromContext(ctx context.Context) (Session, error) { return fromContext(ctx, m) }

func fromContext(ctx context.Context, m *Manager) (Session, error) {
	if c, ok := ctx.Value(contextKey{m}).(*requestContext); ok {
		return c.state.session(), nil
	}
	return Session{}, ErrNoMiddleware
}
