package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/api"
)

// Bounds of an import.
const (
	importLine     = 1 << 20          // bytes of a line, as of a request's body
	importers      = 64               // sessions on their way to the store at once, so that they share commits
	importQueue    = 128              // lines read ahead of the one to be written
	importPatience = 30 * time.Second // for one line's dealings with the store
)

// importer makes a session for each line. Lines are read and checked in order by one
// goroutine, issued by several, and their results written in order by another. All
// lines of an identity go to the same one, so that its sessions are made in the order
// of their lines, as its limit wants, and none is made twice.
type importer struct {
	m, checker *latchkey.Manager
	flags      *importFlags
	done       map[int]latchkey.ID // what an earlier run made, by line
	began      time.Time           // a session that is ended later than this is not made
	actor      string
	out        *results
	size       int64 // of the input; 0 when it is not known
	counts     importCounts
}

// importJob is a line on its way. What is below ready belongs to who works on it
// until ready is closed, and to the writer after that.
type importJob struct {
	line int
	in   latchkey.SignIn

	ready  chan struct{}
	result any         // to be written; nil when the line was not tried
	issued latchkey.ID // the session made, if one was
}

// lane is what one of the goroutines that issue knows of the identities that fall to it.
type lane struct {
	seen map[[16]byte]int // the lines with a sid that are done, by their digests

	// The identity whose sessions were listed last, if they took more than a page, and
	// those that were live then, by sid: a list for each line would be read in square time.
	who  latchkey.Identity
	live map[string][]latchkey.ID
}

// inputLine is a line as it was read, without its end.
type inputLine struct {
	text []byte
	long bool // longer than allowed, and not kept
	err  error
}

// errInput is told when the input breaks off.
func errInput(err error) error {
	return &stopped{why: "input", err: failed("", "the input cannot be read: %v", pathCause(err))}
}

// run imports until the input ends or something stops it: the user, a line refused
// under --strict, a store that is away, an output that takes nothing more. What was
// read until then by the user's stop is completed.
func (im *importer) run(ctx context.Context, in io.Reader) error {
	lines := make(chan inputLine)
	over := make(chan struct{})
	defer close(over)
	go im.read(in, lines, over) // ends when the input does, is closed, or nobody listens

	// work ends early when there is no use in trying further lines.
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	queue := make(chan *importJob, importQueue)
	shards := make([]chan *importJob, importers)
	var workers, writer sync.WaitGroup
	for i := range shards {
		shards[i] = make(chan *importJob, importQueue+2) // as many as there can be: it never blocks
		workers.Go(func() {
			l := &lane{seen: make(map[[16]byte]int)}
			for job := range shards[i] {
				if work.Err() == nil {
					im.try(work, stop, job, l)
				}
				close(job.ready)
			}
		})
	}
	writer.Go(func() { im.write(work, stop, queue) })
	err := im.dispatch(ctx, work, lines, queue, shards)
	for _, s := range shards {
		close(s)
	}
	close(queue)
	workers.Wait()
	writer.Wait()
	if cause := context.Cause(work); cause != nil {
		err = cause
	}
	return err
}

// dispatch checks lines in order and hands them on, until there are no more.
func (im *importer) dispatch(ctx, work context.Context, lines <-chan inputLine, queue chan<- *importJob, shards []chan *importJob) error {
	for n := 1; ; n++ {
		var line inputLine
		var more bool
		if ctx.Err() == nil && work.Err() == nil { // of several things that can go on, these go first
			select {
			case line, more = <-lines:
			case <-ctx.Done():
			case <-work.Done():
			}
		}
		switch {
		case work.Err() != nil:
			return nil // the cause is told
		case ctx.Err() != nil:
			return &stopped{why: "interrupted", err: failed("--out FILE --resume goes on where an import was interrupted", "interrupted after %s", plural(n-1, "line", "lines"))}
		case !more:
			return nil
		case line.err != nil:
			return errInput(line.err)
		}
		im.counts.lines.Add(1)
		job := &importJob{line: n, ready: make(chan struct{})}
		err := im.check(job, line)
		if err != nil {
			im.refuse(job, err)
			close(job.ready)
		}
		queue <- job
		if err == nil {
			shards[shardOf(&job.in)] <- job
		} else if im.flags.strict {
			return errStrict(n)
		}
	}
}

func errStrict(line int) error {
	return &stopped{why: "strict", err: failed("", "line %d was refused, and --strict stops there", line)}
}

// check reads a line and judges what it asks for, without the store.
func (im *importer) check(job *importJob, line inputLine) error {
	if line.long {
		return latchkey.NewError(latchkey.CodeBodyTooLarge, fmt.Sprintf("the line is longer than %d bytes", importLine), nil)
	}
	body, err := api.ReadCreateSession(line.text)
	if err != nil {
		return err
	}
	if job.in, err = body.SignIn(im.actor); err != nil {
		return err
	}
	job.in.AuthTimeUnknown = job.in.AuthTime.IsZero()
	if _, ok := im.done[job.line]; ok {
		return nil // limits may have changed since
	}
	_, err = im.checker.Issue(context.Background(), job.in)
	job.in.Began = im.began
	return api.CreateError(err)
}

