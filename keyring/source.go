package keyring

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// DefaultReloadInterval is how often [Ring.Watch] reads its source again.
const DefaultReloadInterval = 30 * time.Second

// Options says how to open a keyring. The zero Options opens what is there.
type Options struct {
	// CreateIfMissing makes the file, with one random key that is active at
	// once, when there is none. An environment variable cannot be made.
	CreateIfMissing bool
	// Clock tells the time at which a made key is created; nil is time.Now.
	Clock func() time.Time
	// Random is where the bytes of a made key come from; nil is the system's
	// generator. Anything else is for tests.
	Random io.Reader
}

func (o Options) now() time.Time {
	if o.Clock == nil {
		return time.Now()
	}
	return o.Clock()
}

// Open reads the keyring at source, a path or "env:NAME", under the rules of the
// package comment. Errors are of type [*Error]; their kinds tell a missing
// keyring, an unsafe file and a malformed text apart.
func Open(source string, opts Options) (*Ring, error) {
	snap, err := read(source)
	if IsKind(err, KindMissing) && opts.CreateIfMissing {
		// Another process may make it in between: then that one's is read.
		if _, err = Create(source, opts); err == nil || IsKind(err, KindExists) {
			snap, err = read(source)
		}
	}
	if err != nil {
		return nil, err
	}
	snap.version = 1
	r := &Ring{source: source}
	r.snap.Store(snap)
	return r, nil
}

// Reload reads the source again and reports whether the keys changed. On an
// error, be it a vanished, unsafe or malformed source, the keys stay as they
// were. So they do when no key that is accepted now would remain, with the same
// bytes: that is another deployment's keyring or a lost one, and every
// session would end; whoever wants that restarts the program. A ring in memory
// never changes here.
func (r *Ring) Reload() (changed bool, err error) {
	if r.source == "" {
		return false, nil
	}
	r.mu.Lock() // before reading, so that of two reloads the later reading wins
	defer r.mu.Unlock()
	snap, err := read(r.source)
	if err != nil {
		return false, err
	}
	kept := slices.ContainsFunc(r.load().keys, func(k Key) bool {
		now, ok := snap.find(k.ID)
		return ok && k.sameBytes(now)
	})
	if !kept {
		return false, newError(KindRefused, r.source,
			"not reloaded: none of the keys in use would remain and every session would end; put them back, or restart to replace them all")
	}
	return r.replace(snap), nil
}

// WatchOptions says how [Ring.Watch] goes about it. The zero value is useful.
type WatchOptions struct {
	// Interval between readings; [DefaultReloadInterval] when not positive.
	Interval time.Duration
	// Ticks, when not nil, replaces the ticker of Interval: each value is a
	// reading. It is there for tests.
	Ticks <-chan time.Time
	// OnChange and OnError are called, by the goroutine that runs Watch, after
	// a reading that changed the keys and after one that failed. nil is nothing.
	OnChange func()
	OnError  func(error)
}

// Watch calls [Ring.Reload] at every tick until ctx ends (or Ticks is closed). It
// blocks: its owner runs it in a goroutine and ends it through ctx.
func (r *Ring) Watch(ctx context.Context, opts WatchOptions) {
	ticks := opts.Ticks
	if ticks == nil {
		interval := opts.Interval
		if interval <= 0 {
			interval = DefaultReloadInterval
		}
		t := time.NewTicker(interval)
		defer t.Stop()
		ticks = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-ticks:
			if !ok {
				return
			}
		}
		switch changed, err := r.Reload(); {
		case err != nil && opts.OnError != nil:
			opts.OnError(err)
		case changed && opts.OnChange != nil:
			opts.OnChange()
		}
	}
}

// read reads and parses a source into a snapshot without a version.
func read(source string) (*snapshot, error) {
	name, isEnv, err := splitSource(source)
	if err != nil {
		return nil, err
	}
	var text string
	if isEnv {
		text, err = readEnv(source, name)
	} else {
		text, _, err = readFile(source, source)
	}
	if err != nil {
		return nil, err
	}
	return parseSnapshot(source, text)
}

func parseSnapshot(source, text string) (*snapshot, error) {
	keys, problems := parse(text)
	if len(problems) > 0 {
		return nil, newError(KindMalformed, source, problems...)
	}
	return arrange(keys, 0), nil
}

// splitSource tells a variable's name from a path. It refuses, without repeating
// it, what looks like a keyring or a key given in place of its whereabouts:
// messages show sources.
func splitSource(source string) (name string, isEnv bool, err error) {
	name, isEnv = strings.CutPrefix(source, "env:")
	_, notKey := keyEncoding.DecodeString(strings.TrimRight(name, "="))
	switch {
	case source == "":
		return "", false, newError(KindUsage, "", "no source; give a path or env:NAME")
	case strings.Contains(source, header), len(name) >= 43 && len(name) <= 44 && notKey == nil:
		return "", false, newError(KindUsage, "", "the source looks like a key itself; give a path or env:NAME")
	case isEnv && !isName(name):
		return "", false, newError(KindUsage, "", "what follows env: must be the name of a variable: letters, digits and underscores, not starting with a digit")
	}
	return name, isEnv, nil
}

func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func readEnv(source, name string) (string, error) {
	value, ok := os.LookupEnv(name)
	switch {
	case !ok || value == "":
		return "", newError(KindMissing, source,
			"the variable is not set; give it the text of a file made by `latchkey key generate`, with semicolons for line ends")
	case len(value) > maxText:
		return "", newError(KindMalformed, source, "longer than 64 KiB: this is not a keyring")
	}
	return unfold(value), nil
}

// readFile returns the text of a keyring file after checking that it is one that
// only its owner reaches. It checks the file it has opened, not the path, so
// that none can be put in its place in between. source is for messages.
func readFile(path, source string) (text string, info fs.FileInfo, err error) {
	// Opening a pipe without openNonblock would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|openNonblock, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil, &Error{Kind: KindMissing, Source: source, Err: err,
			Problems: []string{"there is no such file; make one with `latchkey key generate`"}}
	case isDevice(err):
		return "", nil, newError(KindUnsafe, source, "not a regular file; give the path of a keyring file")
	case err != nil:
		return "", nil, ioError(source, "open", err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return "", nil, ioError(source, "read its mode", err)
	}
	if !info.Mode().IsRegular() {
		return "", nil, newError(KindUnsafe, source, "not a regular file; give the path of a keyring file")
	}
	if mode := info.Mode().Perm(); hasModes() && mode&0o077 != 0 {
		return "", nil, newError(KindUnsafe, source,
			"other users can read or change it (mode "+modeText(mode)+"); run: chmod 600 "+quote(source))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return "", nil, ioError(source, "read", err)
	}
	defer clear(b)
	return string(b), info, nil
}

// hasModes reports whether the permission bits of files mean anything here.
func hasModes() bool { return runtime.GOOS != "windows" && runtime.GOOS != "plan9" }
