package itsdangerous

import (
	"bytes"
	"compress/zlib"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/latchkey-go/latchkey/compat/internal/py"
)

// buffers are the compressors and readers of a serializer that are not in use. Each
// costs tens to hundreds of KiB to make.
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
	return in.expand(dst, most)
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

// inflater is a zlib reader to be used again.
type inflater struct {
	raw []byte
	src bytes.Reader
	r   io.ReadCloser // nil until a first valid header
}

func (b *buffers) release(in *inflater) {
	in.src.Reset(nil) // let go of the token
	if cap(in.raw) > keepInput {
		in.raw = nil
	}
	b.inflaters.Put(in)
}

// expand appends what in.raw expands to, at most most bytes.
func (in *inflater) expand(dst []byte, most int) ([]byte, error) {
	in.src.Reset(in.raw)
	var err error
	if in.r == nil {
		in.r, err = zlib.NewReader(&in.src)
	} else {
		err = in.r.(zlib.Resetter).Reset(&in.src, nil)
	}
	if err != nil {
		return dst, bad(ErrBadPayload, "not zlib")
	}
	from := len(dst)
	if room := min(2*len(in.raw), most) + 1; cap(dst)-from < room {
		dst = append(make([]byte, 0, from+room), dst...)
	}
	// A byte more than allowed is read, so that a text of exactly most bytes passes.
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := in.r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst)-from > most:
			return dst[:from], bad(ErrBadPayload, "expands to too much")
		case err == io.EOF && in.src.Len() > 0:
			return dst[:from], bad(ErrBadPayload, "bytes after the zlib stream")
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst[:from], bad(ErrBadPayload, "not zlib")
		}
	}
}
