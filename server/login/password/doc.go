// Package password keeps users with passwords in a small file, for a few people without
// an identity provider. Passwords are hashed by Argon2id (RFC 9106) with the parameters
// that the RFC recommends where memory is scarce: 64 MiB, three passes, four lanes.
//
// The file is YAML, readable to its owner only, and replaced as a whole, so that nobody
// ever reads half of it. A running daemon sees a change at the next sign-in.
package password
