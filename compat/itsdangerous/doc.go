// Package itsdangerous signs and checks the tokens of the Python library
// itsdangerous (2.x): URLSafeTimedSerializer as [Timed] and URLSafeSerializer as
// [Untimed], byte for byte.
//
//	token     = payload "." timestamp "." signature      (Untimed: no timestamp)
//	payload   = base64url(JSON) | "." base64url(zlib(JSON))
//	timestamp = base64url(Unix seconds, big-endian, no leading zero bytes)
//	signature = base64url(HMAC(digest, derived key, everything before it))
//
// Compressed payloads are zlib's own bytes, for JSON of up to 16,382 of them.
//
// A token is signed, not encrypted: whoever holds it can read it. It has no ID and
// cannot be revoked before its age runs out.
//
// The reader is stricter than the original about spellings that no writer makes:
// padding, line breaks, unused bits, characters outside the alphabet, leading zero
// bytes of a timestamp and bytes after a zlib stream are refused, so a token has one
// spelling. It also bounds what the original does not: the length of a token, what a
// payload may expand to, the depth of its JSON. Secrets of fewer than 32 bytes are
// refused unless [Config.DangerouslyShortSecrets] says otherwise.
package itsdangerous
