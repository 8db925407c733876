// Package reflow reads and writes the cookies of Equalify Reflow's viewer sign-in:
// the identity cookie that is the whole session, the CSRF cookie beside it and the
// cookie of an OAuth transaction.
//
// The identity cookie is an itsdangerous token (SHA-1, django-concat, salt
// reflow-session-v1) of a JSON object; the transaction cookie is another (salt
// reflow-oauth-tx-v1); the CSRF value is hex HMAC-SHA256 of the identity cookie under
// the bare secret. Nothing is stored, so a copied cookie works until its age runs
// out, logout or not: where that is not acceptable, use Latchkey's own sessions.
//
// Beyond the original, [Codec.Decode] refuses an identity whose own expires_at has
// passed and dates without an offset, secrets may be rotated, and [SafeNext] is
// closed against addresses that browsers read as another host's. A
// [Config.DangerouslyAsOriginal] turns the first two off.
package reflow
