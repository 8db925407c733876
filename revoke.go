package latchkey

import (
	"context"
	"time"

	"github.com/latchkey-go/latchkey/audit"
)

// Info is what may be known of a session without its token: everything but its
// secret's hash and its data.
type Info struct {
	ID                ID
	Provider, Subject string
	Email, Name       string
	Roles, Methods    []string
	Assurance         string
	AuthTime          time.Time
	SID               string
	State             State
	CreatedAt         time.Time
	LastSeenAt        time.Time
	IdleExpiresAt     time.Time
	ExpiresAt         time.Time
	RevokedAt         time.Time // zero unless State is Revoked
	RevokedBy         string
	RevokedReason     string
	IP, UserAgent     string
	Version           uint64
}

// Info returns what may be known of the row, judged at now (store time).
func (r *Record) Info(now time.Time) Info {
	return Info{ID: r.ID, Provider: r.Provider, Subject: r.Subject, Email: r.Email, Name: r.Name, Roles: r.Roles,
		Methods: r.Methods, Assurance: r.Assurance, AuthTime: r.AuthTime, SID: r.SID, State: r.StateAt(now),
		CreatedAt: r.CreatedAt, LastSeenAt: r.LastSeenAt, IdleExpiresAt: r.IdleExpiresAt(), ExpiresAt: r.ExpiresAt,
		RevokedAt: r.RevokedAt, RevokedBy: r.RevokedBy, RevokedReason: r.RevokedReason, IP: r.IP, UserAgent: r.UserAgent,
		Version: r.Version}
}

// Info returns what may be shown of the session. It was live when it was looked up.
func (s Session) Info() Info {
	v, seen := s.now()
	if len(v) == 0 {
		return Info{}
	}
	return Info{ID: v.id(), Provider: v.str(strProvider), Subject: v.str(strSubject), Email: v.str(strEmail),
		Name: v.str(strName), Roles: v.list(strRoles), Methods: v.list(strMethods), Assurance: v.str(strAssurance),
		AuthTime: v.time(viewAuth), SID: v.str(strSID), State: Live, CreatedAt: v.time(viewCreated),
		LastSeenAt: fromMicro(seen), IdleExpiresAt: s.IdleExpiresAt(), ExpiresAt: v.time(viewExpires),
		IP: v.str(strIP), UserAgent: v.str(strUserAgent), Version: uint64(v.int(viewVersion))}
}

// Get returns a session by its ID, an ended one too. An unknown ID is CodeNoSuchSession.
func (m *Manager) Get(ctx context.Context, id ID) (Info, error) {
	rec, err := m.store.Get(ctx, id)
	if err != nil {
		return Info{}, unavailable(err)
	}
	return m.touches.ahead(rec).Info(m.Now()), nil
}

// List returns a page of sessions, newest first, and the cursor of the next one.
func (m *Manager) List(ctx context.Context, q ListQuery) ([]Info, Cursor, error) {
	page, err := m.store.List(ctx, q)
	if err != nil {
		return nil, Cursor{}, unavailable(err)
	}
	now := m.Now()
	infos := make([]Info, len(page.Records))
	for i, rec := range page.Records {
		infos[i] = m.touches.ahead(rec).Info(now)
	}
	return infos, page.Next, nil
}

// Revoke ends sessions and returns how many were live. When it returns nil, no
// lookup that starts later is granted on this node; on others within their
// staleness. An error of code CodeStoreUnavailable means maybe: nothing is known,
// and this node has forgotten the sessions anyway.
//
// Set exactly one selector of r, and By ("system" unless set) and Reason. The audit
// event is made from them; of r.Event only IP is used.
func (m *Manager) Revoke(ctx context.Context, r Revocation) (int, error) {
	if r.By == "" {
		r.By = "system"
	}
	action, err := r.action()
	if err != nil {
		return 0, err
	}
	r.Event = audit.Event{Time: m.Now(), Action: action, Actor: r.By, Provider: r.Provider, Subject: r.Subject,
		IP: r.Event.IP, Outcome: audit.Done, Reason: r.Reason}
	if !r.ID.IsZero() {
		r.Event.Session = r.ID.String()
		r.Event.Provider, r.Event.Subject = r.Only.Provider, r.Only.Subject
	}
	result, err := m.revoke(ctx, r)
	return result.Count, err
}

