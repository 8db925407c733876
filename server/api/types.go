package api

import (
	"encoding/json"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// Timestamp is a time as the API writes it: RFC 3339, UTC, with exactly six
// fraction digits. It reads any RFC 3339 time from 1970 on.
type Timestamp time.Time

const timeLayout = "2006-01-02T15:04:05.000000Z"

// MarshalText implements [encoding.TextMarshaler].
func (t Timestamp) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, timeLayout), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (t *Timestamp) UnmarshalText(text []byte) error {
	v, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil || v.UnixMicro() <= 0 {
		return errTime
	}
	*t = Timestamp(v.UTC().Truncate(time.Microsecond))
	return nil
}

// timestamp is a time as a member that may be null.
func timestamp(t time.Time) *Timestamp {
	if t.IsZero() {
		return nil
	}
	return (*Timestamp)(&t)
}

// Session is what the API tells of a session. All members are always there:
// unknown strings are "", lists [], absent times and reasons null.
type Session struct {
	ID            string     `json:"id" format:"uuid" doc:"Public handle (UUIDv7); gives no access"`
	Subject       string     `json:"subject" doc:"Whom the session is for, unique within the provider; empty when anonymous"`
	Provider      string     `json:"provider" doc:"Who vouches for the subject"`
	Email         string     `json:"email"`
	Name          string     `json:"name"`
	Roles         []string   `json:"roles" nullable:"false"`
	Methods       []string   `json:"methods" nullable:"false" doc:"Authentication methods (amr, RFC 8176)"`
	Assurance     string     `json:"assurance" doc:"Authentication context class (acr)"`
	AuthTime      *Timestamp `json:"auth_time" format:"date-time" doc:"When the user last authenticated"`
	SID           string     `json:"sid" doc:"The provider's own session"`
	State         string     `json:"state" enum:"live,idle,expired,revoked"`
	CreatedAt     *Timestamp `json:"created_at" format:"date-time"`
	LastSeenAt    *Timestamp `json:"last_seen_at" format:"date-time" doc:"Up to one touch interval behind"`
	IdleExpiresAt *Timestamp `json:"idle_expires_at" format:"date-time" doc:"When the session ends if it is not seen again; expires_at may come first"`
	ExpiresAt     *Timestamp `json:"expires_at" format:"date-time" doc:"The absolute limit"`
	RevokedAt     *Timestamp `json:"revoked_at" format:"date-time"`
	RevokedReason *string    `json:"revoked_reason"`
	IP            string     `json:"ip" doc:"As far as the privacy setting keeps it"`
	UserAgent     string     `json:"user_agent" doc:"As far as the privacy setting keeps it"`
	Version       uint64     `json:"version" doc:"1 at creation, raised by every change"`
}

// SessionOf is the API's form of what is known of a session.
func SessionOf(in latchkey.Info) Session {
	s := Session{ID: in.ID.String(), Subject: in.Subject, Provider: in.Provider, Email: in.Email, Name: in.Name,
		Roles: list(in.Roles), Methods: list(in.Methods), Assurance: in.Assurance, AuthTime: timestamp(in.AuthTime),
		SID: in.SID, State: string(in.State), CreatedAt: timestamp(in.CreatedAt), LastSeenAt: timestamp(in.LastSeenAt),
		IdleExpiresAt: timestamp(in.IdleExpiresAt), ExpiresAt: timestamp(in.ExpiresAt), RevokedAt: timestamp(in.RevokedAt),
		IP: in.IP, UserAgent: in.UserAgent, Version: in.Version}
	if in.RevokedReason != "" {
		s.RevokedReason = &in.RevokedReason
	}
	return s
}

// sessionsOf is SessionOf for a page.
func sessionsOf(infos []latchkey.Info) []Session {
	out := make([]Session, len(infos))
	for i, info := range infos {
		out[i] = SessionOf(info)
	}
	return out
}

// list is l with [] in place of null.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

// None is the body of requests and answers that have none.
type None struct{}

// CreateSession is the body of POST /v1/sessions.
type CreateSession struct {
	Subject     string                     `json:"subject" minLength:"1" maxLength:"255"`
	Provider    string                     `json:"provider,omitempty" maxLength:"255" default:"api"`
	Email       string                     `json:"email,omitempty" maxLength:"320"`
	Name        string                     `json:"name,omitempty" maxLength:"512"`
	Roles       []string                   `json:"roles,omitempty" maxItems:"64" doc:"Without commas"`
	Methods     []string                   `json:"methods,omitempty" maxItems:"64" doc:"Without commas (amr, RFC 8176)"`
	Assurance   string                     `json:"assurance,omitempty" maxLength:"255"`
	AuthTime    *Timestamp                 `json:"auth_time,omitempty" format:"date-time" doc:"Now unless given; not in the future"`
	SID         string                     `json:"sid,omitempty" maxLength:"255" doc:"The provider's own session"`
	IP          string                     `json:"ip,omitempty" doc:"The client's address"`
	UserAgent   string                     `json:"user_agent,omitempty"`
	Data        map[string]json.RawMessage `json:"data,omitempty" doc:"Session data, kept sealed under the token"`
	TTLSeconds  *int64                     `json:"ttl_seconds,omitempty" minimum:"1" doc:"The absolute limit; at most the configured one"`
	IdleSeconds *int64                     `json:"idle_seconds,omitempty" minimum:"1" doc:"The idle limit; at most the configured one"`
}

