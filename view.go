package latchkey

import (
	"encoding/binary"
	"encoding/json"
	"sort"
	"strings"
	"time"
	"unsafe"
)

// A view is a session decoded and verified once, packed so that any number of
// them cost the garbage collector nothing and a check reads only the bytes it
// needs. It is written once and never changed; strings handed out alias it.
//
//	0   flags            1   key id of the verified token
//	2   number of data values, big-endian uint16
//	4   end of the strings below, big-endian uint16 each (see the str constants)
//	24  SHA-256 of the verified secret
//	56  MAC of the verified token
//	72  created, last seen, expires, idle limit, auth time, token drawn, version: big-endian int64 each
//	128 session ID
//	144 the strings, then the data values: name length uint16, value length uint32, name, value
type view []byte

const (
	strProvider = iota
	strSubject
	strEmail
	strName
	strAssurance
	strSID
	strIP
	strUserAgent
	strRoles   // joined by newlines, which no role contains
	strMethods // joined by newlines
	numStrings
)

const (
	viewKey     = 1
	viewValues  = 2
	viewEnds    = 4
	viewHash    = 24
	viewMAC     = 56
	viewCreated = 72
	viewSeen    = 80
	viewExpires = 88
	viewIdle    = 96
	viewAuth    = 104
	viewDrawn   = 112
	viewVersion = 120
	viewID      = 128
	viewStrings = 144
)

// Flags of a view.
const (
	viewSealed   = 1 // the row has data that is not in the view
	viewOfSealed = 2 // the token is of version 2
)

// errNoView is the cause when a record is too large to be held.
var errNoView = NewError(CodeInternal, "session record too large", nil)

// newView packs a record for the token it was verified with. values is the opened
// data, or nil when there is none or it is to stay sealed.
func newView(r *Record, tok *token, values map[string]json.RawMessage, sealed bool) (view, error) {
	strs := [numStrings]string{r.Provider, r.Subject, r.Email, r.Name, r.Assurance, r.SID, r.IP, r.UserAgent,
		strings.Join(r.Roles, "\n"), strings.Join(r.Methods, "\n")}
	total := viewStrings
	for _, s := range strs {
		total += len(s)
	}
	if total-viewStrings > 1<<16-1 || len(values) > 1<<16-1 {
		return nil, errNoView
	}
	names := make([]string, 0, len(values))
	for name, v := range values {
		names = append(names, name)
		total += 2 + 4 + len(name) + len(v)
	}
	sort.Strings(names)
	v := make(view, viewStrings, total)
	v[0] = tok.raw[0] & viewOfSealed
	if sealed {
		v[0] |= viewSealed
	}
	v[viewKey] = byte(tok.key)
	binary.BigEndian.PutUint16(v[viewValues:], uint16(len(values)))
	copy(v[viewHash:], r.SecretHash[:])
	copy(v[viewMAC:], tok.mac()[:])
	copy(v[viewID:], r.ID[:])
	for i, us := range [...]int64{micro(r.CreatedAt), micro(r.LastSeenAt), micro(r.ExpiresAt), int64(r.Idle / time.Microsecond),
		micro(r.AuthTime), micro(r.RotatedAt), int64(r.Version)} {
		binary.BigEndian.PutUint64(v[viewCreated+8*i:], uint64(us))
	}
	for i, s := range strs {
		v = append(v, s...)
		binary.BigEndian.PutUint16(v[viewEnds+2*i:], uint16(len(v)-viewStrings))
	}
	for _, name := range names {
		v = binary.BigEndian.AppendUint16(v, uint16(len(name)))
		v = binary.BigEndian.AppendUint32(v, uint32(len(values[name])))
		v = append(append(v, name...), values[name]...)
	}
	return v, nil
}

// micro is a time in Unix microseconds, 0 for none.
func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func (v view) int(at int) int64 {
	if len(v) < viewStrings {
		return 0
	}
	return int64(binary.BigEndian.Uint64(v[at:]))
}

func (v view) time(at int) time.Time { return fromMicro(v.int(at)) }

func (v view) id() (id ID) {
	if len(v) >= viewStrings {
		copy(id[:], v[viewID:])
	}
	return id
}

// verifiedWith reports whether the view was verified with this very token: the
// same secret (by its hash), MAC and key. It takes the same time wherever they
// differ: every word is compared, without a branch until the end.
func (v view) verifiedWith(t *token) bool {
	hash := t.hash()
	held, mac := v[viewHash:viewMAC+16], t.mac()[:]
	differ := uint64(v[viewKey]^byte(t.key)) | uint64((v[0]^t.raw[0])&viewOfSealed)
	for i := 0; i < len(hash); i += 8 {
		differ |= binary.LittleEndian.Uint64(held[i:]) ^ binary.LittleEndian.Uint64(hash[i:])
	}
	for i := 0; i < len(mac); i += 8 {
		differ |= binary.LittleEndian.Uint64(held[len(hash)+i:]) ^ binary.LittleEndian.Uint64(mac[i:])
	}
	return differ == 0
}

// str returns one of the strings. It aliases the view, which is never rewritten.
func (v view) str(i int) string {
	if len(v) < viewStrings {
		return ""
	}
	start := 0
	if i > 0 {
		start = int(binary.BigEndian.Uint16(v[viewEnds+2*(i-1):]))
	}
	end := int(binary.BigEndian.Uint16(v[viewEnds+2*i:]))
	return alias(v[viewStrings+start : viewStrings+end])
}

func (v view) list(i int) []string {
	s := v.str(i)
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// stringsEnd is the length of the strings together.
func (v view) stringsEnd() int {
	if len(v) < viewStrings {
		return 0
	}
	return int(binary.BigEndian.Uint16(v[viewEnds+2*(numStrings-1):]))
}

func (v view) ofSealed() bool { return len(v) > 0 && v[0]&viewOfSealed != 0 }

func (v view) sealed() bool { return len(v) > 0 && v[0]&viewSealed != 0 }

// value returns one data value as JSON.
func (v view) value(name string) (json.RawMessage, bool) {
	for n, raw := range v.values {
		if n == name {
			return raw, true
		}
	}
	return nil, false
}

// values ranges over the data.
func (v view) values(yield func(string, json.RawMessage) bool) {
	if len(v) < viewStrings {
		return
	}
	rest := v[viewStrings+v.stringsEnd():]
	for range binary.BigEndian.Uint16(v[viewValues:]) {
		n, size := int(binary.BigEndian.Uint16(rest)), int(binary.BigEndian.Uint32(rest[2:]))
		name, raw := rest[6:6+n], rest[6+n:6+n+size:6+n+size]
		rest = rest[6+n+size:]
		if !yield(alias(name), json.RawMessage(raw)) {
			return
		}
	}
}

// alias is b as a string without a copy. b must never be rewritten.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
