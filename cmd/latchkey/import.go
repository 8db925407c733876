package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
)

func (p *program) importCommands() []*cobra.Command {
	return []*cobra.Command{p.importSessions(), p.importUsers()}
}

// importFlags are what `import sessions` is told.
type importFlags struct {
	out                                     string
	resume, replace, strict, dryRun, asJSON bool
}

func (f *importFlags) options() []option {
	return []option{
		{name: "out", kind: "file", into: &f.out, local: true, help: "write the results, with the tokens, to this new file (mode 0600) instead of standard output"},
		{name: "resume", kind: "bool", def: "false", into: &f.resume, local: true, help: "go on with the file of --out: lines that it has a session for are passed over"},
		{name: "replace", kind: "bool", def: "false", into: &f.replace, local: true, help: "end a session that is there already (same provider, subject and sid) and make it anew"},
		{name: "strict", kind: "bool", def: "false", into: &f.strict, local: true, help: "stop at the first line that is refused"},
		{name: "dry-run", kind: "bool", def: "false", into: &f.dryRun, local: true, help: "check every line, and write nothing"},
		{name: "json", kind: "bool", def: "false", into: &f.asJSON, local: true, help: "print the summary as JSON on standard output, behind the results if they are there too"},
	}
}

func (f *importFlags) check() (problems []string) {
	if f.resume && f.out == "" {
		problems = append(problems, "--resume: needs --out, the file to go on with")
	}
	if f.dryRun && f.out != "" && !f.resume {
		problems = append(problems, "--out: does not go with --dry-run, which writes nothing")
	}
	if f.dryRun && f.replace {
		problems = append(problems, "--replace: does not go with --dry-run, which ends nothing")
	}
	return problems
}

const importLong = `Make sessions from JSON Lines, for a move from another system. Each line is the body
of POST /v1/sessions, as strict as there: {"subject":"alice","sid":"old-17",…}. Without
auth_time it stays unknown when the user authenticated: that was not now.

For each line a line is written, in order: {"line":1,"id":…,"token":…,"set_cookie":…},
or {"line":2,"error":CODE,"detail":…,"errors":[…]}. The tokens are secrets, and kept
nowhere else. A line that is refused does not stop the others, unless --strict; the
status is 1 in the end.

A line with a sid is imported once: when a live session of its provider, subject and
sid is there, the answer is {"line":3,"id":…,"exists":true} without a token; --replace
ends that session and makes another. After an interruption, --out FILE --resume goes on
where FILE ends; with --replace it makes anew the few sessions whose tokens were lost.

Users keep nothing of this unless they are given the tokens: their old cookies mean
nothing to Latchkey. The documentation has how old cookies are exchanged instead.`

func (p *program) importSessions() *cobra.Command {
	s, f := &settings{}, &importFlags{}
	return p.cobra(s, command{
		use: "sessions [FILE]", short: "Make sessions from JSON Lines, one for each line",
		long: importLong,
		example: `  latchkey import sessions --dry-run sessions.jsonl
  latchkey import sessions sessions.jsonl --out tokens.jsonl
  latchkey import sessions sessions.jsonl --out tokens.jsonl --resume --replace`,
		args: []string{"[FILE]"}, settings: append([]string{"config", "store", "keys", "demo", "listen"}, policyOptions...), own: f.options(),
		check: func([]string) (problems []string) {
			problems = append(problems, f.check()...)
			problems = append(problems, s.checkStore()...)
			problems = append(problems, s.checkDemo()...)
			problems = append(problems, s.checkPublic()...)
			bad := s.trial(func(*latchkey.Manager) error { return nil })
			return append(append(problems, besides(problems, bad)...), s.checkKeys(false)...)
		},
		do: func(ctx context.Context, args []string) error {
			return p.withManager(ctx, s, true, func(m *latchkey.Manager, _ latchkey.Store) error {
				return p.importFrom(ctx, s, f, m, args)
			})
		},
	})
}

// importFrom opens what is read and written, and runs the import.
func (p *program) importFrom(ctx context.Context, s *settings, f *importFlags, m *latchkey.Manager, args []string) (err error) {
	in, size, err := p.openInput(args)
	if err != nil {
		return err
	}
	defer in.Close() // and with it the reading of what is interrupted
	checker, err := newChecker(s)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := checker.Close(ctx); err == nil {
			err = cerr
		}
	}()
	out, done := io.Writer(p.out), make(map[int]latchkey.ID)
	if f.out != "" {
		file, known, err := openResults(f.out, f.resume, f.dryRun)
		if err != nil {
			return err
		}
		defer file.Close()
		if done = known; !f.dryRun {
			out = file
		}
	} else if terminal(p.out) && !f.dryRun {
		message(p.err, "the tokens are secrets, and this terminal shows them: --out FILE keeps them in a file that only you can read")
	}
	// An import that is interrupted ends after the sessions that it began; a second
	// signal ends it at once. A reader that goes away is an error of writing.
	reading, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(reading, stop)
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)

	im := &importer{m: m, checker: checker, flags: f, done: done, began: m.Now(), actor: actor() + "/import", out: newResults(out), size: size}
	erase := p.showing(!terminal(p.out) || f.out != "", im.progress)
	err = im.run(reading, in)
	erase()
	if file, ok := out.(*os.File); ok && f.out != "" {
		if serr := file.Sync(); serr != nil && err == nil {
			err = failed("", "--out: %v", pathCause(serr))
		}
	}
	return p.tellImport(im, f, err)
}

