package slab

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"unsafe"
)

// MaxValueBytes is the longest value any Cache takes. A small one takes less: see
// Cache.MaxValue.
const MaxValueBytes = 1 << 20

const (
	// DefaultMaxBytes is the bound a zero Config.MaxBytes stands for, 64 MiB.
	DefaultMaxBytes = 64 << 20

	minMaxBytes   = 64 << 10
	minChunkBytes = 2 << 10
	maxShards     = 1024
	minChunks     = 8       // chunks a shard has room for, at least
	autoChunks    = 128     // and by default, so the one being filled wastes little
	autoShard     = 8 << 20 // bytes of a shard by default, at least
)

// Config bounds a Cache. The zero value is ready for use.
type Config struct {
	// MaxBytes bounds everything the cache holds: chunks, with the dead and the
	// unused bytes in them, indexes and rings. 0 means DefaultMaxBytes; otherwise at
	// least 64 KiB. Chunks that were dropped but not yet collected, or that a value
	// some caller still holds keeps alive, are not counted.
	MaxBytes int64

	// Shards is how many independently locked parts there are: a power of two, at most
	// 1024. Only writers lock. 0 chooses one for each 8 MiB.
	Shards int

	// ChunkSize is how many bytes are allocated and freed at a time: a multiple of 8
	// from 2 KiB to 256 KiB, at most an eighth of a shard. 0 chooses a 128th of a
	// shard within those limits.
	ChunkSize int
}

// resolved returns the configuration with its zero members chosen, or all that is
// wrong with it.
func (cfg Config) resolved() (Config, error) {
	var errs []error
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.MaxBytes < minMaxBytes {
		errs = append(errs, fmt.Errorf("slab: MaxBytes is %d, want 0 or at least %d", cfg.MaxBytes, minMaxBytes))
	}
	if cfg.Shards < 0 || cfg.Shards > maxShards || cfg.Shards&(cfg.Shards-1) != 0 {
		errs = append(errs, fmt.Errorf("slab: Shards is %d, want 0 or a power of two up to %d", cfg.Shards, maxShards))
	}
	if cfg.ChunkSize != 0 && (cfg.ChunkSize < minChunkBytes || cfg.ChunkSize > maxChunkBytes || cfg.ChunkSize%wordBytes != 0) {
		errs = append(errs, fmt.Errorf("slab: ChunkSize is %d, want 0 or a multiple of %d from %d to %d",
			cfg.ChunkSize, wordBytes, minChunkBytes, maxChunkBytes))
	}
	if len(errs) > 0 {
		return cfg, errors.Join(errs...)
	}
	if cfg.Shards == 0 {
		cfg.Shards = 1
		for cfg.Shards < maxShards && cfg.MaxBytes/int64(cfg.Shards) >= 2*autoShard {
			cfg.Shards *= 2
		}
	}
	share := cfg.MaxBytes / int64(cfg.Shards)
	if cfg.ChunkSize == 0 {
		size := max(minChunkBytes, min(maxChunkBytes, share/autoChunks))
		cfg.ChunkSize = 1 << (bits.Len64(uint64(size)) - 1)
	}
	if share < minChunks*int64(cfg.ChunkSize) {
		return cfg, fmt.Errorf("slab: MaxBytes %d gives each of %d shards %d bytes, want at least %d (eight chunks): raise MaxBytes, or lower Shards or ChunkSize",
			cfg.MaxBytes, cfg.Shards, share, minChunks*cfg.ChunkSize)
	}
	return cfg, nil
}

// Cache is the map. Make one with New; all methods are safe for concurrent use.
// It starts no goroutines and needs no closing.
type Cache struct {
	shards   []shard
	mask     uint64 // len(shards)-1
	seed     seed
	maxValue int
	maxBytes int64
}

// New returns an empty cache, or an error that names everything that is wrong with
// the configuration.
func New(cfg Config) (*Cache, error) {
	cfg, err := cfg.resolved()
	if err != nil {
		return nil, err
	}
	var random [16]byte
	rand.Read(random[:]) // never fails
	share := cfg.MaxBytes / int64(cfg.Shards)
	c := &Cache{
		shards:   make([]shard, cfg.Shards),
		mask:     uint64(cfg.Shards - 1),
		maxValue: int(min(MaxValueBytes, share/3-headerBytes)),
		maxBytes: cfg.MaxBytes,
	}
	c.seed[0], c.seed[1] = binary.NativeEndian.Uint64(random[:8]), binary.NativeEndian.Uint64(random[8:])
	for i := range c.shards {
		c.shards[i].init(c.seed, share, cfg.ChunkSize)
	}
	return c, nil
}

// MaxValue returns the longest value Put takes, in bytes: MaxValueBytes, or about a
// third of a shard if that is less.
func (c *Cache) MaxValue() int { return c.maxValue }

// Get returns the value held for key and its mark. The value must not be modified;
// it stays as it is for as long as the caller keeps it. Get allocates nothing and
// takes no lock.
func (c *Cache) Get(key *[16]byte) (value []byte, mark int64, ok bool) {
	// Small enough to be inlined, so that find is the only call.
	value, mark, e := c.find(key)
	return value, mark, e != nil
}

