// Package transaction keeps what a browser carries between the start of a sign-in
// at another party (OAuth 2.0, OpenID Connect) and its callback: the state, the
// nonce, the PKCE verifier, and where the visitor wanted to go.
//
// It works with the stores of this module, or with anything else that implements
// [latchkey.Spender], and needs nothing of the rest.
//
// # One cookie for each attempt
//
// [Keeper.Begin] sets a cookie whose name ends in an id of the attempt, derived from
// its state; so sign-ins in several tabs do not disturb each other, and the callback
// finds its own cookie by the state that came back. [Keeper.Finish] opens it, makes
// sure that it is used for the first time, and deletes it. The cookie is Secure,
// HttpOnly and SameSite=Lax, and named __Host-signin-… unless it has a path: the
// callback must therefore be a top-level navigation by GET, which is what OAuth's
// response mode "query" is. The mode "form_post" needs a cookie that other sites'
// requests carry, and is not for this package.
//
// # What it stands against
//
// RFC 9700 (Best Current Practice for OAuth 2.0 Security) and OpenID Connect Core
// ask for these:
//
//   - Callbacks that another site begins (login CSRF): there is no cookie for their
//     state in this browser (RFC 9700, 4.7).
//   - Codes put into another sign-in: nonce and PKCE verifier are this attempt's own,
//     32 random bytes each, and never leave the sealed cookie but as a hash (the S256
//     challenge of RFC 7636) or as what the provider signs.
//   - One provider's answer at another's callback (mix-up): the provider is part of
//     what the seal authenticates.
//   - Answers played twice: a [latchkey.Spender] remembers what was finished.
//   - Addresses that lead off the site: [ReturnTo].
//
// # The cookie
//
// The value is the following, with | for concatenation, numbers big-endian, state,
// nonce and verifier as their 32 raw bytes:
//
//	value   = base64url( version(1)=1 | key ID(1) | began(8) | seal nonce(12) | AES-256-GCM(payload) )
//	payload = state(32) | nonce(32) | verifier(32) | length(2) return address | count(1) pairs
//	pair    = length(1) name | length(2) value                       in ascending order of names
//	key     = derive(key, "latchkey/transaction/v1")                 as in package keyring
//	AAD     = "latchkey/transaction/v1" | 0 | version | key ID | began | length(1) provider | cookie name
//	name    = prefix | "-" | base64url(SHA-256("latchkey/transaction-name/v1" | 0 | state text)[:9])
//	spent   = SHA-256("latchkey/transaction-spent/v1" | 0 | state text)
//
// began is Unix time in microseconds. The text has one spelling: base64url without
// padding and with unused bits zero.
package transaction
