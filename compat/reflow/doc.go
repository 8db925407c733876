// Package reflow is Equalify Reflow's viewer sign-in: the identity cookie that is the
// whole session, the CSRF cookie beside it, the cookie of an OAuth transaction, and
// what its application does with them.
//
// The identity cookie is an itsdangerous token (SHA-1, django-concat, salt
// reflow-session-v1) of a JSON object; the transaction cookie is another (salt
// reflow-oauth-tx-v1); the CSRF value is hex HMAC-SHA256 of the identity cookie under
// the bare secret. Nothing is stored, so a copied cookie works until its age runs
// out, logout or not: where that is not acceptable, use Latchkey's own sessions.
//
//   - [Codec] reads and writes the cookies.
//   - [Sessions] is the middleware that finds and renews an identity, with the checks
//     of unsafe requests.
//   - [Flow] is the endpoints: config, login, callback, logout and me.
//   - [APIKeyAuth] lets programs in beside the signed-in.
//   - [Environment] reads the original's variables.
//
// Beyond the original, [Codec.Decode] refuses an identity whose own expires_at has
// passed, one that has been re-issued for too long and dates without an offset;
// secrets may be rotated, transactions are single-use, and [SafeNext] is closed against
// addresses that browsers read as another host's. [Config.DangerouslyAsOriginal] undoes
// what of this is in the cookie.
package reflow