// find returns the entry of key, its value and its mark, and flags it used. It
// returns a nil entry if there is none.
func (c *Cache) find(key *[16]byte) (value []byte, mark int64, e *entry) {
	k0, k1 := halves(key)
	h := c.seed.hash(k0, k1)
	s := &c.shards[h>>tagBits&c.mask]
	ring := s.ring
	tag := tagOf(h)
again:
	slots := s.index.Load().slots
	for i := slotOf(h, len(slots)); ; i++ {
		if i >= len(slots) {
			i = 0
		}
		loc := slots[i].Load()
		if uint16(loc) == tag {
			// base before seq: the chunk was in the ring before loc was published, and
			// seq is cleared before another base is stored. So an equal seq seen
			// after base means that base is its chunk.
			ref := &ring[locSeq(loc)&uint64(len(ring)-1)]
			base := ref.base.Load()
			if ref.seq.Load() != locSeq(loc) {
				// The chunk was dropped since loc was read. Its entries were moved or
				// removed from the index before that.
				goto again
			}
			if e = entryAt(base, locOff(loc)); e.k0 == k0 && e.k1 == k1 {
				// Checked first: an unconditional write would take the cache line
				// from the other readers each time.
				meta := e.meta.Load()
				if meta&flagUsed == 0 {
					e.meta.Or(flagUsed)
				}
				return e.bytes(meta), e.mark.Load(), e
			}
		} else if loc == locEmpty {
			return nil, 0, nil
		}
	}
}

// Put holds a copy of value and the mark for key, in place of what was held for it.
// It reports false, and nothing is held for key any more, if value is longer than
// MaxValue. A new entry may be evicted at any later time.
func (c *Cache) Put(key *[16]byte, value []byte, mark int64) bool {
	return c.PutFunc(key, len(value), mark, func(dst []byte) { copy(dst, value) })
}

// PutFunc is Put for a value of size bytes that fill writes. fill is called at most
// once, with a lock held: it must not call the cache, must write all of dst (which
// may hold anything) and must not keep it. If fill panics, the entry stays as it was.
func (c *Cache) PutFunc(key *[16]byte, size int, mark int64, fill func(dst []byte)) bool {
	if size < 0 || size > c.maxValue {
		c.Delete(key)
		return false
	}
	k0, k1 := halves(key)
	h := c.seed.hash(k0, k1)
	return c.shards[h>>tagBits&c.mask].put(h, k0, k1, size, mark, fill)
}

// Advance raises the mark of key to mark. It does nothing if the mark is not below
// that, or if nothing is held for key. It does not allocate, and locks only while the
// entry is being moved.
func (c *Cache) Advance(key *[16]byte, mark int64) {
	_, _, e := c.find(key)
	if e == nil {
		return
	}
	e.advance(mark)
	// The flag is set before the mark is copied to the entry's new place. If it is
	// not set now, the mark above was written before and is copied; if it is, it may not have been.
	if e.meta.Load()&flagFrozen == 0 {
		return
	}
	k0, k1 := halves(key)
	h := c.seed.hash(k0, k1)
	c.shards[h>>tagBits&c.mask].advance(h, k0, k1, mark)
}

func (e *entry) advance(mark int64) {
	for {
		old := e.mark.Load()
		if old >= mark || e.mark.CompareAndSwap(old, mark) {
			return
		}
	}
}

// Delete removes the entry of key and reports whether there was one. If there is
// none it takes no lock, so that invalidations of what is not here are cheap.
func (c *Cache) Delete(key *[16]byte) bool {
	if _, _, e := c.find(key); e == nil {
		return false
	}
	k0, k1 := halves(key)
	h := c.seed.hash(k0, k1)
	return c.shards[h>>tagBits&c.mask].delete(h, k0, k1)
}

// Clear removes all entries that were put before it was called and frees their
// memory. An entry put meanwhile may stay or go.
func (c *Cache) Clear() {
	for i := range c.shards {
		c.shards[i].clear()
	}
}

// Stats describes a cache. The counts of different shards are not from the same
// instant.
type Stats struct {
	Entries      int64  // entries held
	Bytes        int64  // everything that MaxBytes bounds
	LiveBytes    int64  // the part of Bytes in entries held: header, value, padding
	DeadBytes    int64  // the part of Bytes in entries overwritten or deleted
	IndexBytes   int64  // the part of Bytes in indexes
	MaxBytes     int64  // the bound
	Evictions    uint64 // entries dropped for want of room, since New
	Reinsertions uint64 // entries in use that eviction kept, since New
	Compactions  uint64 // chunks emptied because of dead bytes, since New
	Clears       uint64 // calls of Clear, since New
}

// Stats takes each shard's lock in turn, briefly.
func (c *Cache) Stats() Stats {
	st := Stats{MaxBytes: c.maxBytes, Bytes: int64(unsafe.Sizeof(*c))}
	for i := range c.shards {
		c.shards[i].addTo(&st)
	}
	st.Clears /= uint64(len(c.shards))
	return st
}
