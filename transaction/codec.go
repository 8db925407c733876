package transaction

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/latchkey-go/latchkey/keyring"
)

// Purpose is what the keys for sealing are derived for. It names the format of the
// cookie, so that a changed format is a new purpose.
const Purpose keyring.Purpose = "latchkey/transaction/v1"

// Labels keep the two hashes of a state apart.
const (
	nameLabel  = "latchkey/transaction-name/v1"
	spentLabel = "latchkey/transaction-spent/v1"
)

const (
	version      = 1
	secretSize   = 32        // of state, nonce and verifier
	headerSize   = 1 + 1 + 8 // version, key ID, began
	maxExtraName = 64        // bytes
	least        = headerSize + keyring.SealOverhead + 3*secretSize + 2 + 1
)

// base64url is strict: unused bits are zero, so that a text has one spelling.
var base64url = base64.RawURLEncoding.Strict()

// digest is SHA-256 of a label and the state's text.
func digest(label, state string) [sha256.Size]byte {
	return sha256.Sum256([]byte(label + "\x00" + state))
}

// decodeSecret reads the text of a state, nonce or verifier.
func decodeSecret(text string) (raw [secretSize]byte, ok bool) {
	if len(text) != base64url.EncodedLen(secretSize) {
		return raw, false
	}
	// The decoder skips line breaks, and then comes out short.
	n, err := base64url.Decode(raw[:], []byte(text))
	return raw, err == nil && n == secretSize
}

// associatedData is what the seal authenticates besides the payload. Provider and
// name are set apart by the former's length.
func associatedData(header []byte, provider, name string) []byte {
	aad := make([]byte, 0, len(Purpose)+1+len(header)+1+len(provider)+len(name))
	aad = append(append(aad, Purpose...), 0)
	aad = append(append(aad, header...), byte(len(provider)))
	return append(append(aad, provider...), name...)
}

// seal returns the value of the cookie name for t, whose parts are within bounds. ok is
// false when there is no such key. random is as for [keyring.Ring.Seal].
func seal(keys *keyring.Ring, key keyring.ID, name string, t *Transaction, random io.Reader) (value string, ok bool) {
	var payload []byte
	for _, text := range []string{t.State, t.Nonce, t.Verifier} {
		raw, good := decodeSecret(text)
		if !good {
			return "", false
		}
		payload = append(payload, raw[:]...)
	}
	payload = binary.BigEndian.AppendUint16(payload, uint16(len(t.ReturnTo)))
	payload = append(payload, t.ReturnTo...)
	payload = append(payload, byte(len(t.Extra)))
	for _, n := range slices.Sorted(maps.Keys(t.Extra)) {
		payload = append(append(payload, byte(len(n))), n...)
		payload = binary.BigEndian.AppendUint16(payload, uint16(len(t.Extra[n])))
		payload = append(payload, t.Extra[n]...)
	}
	out := binary.BigEndian.AppendUint64([]byte{version, byte(key)}, uint64(t.Began.UnixMicro()))
	out, ok = keys.Seal(key, Purpose, out, payload, associatedData(out[:headerSize:headerSize], t.Provider, name), random)
	if !ok {
		return "", false
	}
	return base64url.EncodeToString(out), true
}

// header reads what a cookie shows without its key: when the attempt began. Nothing
// vouches for it until the cookie is opened.
func header(value string) (raw []byte, began time.Time, ok bool) {
	if len(value) > maxCookieSize {
		return nil, time.Time{}, false
	}
	raw, err := base64url.DecodeString(value)
	if err != nil || len(raw) < least || base64url.EncodedLen(len(raw)) != len(value) || raw[0] != version {
		return nil, time.Time{}, false
	}
	micro := int64(binary.BigEndian.Uint64(raw[2:headerSize]))
	if micro < 0 || micro > latest {
		return nil, time.Time{}, false
	}
	return raw, time.UnixMicro(micro).UTC(), true
}

// latest is the last microsecond of the year 9999: further times have no text.
const latest = 253402300799999999

// open is the inverse of seal.
func open(keys *keyring.Ring, name, provider, value string) (t Transaction, why Reason) {
	raw, began, ok := header(value)
	if !ok {
		return t, Malformed
	}
	if len(provider) > MaxProvider {
		return t, Unsealed
	}
	payload, ok := keys.Open(keyring.ID(raw[1]), Purpose, nil, raw[headerSize:], associatedData(raw[:headerSize:headerSize], provider, name))
	if !ok {
		return t, Unsealed
	}
	t = Transaction{Provider: provider, Began: began}
	// Sealed by us, and read strictly all the same: a later version of this program
	// may have sealed it.
	rest := reader{payload}
	for _, into := range []*string{&t.State, &t.Nonce, &t.Verifier} {
		*into = base64url.EncodeToString(rest.take(secretSize))
	}
	t.ReturnTo = string(rest.take(rest.number(2)))
	pairs, last := rest.number(1), ""
	for range min(pairs, maxPairs) {
		n := string(rest.take(rest.number(1)))
		if n <= last {
			return Transaction{}, Malformed
		}
		if t.Extra == nil {
			t.Extra = make(map[string]string, pairs)
		}
		t.Extra[n], last = string(rest.take(rest.number(2))), n
	}
	if rest.left == nil || len(rest.left) > 0 || pairs > maxPairs {
		return Transaction{}, Malformed
	}
	return t, 0
}

// reader takes bytes off the front. left is nil once there were too few.
type reader struct{ left []byte }

func (r *reader) take(n int) []byte {
	if r.left == nil || n > len(r.left) {
		r.left = nil
		return nil
	}
	out := r.left[:n]
	r.left = r.left[n:]
	return out
}

func (r *reader) number(size int) (n int) {
	for _, b := range r.take(size) {
		n = n<<8 | int(b)
	}
	return n
}
