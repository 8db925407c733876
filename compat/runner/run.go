package runner

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"
)

// MaxLine is the longest case, in bytes. A longer line is a bad case.
const MaxLine = 64 << 20

// keepLine is the largest buffer that is kept for the next line.
const keepLine = 1 << 20

// Run reads cases from in until its end and writes their answers to out, one Write
// each. It returns the error of reading or writing, or of ctx when that is done
// between two cases; what is wrong with a case is its answer. It does not panic.
func Run(ctx context.Context, in io.Reader, out io.Writer) error {
	r := bufio.NewReaderSize(in, 64<<10)
	var line []byte
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		var tooLong bool
		line, tooLong, err = readLine(r, line[:0])
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(line) > 0 || tooLong {
			if tooLong {
				line = line[:0]
			}
			if _, err := out.Write(answer(line)); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
		if cap(line) > keepLine {
			line = nil
		}
	}
}

// readLine appends the next line to dst, with its end. Of a line that is too long it
// keeps no more than MaxLine and reads on to its end.
func readLine(r *bufio.Reader, dst []byte) (line []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if tooLong = tooLong || len(dst)+len(bytes.TrimRight(part, "\r\n")) > MaxLine; !tooLong {
			dst = append(dst, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return dst, tooLong, err
		}
	}
}

// reply is what an operation comes to: JSON text, or a code of error.
type reply struct {
	value []byte
	code  string
}

// Codes of error.
const (
	codeUnsupported  = "unsupported"
	codeBadCase      = "bad_case"
	codeInvalid      = "invalid"
	codeMiss         = "miss"
	codeExpired      = "expired"
	codeBadSignature = "bad_signature"
	codeBadPayload   = "bad_payload"
)

// answer returns the line that answers a case.
func answer(line []byte) []byte {
	id := []byte("null")
	var members map[string]json.RawMessage
	if !utf8.Valid(line) || json.Unmarshal(line, &members) != nil || members == nil {
		return answerLine(id, reply{code: codeBadCase})
	}
	if raw, ok := members["id"]; ok {
		id = asciiJSON(raw)
	}
	return answerLine(id, judge(members))
}

func judge(members map[string]json.RawMessage) (r reply) {
	// A case must not end the run whatever it makes the code below do, such as a
	// refusal of SHA-1 by a build restricted to FIPS 140-3.
	defer func() {
		if recover() != nil {
			r = reply{code: codeBadCase}
		}
	}()
	envelope := input{members: members}
	format, op := envelope.text("format"), envelope.text("op")
	if envelope.bad {
		return reply{code: codeBadCase}
	}
	run := operation(format, op)
	if run == nil {
		return reply{code: codeUnsupported}
	}
	in, ok := envelope.object("in")
	if !ok {
		return reply{code: codeBadCase}
	}
	if r = run(&in); in.bad {
		return reply{code: codeBadCase}
	}
	return r
}

func answerLine(id []byte, r reply) []byte {
	b := append(make([]byte, 0, len(id)+len(r.value)+64), `{"id":`...)
	b = append(b, id...)
	if r.code != "" {
		return append(append(append(b, `,"ok":false,"error":"`...), r.code...), "\"}\n"...)
	}
	return append(append(append(b, `,"ok":true,"value":`...), r.value...), "}\n"...)
}

// asciiJSON returns JSON text without white space and with everything beyond ASCII
// escaped: readers of lines split them at more than line feeds.
func asciiJSON(text []byte) []byte {
	var compact bytes.Buffer
	if json.Compact(&compact, text) != nil {
		return []byte("null")
	}
	b := compact.Bytes()
	if isASCII(b) {
		return b
	}
	out := make([]byte, 0, 2*len(b))
	for len(b) > 0 {
		u, n := utf8.DecodeRune(b)
		b = b[n:]
		out = appendASCII(out, u)
	}
	return out
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x7f {
			return false
		}
	}
	return true
}

// appendASCII appends u, escaped when it is not printable ASCII. Beyond strings, JSON
// has nothing to escape.
func appendASCII(dst []byte, u rune) []byte {
	if u < 0x7f {
		return append(dst, byte(u))
	}
	const hex = "0123456789abcdef"
	unit := func(u rune) {
		dst = append(dst, '\\', 'u', hex[u>>12&15], hex[u>>8&15], hex[u>>4&15], hex[u&15])
	}
	if u >= 0x10000 {
		u -= 0x10000
		unit(0xd800 + u>>10)
		u = 0xdc00 + u&0x3ff
	}
	unit(u)
	return dst
}
