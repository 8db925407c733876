// Package crossauth reads and writes the values of crossauth_backend (pycrossauth):
// session identifiers and keys, signed and masked CSRF tokens, signed JSON, password
// hashes, encrypted text, cookies, error codes.
//
// Values are byte for byte the original's. What is done differently: signatures are
// compared in constant time and before anything signed is read; base64 has one
// spelling (Config.LenientBase64 and the Lenient functions read the others); the age
// of signed JSON is judged in the right unit and direction; cookie strings are valid
// Set-Cookie values with all the attributes asked for; a password is judged by the
// digest that its hash names. Secrets of fewer than 32 bytes are refused by [NewCSRF]
// and [NewSigner] unless a Dangerously option says otherwise.
//
// The original signs session identifiers and CSRF tokens alike, so that under one
// secret a CSRF cookie passes as a session cookie. Give the two different secrets;
// [NewSessionCookie] refuses one for both when it is told of the other.
//
// [SessionCookie] is its sessions, over a [KeyStorage]: [KeyTable], the table Key in
// SQLite or PostgreSQL beside the original, or [MemoryKeys]. The time zone of the
// table's times, which name none, is KeyTableConfig.Location: UTC, or that of the
// original's hosts. [Adapter] is its web adapter: the CSRF pair, bound to the session,
// and the session of each request, sign-in and sign-out. [APIKeys] and [EmailTokens]
// are its other keys. [SessionOptions], [CSRFOptions], [KeyStorageOptions],
// [APIKeyOptions] and [PasswordOptionsFrom] read the environment by its names.
//
// crossauthjs writes signatures in base64, so its tokens are not these.
package crossauth
