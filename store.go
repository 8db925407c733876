package latchkey

import (
	"context"
	"time"

	"github.com/latchkey-go/latchkey/audit"
)

// Store keeps sessions. Package store/storetest holds the suite that every
// implementation passes; a store that passes it may be used with any Manager.
//
// All methods are safe for concurrent use, take effect atomically, and are
// durable when they return nil (where the store is durable at all). Each change
// commits its audit event with it. Errors are *Error values of the codes named
// at each method, besides CodeStoreUnavailable, which any of them may answer and
// which says that nothing is known: the change may have taken effect or not.
//
// Time is the store's own clock wherever a method compares a limit, so that
// nodes whose clocks differ cannot disagree.
type Store interface {
	// Create adds a session and returns what it ended to make room. It never
	// replaces a row: an existing ID is CodeConflict.
	Create(ctx context.Context, c Create) (Created, error)

	// Get returns a session, an ended one too: the caller judges. A session made
	// under a lower generation than the present one comes back as revoked. An
	// unknown ID is CodeNoSuchSession. Reads go to the primary and see every
	// change that was acknowledged before the call.
	Get(ctx context.Context, id ID) (*Record, error)

	// Patch replaces a live session's record by compare-and-swap. Another version
	// than the expected one is CodeConflict; a session that is not live (revoked,
	// expired, idle, of a lower generation) is CodeInvalidSession, an unknown one
	// CodeNoSuchSession. It never creates and never revives.
	Patch(ctx context.Context, p Patch) error

	// Touch records activity for many sessions at once. For each it sets last seen
	// to the earlier of the given time and the store's own clock, forward only, and
	// only on a live row that was not yet idle at that time. It neither raises the
	// version nor publishes. Unknown and ended sessions are passed over.
	Touch(ctx context.Context, touches []Touch) error

	// Revoke ends sessions and keeps their rows. It is idempotent: what was revoked
	// already keeps its first time, actor and reason. Rows that are expired or idle
	// by the store's clock are marked and published like others, since activity that
	// is yet to be written could still revive an idle one; they are not counted.
	Revoke(ctx context.Context, r Revocation) (RevokeResult, error)

	// List returns a page of sessions, newest first.
	List(ctx context.Context, q ListQuery) (ListPage, error)

	// Purge removes ended rows and old audit events in bounded batches, or
	// everything of one identity, and returns how many sessions went.
	Purge(ctx context.Context, p Purge) (int, error)

	// Close releases the store. Calls after it answer CodeStoreUnavailable.
	Close() error
}

// LimitPolicy says what happens to a sign-in over the identity's limit.
type LimitPolicy int

// The policies.
const (
	// EvictOldest ends the identity's oldest live sessions to make room.
	EvictOldest LimitPolicy = iota
	// RefuseNew refuses the sign-in with CodeLimitReached.
	RefuseNew
)

// Create is one session to add.
type Create struct {
	// Record is the row. The store sets Generation to its present one and Version to 1.
	Record Record
	// Replaces, when set, is a session to end in the same step with reason
	// "replaced", before live ones are counted. It need not exist or be live.
	Replaces ID
	// ReplacesVersion, when not 0, is the version that Replaces must have while it
	// is live: its data was carried over. Another one is CodeConflict.
	ReplacesVersion uint64
	// Limit is how many live sessions the identity may have, this one included; 0
	// means any number. It does not apply to anonymous sessions.
	Limit int
	// Policy says what to do at the limit.
	Policy LimitPolicy
	// Began is when the sign-in began, by the store's clock. If its identity, or its provider and SID,
	// was revoked at or after that and within RevocationMark, the answer is
	// CodeDenied: a logout may overtake a sign-in that is under way. Zero skips the check.
	Began time.Time
	// Event is the audit event of the creation. For each session that it ends the
	// store adds a Revoke or Evict event with the same actor, identity and time.
	Event audit.Event
}

// RevocationMark is how long a revocation by identity or by SID stands against
// sign-ins that began before it.
const RevocationMark = 15 * time.Minute

// Created tells what a Create did.
type Created struct {
	// Generation is what the new session was made under.
	Generation uint64
	// Replaced reports whether Create.Replaces was live and has been ended.
	Replaced bool
	// Evicted lists the sessions that were ended to make room.
	Evicted []ID
}

// Patch is a change of one session.
type Patch struct {
	// Record is the whole new row. Its Version is the one expected of the present
	// row; the store raises it by one. Record.PatchID is random and new for each
	// attempt: whoever finds version+1 with it after a lost answer knows that the
	// patch took effect.
	//
	// ID, Provider, Subject, CreatedAt, Generation and Stateless do not change. LastSeenAt
	// only moves forward. The revocation fields are ignored.
	Record Record
	// Event is the audit event, or nil for a change that is not recorded.
	Event *audit.Event
}

// Touch is a session's activity.
type Touch struct {
	ID ID
	At time.Time
}

// Revocation selects sessions to end: exactly one of ID, Subject, SID or All.
type Revocation struct {
	// ID ends one session. An unknown one is CodeNoSuchSession.
	ID ID
	// Only, when its Subject is set with ID, ends the session only if it is this
	// identity's; another's is CodeNoSuchSession.
	Only Identity
	// Subject ends the sessions of an identity. With AnyProvider it is the subject
	// under every provider, otherwise under Provider.
	Provider, Subject string
	AnyProvider       bool
	// Except is left alone by a revocation by Subject.
	Except ID
	// SID, with Provider, ends the sessions of a provider's own session.
	SID string
	// All ends every session by raising the generation: to the store's clock in Unix
	// microseconds, or by one where it is beyond that. So it never has a number again
	// that it had before, even after a backup was restored.
	All bool

	// By and Reason are kept on the rows.
	By, Reason string
	// Event is the audit event. The store fills in its Time, its Count, and for a
	// revocation by ID the identity of the row. It is recorded even if nothing was
	// left to end, except for a revocation by ID.
	Event audit.Event
}

