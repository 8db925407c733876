package api

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/keyring"
)

var (
	limitParam  = Param{Name: "limit", Doc: "Length of a page, 50 unless given", Max: latchkey.MaxListLimit}
	cursorParam = Param{Name: "cursor", Doc: "next_cursor of the page before"}
)

// adminRoutes are the routes that take an admin key.
func (a *API) adminRoutes() []Route {
	const sessions, one = "/v1/sessions", "/v1/sessions/{id}"
	gone := []latchkey.Code{latchkey.CodeNoSuchSession}
	token := []latchkey.Code{latchkey.CodeInvalidSession}
	return []Route{
		define(Route{Method: "POST", Path: sessions, Who: Admin, Body: JSON, Status: 201, Name: "createSession",
			Summary: "Make a session",
			Codes:   []latchkey.Code{latchkey.CodeLimitReached, latchkey.CodeConflict, latchkey.CodeDenied, latchkey.CodeDataTooLarge}}, a.create),
		define(Route{Method: "POST", Path: sessions + "/lookup", Who: Admin, Body: JSON, Status: 200, Name: "lookupSession",
			Summary: "Find the session behind a token; never rotates", Codes: token}, a.lookup),
		define(Route{Method: "POST", Path: sessions + "/renew", Who: Admin, Body: JSON, Status: 200, Name: "renewSession",
			Summary: "Draw a new token, at re-authentication or a change of privilege", Codes: append(token, latchkey.CodeConflict)}, a.renew),
		define(Route{Method: "GET", Path: sessions, Who: Admin, Status: 200, Name: "listSessions",
			Summary: "List sessions, newest first",
			Query: []Param{{Name: "subject", Doc: "Only this subject's; everybody's without"}, {Name: "provider", Doc: "Only this provider's"},
				{Name: "state", Doc: "live unless given", Enum: []string{"live", "ended", "all"}}, limitParam, cursorParam}}, a.list),
		define(Route{Method: "DELETE", Path: sessions, Who: Admin, Status: 200, Name: "revokeSessions",
			Summary: "End sessions: by subject (with provider, except), by provider and sid, or all of them",
			Query: []Param{{Name: "subject", Doc: "Whose"}, {Name: "provider", Doc: "The subject's or the sid's"}, {Name: "except", Doc: "A session ID to leave alone"},
				{Name: "sid", Doc: "The provider's own session"}, {Name: "all", Doc: "Every session", Enum: []string{"true"}}}}, a.revoke),
		define(Route{Method: "GET", Path: one, Who: Admin, Status: 200, Name: "getSession",
			Summary: "Show a session, an ended one too", Codes: gone}, a.get),
		define(Route{Method: "PATCH", Path: one, Who: Admin, Body: JSON, Status: 200, Name: "patchSession",
			Summary: "Change session data, with the session's token",
			Codes: []latchkey.Code{latchkey.CodeNoSuchSession, latchkey.CodeInvalidSession, latchkey.CodeTokenRequired,
				latchkey.CodeDataTooLarge, latchkey.CodeConflict}}, a.patch),
		define(Route{Method: "DELETE", Path: one, Who: Admin, Status: 204, Name: "revokeSession",
			Summary: "End a session; an ended one is no error", Codes: gone}, a.revokeOne),
		define(Route{Method: "GET", Path: "/v1/audit", Who: Admin, Status: 200, Name: "listEvents",
			Summary: "Read the audit trail, newest first",
			Query: []Param{{Name: "subject", Doc: "Only about this subject"}, {Name: "session", Doc: "Only about this session ID"},
				limitParam, cursorParam}}, a.events),
		define(Route{Method: "POST", Path: "/v1/introspect", Who: Admin, Body: Form, Status: 200, Name: "introspect",
			Summary: "Token introspection (RFC 7662); does not count as activity"}, a.introspect),
		define(Route{Method: "POST", Path: "/v1/keys/reload", Who: Admin, Status: 204, Name: "reloadKeys",
			Summary: "Read the keyring again"}, a.reload),
	}
}

func (a *API) create(ctx context.Context, c *Call, in *CreateSession) (*Issued, error) {
	signIn, err := in.SignIn(c.Actor)
	if err != nil {
		return nil, err
	}
	issued, err := a.cfg.Manager.Issue(ctx, signIn)
	if err != nil {
		return nil, aboutData(err, "data")
	}
	return a.issued(issued), nil
}

