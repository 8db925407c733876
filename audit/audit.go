// Package audit holds the trail of what happened to sessions: the [Event], the
// closed set of actions and outcomes, the [Reader] that stores implement and
// the [Sink] that outside systems implement.
//
// # Guarantees
//
// A store commits an event in the same step as the change it describes: there
// is no change without its event and no event without its change. The trail
// outlives the session row (see the daemon's --retention). An event never holds
// a token, a secret, a cookie, a key or session data; the session is named by
// its public ID.
//
// Touches, data patches and invalid tokens are counted in metrics and not
// recorded: they would drown the trail, and an unauthenticated client could
// fill a disk with them.
//
// Outside sinks are fed by [Forward] from what was committed, at least once and
// in order; a failing sink never delays or refuses a revocation.
package audit

import (
	"context"
	"fmt"
	"time"
)

// Action says what was done. The set is closed; stores and sinks may switch on it.
type Action string

// The actions that are recorded.
const (
	// Create: a session was made (sign-in, API issue or the first value set anonymously).
	Create Action = "session.create"
	// Renew: a session got a new token, at re-authentication or a change of privilege.
	Renew Action = "session.renew"
	// Rotate: a session got a successor token in mid-session.
	Rotate Action = "session.rotate"
	// Revoke: one session was ended.
	Revoke Action = "session.revoke"
	// RevokeIdentity: all sessions of an identity (or all but one) were ended.
	RevokeIdentity Action = "session.revoke_identity"
	// RevokeSID: all sessions of a provider's own session were ended (back-channel logout).
	RevokeSID Action = "session.revoke_sid"
	// RevokeAll: every session in the store was ended, by raising the generation.
	RevokeAll Action = "session.revoke_all"
	// Evict: a session was ended to keep its identity within its limit.
	Evict Action = "session.evict"
	// Theft: a superseded token was presented again, so its session was ended.
	Theft Action = "session.theft"
	// Purge: ended rows were removed, past retention or on an erasure request.
	Purge Action = "session.purge"
)

// Outcome says how an action ended. What was refused changed nothing, and is
// counted in metrics rather than recorded, so the trail knows one outcome so far.
type Outcome string

// Done: the action took effect.
const Done Outcome = "done"

// Event is one entry of the trail. The zero value of a field means "does not
// apply" or "not known".
type Event struct {
	// Seq is the store's position of the event; ascending, not gap-free, set by the store.
	Seq uint64
	// Time is when it happened by the store's clock, UTC, microseconds.
	Time time.Time
	// Action is what was done.
	Action Action
	// Actor is who asked: "user" for the session's own holder, "admin:NAME" for an
	// admin key, "cli:NAME" for the command line, "provider:ID" for an identity
	// provider, "system" for Latchkey itself.
	Actor string
	// Session is the public session ID (lower-case UUID text), or "" where the
	// action is not about one session.
	Session string
	// Provider and Subject are the identity the action is about.
	Provider, Subject string
	// IP is the client's address, as far as the privacy setting keeps it.
	IP string
	// Outcome is Done.
	Outcome Outcome
	// Reason says why, in a word or a short phrase: "logout", "limit", "theft".
	Reason string
	// Count is how many sessions an action over several of them ended; 0 otherwise.
	Count int
}

// String describes the event in one line for logs.
func (e Event) String() string {
	return fmt.Sprintf("%s %s actor=%q session=%s identity=%q/%q outcome=%s reason=%q count=%d",
		e.Time.UTC().Format(time.RFC3339Nano), e.Action, e.Actor, e.Session, e.Provider, e.Subject, e.Outcome, e.Reason, e.Count)
}

// Query selects events. Filters combine with AND; the zero Query selects all.
type Query struct {
	// Session restricts to one session's ID.
	Session string
	// Provider and Subject restrict to an identity; Subject alone spans providers.
	Provider, Subject string
	// Ascending returns oldest first, for feeding sinks; otherwise newest first.
	Ascending bool
	// After continues behind this Seq in the direction of travel; 0 starts at the end chosen.
	After uint64
	// Limit bounds the page: 0 means 50, at most 500.
	Limit int
}

// Bounds of a page of events.
const (
	DefaultLimit = 50
	MaxLimit     = 500
)

// PageSize is the number of events a page holds: Limit with its default and bound applied.
func (q Query) PageSize() int {
	switch {
	case q.Limit <= 0:
		return DefaultLimit
	case q.Limit > MaxLimit:
		return MaxLimit
	}
	return q.Limit
}

// Page is one page of events.
type Page struct {
	Events []Event
	// Next is the Seq to put in Query.After for the following page; 0 at the end.
	Next uint64
}

// Reader is implemented by stores that keep a trail. It is safe for concurrent use.
type Reader interface {
	// Audit returns one page of committed events.
	Audit(ctx context.Context, q Query) (Page, error)
}

// Sink receives committed events in order, at least once: after a failure or a
// restart it may see some again, which it recognises by Seq.
type Sink interface {
	// Write takes a batch of at most MaxLimit events. An error makes the whole batch come again.
	Write(ctx context.Context, events []Event) error
}