// Check is CodeInvalidRequest for a revocation that selects nothing, or in two ways.
// Stores call it before anything else.
func (r *Revocation) Check() error {
	n := 0
	for _, set := range [...]bool{!r.ID.IsZero(), r.Subject != "", r.SID != "", r.All} {
		if set {
			n++
		}
	}
	if n == 1 {
		return nil
	}
	return &Error{Code: CodeInvalidRequest, Message: "latchkey: revocation",
		Fields: []FieldError{{"selector", "exactly one of ID, Subject, SID and All is required"}}}
}

// RevokeResult tells what a revocation ended.
type RevokeResult struct {
	// Count is how many live sessions were ended. For All it is how many live rows there were.
	Count int
	// IDs lists them, except for All.
	IDs []ID
}

// StateFilter selects sessions by state.
type StateFilter int

// The filters. Ended means idle, expired or revoked.
const (
	OnlyLive StateFilter = iota
	OnlyEnded
	AnyState
)

// ListQuery selects sessions to list.
type ListQuery struct {
	// Subject restricts to an identity; with AnyProvider to the subject under
	// every provider. "" lists sessions of everybody, anonymous ones included.
	Provider, Subject string
	AnyProvider       bool
	State             StateFilter
	// Limit bounds the page: 0 means 50, at most 500.
	Limit int
	// After continues behind the page that ended with this cursor.
	After Cursor
}

// Cursor is the place of a session in a list: newest first by creation time, then by ID.
type Cursor struct {
	CreatedAt time.Time
	ID        ID
}

// IsZero reports whether c is the start of the list.
func (c Cursor) IsZero() bool { return c.ID.IsZero() }

// ListPage is one page of sessions.
type ListPage struct {
	Records []*Record
	// Next continues the list; zero at the end.
	Next Cursor
}

// Bounds of a page of sessions.
const (
	DefaultListLimit = 50
	MaxListLimit     = 500
)

// PageSize is the number of sessions a page holds: Limit with its default and bound applied.
func (q ListQuery) PageSize() int {
	switch {
	case q.Limit <= 0:
		return DefaultListLimit
	case q.Limit > MaxListLimit:
		return MaxListLimit
	}
	return q.Limit
}

// Purge selects what to remove for good.
type Purge struct {
	// EndedBefore removes sessions that ended before it, and audit events older
	// than it. Zero with an Erase identity removes by identity only.
	EndedBefore time.Time
	// Erase removes every session of this identity, live ones too (they are ended
	// first), and its name from the audit trail.
	Erase Identity
	// Batch bounds the rows removed in one transaction; 0 means 1,000.
	Batch int
	// Event is recorded when something was removed; the store fills in Time and Count.
	Event audit.Event
}

// ChangeLister is implemented by stores that stateless sessions can be used with.
type ChangeLister interface {
	// Changed lists, by ascending ID and after the given one, the sessions with
	// Record.Stateless that are no longer as they were created: they were patched or
	// revoked, or removed by Purge, and their absolute limit has not passed by the
	// store's clock; of several that it had, the latest, since a token may have been
	// sealed with any of them. Purge keeps the bare ID of such a session until then. A
	// session that only the raised generation ended need not be listed.
	//
	// What was acknowledged before the call is in the list. An entry too many costs
	// its session a read of the store at each check; one too few would grant what
	// has ended. limit bounds the page: 0 means 10,000.
	Changed(ctx context.Context, after ID, limit int) (ChangedPage, error)
}

// ChangedPage is one page of the list of changed stateless sessions.
type ChangedPage struct {
	// Generation is the store's present one, read no later than IDs.
	Generation uint64
	IDs        []ID
	// Next continues the list; zero at the end.
	Next ID
}

// DefaultChangedLimit is the size of a page of ChangeLister.Changed unless asked otherwise.
const DefaultChangedLimit = 10_000

// Spender is implemented by stores that remember what may be used only once: the
// transaction of a sign-in, a logout token of a provider.
type Spender interface {
	// Spend notes a key as used, and is CodeConflict when it was noted before and
	// its time has not passed by the store's clock. Of any number of callers one
	// gets nil, and it is durable then, where the store is. Keys are hashes of what
	// was used; they are forgotten at until, which is ahead by a day at most.
	// Another until is CodeInvalidRequest.
	Spend(ctx context.Context, key [32]byte, until time.Time) error
}

// PlacementKeeper is implemented by stores, to share the 32 random bytes made
// with the store from which session IDs take their placement. It is read once.
type PlacementKeeper interface {
	PlacementKey(ctx context.Context) ([32]byte, error)
}

// Counter is implemented by stores that can count sessions cheaply, for status pages.
type Counter interface {
	// Count returns the number of live sessions and of identities that have one.
	Count(ctx context.Context) (Counts, error)
}

// Counts are a store's totals at an instant.
type Counts struct {
	Live       int // live sessions, anonymous ones included
	Identities int // identities with a live session
	Anonymous  int // live sessions without an identity
	Ended      int // rows kept of sessions that have ended
}
