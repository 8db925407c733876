// Package latchkey issues, checks, renews and ends web sessions.
//
// A [Manager] joins a [Store], which keeps the sessions, and a
// [github.com/latchkey-go/latchkey/keyring.Ring], which authenticates tokens.
// Its [Manager.Middleware] puts a [Session] in reach of each handler.
//
// # A request's journey
//
// The cookie is found and its token parsed (token.go, cookie.go). The near cache,
// where there is one, or else the store is asked for the session, and it is judged:
// is the secret right, is it revoked, expired, idle, refused by the filter
// (manager.go)? The handler runs with the session in reach (middleware.go,
// session.go). What it changed is saved before the first byte of the response
// leaves (writer.go, state.go, commit.go), and Set-Cookie is sent only if the token
// changed (issue.go, rotate.go).
//
// # Outcomes
//
// A lookup has four outcomes: valid; none or invalid; ended; and unavailable. A
// client sees the middle two as the same 401. The last is 503 and never touches the
// cookie: an outage is not a logout.
//
// # What is kept where
//
// The client holds the token; the store holds the SHA-256 of the token's secret and
// the session's data sealed under a key that only the secret unwraps. Whoever reads
// the database can use neither. Metadata (who, when, from where, roles) is in the
// clear, and whoever can write the database can change it.
package latchkey
