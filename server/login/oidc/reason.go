package oidc

import (
	"errors"
	"fmt"

	"github.com/latchkey-go/latchkey"
)

// Reason is why something that a provider sent, or that claims to be from it, was
// refused. It is for logs and metrics; the set is closed.
type Reason string

// The reasons.
const (
	Malformed      Reason = "malformed"       // not a signed JWT (RFC 7515, 7519), or claims of another type
	Encrypted      Reason = "encrypted"       // a JWE (RFC 7516), which is not read
	WrongAlgorithm Reason = "wrong_algorithm" // not the registered algorithm; "none" and HS256 never are
	WrongType      Reason = "wrong_type"      // the header's typ names another kind of token
	UnknownKey     Reason = "unknown_key"     // the provider publishes no such key for this algorithm
	BadSignature   Reason = "bad_signature"   // signed by another key, or changed since
	WrongIssuer    Reason = "wrong_issuer"    // iss is not exactly the configured issuer
	WrongAudience  Reason = "wrong_audience"  // aud lacks this client, or names one that is not trusted
	WrongParty     Reason = "wrong_party"     // azp is another client, or is missing beside several audiences
	Expired        Reason = "expired"         // exp has passed
	WrongTime      Reason = "wrong_time"      // iat, nbf or exp is missing or out of bounds, or auth_time is
	NoSubject      Reason = "no_subject"      // sub (or, for a logout, sub and sid) is missing or unusable
	WrongSubject   Reason = "wrong_subject"   // two answers are about two people
	WrongNonce     Reason = "wrong_nonce"     // the nonce of an ID token is not this attempt's
	WrongHash      Reason = "wrong_hash"      // at_hash is not that of the access token
	NoAuthTime     Reason = "no_auth_time"    // max_age was asked for, and the provider does not say when the user authenticated
	TooOld         Reason = "too_old"         // the user authenticated longer ago than max_age
	WrongACR       Reason = "wrong_acr"       // the context class that is required was not reached
	NoEvent        Reason = "no_event"        // a logout token without the event, or with a wrong value of it
	HasNonce       Reason = "has_nonce"       // a logout token with a nonce
	NoTokenID      Reason = "no_token_id"     // a logout token without jti
	Replayed       Reason = "replayed"        // a logout token that did its work before
	NoIDToken      Reason = "no_id_token"     // the token endpoint sent none
	Rejected       Reason = "rejected"        // the provider refused the code or the refresh token
	NoTokens       Reason = "no_tokens"       // the session holds no token of this provider
)

// Error is the reason's name: a Reason is the private cause of a refusal.
func (r Reason) Error() string { return string(r) }

// ReasonOf returns why something was refused, or "" when err is no such error.
func ReasonOf(err error) Reason {
	var r Reason
	errors.As(err, &r)
	return r
}

// refuse is the public error of a refusal.
func refuse(r Reason) error {
	return latchkey.NewError(latchkey.CodeDenied, "the identity provider's answer was not accepted; start the sign-in again", r)
}

// away is the error for a provider that gives no usable answer. cause must hold
// nothing that the provider wrote.
func away(cause error) error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, "the identity provider gave no answer; try again shortly", cause)
}

// Away is the cause of errors about a provider that gives no usable answer: it tells
// them from those of a store that is away.
type Away struct {
	// Step is what the provider was asked for: "discovery", "keys", "token" or "userinfo".
	Step string
	// Status is the HTTP status that it answered with, 0 when there was no answer.
	Status int
	// Detail says more without repeating what the provider wrote.
	Detail string
}

// Error implements error.
func (a *Away) Error() string {
	s := "identity provider: " + a.Step
	if a.Status != 0 {
		s += fmt.Sprintf(": status %d", a.Status)
	}
	if a.Detail != "" {
		s += ": " + a.Detail
	}
	return s
}

// IsAway reports whether err says that the provider, and not the store, is away.
func IsAway(err error) bool {
	var a *Away
	return errors.As(err, &a)
}
