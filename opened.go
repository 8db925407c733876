package latchkey

import (
	"strings"
	"sync/atomic"

	"github.com/latchkey-go/latchkey/keyring"
)

// openedTokens remembers tokens of version 2 that were opened not long ago, so that
// a client which comes again costs no decryption. It says nothing about whether the
// session stands: the list of changed sessions and the limits are asked each time.
// What is remembered is bounded, and is given up at a change of the keys.
type openedTokens [openedSets]openedSet

// openedSet holds tokens that fall to one place. The marks tell which may be where;
// a mark without an entry is a token that has come once.
type openedSet struct {
	marks   [openedWays]atomic.Uint32
	entries [openedWays]atomic.Pointer[openedToken]
}

// Bounds of what is remembered: 16,384 tokens, at some 700 bytes each, and under
// 3 KiB where they are as long as can be.
const (
	openedLength = 1024
	openedWays   = 4
	openedSets   = 1 << openedBits
	openedBits   = 12
)

// openedToken is one of them. It is never changed.
type openedToken struct {
	keys uint64 // the keyring's version that it was opened under
	tok  token
	view view
	// next is the token that was handed out in its place, to be handed out again to
	// those who ask at the same time, or take no cookies.
	next atomic.Pointer[token]
}

// place is which set a token is in, and its mark there. Both are of the last
// characters, which are of the tag that authenticates it: they are spread evenly, and
// nobody without the key can choose them for a token that opens.
func place(text string) (set int, mark uint32) {
	bits := word(text[len(text)-8:]) * 0x9e3779b97f4a7c15
	return int(bits >> (64 - openedBits)), uint32(bits>>8) | 1
}

// open opens a token of version 2, or recalls how it was opened.
func (m *Manager) open(tok *token) (view, bool) {
	if m.opened == nil {
		return tok.open(m.keys)
	}
	version := m.keys.Version()
	number, mark := place(tok.sealed)
	set, way, free := &m.opened[number], -1, int(mark>>8)%openedWays
	for i := range set.marks {
		switch set.marks[i].Load() {
		case mark:
		case 0:
			free = i
			continue
		default:
			continue
		}
		if e := set.entries[i].Load(); e != nil && e.keys == version && sameText(e.tok.sealed, tok.sealed) {
			bearer := tok.bearer
			*tok = e.tok
			tok.bearer = bearer
			return e.view, true
		}
		way = i
	}
	v, ok := tok.open(m.keys)
	switch {
	case !ok:
		return nil, false
	case len(tok.sealed) > openedLength:
	case way < 0: // a copy is for those who come again
		set.entries[free].Store(nil)
		set.marks[free].Store(mark)
	default:
		e := &openedToken{keys: version, tok: *tok, view: v}
		e.tok.sealed = strings.Clone(tok.sealed) // without the headers around it
		e.tok.bearer = false
		set.entries[way].Store(e)
	}
	return v, true
}

// find returns the entry of a token that was remembered.
func (o *openedTokens) find(tok *token) *openedToken {
	number, mark := place(tok.sealed)
	set := &o[number]
	for i := range set.marks {
		if set.marks[i].Load() == mark {
			if e := set.entries[i].Load(); e != nil && sameText(e.tok.sealed, tok.sealed) {
				return e
			}
		}
	}
	return nil
}

// successorOf returns the token that was handed out in place of one a while ago, if
// it is under the active key and needs no replacement itself.
func (m *Manager) successorOf(tok *token, active keyring.ID, us int64) (token, bool) {
	if m.opened == nil {
		return token{}, false
	}
	if e := m.opened.find(tok); e != nil {
		if next := e.next.Load(); next != nil && next.key == active && !next.pastHalf(us) && next.issued >= tok.issued {
			return *next, true
		}
	}
	return token{}, false
}

// noteSuccessor remembers what was handed out in place of a token.
func (m *Manager) noteSuccessor(tok, next *token) {
	if m.opened == nil {
		return
	}
	if e := m.opened.find(tok); e != nil {
		e.next.Store(next)
	}
}

// sameText compares in a time that depends on the lengths alone.
func sameText(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	var differ uint64
	for len(a) >= 8 && len(b) >= 8 {
		differ |= word(a) ^ word(b)
		a, b = a[8:], b[8:]
	}
	for i := range len(a) {
		differ |= uint64(a[i] ^ b[i])
	}
	return differ == 0
}

// word is the first eight bytes of s.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}