// ReadCreateSession reads the body of POST /v1/sessions as strictly as the route does,
// for programs that take such bodies by another way. A body of more than 1 MiB is
// CodeBodyTooLarge, one that is no JSON object CodeMalformed, wrong members are
// CodeInvalidRequest with every one of them. Texts of errors repeat nothing of the body
// but short names of members.
func ReadCreateSession(body []byte) (*CreateSession, error) {
	if len(body) > maxBody {
		return nil, errTooLarge
	}
	in := new(CreateSession)
	if err := decodeJSON(body, in); err != nil {
		return nil, err
	}
	return in, nil
}

// SignIn is the session to make, for [latchkey.Manager.Issue]; actor is who the audit
// trail says it was. What the library does not judge is judged here: the error is of
// code CodeInvalidRequest.
func (in *CreateSession) SignIn(actor string) (latchkey.SignIn, error) {
	var p problems
	if in.IP != "" {
		if _, err := netip.ParseAddr(in.IP); err != nil {
			p.add("ip", "must be an IP address")
		}
	}
	if anyReserved(in.Data) {
		p.add("data", reservedDetail)
	}
	if err := p.error(); err != nil {
		return latchkey.SignIn{}, err
	}
	provider := in.Provider
	if provider == "" {
		provider = "api"
	}
	return latchkey.SignIn{Provider: provider, Subject: in.Subject, Email: in.Email,
		Name: in.Name, Roles: in.Roles, Methods: in.Methods, Assurance: in.Assurance, AuthTime: in.AuthTime.time(), SID: in.SID,
		IP: in.IP, UserAgent: in.UserAgent, Data: in.Data, Idle: seconds(in.IdleSeconds), Lifetime: seconds(in.TTLSeconds),
		By: actor}, nil
}

// CreateError is an error of [latchkey.Manager.Issue] in the words of POST /v1/sessions:
// wrong fields are members of its body.
func CreateError(err error) error { return inFields(aboutData(err, "data")) }

// aboutData turns a refusal of session data, which names the value, into one of the
// member of the request that the value came in: names are the program's own, and
// could be those of other members.
func aboutData(err error, member string) error {
	var e *latchkey.Error
	if !errors.As(err, &e) || e.Code != latchkey.CodeInvalidRequest || e.Message != "latchkey: session data" {
		return err
	}
	var p problems
	for _, f := range e.Fields {
		p.add(member, f.Detail)
	}
	return p.error()
}

// time is t, or the zero time for null.
func (t *Timestamp) time() time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.Time(*t)
}