// LookupSession is the body of POST /v1/sessions/lookup.
type LookupSession struct {
	Token   *string `json:"token"`
	Passive bool    `json:"passive,omitempty" doc:"Do not count as activity"`
}

// RenewSession is the body of POST /v1/sessions/renew.
type RenewSession struct {
	Token     *string    `json:"token"`
	Roles     []string   `json:"roles,omitempty" maxItems:"64" doc:"Replaces the roles; absent keeps them"`
	Methods   []string   `json:"methods,omitempty" maxItems:"64" doc:"Replaces the methods; absent keeps them"`
	Assurance string     `json:"assurance,omitempty" maxLength:"255" doc:"Replaces the assurance; absent keeps it"`
	AuthTime  *Timestamp `json:"auth_time,omitempty" format:"date-time" doc:"When later than the present one, both limits start anew"`
}

// PatchSession is the body of PATCH /v1/sessions/{id}.
type PatchSession struct {
	Token  *string                    `json:"token" doc:"Session data opens only with it"`
	Set    map[string]json.RawMessage `json:"set,omitempty"`
	Delete []string                   `json:"delete,omitempty"`
}

// IntrospectToken is the form of POST /v1/introspect (RFC 7662 §2.1).
type IntrospectToken struct {
	Token *string `json:"token"`
}

// Issued answers a creation and a renewal. Token and SetCookie are secrets.
type Issued struct {
	Session   Session `json:"session"`
	Token     string  `json:"token"`
	SetCookie string  `json:"set_cookie" doc:"The whole value of a Set-Cookie header"`
}

// OneSession is a session without its data.
type OneSession struct {
	Session Session `json:"session"`
}

// SessionData is a session with its data.
type SessionData struct {
	Session Session         `json:"session"`
	Data    json.RawMessage `json:"data" doc:"An object"`
}

// SessionPage is a page of sessions, newest first.
type SessionPage struct {
	Sessions   []Session `json:"sessions" nullable:"false"`
	NextCursor *string   `json:"next_cursor" doc:"Continues the list; null at the end. A page may be shorter than its limit before that"`
}

// Revoked tells how many live sessions were ended.
type Revoked struct {
	Revoked int `json:"revoked"`
}

// OwnSession is one of the visitor's sessions.
type OwnSession struct {
	Session
	Current bool `json:"current" doc:"The session that asks"`
}

// OwnSessions are the visitor's live sessions, newest first.
type OwnSessions struct {
	Sessions []OwnSession `json:"sessions" nullable:"false"`
}

// Event is one entry of the audit trail.
type Event struct {
	Seq      uint64     `json:"seq" doc:"Ascending, not gap-free"`
	Time     *Timestamp `json:"time" format:"date-time"`
	Action   string     `json:"action"`
	Actor    string     `json:"actor" doc:"user, admin:NAME, cli:NAME, provider:ID or system"`
	Session  string     `json:"session" doc:"Session ID, or empty"`
	Provider string     `json:"provider"`
	Subject  string     `json:"subject"`
	IP       string     `json:"ip"`
	Outcome  string     `json:"outcome" enum:"done"`
	Reason   string     `json:"reason"`
	Count    int        `json:"count" doc:"Sessions ended by an action over several; 0 otherwise"`
}

func eventOf(e audit.Event) Event {
	return Event{Seq: e.Seq, Time: timestamp(e.Time), Action: string(e.Action), Actor: e.Actor, Session: e.Session,
		Provider: e.Provider, Subject: e.Subject, IP: e.IP, Outcome: string(e.Outcome), Reason: e.Reason, Count: e.Count}
}

// EventPage is a page of the audit trail, newest first.
type EventPage struct {
	Events     []Event `json:"events" nullable:"false"`
	NextCursor *string `json:"next_cursor" doc:"Continues the list; null at the end"`
}

// Introspection answers POST /v1/introspect (RFC 7662 §2.2). For a token that does
// not stand it is {"active":false} and nothing else.
type Introspection struct {
	Active    bool     `json:"active"`
	TokenType string   `json:"token_type,omitempty" doc:"Bearer (RFC 6750)"`
	Subject   string   `json:"sub,omitempty"`
	Issuer    string   `json:"iss,omitempty" doc:"The session's provider"`
	ExpiresAt int64    `json:"exp,omitempty" doc:"The absolute limit, Unix seconds"`
	IssuedAt  int64    `json:"iat,omitempty" doc:"When the session was made, Unix seconds"`
	ID        string   `json:"jti,omitempty" doc:"The session ID"`
	SID       string   `json:"sid,omitempty" doc:"The provider's own session"`
	AuthTime  int64    `json:"auth_time,omitempty" doc:"Unix seconds"`
	Methods   []string `json:"amr,omitempty"`
	Assurance string   `json:"acr,omitempty"`
	Email     string   `json:"email,omitempty"`
	Name      string   `json:"name,omitempty"`
	Roles     []string `json:"roles,omitempty"`
}

// Health answers /healthz and /readyz.
type Health struct {
	Status string `json:"status" enum:"ok"`
}
