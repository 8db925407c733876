// Package oidc is the relying party's side of OpenID Connect: it sends visitors to a
// provider, takes them back, and hears from the provider when they sign out there.
//
// A [Provider] stands for one client at one exact issuer, and its id is the provider
// of the sessions that it makes: sessions, limits and logouts go by (id, sub). Never
// give an id that was in use to another issuer: its subjects would be taken for those
// of the first.
//
// # What it speaks
//
// The authorization code flow of OpenID Connect Core 1.0 with PKCE (RFC 7636, S256),
// state and nonce, the issuer of the response (RFC 9207), refresh tokens (RFC 6749,
// 6), RP-Initiated Logout 1.0 and Back-Channel Logout 1.0. The provider is found by
// OpenID Connect Discovery 1.0, at the first sign-in and not at the start, so that a
// program starts while its provider is away.
//
// Signatures are those of the one algorithm that the client is registered for, by keys
// that the provider publishes: RSA, ECDSA or Ed25519. What is signed by a shared secret
// (HS256), by nobody ("none") or is encrypted is refused.
//
// # Errors
//
// What a provider or a visitor's browser brings that is not good enough is
// latchkey.CodeDenied with a [Reason] as its cause, for logs; a provider that gives no
// answer is latchkey.CodeStoreUnavailable, and the same request may be made again.
// Neither ever holds a token, a code or a secret, nor text that the other side wrote.
package oidc
