package latchkey

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// Middleware looks the session of each request up and puts it in reach of next,
// by [FromContext]. Changes are saved before the first byte of the response
// leaves, whichever way it does (Write, WriteHeader, Flush, Hijack, ReadFrom), and
// at the end when there is none; a handler that panics saves nothing. When saving
// fails the response is the problem instead of what the handler wrote.
//
// Visitors without a session pass: guard what needs one with [Manager.Require]. A
// request whose session nothing is known of, because the store gives no answer,
// is answered 503 and keeps its cookie: an outage is not a logout.
//
// It copies the request's context, which costs two allocations. [Manager.Read]
// does without, for handlers that change nothing.
func (m *Manager) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := new(requestContext)
		if err := m.begin(&c.state, w, r); err != nil {
			m.cfg.OnError(w, r, err)
			return
		}
		c.Context = r.Context()
		r = r.WithContext(c)
		c.state.r = r
		next.ServeHTTP((*responseWriter)(&c.state), r)
		c.state.begin(http.StatusOK) // unless it panicked
	})
}

// contextKey finds the requestContext of a Manager, or the innermost when m is nil.
type contextKey struct{ m *Manager }

// requestContext is everything that a request needs, in one allocation.
type requestContext struct {
	context.Context
	state state
}

// Value implements context.Context.
func (c *requestContext) Value(key any) any {
	if k, ok := key.(contextKey); ok && (k.m == nil || k.m == c.state.m) {
		return c
	}
	return c.Context.Value(key)
}

// Read looks the session of a request up without copying its context or wrapping
// its writer: for a session in the cache it allocates nothing. The Session can
// only be read; changes are errors. A cookie that is due (after a change
// of keys, or a rotation) is set on w, so call it before the first write.
//
// Without a session it returns one that is not Live and no error; the error is of
// code CodeStoreUnavailable when nothing is known.
func (m *Manager) Read(w http.ResponseWriter, r *http.Request) (Session, error) {
	return m.ReadWithin(w, r, 0)
}

// ReadWithin is [Manager.Read] for who cannot wait for as long as the request lives:
// a store that has to be asked is given up after limit, with an error of code
// CodeStoreUnavailable. 0 is no limit. Where memory answers it costs nothing: the time
// begins to run when the store is asked.
func (m *Manager) ReadWithin(w http.ResponseWriter, r *http.Request, limit time.Duration) (Session, error) {
	var tok token
	present, ok := m.credential(&tok, r)
	if !ok {
		if present {
			m.counters.lookups[outcomeInvalid].Add(1)
		}
		return Session{}, nil
	}
	now, req := m.clock.Now(), m.request(r, &tok)
	if v, seen, ok := m.glance(&tok, now, req); ok {
		m.counters.hit(&tok)
		s := Session{v: v, seen: seen, m: m}
		if m.cfg.Filter != nil && !m.cfg.Filter(s) {
			return Session{}, nil
		}
		if !tok.isSealed() {
			m.active(&tok, v, seen, now, req)
		}
		return s, nil
	}
	return m.readFully(w, r, tok, req, limit)
}

// readFully is ReadWithin for what takes more than a glance.
func (m *Manager) readFully(w http.ResponseWriter, r *http.Request, tok token, req request, limit time.Duration) (Session, error) {
	ctx := r.Context()
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	st := &state{m: m, w: w, r: r}
	st.tok = tok
	if err := m.find(ctx, st, req); err != nil {
		if errors.Is(err, ErrInvalidSession) {
			err = nil
		}
		return Session{}, err
	}
	st.sendCookie()
	if !st.view.sealed() {
		return Session{v: st.view, seen: st.seen, m: m}, nil
	}
	st.phase.Or(phaseDone) // its data can be opened, not changed
	return Session{v: st.view, seen: st.seen, st: st, m: m}, nil
}

// glance finds what can be granted without the store, and without anything to be
// done about it but noting activity.
func (m *Manager) glance(tok *token, now Moment, req request) (v view, seen int64, ok bool) {
	switch {
	case m.cache == nil:
		return nil, 0, false
	case tok.isSealed():
		v, ok = m.open(tok)
		ok = ok && m.hitSealed(tok, v, now, req) && !tok.pastHalf(m.storeMicros(now))
		seen = tok.issued
	default:
		v, seen, ok = m.hit(tok, now, req)
	}
	return v, seen, ok && !v.sealed() && !m.stale(tok, now)
}

// Require lets only requests that are signed in through to next, and answers 401
// to others; an anonymous session does not count. It goes inside Middleware.
func (m *Manager) Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := m.FromContext(r.Context())
		switch {
		case err != nil:
			m.cfg.OnError(w, r, err)
		case !s.SignedIn():
			m.cfg.OnError(w, r, errInvalid(nil))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// begin judges the request's token. Only an unknown outcome is an error: without
// a session the request's is not Live.
func (m *Manager) begin(st *state, w http.ResponseWriter, r *http.Request) error {
	st.m, st.w, st.r = m, w, r
	present, ok := m.credential(&st.tok, r)
	if !ok {
		if present {
			m.counters.lookups[outcomeInvalid].Add(1)
		}
		return nil
	}
	err := m.find(r.Context(), st, m.request(r, &st.tok))
	if errors.Is(err, ErrInvalidSession) {
		st.view, st.seen, st.rec = nil, 0, nil
		return nil
	}
	return err
}

// request tells how the token of r is to be judged. Who sends it in Authorization
// takes no cookie, so that nothing is to be had in its place.
func (m *Manager) request(r *http.Request, tok *token) request {
	passive := m.cfg.Passive != nil && m.cfg.Passive(r)
	renewable := !passive && !tok.bearer
	req := request{passive: passive, rotate: renewable && m.cfg.RotateEvery > 0, reissue: renewable}
	if m.cache != nil {
		req.within = m.cache.Staleness()
	}
	return req
}

const bearer = "Bearer "

// credential parses the token that a request carries. present tells whether it
// carries one at all, ok whether that is unambiguous and has the form of a token.
func (m *Manager) credential(tok *token, r *http.Request) (present, ok bool) {
	value, count := findCookie(r.Header, m.cookieName)
	if m.cfg.AcceptBearer {
		if auth := r.Header["Authorization"]; len(auth) > 0 && isBearer(auth[0]) {
			given := auth[0][len(bearer):]
			if len(auth) > 1 || count > 0 && given != value {
				return true, false
			}
			if count == 0 {
				value, count = given, 1
				tok.bearer = true
			}
		}
	}
	if count == 0 {
		return false, false
	}
	return true, count == 1 && tok.parse(value)
}

// isBearer reports whether an Authorization header carries one of our tokens.
func isBearer(h string) bool {
	return len(h) >= len(bearer)+len(tokenPrefix) && strings.EqualFold(h[:len(bearer)], bearer) &&
		h[len(bearer):len(bearer)+len(tokenPrefix)] == tokenPrefix
}
