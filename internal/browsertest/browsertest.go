// Package browsertest drives a real browser, headless Chromium, for tests of pages.
package browsertest

import (
	"context"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/latchkey-go/latchkey/internal/needs"
)

// Find returns the path of a Chromium. Where none is installed the test is
// skipped, but under CI=true it fails.
func Find(t *testing.T) string {
	t.Helper()
	return needs.Program(t, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
}

// Profile is a real browser with a profile of its own.
type Profile struct {
	t *testing.T
	// Ctx is the browser's, for package chromedp.
	Ctx context.Context
	url string // of the site, with its prefix

	mu       sync.Mutex
	problems []string // what the browser complained of
}

// Open starts a browser, with page scripts switched off if told so. It ends
// with the test, and so does the test if the browser complained of anything: a
// violated Content-Security-Policy, a script error, a file that did not load.
func Open(t *testing.T, site string, scripts bool) *Profile {
	t.Helper()
	return open(t, site, scripts)
}

// OpenBehind is [Open] with page scripts, for a site whose hosts a proxy at addr serves
// with a certificate of the test's own: every name ending in suffix, such as
// ".example.com", is found there, on the scheme's own port.
func OpenBehind(t *testing.T, site, suffix, addr string) *Profile {
	t.Helper()
	return open(t, site, true, chromedp.Flag("host-resolver-rules", "MAP *"+suffix+" "+addr), chromedp.IgnoreCertErrors)
}

func open(t *testing.T, site string, scripts bool, more ...chromedp.ExecAllocatorOption) *Profile {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(Find(t)), chromedp.UserDataDir(t.TempDir()),
		chromedp.DisableGPU, chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-quic", true))
	options = append(options, more...)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's sandbox refuses to run as root
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, quit := chromedp.NewContext(allocator)
	p := &Profile{t: t, Ctx: ctx, url: site}
	t.Cleanup(func() {
		quit()
		stop()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, problem := range p.problems {
			t.Errorf("the browser complained: %s", problem)
		}
	})
	// The first use of the context starts the browser, which lives as long as that context.
	if err := chromedp.Listen(ctx, p.listen); err != nil {
		t.Fatalf("cannot start the browser: %v", err)
	}
	p.Do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		if _, err := cdp.Call(ctx, target, log.Enable, cdp.Empty{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !scripts})
		return err
	}))
	return p
}

func (p *Profile) listen(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			p.problems = append(p.problems, string(e.Entry.Source)+": "+e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		p.problems = append(p.problems, "exception: "+e.ExceptionDetails.Text)
	}
}

// Problems returns what the browser complained of so far, and forgets it: what a test
// asked for on purpose does not fail it.
func (p *Profile) Problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	problems := p.problems
	p.problems = nil
	return problems
}

// Patience bounds each step. It is only ever waited out when something is wrong.
const Patience = time.Minute

// See runs an action and returns what it saw. What fails ends the test, with the
// page that the browser is at.
func See[T any](p *Profile, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.Ctx, Patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		where, _ := chromedp.Run(p.Ctx, chromedp.Location()) // for the message only, as the page
		page, _ := chromedp.Run(p.Ctx, chromedp.OuterHTML(chromedp.CSS("html")))
		p.t.Fatalf("%v; the browser is at %s:\n%s", err, where, page)
	}
	return v
}

// Do runs actions, each of which must succeed.
func (p *Profile) Do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	See(p, chromedp.Steps(steps...))
}

// Count is how many elements the selector names.
func (p *Profile) Count(selector string) int {
	p.t.Helper()
	return See(p, chromedp.Evaluate[int]("document.querySelectorAll("+strconv.Quote(selector)+").length"))
}

// Click clicks on the one element that the selector names and waits for the page
// that follows.
func (p *Profile) Click(selector string) {
	p.t.Helper()
	if n := p.Count(selector); n != 1 {
		p.t.Fatalf("%s: %d elements, want one", selector, n)
	}
	ctx, cancel := context.WithTimeout(p.Ctx, Patience)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		p.t.Fatalf("click on %s: %v", selector, err)
	}
}

// WantPath fails the test unless the browser is at a path of the site.
func (p *Profile) WantPath(want string) {
	p.t.Helper()
	location := See(p, chromedp.Location())
	u, err := url.Parse(location)
	if err != nil {
		p.t.Fatal(err)
	}
	if got := strings.TrimPrefix(u.Scheme+"://"+u.Host+u.Path, p.url); got != want {
		p.t.Fatalf("the browser is at %s, want %s", location, want)
	}
}

// WantText fails the test unless the element's text contains want.
func (p *Profile) WantText(selector, want string) {
	p.t.Helper()
	if got := See(p, chromedp.Text(chromedp.CSS(selector))); !strings.Contains(got, want) {
		p.t.Fatalf("%s reads %q, want %q in it", selector, got, want)
	}
}

// Visit goes to a path of the site, or to an address.
func (p *Profile) Visit(path string) {
	p.t.Helper()
	if !strings.Contains(path, "://") {
		path = p.url + path
	}
	p.Do(chromedp.Navigate(path))
}

// Show sets the width of the window, in CSS pixels, and whether people like it dark.
func (p *Profile) Show(width int64, scheme string) {
	p.t.Helper()
	p.Do(chromedp.EmulateViewport(width, 760), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	}))
}
