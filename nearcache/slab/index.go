package slab

import "sync/atomic"

// minSlots is the size of the smallest index.
const minSlots = 16

// index is an open-addressing table with linear probing. Readers probe it while
// the shard's writer changes single slots. Two rules make that safe: a key keeps its
// slot for as long as it is present, and between the slot a key hashes to and the one it is in
// there is never an empty one. The table's size is fixed; a fuller or emptier
// one takes its place as a whole.
type index struct {
	slots []atomic.Uint64
}

func newIndex(n int) *index { return &index{slots: make([]atomic.Uint64, n)} }

func (ix *index) bytes() int64 { return int64(len(ix.slots)) * wordBytes }

// full reports whether that many slots in use would be above 80 %, where probes
// for absent keys begin to get long.
func (ix *index) full(n int) bool { return n > len(ix.slots)/5*4 }

// sparse reports whether that many entries are below an eighth of the slots.
func (ix *index) sparse(n int) bool { return len(ix.slots) > minSlots && n < len(ix.slots)/8 }

// slotsFor returns the size of a new index: 64 % full, so the next one, with nothing
// removed meanwhile, is larger by a quarter.
func slotsFor(entries int) int { return max(minSlots, entries/16*25+25) }

// slotFor returns the slot of a key and true, or the slot to put it in and false.
func (s *shard) slotFor(h, k0, k1 uint64) (at int, found bool) {
	slots := s.index.Load().slots
	free := -1
	for i := slotOf(h, len(slots)); ; i++ {
		if i >= len(slots) {
			i = 0
		}
		switch loc := slots[i].Load(); {
		case uint16(loc) == tagOf(h):
			if e := s.entryOf(loc); e.k0 == k0 && e.k1 == k1 {
				return i, true
			}
		case loc == locTomb && free < 0:
			free = i
		case loc == locEmpty:
			if free < 0 {
				free = i
			}
			return free, false
		}
	}
}

// slotHolding returns the slot with exactly that loc, or -1. Unlike slotFor it
// reads no chunk.
func (s *shard) slotHolding(h, loc uint64) int {
	slots := s.index.Load().slots
	for i := slotOf(h, len(slots)); ; i++ {
		if i >= len(slots) {
			i = 0
		}
		switch slots[i].Load() {
		case loc:
			return i
		case locEmpty:
			return -1
		}
	}
}

// dropSlot takes an entry out of the index. Where the next slot is empty no
// probe goes on past this one, so it and the tombs before it can be empty too.
func (s *shard) dropSlot(at int) {
	slots := s.index.Load().slots
	s.entries--
	next := at + 1
	if next == len(slots) {
		next = 0
	}
	if slots[next].Load() != locEmpty {
		slots[at].Store(locTomb)
		s.tombs++
		return
	}
	slots[at].Store(locEmpty)
	for {
		if at--; at < 0 {
			at = len(slots) - 1
		}
		if slots[at].Load() != locTomb {
			return
		}
		slots[at].Store(locEmpty)
		s.tombs--
	}
}

// rehash replaces the index by one of the right size without tombs. It is published
// when it is complete; a reader in the old one sees what was true when it began.
func (s *shard) rehash() {
	old := s.index.Load()
	// Both are held for a moment; entries make way if need be.
	for i := 0; s.tail != s.next; i++ {
		need := int64(slotsFor(s.entries)) * wordBytes
		if s.held+need <= s.limit {
			break
		}
		s.evict(s.patient(i, need))
	}
	ix := newIndex(slotsFor(s.entries))
	for i := range old.slots {
		loc := old.slots[i].Load()
		if loc == locEmpty || loc == locTomb {
			continue
		}
		e := s.entryOf(loc)
		at := slotOf(s.seed.hash(e.k0, e.k1), len(ix.slots))
		for ix.slots[at].Load() != locEmpty {
			if at++; at == len(ix.slots) {
				at = 0
			}
		}
		ix.slots[at].Store(loc)
	}
	s.tombs = 0
	s.held += ix.bytes() - old.bytes()
	s.index.Store(ix)
}
