package itsdangerous

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"math/bits"
	"slices"
	"strings"
	"sync"

	"github.com/latchkey-go/latchkey/compat/internal/inflate"
	"github.com/latchkey-go/latchkey/compat/internal/py"
)

// buffers are the compressors and readers of a serializer that are not in use. Each
// costs from some to hundreds of KiB to make.
type buffers struct{ deflaters, inflaters sync.Pool }

func newBuffers() *buffers {
	b := new(buffers)
	b.deflaters.New = func() any { return &deflater{w: zlib.NewWriter(io.Discard)} }
	b.inflaters.New = func() any { return new(inflater) }
	return b
}

// append appends the payload of a token to dst: compressed when that is shorter by
// more than the dot that marks it, which is the original's rule.
func (b *buffers) append(dst, doc []byte) []byte {
	// A stream has 6 bytes of frame and no text of 12 bytes fits into the other 4.
	if len(doc) > 12 {
		d := b.deflaters.Get().(*deflater)
		defer b.deflaters.Put(d)
		d.out.Reset()
		d.w.Reset(&d.out)
		d.w.Write(doc)
		if d.w.Close() == nil {
			if stream := trim(d.out.Bytes(), len(doc)); len(stream) < len(doc)-1 {
				return py.RawURL.AppendEncode(append(dst, '.'), stream)
			}
		}
	}
	return py.RawURL.AppendEncode(dst, doc)
}

// oneBlock is the longest text that compress/flate is sure to put into one block.
const oneBlock = 1<<14 - 1

// trim makes the only block of a stream its last one. compress/flate ends with an
// empty stored block instead, five bytes on which the original's rule often hangs.
func trim(stream []byte, length int) []byte {
	const header, tail = 2, 8 // of zlib before; an empty block's lengths and Adler-32 behind
	end := len(stream) - tail
	if length > oneBlock || end < header+2 || stream[header]&6 == 0 || string(stream[end:end+4]) != "\x00\x00\xff\xff" {
		return stream
	}
	// Before its lengths the empty block has a 1 (it is the last) and two 0 (it is
	// stored), and 0 up to the end of a byte. So the highest bit that is set there is
	// that 1, and what is below it belongs to the block that stays.
	if stream[end-1] == 0 { // the 1 is one of the two highest bits of the byte before
		end--
	}
	if last := &stream[end-1]; *last == 1 { // nothing is below it
		end--
	} else if *last != 0 {
		*last &^= 1 << (bits.Len8(*last) - 1)
	}
	stream[header] |= 1
	return append(stream[:end], stream[len(stream)-4:]...)
}

type deflater struct {
	out bytes.Buffer
	w   *zlib.Writer
}

// read appends to dst what the payload of a token holds, at most c.MaxExpanded bytes
// of it when it is compressed. The signature is checked before, so that only holders of a key get here; the limit
// is there because a key can leak, and because a namespace can be shared.
func (b *buffers) read(dst []byte, payload string, c *Config) ([]byte, error) {
	compressed := strings.HasPrefix(payload, ".")
	if compressed {
		payload = payload[1:]
	}
	if !py.IsAlphabet(payload) {
		return dst, bad(ErrBadPayload, "not base64")
	}
	if !compressed {
		out, err := appendBase64(dst, payload)
		if err != nil {
			return dst, bad(ErrBadPayload, "not base64")
		}
		return out, nil
	}
	in := b.inflaters.Get().(*inflater)
	defer b.release(in)
	var err error
	if in.raw, err = appendBase64(in.raw[:0], payload); err != nil {
		return dst, bad(ErrBadPayload, "not base64")
	}
	in.r.Trailing = c.DangerouslyTrailingBytes
	out, err := in.r.Append(slices.Grow(dst, min(2*len(in.raw), c.MaxExpanded)), in.raw, c.MaxExpanded)
	switch {
	case errors.Is(err, inflate.ErrTooMuch):
		return dst, bad(ErrBadPayload, "expands to too much")
	case err != nil:
		return dst, bad(ErrBadPayload, "not zlib")
	}
	return out, nil
}

// appendBase64 decodes the canonical base64 of text behind dst.
func appendBase64(dst []byte, text string) ([]byte, error) {
	from, most := len(dst), py.RawURL.DecodedLen(len(text))
	dst = slices.Grow(dst, most+len(text))
	in := dst[from+most : from+most+len(text)] // behind what it decodes to
	copy(in, text)
	n, err := py.RawURL.Decode(dst[from:from+most], in)
	return dst[:from+n], err
}

// inflater is the working space of a zlib reader.
type inflater struct {
	raw []byte
	r   inflate.Reader
}

func (b *buffers) release(in *inflater) {
	if cap(in.raw) > keepInput {
		in.raw = nil
	}
	b.inflaters.Put(in)
}