// tellImport tells what came of an import, and returns its error: the one given, or
// that lines were refused.
func (p *program) tellImport(im *importer, f *importFlags, err error) error {
	sum := im.summary(err)
	if f.asJSON {
		show := printJSON
		if f.out == "" {
			show = printLine // behind other lines
		}
		if perr := show(p.out, sum); perr != nil && err == nil {
			err = perr
		}
	}
	text := "imported " + plural(sum.Imported, "session", "sessions")
	if f.dryRun {
		text = plural(sum.Imported, "line", "lines") + " could be imported; nothing was written"
	}
	for _, part := range []struct {
		n         int
		one, many string
	}{{sum.Exists, "was there already", "were there already"}, {sum.Resumed, "was done before", "were done before"}, {sum.Lost, "was ended, because its token could not be written", "were ended, because their tokens could not be written"}} {
		if part.n > 0 {
			text += "; " + plural(part.n, part.one, part.many)
		}
	}
	message(p.err, "%s", text)
	if err != nil {
		return err
	}
	if sum.Failed > 0 {
		return failed("", "refused %s of %d; the results say why", plural(sum.Failed, "line", "lines"), sum.Lines)
	}
	return nil
}

// openInput opens the file to import, or standard input; size is 0 when it is not known.
func (p *program) openInput(args []string) (in io.ReadCloser, size int64, err error) {
	if len(args) == 0 || args[0] == "-" {
		if f, ok := p.in.(*os.File); ok {
			if isTerminal(f) {
				message(p.err, "reading lines from the terminal")
			}
			return f, 0, nil
		}
		return io.NopCloser(p.in), 0, nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, 0, usage(fmt.Sprintf("FILE: %s: %v", shownPath(args[0]), pathCause(err)))
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		f.Close()
		return nil, 0, usage(fmt.Sprintf("FILE: %s: %v", shownPath(args[0]), pathCause(err)))
	case info.IsDir():
		f.Close()
		return nil, 0, usage(fmt.Sprintf("FILE: %s is a directory", shownPath(args[0])))
	case info.Mode().IsRegular():
		size = info.Size()
	}
	return f, size, nil
}

// newChecker returns a Manager that judges a session to be made as the real one does
// and keeps none.
func newChecker(s *settings) (*latchkey.Manager, error) {
	ring, err := keyring.Generate(time.Now())
	if err != nil {
		return nil, err
	}
	cfg := s.library()
	cfg.Store, cfg.Keys, cfg.Limit = nowhere{}, ring, 0
	return latchkey.New(cfg)
}

// nowhere is a store that takes every session and keeps none.
type nowhere struct{}

var errNowhere = latchkey.NewError(latchkey.CodeNoSuchSession, "nothing is kept here", nil)

func (nowhere) Create(context.Context, latchkey.Create) (latchkey.Created, error) {
	return latchkey.Created{Generation: 1}, nil
}
func (nowhere) Get(context.Context, latchkey.ID) (*latchkey.Record, error) { return nil, errNowhere }
func (nowhere) Patch(context.Context, latchkey.Patch) error                { return errNowhere }
func (nowhere) Touch(context.Context, []latchkey.Touch) error              { return nil }
func (nowhere) Revoke(context.Context, latchkey.Revocation) (latchkey.RevokeResult, error) {
	return latchkey.RevokeResult{}, errNowhere
}
func (nowhere) List(context.Context, latchkey.ListQuery) (latchkey.ListPage, error) {
	return latchkey.ListPage{}, nil
}
func (nowhere) Purge(context.Context, latchkey.Purge) (int, error) { return 0, nil }
func (nowhere) Close() error                                       { return nil }

// importSummary is what came of an import, for --json.
type importSummary struct {
	Lines    int `json:"lines"`    // that were read
	Imported int `json:"imported"` // sessions made; with --dry-run lines that could be
	Exists   int `json:"exists"`   // sessions that were there already
	Replaced int `json:"replaced"` // sessions ended to be made anew
	Resumed  int `json:"resumed"`  // lines that the file of --out had a session for
	Failed   int `json:"failed"`   // lines that were refused
	Lost     int `json:"lost"`     // sessions ended because their tokens could not be written
	// Stopped is why the input was not read to its end, "" when it was: "interrupted",
	// "strict", "store_unavailable" or "output".
	Stopped string `json:"stopped"`
	DryRun  bool   `json:"dry_run"`
}

// importCounts are the numbers of the summary while they grow.
type importCounts struct {
	lines, imported, exists, replaced, resumed, failed, lost, bytes atomic.Int64
}

func (im *importer) summary(err error) importSummary {
	c := &im.counts
	sum := importSummary{Lines: int(c.lines.Load()), Imported: int(c.imported.Load()), Exists: int(c.exists.Load()), Replaced: int(c.replaced.Load()),
		Resumed: int(c.resumed.Load()), Failed: int(c.failed.Load()), Lost: int(c.lost.Load()), DryRun: im.flags.dryRun}
	if stop, ok := errors.AsType[*stopped](err); ok {
		sum.Stopped = stop.why
	}
	return sum
}

// progress is the line that a terminal shows meanwhile.
func (im *importer) progress() string {
	c := &im.counts
	text := fmt.Sprintf("importing %d lines", c.lines.Load())
	if im.size > 0 {
		text = fmt.Sprintf("importing %s %d lines", bar(c.bytes.Load(), im.size), c.lines.Load())
	}
	if n := c.failed.Load(); n > 0 {
		text += fmt.Sprintf(", %d refused", n)
	}
	return text
}

// stopped is an import that ended before its input did.
type stopped struct {
	why string
	err error
}

func (s *stopped) Error() string { return s.err.Error() }
func (s *stopped) Unwrap() error { return s.err }
