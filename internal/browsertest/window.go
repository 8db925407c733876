package browsertest

import (
	"testing"

	"github.com/chromedp/chromedp"
)

// Window opens another window of the same browser, which has the same cookies. It
// closes with the test.
func (p *Profile) Window(t *testing.T) *Profile {
	t.Helper()
	ctx, quit := chromedp.NewContext(p.Ctx)
	t.Cleanup(quit)
	w := &Profile{t: t, Ctx: ctx, url: p.url}
	// The first use of the context opens the window, which lives as long as that context.
	if err := chromedp.Listen(ctx, p.listen); err != nil {
		t.Fatalf("cannot open a window: %v", err)
	}
	return w
}

// Fill writes text into the one field that the selector names, over what is there.
func (p *Profile) Fill(selector, text string) {
	p.t.Helper()
	p.Do(chromedp.Clear(chromedp.CSS(selector)), chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Script runs a page's script and returns what its promise brings.
func (p *Profile) Script(expression string) string {
	p.t.Helper()
	return See(p, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
}

// Location is the address of the page.
func (p *Profile) Location() string {
	p.t.Helper()
	return See(p, chromedp.Location())
}
