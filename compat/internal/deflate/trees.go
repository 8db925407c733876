package deflate

import "math/bits"

// The alphabets of RFC 1951, section 3.2.
const (
	literalCodes  = 286
	distanceCodes = 30
	lengthCodes   = 19
	endOfBlock    = 256
	maxBits       = 15
	maxLengthBits = 7

	repeat3To6    = 16
	zeros3To10    = 17
	zeros11To138  = 18
	heapSize      = 2*literalCodes + 1
	kindStored    = 0
	kindFixed     = 1
	kindDynamic   = 2
	fixedDistance = 5 // bits of each code of a fixed block
)

// lengthOrder is the order in which lengths of the lengths' code are sent.
var lengthOrder = [lengthCodes]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// lengthCode returns the code of a length less minMatch, its extra bits and their value.
func lengthCode(n uint8) (code int, extra uint, value uint64) {
	switch {
	case n == maxMatch-minMatch:
		return 28, 0, 0
	case n < 8:
		return int(n), 0, 0
	}
	extra = uint(bits.Len8(n)) - 3
	return int(4*extra) + int(n>>extra), extra, uint64(n) & (1<<extra - 1)
}

// distanceCode returns the code of a distance, its extra bits and their value.
func distanceCode(distance uint16) (code int, extra uint, value uint64) {
	d := distance - 1
	if d < 4 {
		return int(d), 0, 0
	}
	extra = uint(bits.Len16(d)) - 2
	return int(2*extra) + int(d>>extra), extra, uint64(d) & (1<<extra - 1)
}

// tree is a code: how often each symbol is used, and the bits that stand for it.
type tree struct {
	frequency [heapSize]uint32
	length    [heapSize]uint8
	code      [literalCodes]uint16
	parent    [heapSize]uint16
	depth     [heapSize]uint8
	symbols   int
	longest   int // bits
	last      int // symbol that is used

	heap     [heapSize + 1]uint16 // from 1 on
	size     int
	sorted   int // where the nodes by falling frequency begin
	perCount [maxBits + 1]uint16
}

func (t *tree) reset(symbols, longest int) {
	clear(t.frequency[:])
	t.symbols, t.longest = symbols, longest
}

func (t *tree) smaller(a, b uint16) bool {
	return t.frequency[a] < t.frequency[b] || t.frequency[a] == t.frequency[b] && t.depth[a] <= t.depth[b]
}

// sink is pqdownheap.
func (t *tree) sink(at int) {
	v := t.heap[at]
	for child := 2 * at; child <= t.size; child *= 2 {
		if child < t.size && t.smaller(t.heap[child+1], t.heap[child]) {
			child++
		}
		if t.smaller(v, t.heap[child]) {
			break
		}
		t.heap[at] = t.heap[child]
		at = child
	}
	t.heap[at] = v
}

// build is build_tree: a Huffman code, its lengths bounded, its codes in order.
func (t *tree) build() {
	t.size, t.sorted, t.last = 0, heapSize, -1
	push := func(symbol int) {
		t.size++
		t.heap[t.size], t.depth[symbol] = uint16(symbol), 0
	}
	for s := range t.symbols {
		if t.frequency[s] != 0 {
			push(s)
			t.last = s
		} else {
			t.length[s] = 0
		}
	}
	// The format wants two codes at least.
	for t.size < 2 {
		s := 0
		if t.last < 2 {
			t.last++
			s = t.last
		}
		t.frequency[s] = 1
		push(s)
	}
	for at := t.size / 2; at >= 1; at-- {
		t.sink(at)
	}
	node := uint16(t.symbols)
	for ; ; node++ {
		a := t.heap[1]
		t.heap[1] = t.heap[t.size]
		t.size--
		t.sink(1)
		b := t.heap[1]
		t.sorted -= 2
		t.heap[t.sorted+1], t.heap[t.sorted] = a, b
		t.frequency[node] = t.frequency[a] + t.frequency[b]
		t.depth[node] = max(t.depth[a], t.depth[b]) + 1
		t.parent[a], t.parent[b] = node, node
		t.heap[1] = node
		t.sink(1)
		if t.size < 2 {
			break
		}
	}
	t.sorted--
	t.heap[t.sorted] = t.heap[1]
	t.lengths()
	t.codes()
}

