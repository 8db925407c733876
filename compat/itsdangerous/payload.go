package itsdangerous

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
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
		if d.w.Close() == nil && d.out.Len() < len(doc)-1 {
			return py.RawURL.AppendEncode(append(dst, '.'), d.out.Bytes())
		}
	}
	return py.RawURL.AppendEncode(dst, doc)
}

type deflater struct {
	out bytes.Buffer
	w   *zlib.Writer
}

// read appends to dst what the payload of a token holds, at most most bytes of it.
// The signature is checked before, so that only holders of a key get here; the limit
// is there because a key can leak, and because a namespace can be shared.
func (b *buffers) read(dst []byte, payload string, most int) ([]byte, error) {
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
	out, err := in.r.Append(slices.Grow(dst, min(2*len(in.raw), most)), in.raw, most)
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
