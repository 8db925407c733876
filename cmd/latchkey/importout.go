package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/latchkey-go/latchkey"
)

// results writes results a line each, and knows which sessions' tokens are still in
// memory.
type results struct {
	w      *bufio.Writer
	untold []latchkey.ID
}

// resultsBuffer bounds what is in memory, and with it how many tokens an end by
// force can lose.
const resultsBuffer = 32 << 10

func newResults(w io.Writer) *results {
	return &results{w: bufio.NewWriterSize(w, 2*resultsBuffer)}
}

// put writes a result; id is the session that it tells the token of, if any.
func (r *results) put(result any, id latchkey.ID) error {
	if !id.IsZero() {
		r.untold = append(r.untold, id)
	}
	if err := printLine(r.w, result); err != nil {
		return err
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

// printLine prints v as JSON on one line.
func printLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// openResults opens the file of --out: a new one, or with resume one that an import
// has begun, whose sessions it returns by line. A line that was being written when
// that import was killed is cut off. With readOnly the file is read only, and may be
// missing.
func openResults(path string, resume, readOnly bool) (f *os.File, done map[int]latchkey.ID, err error) {
	problem := func(format string, args ...any) error {
		return usage("--out: " + shownPath(path) + " " + fmt.Sprintf(format, args...))
	}
	if !resume {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, os.ErrExist) {
			return nil, nil, problem("is there already; name another file, or go on with it by --resume")
		}
		if err != nil {
			return nil, nil, problem("cannot be made: %v", pathCause(err))
		}
		return f, nil, nil
	}
	mode := os.O_CREATE | os.O_RDWR
	if readOnly {
		mode = os.O_RDONLY
	}
	if f, err = os.OpenFile(path, mode, 0o600); err != nil {
		return nil, nil, problem("cannot be opened: %v", pathCause(err))
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, nil, problem("is no regular file")
	}
	if othersCanRead(path) {
		return nil, nil, problem("can be read by other users, and holds tokens; run chmod 600")
	}
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

// maxResult is more than a result has, in bytes.
const maxResult = 64 << 10

// readResults returns which sessions results tell of, by line, and how long the part
// of whole lines is.
func readResults(in io.Reader) (done map[int]latchkey.ID, whole int64, err error) {
	done = make(map[int]latchkey.ID)
	r := bufio.NewReaderSize(in, maxResult)
	for n := 1; ; n++ {
		text, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
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
			return nil, 0, fmt.Errorf("line %d is none that `latchkey import sessions` writes", n)
		}
		whole += int64(len(text))
		if result.Token == "" {
			continue // to be tried again
		}
		id, err := latchkey.ParseID(result.ID)
		if err != nil {
			return nil, 0, fmt.Errorf("line %d is none that `latchkey import sessions` writes", n)
		}
		done[result.Line] = id
	}
}