// lengths is gen_bitlen.
func (t *tree) lengths() {
	clear(t.perCount[:])
	t.length[t.heap[t.sorted]] = 0
	over := 0
	for h := t.sorted + 1; h < heapSize; h++ {
		n := t.heap[h]
		length := int(t.length[t.parent[n]]) + 1
		if length > t.longest {
			length = t.longest
			over++
		}
		t.length[n] = uint8(length)
		if int(n) <= t.last {
			t.perCount[length]++
		}
	}
	if over == 0 {
		return
	}
	for ; over > 0; over -= 2 {
		length := t.longest - 1
		for t.perCount[length] == 0 {
			length--
		}
		t.perCount[length]--
		t.perCount[length+1] += 2
		t.perCount[t.longest]--
	}
	h := heapSize
	for length := t.longest; length > 0; length-- {
		for n := t.perCount[length]; n > 0; {
			h--
			if m := t.heap[h]; int(m) <= t.last {
				t.length[m] = uint8(length)
				n--
			}
		}
	}
}

// codes is gen_codes: RFC 1951, section 3.2.2, the bits as they are sent.
func (t *tree) codes() {
	var next [maxBits + 2]uint16
	for length := 1; length <= maxBits; length++ {
		next[length+1] = (next[length] + t.perCount[length]) << 1
	}
	for s := 0; s <= t.last; s++ {
		if n := t.length[s]; n != 0 {
			t.code[s] = bits.Reverse16(next[n]) >> (16 - n)
			next[n]++
		}
	}
}

// runs is scan_tree and send_tree: the lengths of a code, runs of them shortened.
func (t *tree) runs(emit func(code uint8, extra uint, value uint64)) {
	previous, next := -1, int(t.length[0])
	count, most, least := 0, 7, 4
	if next == 0 {
		most, least = 138, 3
	}
	for s := 0; s <= t.last; s++ {
		length := next
		if next = -2; s < t.last { // no length, behind the last
			next = int(t.length[s+1])
		}
		if count++; count < most && length == next {
			continue
		}
		switch {
		case count < least:
			for range count {
				emit(uint8(length), 0, 0)
			}
		case length != 0:
			if length != previous {
				emit(uint8(length), 0, 0)
				count--
			}
			emit(repeat3To6, 2, uint64(count-3))
		case count <= 10:
			emit(zeros3To10, 3, uint64(count-3))
		default:
			emit(zeros11To138, 7, uint64(count-11))
		}
		count, previous = 0, length
		switch next {
		case 0:
			most, least = 138, 3
		case length:
			most, least = 6, 3
		default:
			most, least = 7, 4
		}
	}
}

// block writes the one block of a stream.
type block struct {
	literals, distances, sizes tree

	out  []byte
	held uint64
	n    uint
}

func (b *block) send(value uint64, n uint) {
	b.held |= value << b.n
	for b.n += n; b.n >= 8; b.n -= 8 {
		b.out = append(b.out, byte(b.held))
		b.held >>= 8
	}
}

func (b *block) align() {
	if b.n > 0 {
		b.out = append(b.out, byte(b.held))
	}
	b.held, b.n = 0, 0
}

func fixedLength(code int) uint {
	switch {
	case code < 144:
		return 8
	case code < 256:
		return 9
	case code < 280:
		return 7
	}
	return 8
}

// fixedCode is a code of RFC 1951, section 3.2.6, as it is sent.
func fixedCode(code int) uint64 {
	v := code
	switch {
	case code < 144:
		v += 0x30
	case code < 256:
		v += 0x190 - 144
	case code < 280:
		v -= 256
	default:
		v += 0xc0 - 280
	}
	return uint64(bits.Reverse16(uint16(v)) >> (16 - fixedLength(code)))
}

