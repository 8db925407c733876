package nearcache

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"github.com/latchkey-go/latchkey"
)

// idSet is a set of session IDs that only grows. Readers take no lock and write
// nothing, so that they do not slow each other down; whoever adds holds a lock of
// their own. It is in parts, each of which grows by itself, so that no addition
// takes long, and free of pointers but for one to each part.
//
// An entry takes about 40 bytes.
type idSet struct {
	parts [setParts]atomic.Pointer[idTable]
	n     int // of those who add
}

const (
	setParts     = 64
	setPartBits  = 6
	minTableBits = 3
)

// idTable is a part: open addressing with a power of two of slots, of which at
// most five in eight are used.
type idTable struct {
	slots []idSlot
	used  int
	shift uint8 // of a hash, to get a slot
}

// idSlot is an ID in two halves; a low half of 0 means that it is empty. The low
// half is written last and read first.
type idSlot struct{ high, low atomic.Uint64 }

// halves are an ID as slots hold it. No session's ID has a low half of 0, which
// begins with its variant (RFC 9562); what is none shares an entry.
func halves(id *latchkey.ID) (high, low uint64) {
	return binary.BigEndian.Uint64(id[:8]), max(binary.BigEndian.Uint64(id[8:]), 1)
}

// spread hashes an ID. IDs come from the deployment's own nodes, so that nobody
// chooses them to collide.
func spread(high, low uint64) uint64 {
	h := (high*0x9e3779b97f4a7c15 + bits.RotateLeft64(low, 29)) * 0xd6e8feb86659fd93
	return (h ^ h>>32) * 0x9e3779b97f4a7c15
}

// has reports whether the set holds an ID. What was added before the call is found.
func (s *idSet) has(id *latchkey.ID) bool {
	high, low := halves(id)
	h := spread(high, low)
	t := s.parts[h>>(64-setPartBits)].Load()
	if t == nil {
		return false
	}
	for i := h << setPartBits >> t.shift; ; i++ {
		slot := &t.slots[i&uint64(len(t.slots)-1)]
		switch slot.low.Load() {
		case 0:
			return false
		case low:
			if slot.high.Load() == high {
				return true
			}
		}
	}
}

// add puts an ID into the set. Only one goroutine may be at it.
func (s *idSet) add(id *latchkey.ID) {
	high, low := halves(id)
	h := spread(high, low)
	part := &s.parts[h>>(64-setPartBits)]
	t := part.Load()
	if t == nil || t.used*8 >= len(t.slots)*5 {
		t = t.grown()
		if t.put(h, high, low) {
			s.n++
		}
		part.Store(t) // complete; readers of the old one have begun before this
		return
	}
	if t.put(h, high, low) {
		s.n++
	}
}

// put reports whether an ID is new to the table, which has room for it.
func (t *idTable) put(h, high, low uint64) bool {
	for i := h << setPartBits >> t.shift; ; i++ {
		slot := &t.slots[i&uint64(len(t.slots)-1)]
		switch slot.low.Load() {
		case 0:
			slot.high.Store(high)
			slot.low.Store(low)
			t.used++
			return true
		case low:
			if slot.high.Load() == high {
				return false
			}
		}
	}
}

// grown returns a table of twice the size with the same IDs; of nil, an empty one.
func (t *idTable) grown() *idTable {
	width := minTableBits
	if t != nil {
		width = bits.Len(uint(len(t.slots)))
	}
	next := &idTable{slots: make([]idSlot, 1<<width), shift: uint8(64 - width)}
	if t != nil {
		for i := range t.slots {
			if low := t.slots[i].low.Load(); low != 0 {
				high := t.slots[i].high.Load()
				next.put(spread(high, low), high, low)
			}
		}
	}
	return next
}
