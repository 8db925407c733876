// Package inflate expands short zlib streams (RFC 1950, RFC 1951) from memory to
// memory, under a limit.
//
// compress/zlib builds wide tables for every block, which costs more than expanding
// the hundred bytes of a cookie does. This reader decodes by the lengths of codes
// alone: slower per byte, without preparation to speak of. It accepts what zlib
// accepts, but for preset dictionaries and, unless told to, bytes after the stream.
package inflate

import (
	"encoding/binary"
	"errors"
	"hash/adler32"
	"math/bits"
	"slices"
)

// The two ways to fail.
var (
	ErrMalformed = errors.New("inflate: not a zlib stream")
	ErrTooMuch   = errors.New("inflate: the stream expands to too much")
)

// Reader is the working space for one stream after another. The zero value is ready;
// it is not safe for concurrent use.
type Reader struct {
	// Trailing makes bytes after the stream no error: they are ignored, as
	// zlib.decompress of Python does.
	Trailing bool

	src  []byte
	pos  int    // the next byte of src to load
	bits uint64 // loaded, the next one lowest
	n    uint   // how many of them count

	out  []byte
	from int // where the stream's text begins in out
	most int

	literals, distances code // of the last block that brought its own
	lengths             [maxLiterals + maxDistances]uint8
}

const (
	maxBits      = 15 // of a code
	maxLiterals  = 286
	maxDistances = 30
	endOfBlock   = 256
)

