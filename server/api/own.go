package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

var passiveParam = Param{Name: "passive", Doc: "1: do not count as activity", Enum: []string{"0", "1"}}

// ownRoutes are the routes that take a session token. They touch the cookie for
// a new token only, and /logout deletes it.
func (a *API) ownRoutes() []Route {
	return []Route{
		define(Route{Method: "GET", Path: "/v1/me", Who: Me, Status: 200, Name: "me", Query: []Param{passiveParam},
			Summary: "Show one's session and its data"}, a.me),
		define(Route{Method: "GET", Path: "/v1/me/sessions", Who: Me, Status: 200, Name: "listOwnSessions",
			Summary: "List one's live sessions, newest first"}, a.ownSessions),
		define(Route{Method: "DELETE", Path: "/v1/me/sessions/{id}", Who: Me, Status: 204, Name: "revokeOwnSession",
			Summary: "End one of one's sessions; the cookie stays as it is", Codes: []latchkey.Code{latchkey.CodeNoSuchSession}}, a.revokeOwn),
		define(Route{Method: "POST", Path: "/v1/me/revoke-others", Who: Me, Status: 200, Name: "revokeOtherSessions",
			Summary: "End all of one's sessions but this one"}, a.revokeOthers),
		define(Route{Method: "POST", Path: a.cfg.Prefix + "/logout", Who: Me, NoSession: true, Status: 204, OtherStatus: 303, Name: "logout",
			Summary: "End one's session and delete the cookie; a navigation is sent to the sign-in page"}, a.logout),
	}
}

func (a *API) me(_ context.Context, c *Call, _ *None) (*SessionData, error) {
	switch c.Query["passive"] {
	case "", "0", "1":
		return withData(c.Session)
	}
	return nil, wrong("passive", "must be 1 or 0")
}

func (a *API) ownSessions(ctx context.Context, c *Call, _ *None) (*OwnSessions, error) {
	infos, err := c.Session.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	infos = withOwn(infos, c.Session.Info())
	out := &OwnSessions{Sessions: make([]OwnSession, len(infos))}
	for i, info := range infos {
		out.Sessions[i] = OwnSession{Session: SessionOf(info), Current: info.ID == c.Session.ID()}
	}
	return out, nil
}

// withOwn puts a visitor's session into the list where it is missing. The list is
// read from the store, which may already have ended a session that still stands
// within the staleness; the visitor is never told of a list without the place they
// are at.
func withOwn(infos []latchkey.Info, own latchkey.Info) []latchkey.Info {
	if slices.ContainsFunc(infos, func(i latchkey.Info) bool { return i.ID == own.ID }) {
		return infos
	}
	at := slices.IndexFunc(infos, func(i latchkey.Info) bool { return i.CreatedAt.Before(own.CreatedAt) })
	if at < 0 {
		at = len(infos)
	}
	return slices.Insert(infos, at, own)
}

const ownReason = "revoked by user"

func (a *API) revokeOwn(ctx context.Context, c *Call, _ *None) (*None, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	r := latchkey.Revocation{ID: id, Only: c.Session.Identity(), By: "user", Reason: ownReason, Event: audit.Event{IP: c.Session.IP()}}
	if r.Only.IsZero() && id != c.Session.ID() {
		return nil, errUnknownID // an anonymous session knows only itself
	}
	_, err = a.cfg.Manager.Revoke(ctx, r)
	return nil, err
}

func (a *API) revokeOthers(ctx context.Context, c *Call, _ *None) (*Revoked, error) {
	n, err := c.Session.RevokeOthers(ctx)
	if err != nil {
		return nil, err
	}
	return &Revoked{n}, nil
}

func (a *API) logout(ctx context.Context, c *Call, _ *None) (*None, error) {
	onward := ""
	if isNavigation(c.HTTP) && a.cfg.LogoutTarget != nil {
		onward = a.cfg.LogoutTarget(c.HTTP, c.Session) // what it needs of the session is gone afterwards
	}
	if err := c.Session.End(ctx); err != nil {
		return nil, err
	}
	if isNavigation(c.HTTP) {
		c.Status = http.StatusSeeOther
		c.Header.Set("Location", cmp.Or(onward, a.cfg.Prefix+"/login"))
	}
	return nil, nil
}

// isNavigation reports whether a browser is to show the answer: by Fetch Metadata,
// or for browsers without it by what they accept.
func isNavigation(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(strings.Join(r.Header["Accept"], ","), "text/html")
}
