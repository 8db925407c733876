// Package keyring holds the named keys of one deployment: it reads them from a
// file or an environment variable, derives a separate key for each purpose,
// computes and checks MACs with them, seals session data, and changes them
// while the program runs.
//
// It stands alone: it needs the standard library and nothing else, and can be
// used without the rest of the module. All cryptography is the standard
// library's (crypto/hkdf, crypto/hmac, crypto/aes, crypto/cipher).
//
// # Keys and their states
//
// A key is 32 random bytes with an [ID] from 1 to 255. At an instant it is in
// one of four states:
//
//   - active: new MACs are made with it. It is the acceptable key with the
//     latest active-from time that has come; see [Ring.Active].
//   - next: acceptable, and active from a later time.
//   - accepted: acceptable, and superseded by the active key.
//   - retired: refused. Its line stays in the file without the key bytes, so
//     that its ID is not taken for a new key by accident and the refusal is
//     explicit.
//
// Rotation is in two steps because several processes share a keyring: a new key
// is accepted at once and becomes active later ([DefaultActivationDelay]), after
// every process has read it again ([DefaultReloadInterval]). So none is shown a
// MAC made with a key that it does not know yet.
//
// # Derivation
//
// The bytes of a key are never used directly. With a key k and a purpose p (an
// ASCII string such as "latchkey/token/v1"):
//
//	derive(k, p) = HKDF-SHA256(ikm = k, salt = none, info = p, length = 32)  RFC 5869
//	hmac(k, p, m) = HMAC-SHA256(derive(k, p), m)                             RFC 2104
//	mac(k, p, m) = the first 16 bytes of hmac(k, p, m)
//
// A MAC made for one purpose is therefore worthless for every other.
//
// # Sealed data
//
// The functions in seal.go use no named key: they work from the secret that
// only a session's client holds. With ID the 16 raw bytes of the session ID, |
// concatenation, and every nonce 12 random bytes that precede the ciphertext:
//
//	wrapping key = HKDF-SHA256(ikm = secret, salt = ID, info = "latchkey/data/v1", length = 32)
//	wrap = nonce | AES-256-GCM(wrapping key, nonce, data key, AAD = "latchkey/wrap/v1" | ID)     60 bytes
//	data = nonce | AES-256-GCM(data key, nonce, plaintext, AAD = "latchkey/data/v1" | ID)        plaintext + 28 bytes
//
// # File format
//
// A keyring is ASCII text of at most 64 KiB. Lines end with a single line feed
// (the last one may lack it); there are no empty lines and no comments. The
// first line is
//
//	latchkey-keyring/v1
//
// and each further line is one key: five fields with exactly one space between
// them,
//
//	ID CREATED ACTIVE-FROM RETIRED KEY
//
// where
//
//   - ID is a decimal number from 1 to 255 without leading zeros; lines stand in
//     ascending order of ID, each ID once;
//   - CREATED and ACTIVE-FROM are times in UTC with exactly six fraction digits,
//     as in 2026-01-02T15:04:05.000000Z, from the year 1970 to 9999;
//   - RETIRED is such a time, or "-" when the key is acceptable;
//   - KEY is the 32 bytes in base64url without padding (43 characters, RFC 4648
//     section 5, unused bits zero), or "-" when the key is retired. Exactly one
//     of RETIRED and KEY is "-".
//
// No two keys have the same bytes, no key is all zeros, and at least one key is
// acceptable. A text thus has one spelling: parsing and formatting it gives
// it back, byte for byte.
//
// In an environment variable (source "env:NAME") a semicolon stands for a line
// feed, spaces around a line are ignored, and so are empty lines: the output of
// `paste -sd';' latchkey.keys` is such a value.
//
// # Files
//
// A keyring file must be a regular file (or a symbolic link to one) that nobody
// but its owner can read or write: any permission bit of group or others is
// refused. The bits are not checked on Windows and Plan 9, which have no such
// bits. Changes replace the file as a whole (temporary file in the same folder,
// fsync, rename, fsync of the folder), keep its owner and mode, and exclude each
// other by an advisory lock on the folder; a reader sees the old keyring or the
// new one, never a part. Symbolic links are followed, and stay.
package keyring
