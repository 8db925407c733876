package latchkey

import (
	"time"

	"github.com/latchkey-go/latchkey/keyring"
)

// Record is a session as a store keeps it: one versioned row. Times are UTC
// with microseconds; the zero time means "never" or "not known".
//
// A Record holds no secret in the clear: SecretHash is a hash, and Data opens
// only with Wrap and the secret that the client holds.
type Record struct {
	ID         ID
	SecretHash [32]byte // SHA-256 of the token's secret

	Provider, Subject string // the identity; both "" for an anonymous session
	Email, Name       string
	Roles             []string
	Methods           []string // amr (RFC 8176)
	Assurance         string   // acr
	AuthTime          time.Time
	SID               string // the provider's own session, for back-channel logout

	Generation uint64 // the store's generation when the session was made
	CreatedAt  time.Time
	LastSeenAt time.Time     // coalesced: up to one touch interval behind
	Idle       time.Duration // ends when not seen for this long
	Lifetime   time.Duration // from sign-in or re-authentication to ExpiresAt
	ExpiresAt  time.Time     // the absolute limit; activity never moves it

	Version uint64   // 1 at creation, raised by every Patch
	PatchID [16]byte // of the last Patch: tells whose it was after a lost answer

	RevokedAt     time.Time
	RevokedBy     string // the actor, as in the audit trail
	RevokedReason string

	IP, UserAgent string // as far as the privacy setting keeps them

	// Stateless says that the token tells of the session itself, sealed, and is
	// believed while the row is as it was created; see [Config.Stateless].
	Stateless bool

	Wrap []byte // the data key, sealed under the secret; empty when there is no data
	Data []byte // a JSON object, sealed under the data key; empty when there is none

	// Rotation in mid-session. While PreviousHash is set, that token is still
	// answered with the one successor everybody can compute (RotateNonce,
	// RotateKey), until GraceEnd, which is set when the successor first comes.
	PreviousHash [32]byte
	PreviousWrap []byte
	RotateNonce  [16]byte
	RotateKey    keyring.ID
	RotatedAt    time.Time // when the present secret was drawn
	GraceEnd     time.Time
	// SupersededHash is of the token before the previous one, where a renewal came
	// so soon that requests with it may still be in flight: for the length of the
	// grace after RotatedAt it is refused, and not taken for a thief's.
	SupersededHash [32]byte
}

// State says whether a session may be used, and if not, why.
type State string

// The states. They are judged at an instant of store time, never stored.
const (
	Live    State = "live"
	Idle    State = "idle"    // not seen for longer than its idle limit
	Expired State = "expired" // past its absolute limit
	Revoked State = "revoked" // ended by somebody
)

// StateAt judges the record at an instant of store time. A limit that is
// reached ends the session: at ExpiresAt itself it is Expired.
func (r *Record) StateAt(now time.Time) State {
	switch {
	case !r.RevokedAt.IsZero():
		return Revoked
	case !now.Before(r.ExpiresAt):
		return Expired
	case r.Idle > 0 && !now.Before(r.LastSeenAt.Add(r.Idle)):
		return Idle
	}
	return Live
}

// EndsAt is when the session ends if it is not seen again: the earlier of the
// idle and the absolute limit.
func (r *Record) EndsAt() time.Time {
	if idle := r.IdleExpiresAt(); idle.Before(r.ExpiresAt) {
		return idle
	}
	return r.ExpiresAt
}

// IdleExpiresAt is when the session becomes idle if it is not seen again.
func (r *Record) IdleExpiresAt() time.Time {
	if r.Idle <= 0 {
		return r.ExpiresAt
	}
	return r.LastSeenAt.Add(r.Idle)
}

// graceWaits reports whether a rotation's successor has yet to be presented.
func (r *Record) graceWaits() bool {
	return r.PreviousHash != [32]byte{} && r.GraceEnd.IsZero()
}

// graceOpen reports whether the previous token is still answered with its successor.
func (r *Record) graceOpen(now time.Time) bool {
	return r.PreviousHash != [32]byte{} && (r.GraceEnd.IsZero() || now.Before(r.GraceEnd))
}

// Identity is whom the session is for.
func (r *Record) Identity() Identity { return Identity{r.Provider, r.Subject} }

// microseconds truncates to the precision that records keep.
func microseconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}
