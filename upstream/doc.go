// Package upstream answers for sessions whose truth lives elsewhere: an account
// service asked over HTTP, an authorization server's introspection endpoint
// (RFC 7662) or an OpenID provider's userinfo endpoint. It asks once, and remembers
// the answer for a short time in this process and, if it is given one, in a Redis
// that several processes share.
//
//	token ── process cache ── Redis ── upstream
//	          ≈ 150 ns        1 trip    1 call, however many wait
//
// # What is promised
//
// A session is granted only on the word of the upstream, and that word counts for
// Config.TTL or for what remains of the session, whichever is less. Only an answer
// that says so refuses (latchkey.ErrInvalidSession); whatever else goes wrong is
// latchkey.ErrUnavailable, and the caller answers 503 and not 401.
//
// After InvalidateUser or InvalidateToken returned nil, no lookup that starts later
// is granted what was known before: in this process at once, in others that share
// the Redis within Config.ProcessTTL and one Redis timeout. An answer that was under
// way meanwhile is not kept, and whoever asked after the invalidation does not get it.
// No clocks are compared for that. A counter in Redis is raised by every
// invalidation; a lookup reads the counter before it asks the upstream, and its
// answer is filed only if the user was not invalidated under a higher number since.
// (In the format shared with SessionCacheService there is no such counter: see
// FormatSessionCache.)
//
// A Redis that is away, slow or answers nonsense costs its advantage and nothing
// else: lookups pass it by, Stats and the log say so, and an invalidation that did
// not reach it is an error and is carried out when it is back. An upstream that is
// away is 503, unless Config.ServeStale allows answers that are somewhat older.
//
// # What is in memory and in Redis
//
// The process cache holds tokens and users in clear, in memory only.
//
// Keys hold SHA-256 of the token, never the token. Values are sealed with
// AES-256-GCM under a key that HKDF derives from the token: a reader of the Redis
// learns nobody's name, and a writer of the Redis can make nobody a user whose token
// he lacks. Invalidations are counted in one hash of at most 16,384 fields; if Redis
// drops it, every entry is void, so an eviction policy may take what it likes. Redis
// replicates asynchronously: an invalidation that a failover loses, or that a restart
// from an older snapshot undoes, leaves entries valid to the end of their TTL.
package upstream
