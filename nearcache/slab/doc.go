// Package slab is a bounded, concurrent map from a 16-byte key to an immutable
// byte string, built so that a million entries cost the garbage collector
// nothing and a reader nothing but atomic loads. It is the memory under
// Latchkey's near cache; the keys there are session IDs (UUIDv7, RFC 9562).
//
// # Layout
//
// A key's hash picks one of the shards. Each shard has an index and a queue of
// chunks, and neither holds a pointer per entry: the collector sees one
// allocation per chunk, without pointers in it, and never looks inside.
//
//	shard ── index  [ loc | loc |  0  | loc | † | … ]        open addressing, 8 bytes a slot
//	  │               │
//	  │               └─ loc = chunk sequence (33 bits) | offset in words (15) | live, tag (16)
//	  │
//	  └── ring   [ base,seq | base,seq | … ]                 sequence mod length
//	                 │
//	                 └─ chunk: ┌─────────┬────────────┬────────┬──────────────┬─ next entry …
//	                           │ key, 16 │ length,    │ mark,  │ value, padded│
//	                           │ bytes   │ flags, 8   │ 8      │ to 8 bytes   │
//	                           └─────────┴────────────┴────────┴──────────────┴─
//
// A chunk is filled once, from front to back, and dropped whole; the key and the
// value of a published entry are never written again. So a value handed out by Get
// aliases the chunk and stays as it is for as long as the caller keeps it (and
// keeps that chunk from being freed, beyond Config.MaxBytes: copy what is to be
// kept long). The words that do change, flags and mark, are atomics.
//
// An entry costs 32 bytes of header, 10 to 12.5 bytes of index (the index grows by
// a quarter, not by doubling, which keeps it between 64 % and 80 % full) and up to
// 7 bytes of padding.
//
// # Readers and writers
//
// Writers of a shard take its mutex. Readers take no lock: they load the index,
// probe it, and follow a loc whose tag matches to its chunk, where the whole key
// is compared. A slot read just before its chunk was dropped may point at a place
// in the ring that holds another chunk by now; the sequence number there tells,
// and the reader starts over. Sequence numbers are not reused until 2^33 chunks
// have passed. In an index a key never changes its slot while it is present, and a
// full index is replaced by a new one as a whole, so a reader cannot miss
// an entry that is being moved. Get, Put, Delete and Advance are linearizable per
// key: what Put, Delete or Clear replaced or removed is not returned by any Get
// that starts after it returned.
//
// # Eviction
//
// The chunks of a shard form a FIFO queue. When a shard has used its share of
// Config.MaxBytes, the oldest chunk goes: entries in it that were read since they
// were written there are appended again at the young end, their used flag cleared, the
// others are dropped. That is FIFO-reinsertion, also known as CLOCK or second
// chance (Corbató, 1968). It was chosen because:
//
//   - a hit writes at most one flag, and only if it is not yet set, so that hot
//     entries bounce no cache lines between cores; LRU moves a list node under a
//     lock at each hit;
//   - it loses nothing by it: over thousands of production traces lazy promotion of
//     this kind has miss ratios at or below those of LRU (Yang et al., "FIFO can be
//     Better than LRU", HotOS 2023; "FIFO queues are all you need for cache
//     eviction", SOSP 2023; Zhang et al., "SIEVE is Simpler than LRU", NSDI
//     2024). TestHitRatio compares this package with an exact LRU;
//   - a queue is the only order in which chunks that are never rewritten can be
//     freed without searching for room.
//
// SIEVE and S3-FIFO drop one-hit wonders sooner, but SIEVE removes entries from the
// middle of the queue, and S3-FIFO needs a ghost index of keys that are gone; both
// win most on web-object traces with scans, which session lookups are not:
// a session that was read once is, as a rule, read again.
//
// What one reclamation may append again is bounded to three quarters of a chunk, so
// that a set of entries that are all in use cannot keep a writer busy: after eight
// reclamations for each chunk of room that a call needs, nothing is kept at all.
//
// Space of overwritten and deleted entries is found again in three ways: a chunk
// without a live entry is dropped at once; when more than a quarter of what a
// shard has written is dead, the chunk with the most dead bytes is emptied by
// appending its live entries again, one chunk per writing call; and the queue comes round
// to the rest. Dead bytes below two chunks per shard are left alone.
package slab
