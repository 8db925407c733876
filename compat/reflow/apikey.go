package reflow

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
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

// APIKeyAuth is the original's middleware of that name. Its zero value has no keys, and
// lets nothing but an identity pass.
type APIKeyAuth struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Keys are API_KEYS.
	Keys APIKeys
	// Header is API_KEY_HEADER_NAME, DefaultAPIKeyHeader when empty.
	Header string
	// StreamToken judges the one-time token of a stream that a browser opens, which
	// cannot send headers: it is asked for paths that end in /stream with one
	// parameter token of at least MinStreamToken characters, and uses the token up. The
	// original lets every such request pass and leaves the token to the endpoint; nil
	// lets none.
	StreamToken func(r *http.Request, token string) bool
	// Development opens the paths that the original opens where ENVIRONMENT is dev.
	Development bool
	// DangerouslySameOrigin opens everything to requests without a key that say they
	// come from the site's own pages, as the original does where AUTH_MODE is none. Any
	// program can say so.
	DangerouslySameOrigin bool
}

// MinStreamToken is the shortest token of a stream, in characters.
const MinStreamToken = 40

// AuthPath is what the paths of the original's sign-in begin with.
const AuthPath = "/api/v1/auth/"

// developmentPaths begin what is open where ENVIRONMENT is dev.
var developmentPaths = []string{"/api/dev/monitoring", "/api/dev/minimal", "/api/dev/pipeline-viewer"}

type labelKey struct{}

// APIKeyLabel returns the label of the key that a request came with, below
// [APIKeyAuth.Handler], for logs.
func APIKeyLabel(ctx context.Context) (string, bool) {
	label, ok := ctx.Value(labelKey{}).(string)
	return label, ok
}

// Handler lets pass what may, and goes below [Sessions.Handler]: paths under /api/ need
// an identity or a key, all but those under AuthPath. The rest is answered with 401.
func (a APIKeyAuth) Handler(next http.Handler) http.Handler {
	if a.Header == "" {
		a.Header = DefaultAPIKeyHeader
	}
	missing := &HTTPError{http.StatusUnauthorized, "Missing API key. Provide a valid key in the '" + a.Header + "' header.", "WWW-Authenticate", apiKeyChallenge}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.open(r) {
			next.ServeHTTP(w, r)
			return
		}
		given := r.Header.Values(a.Header)
		if len(given) == 0 || given[0] == "" {
			WriteError(w, missing)
			return
		}
		label, ok := a.Keys.Match(given[0])
		if !ok || len(given) > 1 {
			WriteError(w, ErrAPIKey)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), labelKey{}, label)))
	})
}

// open reports whether a request may pass without a key.
func (a *APIKeyAuth) open(r *http.Request) bool {
	// What is behind may read /api/v1/auth/../x as /api/x.
	place := path.Clean("/" + r.URL.Path)
	if !strings.HasPrefix(place+"/", "/api/") || strings.HasPrefix(place+"/", AuthPath) {
		return true
	}
	if _, signedIn := FromContext(r.Context()); signedIn {
		return true
	}
	if a.Development && slices.ContainsFunc(developmentPaths, func(p string) bool { return strings.HasPrefix(place, p) }) {
		return true
	}
	if a.DangerouslySameOrigin && r.Header.Get(a.Header) == "" && slices.Equal(r.Header.Values("Sec-Fetch-Site"), []string{"same-origin"}) {
		return true
	}
	if a.StreamToken == nil || !strings.HasSuffix(place, "/stream") {
		return false
	}
	tokens := r.URL.Query()["token"]
	return len(tokens) == 1 && utf8.RuneCountInString(tokens[0]) >= MinStreamToken && a.StreamToken(r, tokens[0])
}