// Append appends to dst what src, one whole zlib stream, expands to: most bytes at
// the most. On failure dst is returned as it was.
func (r *Reader) Append(dst, src []byte, most int) ([]byte, error) {
	// CM must be 8, the window at most 32 KiB, the header a multiple of 31, FDICT unset.
	if len(src) < 6 || src[0]&15 != 8 || src[0]>>4 > 7 || binary.BigEndian.Uint16(src)%31 != 0 || src[1]&0x20 != 0 {
		return dst, ErrMalformed
	}
	r.src, r.pos, r.bits, r.n = src, 2, 0, 0
	r.out, r.from, r.most = dst, len(dst), most
	err := r.blocks()
	out := r.out
	r.src, r.out = nil, nil
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (r *Reader) blocks() error {
	for final := false; !final; {
		r.fill()
		header := r.take(3)
		final = header&1 == 1
		var err error
		switch header >> 1 {
		case 0:
			err = r.stored()
		case 1:
			err = r.compressed(&fixedLiterals, &fixedDistances)
		case 2:
			if err = r.dynamic(); err == nil {
				err = r.compressed(&r.literals, &r.distances)
			}
		default: // also take's answer when the source has ended
			err = ErrMalformed
		}
		if err != nil {
			return err
		}
	}
	r.align()
	if tail := r.src[r.pos:]; len(tail) < 4 || len(tail) > 4 && !r.Trailing || binary.BigEndian.Uint32(tail) != adler32.Checksum(r.out[r.from:]) {
		return ErrMalformed
	}
	return nil
}

// fill loads bits until there are 56 or the source ends. That is enough for a length
// and a distance with all their extra bits.
func (r *Reader) fill() {
	if r.pos+8 <= len(r.src) {
		// Bits beyond n are loaded again later, as what they already are.
		r.bits |= binary.LittleEndian.Uint64(r.src[r.pos:]) << r.n
		r.pos += int(63-r.n) >> 3
		r.n |= 56
		return
	}
	for r.n <= 56 && r.pos < len(r.src) {
		r.bits |= uint64(r.src[r.pos]) << r.n
		r.pos++
		r.n += 8
	}
}

// missing is what take answers when the source has ended: no value is so large.
const missing = 1 << 16

func (r *Reader) take(n uint) int {
	if n > r.n {
		return missing
	}
	v := int(r.bits & (1<<n - 1))
	r.bits >>= n
	r.n -= n
	return v
}

// align drops the rest of a byte and gives loaded bytes back.
func (r *Reader) align() {
	r.pos -= int(r.n >> 3)
	r.bits, r.n = 0, 0
}

func (r *Reader) stored() error {
	r.align()
	rest := r.src[r.pos:]
	if len(rest) < 4 {
		return ErrMalformed
	}
	n := int(binary.LittleEndian.Uint16(rest))
	if n^0xffff != int(binary.LittleEndian.Uint16(rest[2:])) || len(rest)-4 < n {
		return ErrMalformed
	}
	if len(r.out)-r.from+n > r.most {
		return ErrTooMuch
	}
	r.out = append(r.out, rest[4:4+n]...)
	r.pos += 4 + n
	return nil
}

// code is a canonical Huffman code: symbols by the length of their codes, and for
// each length where its codes end and begin, aligned to the left in 15 bits.
type code struct {
	limit   [maxBits + 1]uint16
	first   [maxBits + 1]uint16
	index   [maxBits + 1]uint16
	symbols [288]uint16
	least   uint // the shortest length
}

// build makes c of the lengths of the symbols' codes, 0 for those without. A code
// must be complete; single codes of one bit are let through where partial is set, as
// zlib does, and so is a code of nothing, which no stream can then use.
func (c *code) build(lengths []uint8, partial bool) bool {
	var count [maxBits + 1]uint16
	none := true
	for _, l := range lengths {
		if l > 0 { // most have none, and counting them would be the slowest thing here
			count[l&maxBits]++
			none = false
		}
	}
	c.least = maxBits
	next, code, left, longest := uint16(0), uint16(0), 1, 0
	for l := 1; l <= maxBits; l++ {
		if left = left<<1 - int(count[l]); left < 0 {
			return false
		}
		if count[l] > 0 {
			c.least, longest = min(c.least, uint(l)), l
		}
		c.first[l], c.index[l] = code, next
		next += count[l]
		c.limit[l] = (code + count[l]) << (maxBits - l)
		code = (code + count[l]) << 1
	}
	if left > 0 && !none && (!partial || longest != 1) {
		return false
	}
	at := c.index
	for symbol, l := range lengths {
		if l > 0 {
			c.symbols[at[l&maxBits]] = uint16(symbol)
			at[l&maxBits]++
		}
	}
	return true
}

// symbol decodes the next symbol, missing if there is none.
func (r *Reader) symbol(c *code) int {
	v := bits.Reverse16(uint16(r.bits)) >> 1
	for l := c.least; l <= maxBits; l++ {
		if v < c.limit[l] {
			if l > r.n {
				return missing
			}
			r.bits >>= l
			r.n -= l
			return int(c.symbols[c.index[l]+v>>(maxBits-l)-c.first[l]])
		}
	}
	return missing
}

// The codes of blocks that bring none (RFC 1951 §3.2.6): most cookies are so short
// that they are one such block, and making the codes would be half of the work.
var fixedLiterals, fixedDistances = fixed()

func fixed() (literals, distances code) {
	lengths := make([]uint8, 288)
	for i := range lengths {
		switch {
		case i < 144 || i >= 280:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		default:
			lengths[i] = 7
		}
	}
	literals.build(lengths, false)
	distances.build(slices.Repeat([]uint8{5}, 32), false)
	return literals, distances
}

// codeOrder is the order of the lengths of the code of code lengths.
var codeOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

func (r *Reader) dynamic() error {
	literals, distances, codes := r.take(5)+257, r.take(5)+1, r.take(4)+4
	if literals > maxLiterals || distances > maxDistances || codes > len(codeOrder) {
		return ErrMalformed
	}
	var lengths [19]uint8
	for _, i := range codeOrder[:codes] {
		r.fill()
		l := r.take(3)
		if l == missing {
			return ErrMalformed
		}
		lengths[i] = uint8(l)
	}
	if !r.literals.build(lengths[:], false) || !r.codeLengths(literals+distances) {
		return ErrMalformed
	}
	all := r.lengths[:literals+distances]
	if all[endOfBlock] == 0 || !r.literals.build(all[:literals], true) || !r.distances.build(all[literals:], true) {
		return ErrMalformed
	}
	return nil
}

// codeLengths reads n lengths of codes, which are coded themselves.
func (r *Reader) codeLengths(n int) bool {
	for i := 0; i < n; {
		r.fill()
		symbol := r.symbol(&r.literals)
		if symbol < 16 {
			r.lengths[i] = uint8(symbol)
			i++
			continue
		}
		var again int
		var l uint8
		switch symbol {
		case 16:
			if i == 0 {
				return false
			}
			l, again = r.lengths[i-1], 3+r.take(2)
		case 17:
			again = 3 + r.take(3)
		case 18:
			again = 11 + r.take(7)
		default:
			return false
		}
		if again > n-i {
			return false
		}
		for range again {
			r.lengths[i] = l
			i++
		}
	}
	return true
}

// Lengths and distances: what the symbols begin at, and their extra bits.
var (
	lengthBase = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthBits = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	backBase   = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	backBits   = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

func (r *Reader) compressed(literals, distances *code) error {
	for {
		r.fill()
		symbol := r.symbol(literals)
		switch {
		case symbol < endOfBlock:
			if len(r.out)-r.from >= r.most {
				return ErrTooMuch
			}
			r.out = append(r.out, byte(symbol))
		case symbol == endOfBlock:
			return nil
		default:
			if err := r.copyBack(symbol-endOfBlock-1, distances); err != nil {
				return err
			}
		}
	}
}

// copyBack repeats what stands somewhere before.
func (r *Reader) copyBack(symbol int, distances *code) error {
	if symbol >= len(lengthBase) {
		return ErrMalformed
	}
	length := int(lengthBase[symbol]) + r.take(uint(lengthBits[symbol]))
	if symbol = r.symbol(distances); symbol >= len(backBase) {
		return ErrMalformed
	}
	back := int(backBase[symbol]) + r.take(uint(backBits[symbol]))
	if length >= missing || back > len(r.out)-r.from {
		return ErrMalformed
	}
	if len(r.out)-r.from+length > r.most {
		return ErrTooMuch
	}
	from := len(r.out) - back
	for length > 0 { // what was just written may be part of it
		n := min(length, len(r.out)-from)
		r.out = append(r.out, r.out[from:from+n]...)
		from += n
		length -= n
	}
	return nil
}
