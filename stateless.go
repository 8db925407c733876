package latchkey

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/latchkey-go/latchkey/keyring"
)

// A token of version 2 is what the client of a stateless session holds:
//
//	"lk_" base64url( version=2 | key id(1) | nonce(12) | AES-256-GCM(identity, AAD = version | key id) )
//
// It tells who the session is for, so that a check reads nothing from the store,
// and holds the ID and secret that a token of version 1 holds, so that the row can
// be asked wherever the token cannot be believed. docs/formats.md gives the
// identity byte by byte. Its length varies; any of them is longer than a token of
// version 1.
const (
	sealedVersion = 2
	// maxToken bounds the text of a token: it has to fit into a cookie.
	maxToken = maxCookieSize

	sealedFormat = 1 // first byte of the identity
	sealedHead   = 2 // version and key id, before what is sealed
	sealedNonce  = 12
)

// The identity: a head of fixed size, then the strings of the view.
const (
	sealFormat     = 0
	sealFlags      = 1
	sealEnds       = 2
	sealGeneration = sealEnds + 2*numStrings
	sealNumbers    = sealGeneration + 8 // those of the view from viewCreated on
	sealID         = sealNumbers + (viewID - viewCreated)
	sealSecret     = sealID + 16
	sealStore      = sealSecret + 32
	sealStrings    = sealStore + 8
)

// sealData is the flag of an identity whose row has held data from the start.
const sealData = 1

// sealedOverhead is what a token's bytes have besides the strings.
const sealedOverhead = sealedHead + keyring.SealOverhead + sealStrings

// isSealedToken reports whether s may be a token of version 2; only opening it
// tells. The first two characters hold the version's eight bits.
func isSealedToken(s string) bool {
	return len(s) > TokenLength && len(s) <= maxToken && s[:len(tokenPrefix)] == tokenPrefix &&
		s[3] == 'A' && s[4] >= 'g' && s[4] <= 'v'
}

// open decrypts t.sealed, and fills the rest of t and a view from it, in one block
// of memory. It reports whether the token is genuine.
func (t *token) open(keys *keyring.Ring) (view, bool) {
	// Where the view begins in raw, so that its strings are where they are decrypted.
	const begin = sealedHead + sealedNonce + sealStrings - viewStrings
	raw, ok := decodeBase64url(t.sealed[len(tokenPrefix):])
	if !ok || len(raw) < sealedOverhead || raw[0] != sealedVersion || raw[1] == 0 {
		return nil, false
	}
	key, sealed := keyring.ID(raw[1]), raw[sealedHead:]
	plain, ok := keys.Open(key, keyring.PurposeSealed, sealed[sealedNonce:sealedNonce], sealed, raw[:sealedHead])
	if !ok || plain[sealFormat] != sealedFormat || plain[sealFlags]&^sealData != 0 {
		return nil, false
	}
	head := [sealStrings]byte(plain)
	last := 0
	for i := range numStrings {
		end := int(binary.BigEndian.Uint16(head[sealEnds+2*i:]))
		if end < last {
			return nil, false
		}
		last = end
	}
	if last != len(plain)-sealStrings {
		return nil, false
	}
	t.key = key
	t.raw[0], t.raw[1] = sealedVersion, raw[1]
	copy(t.raw[2:18], head[sealID:])
	copy(t.raw[18:50], head[sealSecret:])
	t.generation = binary.BigEndian.Uint64(head[sealGeneration:])
	copy(t.store[:], head[sealStore:])

	// The strings stay where they were decrypted, and the view's head goes before
	// them, over what was the nonce and the head of the identity.
	v := view(raw[begin : sealedHead+sealedNonce+len(plain)])
	clear(v[:viewStrings])
	v[0] = viewOfSealed
	if head[sealFlags]&sealData != 0 {
		v[0] |= viewSealed
	}
	v[viewKey] = byte(key)
	copy(v[viewEnds:], head[sealEnds:sealGeneration])
	copy(v[viewCreated:], head[sealNumbers:sealID])
	copy(v[viewID:], head[sealID:sealSecret])
	t.issued, t.idle = v.int(viewSeen), v.int(viewIdle)
	return v, true
}

// seal makes the text of a token from a view of the session and its secret.
// issued is when, in Unix microseconds of store time.
func (m *Manager) seal(key keyring.ID, v view, generation uint64, secret *[32]byte, issued int64) (string, bool) {
	strings := v[viewStrings : viewStrings+v.stringsEnd()]
	plain := make([]byte, sealStrings, sealStrings+len(strings))
	plain[sealFormat] = sealedFormat
	if v.sealed() || binary.BigEndian.Uint16(v[viewValues:]) > 0 {
		plain[sealFlags] = sealData
	}
	copy(plain[sealEnds:], v[viewEnds:viewEnds+2*numStrings])
	binary.BigEndian.PutUint64(plain[sealGeneration:], generation)
	copy(plain[sealNumbers:], v[viewCreated:viewID])
	binary.BigEndian.PutUint64(plain[sealNumbers+viewSeen-viewCreated:], uint64(issued))
	copy(plain[sealID:], v[viewID:viewStrings])
	copy(plain[sealSecret:], secret[:])
	copy(plain[sealStore:], m.storeID[:])
	plain = append(plain, strings...)
	raw, ok := m.keys.Seal(key, keyring.PurposeSealed, []byte{sealedVersion, byte(key)}, plain, []byte{sealedVersion, byte(key)}, m.cfg.Rand)
	clear(plain)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(raw), ok
}