// seconds is a number of seconds as a duration, 0 when absent. What is out of all
// bounds, 0 included, becomes a duration that is refused further in.
func seconds(n *int64) time.Duration {
	switch {
	case n == nil:
		return 0
	case *n <= 0:
		return -1
	case *n > math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return time.Duration(*n) * time.Second
}

func (a *API) issued(i latchkey.Issued) *Issued {
	return &Issued{Session: SessionOf(i.Record.Info(a.cfg.Manager.Now())), Token: i.Token, SetCookie: i.SetCookie}
}

const tokenDetail = "is required: the session's token"

func (a *API) lookup(ctx context.Context, _ *Call, in *LookupSession) (*SessionData, error) {
	if in.Token == nil {
		return nil, wrong("token", tokenDetail)
	}
	s, err := a.cfg.Manager.Lookup(ctx, latchkey.Lookup{Token: *in.Token, Passive: in.Passive})
	if err != nil {
		return nil, err
	}
	return withData(s)
}

func withData(s latchkey.Session) (*SessionData, error) {
	data, err := s.Data()
	if err == nil {
		data, err = withoutReserved(data)
	}
	if err != nil {
		return nil, err
	}
	return &SessionData{Session: SessionOf(s.Info()), Data: data}, nil
}

func (a *API) renew(ctx context.Context, c *Call, in *RenewSession) (*Issued, error) {
	if in.Token == nil {
		return nil, wrong("token", tokenDetail)
	}
	if in.AuthTime.time().After(a.cfg.Manager.Now().Add(time.Minute)) {
		return nil, wrong("auth_time", "is in the future")
	}
	s, err := a.cfg.Manager.Lookup(ctx, latchkey.Lookup{Token: *in.Token, Passive: true, AskStore: true})
	if err != nil {
		return nil, err
	}
	issued, err := s.Renew(ctx, latchkey.Renewal{Roles: in.Roles, Methods: in.Methods, Assurance: in.Assurance,
		AuthTime: in.AuthTime.time(), By: c.Actor})
	if err != nil {
		return nil, err
	}
	return a.issued(issued), nil
}

// id is the session ID in the path. One that could not be any session's is as unknown as any other.
func (c *Call) id() (latchkey.ID, error) {
	text := c.HTTP.PathValue("id")
	if detail := textDetail(text); detail != "" {
		return latchkey.ID{}, wrong("id", detail)
	}
	id, err := latchkey.ParseID(text)
	if err != nil {
		return latchkey.ID{}, errUnknownID
	}
	return id, nil
}

var errUnknownID = latchkey.NewError(latchkey.CodeNoSuchSession, "no session has this ID", nil)

func (a *API) get(ctx context.Context, c *Call, _ *None) (*OneSession, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	info, err := a.cfg.Manager.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return &OneSession{SessionOf(info)}, nil
}

func (a *API) patch(ctx context.Context, c *Call, in *PatchSession) (*SessionData, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	if in.Token == nil || *in.Token == "" {
		return nil, latchkey.NewError(latchkey.CodeTokenRequired, "the session's token is required: its data opens only with it", nil)
	}
	for _, name := range in.Delete {
		if _, both := in.Set[name]; both {
			return nil, wrong("delete", "a name stands in set too")
		}
		if isReserved(name) {
			return nil, wrong("delete", reservedDetail)
		}
	}
	if anyReserved(in.Set) {
		return nil, wrong("set", reservedDetail)
	}
	s, err := a.cfg.Manager.Lookup(ctx, latchkey.Lookup{Token: *in.Token})
	if err != nil {
		return nil, err
	}
	if s.ID() != id {
		return nil, latchkey.NewError(latchkey.CodeNoSuchSession, "the token is another session's", nil)
	}
	// What is replaced goes first, so that only the result is measured against the cap.
	for name := range in.Set {
		if err := s.Delete(name); err != nil {
			return nil, aboutData(err, "set")
		}
	}
	for _, name := range in.Delete {
		if err := s.Delete(name); err != nil {
			return nil, aboutData(err, "delete")
		}
	}
	for name, raw := range in.Set {
		if err := s.SetJSON(name, raw); err != nil {
			return nil, aboutData(err, "set")
		}
	}
	if err := s.Commit(ctx); err != nil {
		return nil, err
	}
	return withData(s) // as committed, with what others' requests wrote until then
}

func (a *API) revokeOne(ctx context.Context, c *Call, _ *None) (*None, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	_, err = a.cfg.Manager.Revoke(ctx, latchkey.Revocation{ID: id, By: c.Actor, Reason: adminReason})
	return nil, err
}

// adminReason is kept on sessions that an admin ended.
const adminReason = "revoked by admin"

func (a *API) revoke(ctx context.Context, c *Call, _ *None) (*Revoked, error) {
	var p problems
	for _, name := range slices.Sorted(maps.Keys(c.Query)) {
		if c.Query[name] == "" {
			// An unset variable in a script must not widen what is ended.
			p.add(name, "is empty")
		}
	}
	subject, bySubject := c.Query["subject"]
	provider, hasProvider := c.Query["provider"]
	sid, bySID := c.Query["sid"]
	except, hasExcept := c.Query["except"]
	all, byAll := c.Query["all"]
	r := latchkey.Revocation{Subject: subject, Provider: provider, AnyProvider: bySubject && !hasProvider, SID: sid, All: byAll,
		By: c.Actor, Reason: adminReason}
	selectors := 0
	for _, given := range []bool{bySubject, bySID, byAll} {
		if given {
			selectors++
		}
	}
	if selectors != 1 {
		p.add("subject", "exactly one of subject, sid (with provider) and all=true is required")
	}
	if bySID && !hasProvider {
		p.add("provider", "is required with sid")
	}
	if byAll && all != "true" {
		p.add("all", "must be true")
	}
	if byAll && hasProvider {
		p.add("provider", "does not go with all")
	}
	if hasExcept {
		var err error
		if r.Except, err = latchkey.ParseID(except); err != nil {
			p.add("except", "must be a session ID")
		}
		if !bySubject {
			p.add("except", "goes with subject only")
		}
	}
	if err := p.error(); err != nil {
		return nil, err
	}
	n, err := a.cfg.Manager.Revoke(ctx, r)
	if err != nil {
		return nil, err
	}
	return &Revoked{n}, nil
}

func (a *API) introspect(ctx context.Context, _ *Call, in *IntrospectToken) (*Introspection, error) {
	if in.Token == nil {
		return nil, wrong("token", "is required (RFC 7662 §2.1)")
	}
	s, err := a.cfg.Manager.Lookup(ctx, latchkey.Lookup{Token: *in.Token, Passive: true})
	if errors.Is(err, latchkey.ErrInvalidSession) {
		return &Introspection{}, nil
	}
	if err != nil {
		return nil, err
	}
	info := s.Info()
	out := &Introspection{Active: true, TokenType: "Bearer", Subject: info.Subject, Issuer: info.Provider,
		ExpiresAt: info.ExpiresAt.Unix(), IssuedAt: info.CreatedAt.Unix(), ID: info.ID.String(), SID: info.SID,
		Methods: info.Methods, Assurance: info.Assurance, Email: info.Email, Name: info.Name, Roles: info.Roles}
	if !info.AuthTime.IsZero() {
		out.AuthTime = info.AuthTime.Unix()
	}
	return out, nil
}

// reload reads the keyring again. What is wrong with it is told: errors of package
// keyring are made to be shown and hold no key material.
func (a *API) reload(ctx context.Context, _ *Call, _ *None) (*None, error) {
	_, err := a.cfg.Keys.Reload()
	if err == nil {
		return nil, nil
	}
	a.cfg.Logger.LogAttrs(ctx, slog.LevelError, "the keyring was not read again", slog.String("error", err.Error()))
	var e *keyring.Error
	if !errors.As(err, &e) {
		return nil, err
	}
	detail := strings.Join(e.Problems, "; ")
	if e.Kind == keyring.KindUnsafe { // the problem tells the path, which is the operator's to know
		detail = "the keyring can be read by other users, or is no regular file; make it a file of mode 0600 of the daemon's own user"
	}
	return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "the keyring was not read again; the keys stay as they were",
		Fields: []latchkey.FieldError{{Field: "keys", Detail: detail}}}
}

