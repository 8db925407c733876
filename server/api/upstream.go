package api

import (
	"context"
	"encoding/json"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/upstream"
)

// LookupUpstream is the body of POST /v1/upstream/lookup.
type LookupUpstream struct {
	Token *string `json:"token" doc:"As the upstream issued it"`
}

// InvalidateUpstream is the body of POST /v1/upstream/invalidate: one of the two.
type InvalidateUpstream struct {
	Token *string `json:"token,omitempty" doc:"At logout: this session is refused from now on"`
	User  *string `json:"user,omitempty" maxLength:"512" doc:"After a change of a user's: what is known of his sessions is asked anew"`
}

// UpstreamUser answers POST /v1/upstream/lookup.
type UpstreamUser struct {
	User User `json:"user"`
}

// User is what the upstream says of a session's user. All members are always there:
// unknown strings are "", absent times null.
type User struct {
	ID            string          `json:"id" doc:"The upstream's lasting name for the user"`
	Email         string          `json:"email"`
	Name          string          `json:"name"`
	EmailVerified bool            `json:"email_verified"`
	Tier          string          `json:"tier" doc:"Plan or rank, in the upstream's words"`
	Claims        json.RawMessage `json:"claims" doc:"An object of what else was asked for"`
	CreatedAt     *Timestamp      `json:"created_at" format:"date-time"`
	UpdatedAt     *Timestamp      `json:"updated_at" format:"date-time"`
	ExpiresAt     *Timestamp      `json:"expires_at" format:"date-time" doc:"When the session ends, where the upstream says so"`
	CheckedAt     *Timestamp      `json:"checked_at" format:"date-time" doc:"When the upstream was asked"`
	Stale         bool            `json:"stale" doc:"The upstream gave no answer, and an older one counts as the operator allowed"`
}

// userOf is the API's form of a user.
func userOf(u upstream.User) User {
	claims := json.RawMessage(u.Claims)
	if u.Claims == "" {
		claims = json.RawMessage("{}")
	}
	return User{ID: u.ID, Email: u.Email, Name: u.Name, EmailVerified: u.EmailVerified, Tier: u.Tier, Claims: claims,
		CreatedAt: timestamp(u.CreatedAt), UpdatedAt: timestamp(u.UpdatedAt), ExpiresAt: timestamp(u.ExpiresAt),
		CheckedAt: timestamp(u.CheckedAt), Stale: u.Stale}
}

const upstreamPath = "/v1/upstream/"

var errNoUpstream = latchkey.NewError(latchkey.CodeNotFound, "no upstream is configured; --upstream-url turns this route on", nil)

// upstreamRoutes are the validated-session cache for programs in other languages.
// The token is in a body both times: URLs end up in logs.
func (a *API) upstreamRoutes() []Route {
	return []Route{
		define(Route{Method: "POST", Path: upstreamPath + "lookup", Who: Admin, Body: JSON, Status: 200, Name: "lookupUpstream",
			Summary: "Find the user behind a token of the upstream's, cached",
			Codes:   []latchkey.Code{latchkey.CodeInvalidSession}}, a.lookupUpstream),
		define(Route{Method: "POST", Path: upstreamPath + "invalidate", Who: Admin, Body: JSON, Status: 204, Name: "invalidateUpstream",
			Summary: "Forget what is cached of a token, or of all sessions of a user"}, a.invalidateUpstream),
	}
}

func (a *API) lookupUpstream(ctx context.Context, _ *Call, in *LookupUpstream) (*UpstreamUser, error) {
	if a.cfg.Upstream == nil {
		return nil, errNoUpstream
	}
	if in.Token == nil {
		return nil, wrong("token", "is required: the token that the upstream issued")
	}
	u, err := a.cfg.Upstream.Lookup(ctx, *in.Token)
	if err != nil {
		return nil, err
	}
	return &UpstreamUser{userOf(u)}, nil
}

func (a *API) invalidateUpstream(ctx context.Context, _ *Call, in *InvalidateUpstream) (*None, error) {
	switch {
	case a.cfg.Upstream == nil:
		return nil, errNoUpstream
	case (in.Token == nil) == (in.User == nil):
		return nil, wrong("token", "or user is required, and only one of them")
	case in.Token != nil:
		return nil, a.cfg.Upstream.InvalidateToken(ctx, *in.Token)
	case *in.User == "" || len(*in.User) > upstream.MaxText:
		return nil, wrong("user", "must have 1 to 512 bytes")
	}
	return nil, a.cfg.Upstream.InvalidateUser(ctx, *in.User)
}
