// Package deflate compresses short texts to the bytes that zlib writes at its default
// level: Python's zlib.compress. Go's own compressor writes other streams of the same
// text, a byte or two longer or shorter, on which hangs whether a token is compressed
// at all.
//
// It is zlib's method step by step (deflate.c and trees.c of zlib 1.2 and 1.3: lazy
// matching by hash chains, one block, the cheapest of its three kinds), for texts so
// short that the window never slides and one block is enough. Forks of zlib such as
// zlib-ng write streams of their own.
package deflate

import (
	"encoding/binary"
	"hash/adler32"
)

// MaxInput is the longest text, in bytes: one that cannot fill zlib's buffer of symbols.
const MaxInput = 1<<14 - 2

// Of level 6: configuration_table in deflate.c.
const (
	goodLength = 8
	maxLazy    = 16
	niceLength = 128
	maxChain   = 128
)

const (
	minMatch = 3
	maxMatch = 258
	tooFar   = 4096 // a match of three bytes from farther costs more than the bytes
	hashBits = 15
	hashMask = 1<<hashBits - 1
	shift    = 5 // so that a byte is shifted out of the hash after minMatch steps
)

// Writer is the working space for one text after another. The zero value is ready; it
// is not safe for concurrent use. It takes about 220 KiB.
type Writer struct {
	text   [MaxInput + maxMatch + 8]byte // and zeros, which zlib compares with, too
	n      int
	head   [1 << hashBits]uint16 // the last place of a hash; 0 is none, so that place 0 never matches
	prev   [MaxInput]uint16      // the place before with the same hash
	hash   uint
	values []symbol
	blocks block
}

// symbol is a literal, or a match when distance is not 0.
type symbol struct {
	distance uint16
	value    uint8 // the byte, or the length less minMatch
}

// Append appends the zlib stream (RFC 1950) of text to dst. Of a text longer than
// MaxInput it makes nothing and reports false.
func (w *Writer) Append(dst, text []byte) ([]byte, bool) {
	if len(text) > MaxInput {
		return dst, false
	}
	copy(w.text[:], text)
	clear(w.text[len(text):max(len(text), w.n)]) // of the text before
	w.n = len(text)
	clear(w.head[:])
	w.values = w.values[:0]
	w.match()
	dst = append(dst, 0x78, 0x9c)
	dst = w.blocks.append(dst, text, w.values)
	return binary.BigEndian.AppendUint32(dst, adler32.Checksum(text)), true
}

// insert notes a place under the hash of its three bytes and returns the place before.
func (w *Writer) insert(at int) int {
	w.hash = (w.hash<<shift ^ uint(w.text[at+minMatch-1])) & hashMask
	before := w.head[w.hash]
	w.prev[at], w.head[w.hash] = before, uint16(at)
	return int(before)
}

// match is deflate_slow: a match is taken only when the next place has no longer one.
func (w *Writer) match() {
	w.hash = (uint(w.text[0])<<shift ^ uint(w.text[1])) & hashMask
	length, start := minMatch-1, 0
	literal := false // the byte before is not written yet
	for at := 0; at < w.n; {
		left := w.n - at
		before := 0
		if left >= minMatch {
			before = w.insert(at)
		}
		lastLength, lastStart := length, start
		length = minMatch - 1
		if before != 0 && lastLength < maxLazy {
			length, start = w.longest(at, before, lastLength, start)
			if length == minMatch && at-start > tooFar {
				length = minMatch - 1
			}
		}
		switch {
		case lastLength >= minMatch && length <= lastLength:
			w.values = append(w.values, symbol{uint16(at - 1 - lastStart), uint8(lastLength - minMatch)})
			end := at + lastLength - 1
			for at++; at < end; at++ {
				if at <= w.n-minMatch {
					w.insert(at)
				}
			}
			literal, length = false, minMatch-1
		case literal:
			w.values = append(w.values, symbol{0, w.text[at-1]})
			at++
		default:
			literal = true
			at++
		}
	}
	if literal {
		w.values = append(w.values, symbol{0, w.text[w.n-1]})
	}
}

// longest is longest_match: the longest match of the text at a place, longer than best
// and found first along the chain. start stays as it is when there is none.
func (w *Writer) longest(at, candidate, best, start int) (length, from int) {
	chain := maxChain
	if best >= goodLength {
		chain >>= 2
	}
	left := w.n - at
	nice := min(niceLength, left)
	scan := w.text[at : at+maxMatch]
	for ; candidate != 0 && chain > 0; chain-- {
		there := w.text[candidate : candidate+maxMatch]
		if there[best] == scan[best] && there[best-1] == scan[best-1] && there[0] == scan[0] && there[1] == scan[1] {
			n := 2
			for n < maxMatch && there[n] == scan[n] {
				n++
			}
			if n > best {
				best, start = n, candidate
				if n >= nice {
					break
				}
			}
		}
		candidate = int(w.prev[candidate])
	}
	return min(best, left), start
}
