package inflate_test

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/compat/internal/inflate"
)

func deflate(t testing.TB, text []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zlib.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func texts() [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 100_000)
	letters := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
		letters[i] = "etaoin shrdlu"[min(r.IntN(13), r.IntN(13))]
	}
	return [][]byte{nil, []byte("a"), []byte(strings.Repeat("a", 70_000)), noise, noise[:300], letters, letters[:200],
		append(append([]byte{}, noise[:40_000]...), noise[:40_000]...), []byte(`{"sub":"alice","email":null}`)}
}

func TestEveryLevel(t *testing.T) {
	var r inflate.Reader
	for i, text := range texts() {
		for level := zlib.HuffmanOnly; level <= zlib.BestCompression; level++ {
			got, err := r.Append([]byte("x"), deflate(t, text, level), len(text))
			if err != nil || string(got) != "x"+string(text) {
				t.Fatalf("text %d level %d: %d bytes, %v", i, level, len(got), err)
			}
			if len(text) > 0 {
				if got, err := r.Append([]byte("x"), deflate(t, text, level), len(text)-1); !errors.Is(err, inflate.ErrTooMuch) || string(got) != "x" {
					t.Fatalf("text %d level %d beyond its limit: %v", i, level, err)
				}
			}
		}
	}
}

// reference is what compress/zlib makes of a stream, and whether that was all of it.
func reference(src []byte) ([]byte, bool) {
	in := bytes.NewReader(src)
	z, err := zlib.NewReader(in)
	if err != nil {
		return nil, false
	}
	out, err := io.ReadAll(io.LimitReader(z, 1<<20))
	return out, err == nil && in.Len() == 0
}

func compare(t *testing.T, src []byte) {
	t.Helper()
	var r inflate.Reader
	got, err := r.Append(nil, src, 1<<19)
	want, ok := reference(src)
	if len(want) > 1<<19 {
		return
	}
	if (err == nil) != ok || ok && !bytes.Equal(got, want) {
		t.Fatalf("%x\nhere %d bytes, %v; compress/zlib %d bytes, %v", src, len(got), err, len(want), ok)
	}
}

// Damaged streams are refused where compress/zlib refuses them.
func TestDamaged(t *testing.T) {
	for _, text := range [][]byte{[]byte(`{"sub":"alice","email":null}`), texts()[6], texts()[4]} {
		for _, level := range []int{0, 1, 9} {
			src := deflate(t, text, level)
			for i := range src {
				compare(t, src[:i])
				for bit := range 8 {
					bad := bytes.Clone(src)
					bad[i] ^= 1 << bit
					compare(t, bad)
				}
			}
			compare(t, append(bytes.Clone(src), 0))
		}
	}
}

func FuzzAppend(f *testing.F) {
	for _, text := range texts() {
		for _, level := range []int{-2, 0, 1, 9} {
			if src := deflate(f, text, level); len(src) < 1000 {
				f.Add(src)
			}
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) { compare(t, src) })
}

func BenchmarkIdentity(b *testing.B) {
	src := deflate(b, []byte(`{"sub":"alice","email":null,"name":"alice","provider_id":"basic","issued_at":"2026-01-02T03:04:05.678901Z","expires_at":"2026-01-02T11:04:05.678901Z"}`), 6)
	var r inflate.Reader
	dst := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Append(dst, src, 512); err != nil {
			b.Fatal(err)
		}
	}
}
