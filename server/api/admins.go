package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"

	"github.com/latchkey-go/latchkey"
)

// Admins judges admin keys. It keeps their hashes only, and is safe for
// concurrent use.
type Admins struct {
	actors []string
	hashes [][sha256.Size]byte
}

// Add admits a key under a name, which is to be unique.
func (a *Admins) Add(name, key string) {
	a.actors = append(a.actors, "admin:"+name)
	a.hashes = append(a.hashes, sha256.Sum256([]byte(key)))
}

// None reports whether no key is configured.
func (a *Admins) None() bool { return a == nil || len(a.hashes) == 0 }

var (
	errAdminKey  = latchkey.NewError(latchkey.CodeAdminKey, "an admin key is required, as Authorization: Bearer KEY", nil)
	errAdminsOff = latchkey.NewError(latchkey.CodeNotFound, "there is no such route", nil)
)

// Actor returns the audit actor of a request's admin key. The error is of code
// CodeAdminKey, or CodeNotFound when no key is configured. How long it takes tells
// nothing of the keys: hashes are compared, in constant time, and all of them.
func (a *Admins) Actor(r *http.Request) (string, error) {
	if a.None() {
		return "", errAdminsOff
	}
	given, count := bearerOf(r.Header)
	hash := sha256.Sum256([]byte(given))
	found := -1
	for i := range a.hashes {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(a.hashes[i][:], hash[:]), i, found)
	}
	if found < 0 || count != 1 {
		return "", errAdminKey
	}
	return a.actors[found], nil
}