// shardOf is which goroutine an identity falls to.
func shardOf(in *latchkey.SignIn) int {
	return int(digest(in.Provider, in.Subject)[0]) % importers
}

// digest is a short hash of texts, which hold no zero byte.
func digest(texts ...string) (d [16]byte) {
	h := sha256.New()
	for _, t := range texts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(t))))
		h.Write([]byte(t))
	}
	copy(d[:], h.Sum(nil))
	return d
}

// Results, as they are written. The token of an issuedLine is a secret.
type (
	issuedLine struct {
		Line      int    `json:"line"`
		ID        string `json:"id"`
		Token     string `json:"token"`
		SetCookie string `json:"set_cookie"`
	}
	existsLine struct {
		Line   int    `json:"line"`
		ID     string `json:"id"`
		Exists bool   `json:"exists"`
	}
	goodLine struct {
		Line int  `json:"line"`
		OK   bool `json:"ok"`
	}
	refusedLine struct {
		Line   int                   `json:"line"`
		Error  latchkey.Code         `json:"error"`
		Detail string                `json:"detail"`
		Errors []latchkey.FieldError `json:"errors"`
	}
)

// refuse makes an error the result of a line.
func (im *importer) refuse(job *importJob, err error) {
	r := refusedLine{Line: job.line, Error: latchkey.CodeOf(err), Detail: "internal error", Errors: []latchkey.FieldError{}}
	if e, ok := errors.AsType[*latchkey.Error](err); ok {
		if r.Detail = strings.Replace(e.Message, "the body", "the line", 1); len(e.Fields) > 0 {
			r.Errors = e.Fields
		}
	}
	job.result = r
	im.counts.failed.Add(1)
}

// try makes the session of a line that was checked. What there is no use in trying
// further after stops the work.
func (im *importer) try(ctx context.Context, stop context.CancelCauseFunc, job *importJob, l *lane) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), importPatience)
	defer cancel()
	err := im.once(ctx, job, l)
	if err == nil {
		return
	}
	switch code := latchkey.CodeOf(err); {
	case code == latchkey.CodeStoreUnavailable, ctx.Err() != nil:
		stop(&stopped{why: "store_unavailable", err: latchkey.NewError(latchkey.CodeStoreUnavailable, fmt.Sprintf("line %d: the session store gave no answer; whether the session was made is not known", job.line), errors.Unwrap(err))})
	case im.flags.strict:
		stop(errStrict(job.line))
	}
	im.refuse(job, api.CreateError(err))
}

// once makes the session of a line unless it is there.
func (im *importer) once(ctx context.Context, job *importJob, l *lane) error {
	if id, ok := im.done[job.line]; ok {
		return im.resumed(ctx, job, id, l)
	}
	in := &job.in
	if in.SID != "" {
		key := digest(in.Provider, in.Subject, in.SID)
		if first, again := l.seen[key]; again {
			return sameAs(first)
		}
		exists, err := im.there(ctx, in, l)
		switch {
		case err != nil:
			return err
		case len(exists) > 0 && !im.flags.replace:
			l.seen[key] = job.line
			job.result = existsLine{job.line, exists[0].String(), true}
			im.counts.exists.Add(1)
			return nil
		}
		for _, id := range exists {
			if _, err := im.m.Revoke(ctx, latchkey.Revocation{ID: id, By: im.actor, Reason: "imported anew"}); err != nil {
				return err
			}
			im.counts.replaced.Add(1)
		}
		defer func() {
			if job.result != nil {
				l.seen[key] = job.line
			}
		}()
	}
	if im.flags.dryRun {
		job.result = goodLine{job.line, true}
		im.counts.imported.Add(1)
		return nil
	}
	issued, err := im.m.Issue(ctx, *in)
	if err != nil {
		return err
	}
	job.issued = issued.Record.ID
	job.result = issuedLine{job.line, job.issued.String(), issued.Token, issued.SetCookie}
	im.counts.imported.Add(1)
	return nil
}

func sameAs(line int) error {
	detail := fmt.Sprintf("line %d has this provider, subject and sid, too", line)
	return &latchkey.Error{Code: latchkey.CodeConflict, Message: detail, Fields: []latchkey.FieldError{{Field: "sid", Detail: detail}}}
}