// append is _tr_flush_block: the block in the kind that is the shortest.
func (b *block) append(dst, text []byte, values []symbol) []byte {
	b.literals.reset(literalCodes, maxBits)
	b.distances.reset(distanceCodes, maxBits)
	b.sizes.reset(lengthCodes, maxLengthBits)
	b.literals.frequency[endOfBlock] = 1
	extraBits := 0
	for _, v := range values {
		if v.distance == 0 {
			b.literals.frequency[v.value]++
			continue
		}
		code, extra, _ := lengthCode(v.value)
		b.literals.frequency[endOfBlock+1+code]++
		extraBits += int(extra)
		code, extra, _ = distanceCode(v.distance)
		b.distances.frequency[code]++
		extraBits += int(extra)
	}
	// What zlib counts for the codes that there must be and are not used cancels out.
	dynamic, fixed := extraBits, extraBits
	literals, distances := [literalCodes]uint32(b.literals.frequency[:]), [distanceCodes]uint32(b.distances.frequency[:])
	b.literals.build()
	b.distances.build()
	for code, f := range literals {
		dynamic += int(f) * int(b.literals.length[code])
		fixed += int(f) * int(fixedLength(code))
	}
	for code, f := range distances {
		dynamic += int(f) * int(b.distances.length[code])
		fixed += int(f) * fixedDistance
	}
	count := func(code uint8, extra uint, _ uint64) {
		b.sizes.frequency[code]++
		dynamic += int(extra)
	}
	b.literals.runs(count)
	b.distances.runs(count)
	sizes := [lengthCodes]uint32(b.sizes.frequency[:])
	b.sizes.build()
	for code, f := range sizes {
		dynamic += int(f) * int(b.sizes.length[code])
	}
	order := lengthCodes - 1
	for order >= 3 && b.sizes.length[lengthOrder[order]] == 0 {
		order--
	}
	dynamic += 3*(order+1) + 5 + 5 + 4

	b.out, b.held, b.n = dst, 0, 0
	dynamicBytes, fixedBytes := (dynamic+3+7)>>3, (fixed+3+7)>>3
	switch {
	case len(text)+4 <= min(dynamicBytes, fixedBytes):
		b.stored(text)
	case fixedBytes <= dynamicBytes:
		b.send(kindFixed<<1|1, 3)
		b.fixed(values)
	default:
		b.send(kindDynamic<<1|1, 3)
		b.dynamic(values, order)
	}
	b.align()
	out := b.out
	b.out = nil
	return out
}

func (b *block) stored(text []byte) {
	b.send(kindStored<<1|1, 3)
	b.align()
	n := uint16(len(text))
	b.out = append(b.out, byte(n), byte(n>>8), byte(^n), byte(^n>>8))
	b.out = append(b.out, text...)
}

func (b *block) fixed(values []symbol) {
	for _, v := range values {
		if v.distance == 0 {
			b.send(fixedCode(int(v.value)), fixedLength(int(v.value)))
			continue
		}
		code, extra, value := lengthCode(v.value)
		b.send(fixedCode(endOfBlock+1+code), fixedLength(endOfBlock+1+code))
		b.send(value, extra)
		code, extra, value = distanceCode(v.distance)
		b.send(uint64(bits.Reverse8(uint8(code))>>(8-fixedDistance)), fixedDistance)
		b.send(value, extra)
	}
	b.send(fixedCode(endOfBlock), fixedLength(endOfBlock))
}

func (b *block) dynamic(values []symbol, order int) {
	b.send(uint64(b.literals.last+1-257), 5)
	b.send(uint64(b.distances.last+1-1), 5)
	b.send(uint64(order+1-4), 4)
	for _, code := range lengthOrder[:order+1] {
		b.send(uint64(b.sizes.length[code]), 3)
	}
	emit := func(code uint8, extra uint, value uint64) {
		b.send(uint64(b.sizes.code[code]), uint(b.sizes.length[code]))
		b.send(value, extra)
	}
	b.literals.runs(emit)
	b.distances.runs(emit)
	for _, v := range values {
		if v.distance == 0 {
			b.symbol(&b.literals, int(v.value))
			continue
		}
		code, extra, value := lengthCode(v.value)
		b.symbol(&b.literals, endOfBlock+1+code)
		b.send(value, extra)
		code, extra, value = distanceCode(v.distance)
		b.symbol(&b.distances, code)
		b.send(value, extra)
	}
	b.symbol(&b.literals, endOfBlock)
}

func (b *block) symbol(t *tree, code int) { b.send(uint64(t.code[code]), uint(t.length[code])) }
