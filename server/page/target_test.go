package page_test

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/server/page"
	"github.com/latchkey-go/latchkey/transaction"
)

// FuzzRedirect: whatever the target, the Location is one line of printable ASCII, and
// one that was found good is sent as it stands.
func FuzzRedirect(f *testing.F) {
	for _, seed := range []string{"", "/", "/a?b#c", "//x", "/a b", "/ü", "/\uFF0Fx", "/\x00", "/a\r\nb: c", "/%", "/x:y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		w := httptest.NewRecorder()
		page.Redirect(w, target)
		location := w.Header().Get("Location")
		if strings.ContainsFunc(location, func(r rune) bool { return r <= 0x20 || r >= 0x7f }) {
			t.Fatalf("%q leads to %q", target, location)
		}
		good := transaction.ReturnTo(target, nil)
		if good == "" {
			return
		}
		w = httptest.NewRecorder()
		page.Redirect(w, good)
		if got := w.Header().Get("Location"); got != good || got != location {
			t.Fatalf("%q leads to %q", good, got)
		}
		base := &url.URL{Scheme: "https", Host: "host.example", Path: "/login"}
		if u, err := base.Parse(good); err != nil || u.Host != "host.example" || u.Scheme != "https" {
			t.Fatalf("%q leads to %v (%v)", target, u, err)
		}
	})
}