// resumed passes over a line that an earlier run made the session of. That it is the
// same line is seen by the session, unless that has been purged.
func (im *importer) resumed(ctx context.Context, job *importJob, id latchkey.ID, l *lane) error {
	info, err := im.m.Get(ctx, id)
	if err != nil && latchkey.CodeOf(err) != latchkey.CodeNoSuchSession {
		return err
	}
	if in := &job.in; err == nil && (info.Provider != in.Provider || info.Subject != in.Subject || info.SID != in.SID) {
		return latchkey.NewError(latchkey.CodeConflict, "the file of --out has another session for this line: it was made from another input, or for another store", nil)
	}
	if job.in.SID != "" {
		l.seen[digest(job.in.Provider, job.in.Subject, job.in.SID)] = job.line
	}
	im.counts.resumed.Add(1)
	return nil
}

// there returns the live sessions of a line's provider, subject and sid.
func (im *importer) there(ctx context.Context, in *latchkey.SignIn, l *lane) (ids []latchkey.ID, err error) {
	who := latchkey.Identity{Provider: in.Provider, Subject: in.Subject}
	if l.live != nil && l.who == who {
		return im.stillLive(ctx, l.live[in.SID])
	}
	l.live = nil
	live := make(map[string][]latchkey.ID)
	q := latchkey.ListQuery{Provider: in.Provider, Subject: in.Subject, Limit: latchkey.MaxListLimit}
	for pages := 1; ; pages++ {
		infos, next, err := im.m.List(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, i := range infos {
			live[i.SID] = append(live[i.SID], i.ID)
		}
		if q.After = next; next.IsZero() {
			if pages > 1 {
				l.who, l.live = who, live
			}
			return live[in.SID], nil
		}
	}
}

// stillLive returns those of some sessions that have not ended since they were listed:
// by a limit, perhaps.
func (im *importer) stillLive(ctx context.Context, known []latchkey.ID) (ids []latchkey.ID, err error) {
	for _, id := range known {
		info, err := im.m.Get(ctx, id)
		switch {
		case latchkey.CodeOf(err) == latchkey.CodeNoSuchSession:
		case err != nil:
			return nil, err
		case info.State == latchkey.Live:
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// write writes results in the order of their lines. When the output takes nothing
// more, the sessions whose tokens it did not take are ended: nobody would have them.
func (im *importer) write(work context.Context, stop context.CancelCauseFunc, queue <-chan *importJob) {
	var broken error
	// Nothing stays in memory while something else is waited for.
	flush := func() { broken = errors.Join(broken, im.flush(work, stop, broken)) }
	for {
		var job *importJob
		var more bool
		select {
		case job, more = <-queue:
		default:
			flush()
			job, more = <-queue
		}
		if !more {
			flush()
			return
		}
		select {
		case <-job.ready:
		default:
			flush()
			<-job.ready
		}
		switch {
		case job.result == nil:
		case broken == nil:
			if broken = im.out.put(job.result, job.issued); broken != nil {
				im.giveUp(work, stop, broken)
			}
		case !job.issued.IsZero():
			im.end(work, job.issued)
		}
	}
}

// flush hands on what is in memory, unless the output is broken already.
func (im *importer) flush(work context.Context, stop context.CancelCauseFunc, broken error) error {
	if broken != nil {
		return nil
	}
	err := im.out.flush()
	if err != nil {
		im.giveUp(work, stop, err)
	}
	return err
}

// giveUp ends the sessions whose tokens the output has not taken, and the import.
func (im *importer) giveUp(work context.Context, stop context.CancelCauseFunc, err error) {
	stop(&stopped{why: "output", err: failed("the sessions whose tokens were not written have been ended", "the results cannot be written: %v", pathCause(err))})
	for _, id := range im.out.lost() {
		im.end(work, id)
	}
}

func (im *importer) end(ctx context.Context, id latchkey.ID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), importPatience)
	defer cancel()
	if _, err := im.m.Revoke(ctx, latchkey.Revocation{ID: id, By: im.actor, Reason: "its token could not be written"}); err == nil {
		im.counts.imported.Add(-1)
		im.counts.lost.Add(1)
	}
}

// read hands lines on, without their ends, until the input ends or nobody listens.
func (im *importer) read(in io.Reader, lines chan<- inputLine, over <-chan struct{}) {
	defer close(lines)
	r := bufio.NewReaderSize(in, 64<<10)
	for {
		line, more := im.next(r)
		if !more {
			return
		}
		select {
		case lines <- line:
		case <-over:
			return
		}
		if line.err != nil {
			return
		}
	}
}

// next reads a line. Of one that is too long no more is kept than what is allowed.
func (im *importer) next(r *bufio.Reader) (line inputLine, more bool) {
	for {
		part, err := r.ReadSlice('\n')
		im.counts.bytes.Add(int64(len(part)))
		more = more || len(part) > 0
		part = bytes.TrimSuffix(part, []byte("\n"))
		if line.long = line.long || len(line.text)+len(part) > importLine; line.long {
			line.text = nil
		} else {
			line.text = append(line.text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return line, more
		case err != nil:
			return inputLine{err: err}, true
		default:
			return line, true
		}
	}
}
