// Package assertion signs, for the services behind the edge, who a request is from:
// a JSON Web Token (RFC 7519) of a minute at most, for one service, by which that
// service can tell a request that passed the edge from one that reached it by
// another way.
//
// # What a token says
//
// iss is the daemon's public URL; aud the service; sub, provider, email, name and
// roles who it is; sid the session's ID; auth_time and acr how they signed in; iat,
// exp and jti as in RFC 7519 §4.1. It is signed by ES256 (ECDSA with P-256) or EdDSA
// (Ed25519), and kid names the key in the set that [Signer.KeySet] serves (RFC 7517).
//
// A token is reused for the requests of a session to a service, as long as the
// session does not change and half of the token's life is left. So jti does not tell
// requests apart, and a service that trusts the token alone goes on accepting it,
// after its session has ended, until it expires.
//
// # Keys
//
// The signing keys are derived from the keyring's, one from each, so that they are
// made, spread, rotated and retired with those and there is no further secret to keep:
//
//	seed = HKDF-SHA256(key, no salt, "latchkey/assertion/v1/" + algorithm, 32 bytes)
//
// For Ed25519 it is the seed (RFC 8032 §5.1.5), for P-256 the private scalar; where
// it is none (one time in 2^32), "/1" is put behind the algorithm, then "/2". A kid is
// the key's thumbprint (RFC 7638). The set lists every key that the keyring accepts:
// one that is to become active is there before it signs, and one that has been
// superseded until it is retired.
package assertion