// action names the revocation, and refuses one with no selector or several.
func (r *Revocation) action() (audit.Action, error) {
	var actions []audit.Action
	if !r.ID.IsZero() {
		actions = append(actions, audit.Revoke)
	}
	if r.Subject != "" {
		actions = append(actions, audit.RevokeIdentity)
	}
	if r.SID != "" {
		actions = append(actions, audit.RevokeSID)
	}
	if r.All {
		actions = append(actions, audit.RevokeAll)
	}
	f := fields{}
	if len(actions) != 1 {
		f.add("selector", "exactly one of id, subject, sid and all is required")
	}
	if r.SID != "" && r.Provider == "" {
		f.add("provider", "is required with sid")
	}
	if !r.Except.IsZero() && r.Subject == "" {
		f.add("except", "goes with subject only")
	}
	if hasControl(r.By) || hasControl(r.Reason) {
		f.add("by", "actor and reason hold no control characters")
	}
	if err := f.error("revocation"); err != nil {
		return "", err
	}
	return actions[0], nil
}

// revoke ends sessions and forgets them here, whatever the store answers.
func (m *Manager) revoke(ctx context.Context, r Revocation) (RevokeResult, error) {
	result, err := m.store.Revoke(ctx, r)
	if m.cache != nil {
		switch {
		case !r.ID.IsZero():
			m.cache.Drop(r.ID)
		case err != nil || r.All:
			m.cache.Clear()
		default:
			m.cache.Drop(result.IDs...)
		}
	}
	if err != nil && r.ID.IsZero() || r.All {
		m.doubt()
	}
	if err != nil {
		return RevokeResult{}, unavailable(err)
	}
	m.counters.revoked.Add(uint64(result.Count))
	return result, nil
}

// doubt has the tokens of stateless sessions judged by their rows until it is known
// again which have changed: some have ended that were not named, or may have although
// the answer was lost.
func (m *Manager) doubt() {
	if m.ledger != nil {
		m.ledger.Doubt()
	}
}

// Sessions lists the live sessions of the visitor's own identity, newest first.
// An anonymous session knows only itself.
func (s Session) Sessions(ctx context.Context) ([]Info, error) {
	if !s.Live() {
		return nil, ErrNoSession
	}
	own := s.Identity()
	if own.IsZero() {
		return []Info{s.Info()}, nil
	}
	var all []Info
	q := ListQuery{Provider: own.Provider, Subject: own.Subject, Limit: MaxListLimit}
	for {
		infos, next, err := s.m.List(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, infos...)
		if next.IsZero() {
			return all, nil
		}
		q.After = next
	}
}

// RevokeOne ends one of the visitor's own sessions. One of another identity is
// CodeNoSuchSession, as if it did not exist.
func (s Session) RevokeOne(ctx context.Context, id ID) error {
	if !s.Live() {
		return ErrNoSession
	}
	own := s.Identity()
	if own.IsZero() && id != s.ID() {
		return NewError(CodeNoSuchSession, "no such session", nil)
	}
	_, err := s.m.Revoke(ctx, Revocation{ID: id, Only: own, By: "user", Reason: "revoked by user", Event: audit.Event{IP: s.IP()}})
	return err
}

// RevokeOthers ends all sessions of the visitor's identity but this one, and
// returns how many were live.
func (s Session) RevokeOthers(ctx context.Context) (int, error) {
	if !s.Live() {
		return 0, ErrNoSession
	}
	own := s.Identity()
	if own.IsZero() {
		return 0, nil
	}
	return s.m.Revoke(ctx, Revocation{Provider: own.Provider, Subject: own.Subject, Except: s.ID(),
		By: "user", Reason: "revoked by user", Event: audit.Event{IP: s.IP()}})
}

// Purge removes what ended before the retention, and returns how many sessions went.
func (m *Manager) Purge(ctx context.Context, p Purge) (int, error) {
	if p.Event.Action == "" {
		p.Event = audit.Event{Time: m.Now(), Action: audit.Purge, Actor: "system", Outcome: audit.Done, Reason: "retention"}
		if !p.Erase.IsZero() {
			p.Event.Reason = "erasure"
		}
	}
	if !p.Erase.IsZero() && m.cache != nil {
		defer m.cache.Clear()
		defer m.doubt()
	}
	n, err := m.store.Purge(ctx, p)
	if err != nil {
		return n, unavailable(err)
	}
	return n, nil
}
