package slab

// Bounds of the work of one reclamation and of one writing call.
const (
	// An entry above half a chunk has a chunk of its own.
	ownChunkFraction = 2

	// A reclamation that evicts keeps three quarters of a chunk at most, so that one
	// yields a quarter, as a rule: big entries can leave gaps at the ends of chunks.
	keepNum, keepDen = 3, 4

	// After that many for each chunk of room a call needs, nothing is kept: entries
	// that are read faster than they are looked through cannot hold up a writer.
	patience = 8
)

// room makes sure of a place for an entry of that many words and returns the
// chunk to append it to. It is false if it cannot, which the bounds of Config rule
// out for a value of at most MaxValue bytes.
func (s *shard) room(words uint32) (seq uint64, ok bool) {
	size, own := s.chunkWords, false
	if words > s.chunkWords/ownChunkFraction {
		size, own = words, true
	}
	for i := 0; ; i++ {
		if !own && s.fits(words) {
			return s.open, true
		}
		if s.held+int64(size)*wordBytes <= s.limit && s.ringRoom() {
			break
		}
		if s.tail == s.next {
			return 0, false
		}
		s.evict(s.patient(i, int64(size)*wordBytes))
	}
	if own {
		return s.install(newChunk(size), size), true
	}
	return s.openChunk(), true
}

func (s *shard) fits(words uint32) bool {
	if s.open == 0 {
		return false
	}
	info := s.infoOf(s.open)
	return info.used+words <= info.size
}

// ringRoom leaves a place for the chunk that a reclamation may open.
func (s *shard) ringRoom() bool { return s.next-s.tail < uint64(len(s.ring))-1 }

// openChunk begins a new chunk. The one before it is closed, and dropped if all in
// it is dead.
func (s *shard) openChunk() uint64 {
	last := s.open
	s.open = s.install(newChunk(s.chunkWords), s.chunkWords)
	if last != 0 && s.infoOf(last).live == 0 {
		s.release(last)
	}
	return s.open
}

// patient reports whether the given round of evictions may keep entries in use, where a
// call needs that many bytes.
func (s *shard) patient(round int, need int64) bool {
	return int64(round) < patience*(1+need/(int64(s.chunkWords)*wordBytes))
}

// evict reclaims the oldest chunk. Entries in use are kept, within the bounds above,
// if mayKeep is set.
func (s *shard) evict(mayKeep bool) {
	seq := s.tail
	if seq == s.open {
		s.open = 0 // what is kept goes to the young end
	}
	keep := s.chunkWords / keepDen * keepNum
	if !mayKeep {
		keep = 0
	}
	if s.refOf(seq).base.Load().words() == s.infoOf(seq).size {
		s.evictOwn(seq, mayKeep)
		return
	}
	s.drain(seq, func(e *entry, words uint32) bool {
		if e.meta.Load()&flagUsed == 0 || words > keep {
			s.evictions++
			return false
		}
		keep -= words
		s.reinsertions++
		return true
	}, 0)
}

// evictOwn reclaims a chunk that was made for one big entry. To keep it, the chunk
// itself goes to the young end; nothing is copied.
func (s *shard) evictOwn(seq uint64, mayKeep bool) {
	base, info := s.refOf(seq).base.Load(), *s.infoOf(seq)
	h := s.seed.hash(base.k0, base.k1)
	at := s.slotHolding(h, packLoc(seq, 0, tagOf(h)))
	if at < 0 {
		s.release(seq)
		return
	}
	if !mayKeep || base.meta.Load()&flagUsed == 0 {
		s.evictions++
		s.dropSlot(at)
		s.bury(packLoc(seq, 0, tagOf(h)))
		return
	}
	s.reinsertions++
	base.meta.And(^uint64(flagUsed))
	young := s.install(base, info.size)
	s.commit(young, info.used)
	s.index.Load().slots[at].Store(packLoc(young, 0, tagOf(h)))
	s.live -= int64(info.used)
	s.release(seq)
}

// drain empties a chunk: each entry in it that is current is appended again, with
// the given flags, if keep says so, and leaves the index if not. What is kept must fit
// in the open chunk or one more.
func (s *shard) drain(seq uint64, keep func(*entry, uint32) bool, flags uint64) {
	base, info := s.refOf(seq).base.Load(), s.infoOf(seq)
	for off := uint32(0); off < info.used; {
		e := entryAt(base, uint64(off))
		words := e.words()
		h := s.seed.hash(e.k0, e.k1)
		if at := s.slotHolding(h, packLoc(seq, off, tagOf(h))); at >= 0 {
			if keep(e, words) {
				s.move(at, h, e, words, flags)
			} else {
				s.dropSlot(at)
			}
			info.live -= words
			s.live -= int64(words)
		}
		off += words
	}
	s.release(seq)
}

// move appends an entry again and points its slot at the new place.
func (s *shard) move(at int, h uint64, e *entry, words uint32, flags uint64) {
	if !s.fits(words) {
		s.openChunk()
	}
	seq, off := s.open, s.infoOf(s.open).used
	to := entryAt(s.refOf(seq).base.Load(), uint64(off))
	to.k0, to.k1 = e.k0, e.k1
	// Frozen first, then the mark: see Advance.
	meta := e.meta.Or(flagFrozen)
	to.mark.Store(e.mark.Load())
	to.meta.Store(meta&^(flagUsed|flagFrozen) | meta&flags)
	copy(to.value(), e.value())
	s.commit(seq, words)
	s.index.Load().slots[at].Store(packLoc(seq, off, tagOf(h)))
}

// compact empties the chunk with the most dead words, if a quarter of what is
// written is dead. Then that chunk has about as much or more of it, so a writer copies
// some three bytes, at worst seven, to win one.
func (s *shard) compact() {
	dead := s.written - s.live
	if dead*4 <= s.written || dead < 2*int64(s.chunkWords) || s.next-s.tail > uint64(len(s.ring))-2 {
		return
	}
	worst, most := uint64(0), uint32(0)
	for seq := s.tail; seq != s.next; seq++ {
		info := s.infoOf(seq)
		if seq != s.open && info.used-info.live > most {
			worst, most = seq, info.used-info.live
		}
	}
	if most <= s.chunkWords/8 {
		return
	}
	s.compactions++
	s.drain(worst, func(*entry, uint32) bool { return true }, flagUsed)
}
