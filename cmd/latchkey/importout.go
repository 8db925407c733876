package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/latchkey-go/latchkey"
)

// results writes results a line each, and knows which sessions' tokens have not
// reached the output yet.
type results struct {
	w      *bufio.Writer
	out    *counted
	untold []untold
}

// untold is a session whose token may be in memory only.
type untold struct {
	id  latchkey.ID
	end int64 // how much the output has taken when it has all of the token's line
}

// counted counts the bytes that a writer has taken.
type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// resultsBuffer bounds what is in memory, and with it how many tokens an end by
// force can lose.
const resultsBuffer = 32 << 10

func newResults(w io.Writer) *results {
	out := &counted{w: w}
	return &results{w: bufio.NewWriterSize(out, 2*resultsBuffer), out: out}
}

// put writes a result; id is the session that it tells the token of, if any.
func (r *results) put(result any, id latchkey.ID) error {
	if !id.IsZero() {
		r.untold = append(r.untold, untold{id, math.MaxInt64})
	}
	if err := printLine(r.w, result); err != nil {
		return err
	}
	if !id.IsZero() {
		r.untold[len(r.untold)-1].end = r.out.n + int64(r.w.Buffered())
	}
	if r.w.Buffered() >= resultsBuffer {
		return r.flush()
	}
	return nil
}

func (r *results) flush() error {
	if err := r.w.Flush(); err != nil {
		return err
	}
	r.untold = r.untold[:0]
	return nil
}

// lost returns the sessions whose tokens the output has not taken whole, when it takes
// nothing more: of what it was given last it may have taken a part.
func (r *results) lost() (ids []latchkey.ID) {
	for _, u := range r.untold {
		if u.end > r.out.n {
			ids = append(ids, u.id)
		}
	}
	r.untold = nil
	return ids
}

// printLine prints v as JSON on one line.
func printLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// openResults opens the file of --out: a new one, or with resume one that an import
// has begun, whose sessions it returns by line. A line that was being written when
// that import was killed is cut off. With readOnly the file has to be there, and is not
// changed.
func openResults(path string, resume, readOnly bool) (f *os.File, done map[int]latchkey.ID, err error) {
	problem := func(format string, args ...any) error {
		return usage("--out: " + shownPath(path) + " " + fmt.Sprintf(format, args...))
	}
	if !readOnly {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // which follows no link
		switch {
		case err == nil:
			return f, nil, nil
		case !errors.Is(err, os.ErrExist):
			return nil, nil, problem("cannot be made: %v", pathCause(err))
		case !resume:
			return nil, nil, problem("is there already; name another file, or go on with it by --resume")
		}
	}
	f, why := openPrivate(path, readOnly)
	if why != "" {
		return nil, nil, problem("%s", why)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	done, whole, err := readResults(f)
	if err != nil {
		return nil, nil, problem("%v", err)
	}
	if readOnly {
		return f, done, nil
	}
	if err := f.Truncate(whole); err != nil {
		return nil, nil, problem("cannot be written: %v", pathCause(err))
	}
	if _, err := f.Seek(whole, io.SeekStart); err != nil {
		return nil, nil, problem("cannot be written: %v", pathCause(err))
	}
	return f, done, nil
}

// openPrivate opens a file that is there, or says why secrets are not to be written to
// it. In a folder that others can write to they may have put it there: a link to
// something else, or a file of their own.
func openPrivate(path string, readOnly bool) (f *os.File, why string) {
	named, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Sprintf("cannot be opened: %v", pathCause(err))
	}
	if !named.Mode().IsRegular() {
		return nil, "is no regular file"
	}
	mode := os.O_RDWR
	if readOnly {
		mode = os.O_RDONLY
	}
	if f, err = os.OpenFile(path, mode, 0); err != nil {
		return nil, fmt.Sprintf("cannot be opened: %v", pathCause(err))
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		why = fmt.Sprintf("cannot be opened: %v", pathCause(err))
	case !os.SameFile(named, info):
		why = "is no regular file"
	case !isOwn(info):
		why = "belongs to another user, and is to hold tokens; name a file of your own"
	case hasModes() && info.Mode().Perm()&0o077 != 0:
		why = "can be read by other users, or changed, and holds tokens; run chmod 600"
	}
	if why != "" {
		f.Close()
		return nil, why
	}
	return f, ""
}

// maxResult is more than a result has, in bytes.
const maxResult = 64 << 10

// resultBegin is how every result begins.
const resultBegin = `{"line":`

func errNoResult(n int) error {
	return fmt.Errorf("line %d is none that `latchkey import sessions` writes", n)
}

// readResults returns which sessions results tell of, by line, and how long the part
// of whole lines is.
func readResults(in io.Reader) (done map[int]latchkey.ID, whole int64, err error) {
	done = make(map[int]latchkey.ID)
	r := bufio.NewReaderSize(in, maxResult)
	for n := 1; ; n++ {
		text, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			// What is cut off has to be a result's beginning: the file may be another one.
			if begin := text[:min(len(text), len(resultBegin))]; !strings.HasPrefix(resultBegin, string(begin)) {
				return nil, 0, errNoResult(n)
			}
			return done, whole, nil
		}
		var result struct {
			Line   int             `json:"line"`
			ID     string          `json:"id"`
			Token  string          `json:"token"`
			Cookie string          `json:"set_cookie"`
			Exists bool            `json:"exists"`
			Error  latchkey.Code   `json:"error"`
			Detail string          `json:"detail"`
			Errors json.RawMessage `json:"errors"`
		}
		if err == nil {
			dec := json.NewDecoder(bytes.NewReader(text))
			dec.DisallowUnknownFields()
			err = dec.Decode(&result)
		}
		if err != nil || result.Line < 1 {
			return nil, 0, errNoResult(n)
		}
		whole += int64(len(text))
		if result.Token == "" {
			continue // to be tried again
		}
		id, err := latchkey.ParseID(result.ID)
		if err != nil {
			return nil, 0, errNoResult(n)
		}
		done[result.Line] = id
	}
}
