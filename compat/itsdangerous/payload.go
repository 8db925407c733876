package itsdangerous

import (
	"bytes"
	"compress/zlib"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/latchkey-go/latchkey/compat/internal/deflate"
	"github.com/latchkey-go/latchkey/compat/internal/inflate"
	"github.com/latchkey-go/latchkey/compat/internal/py"
)

// buffers are the compressors and readers of a serializer that are not in use. Each
// costs from some to hundreds of KiB to make.
type buffers struct{ deflaters, inflaters sync.Pool }

func newBuffers() *buffers {
	b := new(buffers)
	b.deflaters.New = func() any { return new(deflater) }
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
		if stream, ok := d.compress(doc); ok && len(stream) < len(doc)-1 {
			return py.RawURL.AppendEncode(append(dst, '.'), stream)
		}
	}
	return py.RawURL.AppendEncode(dst, doc)
}

// deflater is the working space of a compressor.
type deflater struct {
	short  deflate.Writer // to the bytes that Python writes
	stream []byte
	long   bytes.Buffer
	writer *zlib.Writer // nil before the first text that is too long for the other
}

// compress returns the stream of a text, good until the next call.
func (d *deflater) compress(text []byte) ([]byte, bool) {
	var ok bool
	if d.stream, ok = d.short.Append(d.stream[:0], text); ok {
		return d.stream, true
	}
	d.long = bytes.Buffer{} // kept, it would be as long as the longest text ever
	if d.writer == nil {
		d.writer = zlib.NewWriter(&d.long)
	} else {
		d.writer.Reset(&d.long)
	}
	if _, err := d.writer.Write(text); err != nil || d.writer.Close() != nil {
		return nil, false
	}
	return d.long.Bytes(), true
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
