package redis

import (
	"bufio"
	"errors"
	"io"
	"strconv"
)

// The feed speaks the protocol itself: it wants to know when a beat was sent and in
// which order pushes and answers came, which the client library does not tell.

// errProtocol is what reading a connection ends with when the other side is no Redis.
var errProtocol = errors.New("the other side does not speak the protocol of Redis")

// errReply is an error that the server answered.
type errReply string

func (e errReply) Error() string { return string(e) }

// value is one value of RESP2 or RESP3. Maps are lists of keys and values.
type value struct {
	kind byte
	text string
	list []value
}

// Bounds of a value on a feed. The longest are the messages of a script: a thousand
// IDs and a little more.
const (
	maxText  = 1 << 20
	maxLine  = 4 << 10
	maxItems = 1 << 16
	maxDepth = 8
)

// readValue reads the next value. The numbers it allocates by are bounded.
func readValue(r *bufio.Reader, depth int) (v value, err error) {
	line, err := readLine(r)
	if err != nil {
		return v, err
	}
	if line == "" {
		return v, errProtocol
	}
	v.kind, line = line[0], line[1:]
	switch v.kind {
	case '+', '-', ':', '_', '#', ',', '(':
		v.text = line
		return v, nil
	}
	n, err := strconv.Atoi(line)
	if err != nil || n < -1 {
		return v, errProtocol
	}
	switch v.kind {
	case '$', '=', '!':
		if n < 0 {
			return v, nil
		}
		if n > maxText {
			return v, errProtocol
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return v, err
		}
		v.text = string(b[:n])
		return v, nil
	case '%':
		n *= 2
	case '*', '~', '>':
	default:
		return v, errProtocol
	}
	if n > maxItems || depth >= maxDepth {
		return v, errProtocol
	}
	for range n {
		item, err := readValue(r, depth+1)
		if err != nil {
			return v, err
		}
		v.list = append(v.list, item)
	}
	return v, nil
}

func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return "", errProtocol
		}
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return "", errProtocol
	}
	return string(line[:len(line)-2]), nil
}

// err is the error that the value is, or nil.
func (v *value) err() error {
	if v.kind == '-' || v.kind == '!' {
		return errReply(withoutArgs(v.text))
	}
	return nil
}

// number is the integer that the value is, as one or as text.
func (v *value) number() (int64, bool) {
	if v.kind != ':' && v.kind != '$' && v.kind != '+' {
		return 0, false
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	return n, err == nil
}

// appendCommand writes a command as servers read it.
func appendCommand(dst []byte, args ...string) []byte {
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(len(args)), 10)
	dst = append(dst, "\r\n"...)
	for _, a := range args {
		dst = append(dst, '$')
		dst = strconv.AppendInt(dst, int64(len(a)), 10)
		dst = append(dst, "\r\n"...)
		dst = append(dst, a...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}
