// Package apicrud reads and writes the sessions that apicrud keeps in Redis: the key,
// the encrypted JSON value, the identifiers, and the JWT that carries a session's
// name to the client.
//
// A value is standard base64 of IV and AES-256-CBC ciphertext under SHA-256 of a
// passphrase, without authentication: whoever can write to Redis can change the first
// block unnoticed. The JSON inside is in Python's default style.
//
// What is done differently: identifiers come from crypto/rand; exp is right whatever
// the time zone; padding is checked, and base64 has one spelling
// ([Config.DangerouslyAsOriginal] turns both off); passphrases of fewer than 32 bytes
// are refused unless a Dangerously option says otherwise; a session's token is
// compared in constant time.
package apicrud
