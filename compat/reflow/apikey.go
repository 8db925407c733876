package reflow

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
)

// DefaultAPIKeyHeader is API_KEY_HEADER_NAME.
const DefaultAPIKeyHeader = "X-API-Key"

// MinAPIKey is the shortest API key, in bytes.
const MinAPIKey = 32

// APIKeys are the keys of API_KEYS. The zero value has none. They hold hashes alone
// and are safe for concurrent use.
type APIKeys struct{ keys []apiKey }

type apiKey struct {
	label string
	sum   [32]byte
}

// ParseAPIKeys reads API_KEYS: a list with commas of label:key or key alone, whose
// label is then key- and the first 8 hexadecimal digits of its SHA-256. Keys of fewer
// than MinAPIKey bytes are refused unless dangerouslyShort. The error lists every
// problem and holds no key.
func ParseAPIKeys(text string, dangerouslyShort bool) (APIKeys, error) {
	var k APIKeys
	var problems []error
	for i, entry := range strings.Split(text, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		label, key, labelled := strings.Cut(entry, ":")
		if label, key = strings.TrimSpace(label), strings.TrimSpace(key); !labelled {
			label, key = "", entry
		}
		if len(key) < MinAPIKey && (!dangerouslyShort || key == "") {
			problems = append(problems, fmt.Errorf("reflow: API_KEYS: key %d has %d bytes; use at least %d", i+1, len(key), MinAPIKey))
			continue
		}
		sum := sha256.Sum256([]byte(key))
		if label == "" {
			label = "key-" + hex.EncodeToString(sum[:4])
		}
		k.keys = append(k.keys, apiKey{label, sum})
	}
	return k, errors.Join(problems...)
}

// Match returns the label of a key. Its time does not depend on which key it is, nor
// on how much of one it has.
func (k *APIKeys) Match(key string) (label string, ok bool) {
	sum := sha256.Sum256([]byte(key))
	for _, known := range k.keys {
		if subtle.ConstantTimeCompare(sum[:], known.sum[:]) == 1 {
			label, ok = known.label, true
		}
	}
	return label, ok
}

// APIKeyAuth is the original's middleware of that name, below [Sessions.Handler]: paths
// under /api/ need an identity or a key in header, all but those under AuthPath.
// Anything else is answered with 401.
//
// The original also lets requests pass that claim to come from the site's own pages
// (which any program can claim), paths for development, and streams that bring a
// one-time token, for which their handlers are to be mounted beside this one.
func APIKeyAuth(keys APIKeys, header string, next http.Handler) http.Handler {
	if header == "" {
		header = DefaultAPIKeyHeader
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// What is behind may read /api/v1/auth/../x as /api/x.
		place := path.Clean("/"+r.URL.Path) + "/"
		if strings.HasPrefix(place, "/api/") && !strings.HasPrefix(place, AuthPath) {
			_, signedIn := FromContext(r.Context())
			given := r.Header.Values(header)
			known := false
			if len(given) == 1 {
				_, known = keys.Match(given[0])
			}
			if !signedIn && !known {
				WriteError(w, ErrAPIKey)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// AuthPath is what the paths of the original's sign-in begin with.
const AuthPath = "/api/v1/auth/"