func (a *API) events(ctx context.Context, c *Call, _ *None) (*EventPage, error) {
	trail, ok := a.cfg.Store.(audit.Reader)
	if !ok {
		return nil, latchkey.NewError(latchkey.CodeNotFound, "this store keeps no audit trail", nil)
	}
	q := audit.Query{Subject: c.Query["subject"], Session: c.Query["session"]}
	var p problems
	if q.Limit, ok = parseLimit(c.Query["limit"], audit.MaxLimit); !ok {
		p.add("limit", limitDetail)
	}
	if text := c.Query["cursor"]; text != "" {
		if q.After, ok = parseEventCursor(text); !ok {
			p.add("cursor", cursorDetail)
		}
	}
	if q.Session != "" {
		if _, err := latchkey.ParseID(q.Session); err != nil {
			p.add("session", "must be a session ID")
		}
	}
	if err := p.error(); err != nil {
		return nil, err
	}
	page, err := trail.Audit(ctx, q)
	if err != nil {
		return nil, storeError(err)
	}
	out := &EventPage{Events: make([]Event, len(page.Events)), NextCursor: eventCursor(page.Next)}
	for i, e := range page.Events {
		out.Events[i] = eventOf(e)
	}
	return out, nil
}

// storeError is an error of a store that was asked directly: any that carries no
// code of its own means that nothing is known.
func storeError(err error) error {
	var e *latchkey.Error
	if errors.As(err, &e) {
		return err
	}
	return latchkey.NewError(latchkey.CodeStoreUnavailable, "the session store gave no answer", err)
}

// healthRoutes tell a supervisor how the daemon is.
func (a *API) healthRoutes() []Route {
	return []Route{
		define(Route{Method: "GET", Path: "/healthz", Status: http.StatusOK, Name: "health", Summary: "The daemon runs"},
			func(context.Context, *Call, *None) (*Health, error) { return &Health{"ok"}, nil }),
		define(Route{Method: "GET", Path: "/readyz", Status: http.StatusOK, Name: "ready",
			Summary: "The daemon can serve: the store answers and a key is active"}, a.ready),
	}
}

// readyTimeout bounds the store read of /readyz, which supervisors ask often.
const readyTimeout = 2 * time.Second

// ready reads a session that does not exist: the cheapest question whose answer proves the store.
func (a *API) ready(ctx context.Context, _ *Call, _ *None) (*Health, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	none := latchkey.ID{6: 0x70, 8: 0x80, 15: 1}
	if _, err := a.cfg.Store.Get(ctx, none); err != nil && !errors.Is(err, latchkey.ErrNoSuchSession) {
		return nil, storeError(err)
	}
	if _, ok := a.cfg.Keys.Active(a.cfg.Manager.Now()); !ok {
		return nil, latchkey.NewError(latchkey.CodeStoreUnavailable, "no key is active", nil)
	}
	return &Health{"ok"}, nil
}
