package slab

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"
)

// noChunk is in a ring where there is no chunk; no loc has room for it.
const noChunk = ^uint64(0)

// chunkRef is a place in a shard's ring. seq is the chunk's sequence number, cut to
// the bits a loc has for it, or noChunk.
type chunkRef struct {
	base atomic.Pointer[entry]
	seq  atomic.Uint64
}

// chunkInfo is what writers know of the chunk at the same place; all in words.
type chunkInfo struct {
	size uint32 // allocated; 0 if there is no chunk
	used uint32 // filled, from the front
	live uint32 // of it, entries that the index points at
}

// shard is an independent part of the cache. Readers use the first two members;
// the padding keeps what writers change off their cache line.
type shard struct {
	index atomic.Pointer[index]
	ring  []chunkRef // fixed; length a power of two
	_     [32]byte

	mu         sync.Mutex
	info       []chunkInfo // parallel to ring
	seed       seed
	chunkWords uint32
	limit      int64 // bound on held: a chunk, for a reclamation to fill, below the shard's share

	held    int64 // bytes: chunks, index, ring, this struct
	written int64 // words filled in chunks
	live    int64 // words of them in entries the index points at
	entries int   // slots of the index with an entry
	tombs   int   // slots of the index with locTomb

	// Chunks in the queue have sequence numbers in [tail, next); some of those in
	// between are gone already. open is the one being filled, 0 if there is none.
	// These are whole numbers, not cut to the bits of a loc.
	tail, next, open uint64

	evictions, reinsertions, compactions, clears uint64
	_                                            [32]byte
}

func (s *shard) init(sd seed, share int64, chunkBytes int) {
	s.seed = sd
	s.chunkWords = uint32(chunkBytes / wordBytes)
	s.limit = share - int64(chunkBytes)
	// The smallest chunk is one for a single big entry, half the usual size.
	n := 1 << bits.Len64(uint64(share/int64(chunkBytes/ownChunkFraction)))
	s.ring = make([]chunkRef, n)
	s.info = make([]chunkInfo, n)
	s.reset()
}

// reset makes the shard empty. Readers see the empty index before any chunk goes.
func (s *shard) reset() {
	ix := newIndex(minSlots)
	s.index.Store(ix)
	for i := range s.ring {
		s.ring[i].seq.Store(noChunk)
		s.ring[i].base.Store(nil)
	}
	clear(s.info)
	s.held = int64(unsafe.Sizeof(*s)) + int64(len(s.ring))*int64(unsafe.Sizeof(chunkRef{})+unsafe.Sizeof(chunkInfo{})) + ix.bytes()
	s.written, s.live, s.entries, s.tombs = 0, 0, 0, 0
	if s.next == 0 {
		s.next = 1 // 0 stands for no chunk
	}
	s.tail, s.open = s.next, 0
}

func (s *shard) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clears++
	s.reset()
}

func (s *shard) put(h, k0, k1 uint64, size int, mark int64, fill func([]byte)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The index first: making room for a new one may fill the open chunk.
	if s.index.Load().full(s.entries + s.tombs + 1) {
		s.rehash()
	}
	words := entryWords(size)
	seq, ok := s.room(words)
	if !ok {
		s.remove(h, k0, k1)
		return false
	}
	off := s.infoOf(seq).used
	e := entryAt(s.refOf(seq).base.Load(), uint64(off))
	e.k0, e.k1 = k0, k1
	e.meta.Store(uint64(size) << lengthBits)
	e.mark.Store(mark)
	fill(e.value())
	s.commit(seq, words)

	loc := packLoc(seq, off, tagOf(h))
	at, found := s.slotFor(h, k0, k1)
	slot := &s.index.Load().slots[at]
	old := slot.Load()
	slot.Store(loc)
	switch {
	case found:
		s.bury(old)
	case old == locTomb:
		s.tombs--
		fallthrough
	default:
		s.entries++
	}
	s.compact()
	return true
}

func (s *shard) delete(h, k0, k1 uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.remove(h, k0, k1) {
		return false
	}
	s.compact()
	if s.index.Load().sparse(s.entries) {
		s.rehash()
	}
	return true
}

func (s *shard) remove(h, k0, k1 uint64) bool {
	at, found := s.slotFor(h, k0, k1)
	if !found {
		return false
	}
	loc := s.index.Load().slots[at].Load()
	s.dropSlot(at)
	s.bury(loc)
	return true
}

// advance raises the mark of an entry that was being moved; holding the lock it
// cannot be any more.
func (s *shard) advance(h, k0, k1 uint64, mark int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, found := s.slotFor(h, k0, k1); found {
		s.entryOf(s.index.Load().slots[at].Load()).advance(mark)
	}
}

func (s *shard) addTo(st *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Entries += int64(s.entries)
	st.Bytes += s.held
	st.LiveBytes += s.live * wordBytes
	st.DeadBytes += (s.written - s.live) * wordBytes
	st.IndexBytes += s.index.Load().bytes()
	st.Evictions += s.evictions
	st.Reinsertions += s.reinsertions
	st.Compactions += s.compactions
	st.Clears += s.clears
}

func (s *shard) refOf(seq uint64) *chunkRef   { return &s.ring[seq&uint64(len(s.ring)-1)] }
func (s *shard) infoOf(seq uint64) *chunkInfo { return &s.info[seq&uint64(len(s.info)-1)] }

// seqOf returns the whole sequence number of a chunk that is in the queue.
func (s *shard) seqOf(loc uint64) uint64 { return s.tail + (locSeq(loc)-s.tail)&seqMask }

// entryOf returns the entry that a loc in the current index points at.
func (s *shard) entryOf(loc uint64) *entry {
	return entryAt(s.refOf(locSeq(loc)).base.Load(), locOff(loc))
}

// commit counts the entry just written at the end of a chunk, which the index is
// about to point at.
func (s *shard) commit(seq uint64, words uint32) {
	info := s.infoOf(seq)
	info.used += words
	info.live += words
	s.written += int64(words)
	s.live += int64(words)
}

// bury counts the entry at loc, which the index no longer points at, as dead, and
// frees its chunk if that was the last.
func (s *shard) bury(loc uint64) {
	seq, words := s.seqOf(loc), s.entryOf(loc).words()
	info := s.infoOf(seq)
	info.live -= words
	s.live -= int64(words)
	if info.live == 0 && seq != s.open {
		s.release(seq)
	}
}

// install puts a chunk of that many words at the young end of the queue. The caller
// has made sure of the room for it.
func (s *shard) install(base *entry, words uint32) (seq uint64) {
	seq = s.next
	s.next++
	*s.infoOf(seq) = chunkInfo{size: words}
	ref := s.refOf(seq)
	ref.base.Store(base)
	ref.seq.Store(seq & seqMask)
	s.held += int64(words) * wordBytes
	return seq
}

// release drops a chunk that the index no longer points into.
func (s *shard) release(seq uint64) {
	ref, info := s.refOf(seq), s.infoOf(seq)
	ref.seq.Store(noChunk)
	ref.base.Store(nil)
	s.held -= int64(info.size) * wordBytes
	s.written -= int64(info.used)
	*info = chunkInfo{}
	if s.open == seq {
		s.open = 0
	}
	for s.tail != s.next && s.infoOf(s.tail).size == 0 {
		s.tail++
	}
}
