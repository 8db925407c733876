package slab

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

const (
	wordBytes   = 8
	headerWords = 4 // key 2, meta 1, mark 1
	headerBytes = headerWords * wordBytes

	// Flags in the low half of entry.meta; the length of the value is in the high half.
	flagUsed   = 1 << 0 // read since it was appended here
	flagFrozen = 1 << 1 // being appended elsewhere: marks written here may be lost
	lengthBits = 32

	// Fields of a loc, from the low end. The tag's top bit is always set, which
	// tells a live loc from the two special ones.
	tagBits = 16
	offBits = 15
	offMask = 1<<offBits - 1
	seqMask = 1<<(64-tagBits-offBits) - 1
	tagLive = 1 << (tagBits - 1)

	locEmpty uint64 = 0 // never used, ends a probe
	locTomb  uint64 = 1 // was used, does not end a probe

	maxChunkBytes = (offMask + 1) * wordBytes
)

// entry is the header of an entry inside a chunk; the value follows it. k0 and k1
// are written before the entry is published and never again.
type entry struct {
	k0, k1 uint64
	meta   atomic.Uint64
	mark   atomic.Int64
}

// value returns the bytes behind the header. Its capacity is its length, so an
// append by the caller cannot reach the next entry.
func (e *entry) value() []byte { return e.bytes(e.meta.Load()) }

// bytes is value for a caller that has loaded meta.
func (e *entry) bytes(meta uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(e), headerBytes)), int(meta>>lengthBits))
}

// words returns how much of the chunk the entry takes.
func (e *entry) words() uint32 {
	return entryWords(int(e.meta.Load() >> lengthBits))
}

// entryWords is the room an entry with a value of n bytes takes. A value has a
// word at least: a pointer to an empty value at the end of a chunk would point at
// whatever lies behind the chunk.
func entryWords(n int) uint32 {
	return headerWords + max(1, uint32((n+wordBytes-1)/wordBytes))
}

// entryAt returns the entry at an offset in words. The caller knows that the chunk at
// base has one there.
func entryAt(base *entry, off uint64) *entry {
	return (*entry)(unsafe.Add(unsafe.Pointer(base), off*wordBytes))
}

// newChunk allocates a chunk. The element type has no pointers, so the collector
// does not scan it, and the first word is 8-byte aligned on every platform.
func newChunk(words uint32) *entry {
	chunk := make([]uint64, words)
	return (*entry)(unsafe.Pointer(&chunk[0]))
}

// loc says where an entry is, with enough of its hash to skip most others.
func packLoc(seq uint64, off uint32, tag uint16) uint64 {
	return seq<<(tagBits+offBits) | uint64(off)<<tagBits | uint64(tag)
}

func locSeq(loc uint64) uint64 { return loc >> (tagBits + offBits) }
func locOff(loc uint64) uint64 { return loc >> tagBits & offMask }

// seed is what makes hashes differ between processes.
type seed [2]uint64

// hash mixes both halves of a key with the seed, which an attacker who could choose
// keys does not know: 64×64→128-bit multiplication, halves folded, as in wyhash.
// The low 15 bits make the tag, the 16 above them the shard, the high 32 the slot.
func (s *seed) hash(k0, k1 uint64) uint64 {
	hi, lo := bits.Mul64(k0^s[0], k1^s[1])
	return hi ^ lo
}

func tagOf(h uint64) uint16 { return uint16(h) | tagLive }

// slotOf scales the high half of the hash to n slots, without a division and for
// any n below 2^32.
func slotOf(h uint64, n int) int { return int((h >> 32) * uint64(uint32(n)) >> 32) }

func halves(key *[16]byte) (k0, k1 uint64) {
	return binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])
}
