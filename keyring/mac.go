package keyring

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"hash"
	"sync"
	"sync/atomic"
)

// Purpose separates uses of one key: keys derived for different purposes have
// nothing in common. A purpose is a constant of the program, never input, and
// not empty.
type Purpose string

// The purposes of the session core. Each names a format and its version, so
// that a changed format is a new purpose.
const (
	PurposeToken  Purpose = "latchkey/token/v1"  // the MAC of a session token
	PurposeRotate Purpose = "latchkey/rotate/v1" // the successor of a secret, mid-session
)

// MACSize is the length of a MAC in bytes: 128 bits of an HMAC-SHA256.
const MACSize = 16

// maxCachedPurposes bounds what is kept for a key. A program has a handful;
// beyond the bound results stay right and cost a derivation each.
const maxCachedPurposes = 16

// Derive returns HKDF-SHA256 of the key id with the given info and no salt
// (RFC 5869). ok is false, and the result zeros, when the key is unknown or
// retired or info is empty. Unlike the MAC methods it derives afresh each time:
// keep the result only as long as [Ring.Version] stays the same.
func (r *Ring) Derive(id ID, info string) (key [32]byte, ok bool) {
	s := r.load().secrets[id]
	if s == nil || info == "" {
		return key, false
	}
	return s.derive(info)
}

func (s *secret) derive(info string) (key [32]byte, ok bool) {
	out, err := hkdf.Key(sha256.New, s.bytes()[:], nil, info, len(key))
	if err != nil {
		return key, false
	}
	copy(key[:], out)
	clear(out)
	return key, true
}

// MAC returns the first 16 bytes of HMAC-SHA256 over msg, under the key id
// derived for purpose. ok is false, and the MAC zeros, when the key is unknown
// or retired or the purpose is empty. It neither keeps nor changes msg, and does
// not allocate once a key and purpose are in use.
func (r *Ring) MAC(id ID, purpose Purpose, msg []byte) (mac [MACSize]byte, ok bool) {
	m := r.macKey(id, purpose)
	if m == nil {
		return mac, false
	}
	sum := m.sum(msg)
	copy(mac[:], sum[:])
	return mac, true
}

// VerifyMAC reports whether mac is what [Ring.MAC] returns for msg, comparing in
// constant time. A mac of another length than [MACSize] and an unknown or
// retired key are false.
func (r *Ring) VerifyMAC(id ID, purpose Purpose, msg, mac []byte) bool {
	if len(mac) != MACSize {
		return false
	}
	m := r.macKey(id, purpose)
	if m == nil {
		return false
	}
	sum := m.sum(msg)
	return subtle.ConstantTimeCompare(sum[:MACSize], mac) == 1
}

// HMAC is [Ring.MAC] in its full length of 32 bytes, over the concatenation of
// parts. The parts carry no lengths: callers give all but one a fixed length, or
// two different lists would have one HMAC.
func (r *Ring) HMAC(id ID, purpose Purpose, parts ...[]byte) (sum [sha256.Size]byte, ok bool) {
	m := r.macKey(id, purpose)
	if m == nil {
		return sum, false
	}
	return m.sum(parts...), true
}

// macKey returns what computes HMACs under the key id derived for purpose; nil
// when there is no such key.
func (r *Ring) macKey(id ID, purpose Purpose) *macKey {
	snap := r.snap.Load()
	if snap == nil || purpose == "" {
		return nil
	}
	s := snap.secrets[id]
	if s == nil {
		return nil
	}
	if list := s.macs.Load(); list != nil {
		for _, m := range *list {
			if m.purpose == purpose {
				return m
			}
		}
	}
	return s.addPurpose(purpose)
}

// addPurpose derives the key for purpose and keeps it for later calls. Two
// callers may derive it at once; both results are the same, and one is kept.
func (s *secret) addPurpose(purpose Purpose) *macKey {
	key, ok := s.derive(string(purpose))
	if !ok {
		return nil
	}
	m := &macKey{purpose: purpose}
	m.pool.New = func() any { return &macState{h: hmac.New(sha256.New, key[:])} }
	return keep(&s.macs, m, func(m *macKey) Purpose { return m.purpose })
}

// keep adds what was derived for a purpose to a list and returns it, or what
// another caller has added meanwhile. Beyond maxCachedPurposes nothing is added.
func keep[T any](in *atomic.Pointer[[]*T], derived *T, purpose func(*T) Purpose) *T {
	for {
		old := in.Load()
		list := []*T{derived}
		if old != nil {
			for _, other := range *old {
				if purpose(other) == purpose(derived) {
					return other
				}
			}
			if len(*old) >= maxCachedPurposes {
				return derived
			}
			list = append(list, *old...)
		}
		if in.CompareAndSwap(old, &list) {
			return derived
		}
	}
}

// macKey computes HMACs under one derived key. After its first use an hmac.Hash
// restores the hash states of the padded key instead of hashing it again, which
// halves the work for a short message; pooling them keeps that and allocates
// nothing. (HMAC by hand over sha256.Sum256 measures slower, and would leave
// the validated module of a FIPS build.)
type macKey struct {
	purpose Purpose
	pool    sync.Pool // of *macState
}

// macState carries its own buffers: what is passed to an interface method counts
// as escaping, so without them every caller's message would be moved to the heap.
type macState struct {
	h   hash.Hash
	in  [128]byte
	out [sha256.Size]byte
}

func (m *macKey) sum(parts ...[]byte) (sum [sha256.Size]byte) {
	st := m.pool.Get().(*macState)
	n, high := 0, 0
	for _, p := range parts {
		for len(p) > 0 {
			c := copy(st.in[n:], p)
			p, n = p[c:], n+c
			high = max(high, n)
			if n == len(st.in) {
				st.h.Write(st.in[:])
				n = 0
			}
		}
	}
	st.h.Write(st.in[:n])
	st.h.Sum(st.out[:0])
	sum = st.out
	// Messages hold secrets: leave neither them nor their hash states behind.
	st.h.Reset()
	clear(st.in[:high])
	clear(st.out[:])
	m.pool.Put(st)
	return sum
}