// fits refuses a stateless session whose token would be too long for a cookie.
func (m *Manager) fits(rec *Record) error {
	if !rec.Stateless {
		return nil
	}
	v, err := newView(rec, &token{}, nil, true)
	if err != nil {
		return err
	}
	size := len(m.cookieName) + len(tokenPrefix) + (sealedOverhead+v.stringsEnd())*4/3 + 1
	if size > maxCookieSize {
		return &Error{Code: CodeInvalidRequest, Message: "latchkey: sign-in", Fields: []FieldError{{"roles",
			fmt.Sprintf("with the other texts they make a cookie of %d bytes, over the %d that browsers keep; a stored session holds more", size, maxCookieSize)}}}
	}
	return nil
}

// hitSealed judges an opened token of version 2 by itself. Like hit it only ever
// grants: what does not fit goes by the row.
func (m *Manager) hitSealed(tok *token, v view, now Moment, req request) bool {
	if m.ledger == nil || tok.store != m.storeID || !m.ledger.Unchanged(*tok.id(), tok.generation, now, req.within) {
		return false
	}
	us := m.storeMicros(now)
	return us < v.int(viewExpires) && (tok.idle == 0 || us < tok.issued+tok.idle) &&
		// Where no new token can be handed out, activity is noted in the row.
		(req.passive || req.reissue || !tok.pastHalf(us))
}

// pastHalf reports whether a token of version 2 is to be sealed anew at the next
// chance: half of the idle limit has passed since it was issued.
func (t *token) pastHalf(us int64) bool {
	return t.isSealed() && t.idle > 0 && us-t.issued >= t.idle/2
}

// row reads the row of the session in hand, with all activity that is known of.
func (m *Manager) row(ctx context.Context, tok *token) (*Record, error) {
	rec, err := m.store.Get(ctx, *tok.id())
	if err != nil {
		return nil, sessionGone(err)
	}
	return m.provenActive(ctx, tok.issued, m.touches.ahead(rec), m.Now()), nil
}

// provenActive returns rec as a token of version 2 shows it: that it was issued, at
// an instant that is 0 for other tokens, is activity, even if the node that issued
// it died before it had written so.
func (m *Manager) provenActive(ctx context.Context, issued int64, rec *Record, at time.Time) *Record {
	if issued <= micro(rec.LastSeenAt) || rec.StateAt(at) == Revoked {
		return rec
	}
	seen := fromMicro(min(issued, micro(at)))
	if rec.StateAt(at) == Idle { // the store judges by what it was told
		if m.store.Touch(ctx, []Touch{{ID: rec.ID, At: seen}}) != nil {
			return rec
		}
	}
	next := *rec
	next.LastSeenAt = seen
	return &next
}

// drawSealed makes a token of version 2 from a view of the session.
func (m *Manager) drawSealed(key keyring.ID, v view, generation uint64, secret *[32]byte, issued int64) (token, bool) {
	text, ok := m.seal(key, v, generation, secret, issued)
	t := token{key: key, sealed: text, store: m.storeID, generation: generation, issued: issued, idle: v.int(viewIdle)}
	t.raw[0], t.raw[1] = sealedVersion, byte(key)
	id := v.id()
	copy(t.raw[2:18], id[:])
	copy(t.raw[18:50], secret[:])
	return t, ok
}

// reissue seals the token of a stateless session anew: past half of its idle limit
// when the request counts as activity, and when it is under a key that is no longer
// the active one.
func (m *Manager) reissue(st *state, now Moment, req request) {
	us := m.storeMicros(now)
	slide := req.reissue && st.tok.pastHalf(us)
	active, ok := m.keys.Active(now.Time())
	if !ok || !slide && active == st.tok.key {
		return
	}
	issued := st.tok.issued
	if slide {
		issued = us
	}
	tok, ok := m.successorOf(&st.tok, active, us)
	if !ok {
		secret := *st.tok.secret()
		if tok, ok = m.drawSealed(active, st.view, st.tok.generation, &secret, issued); !ok {
			return
		}
		m.noteSuccessor(&st.tok, &tok)
	}
	if active != st.tok.key {
		m.counters.resigned.Add(1)
	}
	st.tok, st.auto = tok, true
	rec := &Record{ID: *tok.id(), ExpiresAt: st.view.time(viewExpires)}
	st.issued = &Issued{Record: rec, Token: tok.text(), SetCookie: m.cfg.Cookie.set(tok.text(), m.storeTime(now), rec.ExpiresAt)}
}
