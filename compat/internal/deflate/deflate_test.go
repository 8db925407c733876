package deflate_test

import (
	"bytes"
	"compress/zlib"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/compat/internal/databasetest"
	"github.com/latchkey-go/latchkey/compat/internal/deflate"
)

// texts are of every kind that the method tells apart.
func texts() [][]byte {
	r := rand.New(rand.NewPCG(3, 4))
	var list [][]byte
	add := func(b []byte) { list = append(list, b[:min(len(b), deflate.MaxInput)]) }
	for _, s := range []string{"", "a", "ab", "aaa", "aaaa", "abcabc", "abcabcabc", "aaaaaaaaaa", "\x00\x00\x00\x00", strings.Repeat("\x00", 300), strings.Repeat("ab", 3000), strings.Repeat("a", 258), strings.Repeat("a", 259),
		strings.Repeat("abc", 90), strings.Repeat("a", deflate.MaxInput), "x" + strings.Repeat("yz", 100) + "x"} {
		add([]byte(s))
	}
	for range 150 {
		add([]byte(fmt.Sprintf(`{"sub":"%x","email":"u%d@example.com","name":null,"provider_id":"basic","issued_at":"2026-01-%02dT03:04:05.%06dZ","expires_at":"2026-01-%02dT11:04:05.%06dZ"}`,
			r.Uint64(), r.IntN(1000), 1+r.IntN(28), r.IntN(1e6), 1+r.IntN(28), r.IntN(1e6))))
		length, letters := 1<<r.IntN(14)+r.IntN(400), 1+r.IntN(256)
		noise, skewed, copied := make([]byte, length), make([]byte, length), make([]byte, 0, length)
		for i := range length {
			noise[i] = byte(r.IntN(letters))
			skewed[i] = byte(min(r.IntN(letters), r.IntN(letters), r.IntN(letters)))
		}
		for len(copied) < length {
			if n := r.IntN(300); len(copied) > n+3 && r.IntN(3) > 0 {
				from := r.IntN(len(copied) - n)
				copied = append(copied, copied[from:from+n]...)
			} else {
				copied = append(copied, byte(r.IntN(letters)))
			}
		}
		add(noise)
		add(skewed)
		add(copied)
	}
	// Lengths of codes that pass their bounds.
	var fibonacci []byte
	for a, b, c := 1, 1, byte(0); len(fibonacci) < deflate.MaxInput; a, b, c = b, a+b, c+1 {
		fibonacci = append(fibonacci, bytes.Repeat([]byte{c}, a)...)
	}
	r.Shuffle(len(fibonacci), func(i, j int) { fibonacci[i], fibonacci[j] = fibonacci[j], fibonacci[i] })
	add(fibonacci)
	return list
}

func expand(t testing.TB, stream []byte) []byte {
	t.Helper()
	z, err := zlib.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRoundTrip(t *testing.T) {
	var w deflate.Writer
	for i, text := range texts() {
		stream, ok := w.Append([]byte("x"), text)
		if !ok || stream[0] != 'x' || !bytes.Equal(expand(t, stream[1:]), text) {
			t.Fatalf("text %d", i)
		}
		again, _ := new(deflate.Writer).Append(nil, text)
		if !bytes.Equal(again, stream[1:]) {
			t.Fatalf("text %d: a writer that was used writes another stream", i)
		}
	}
	if stream, ok := w.Append([]byte("x"), make([]byte, deflate.MaxInput+1)); ok || string(stream) != "x" {
		t.Error("a text that is too long")
	}
}

// The streams are zlib's own, to the byte.
func TestAsZlib(t *testing.T) {
	const script = `
import sys, zlib
if "ng" in zlib.ZLIB_RUNTIME_VERSION: sys.exit("fork")
for line in sys.stdin: print(zlib.compress(bytes.fromhex(line)).hex())`
	var in bytes.Buffer
	all := texts()
	for _, text := range all {
		in.WriteString(hex.EncodeToString(text) + "\n")
	}
	cmd := exec.Command(databasetest.Python(t, "zlib"), "-c", script)
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := err.(*exec.ExitError); ok && strings.HasPrefix(string(exit.Stderr), "fork") {
			t.Skip("this machine's zlib is a fork, which writes streams of its own")
		}
		t.Fatal(err)
	}
	lines := strings.Fields(string(out))
	if len(lines) != len(all) {
		t.Fatalf("%d answers to %d texts", len(lines), len(all))
	}
	var w deflate.Writer
	for i, text := range all {
		if stream, _ := w.Append(nil, text); hex.EncodeToString(stream) != lines[i] {
			t.Errorf("text %d of %d bytes: %.80x\nwant %.80s", i, len(text), stream, lines[i])
		}
	}
}

func FuzzAppend(f *testing.F) {
	for i, text := range texts() {
		if i%40 == 0 && len(text) < 2000 {
			f.Add(text)
		}
	}
	var w deflate.Writer
	f.Fuzz(func(t *testing.T, text []byte) {
		stream, ok := w.Append(nil, text)
		if ok != (len(text) <= deflate.MaxInput) || ok && !bytes.Equal(expand(t, stream), text) {
			t.Fatalf("%x", stream)
		}
	})
}
