package page_test

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/server/page"
)

// leavesHost reads a Location as browsers do (WHATWG URL, "basic URL parser") as far
// as the host is concerned, written from that text and not from the code under test.
func leavesHost(location string) bool {
	location = strings.TrimFunc(location, func(r rune) bool { return r <= ' ' })
	location = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(location)
	for i, c := range location {
		if c == ':' && i > 0 {
			return true // a scheme
		}
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		other := c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.'
		if !letter && (i == 0 || !other) {
			break
		}
	}
	slash := func(i int) bool { return len(location) > i && (location[i] == '/' || location[i] == '\\') }
	return slash(0) && slash(1)
}

func TestLeavesHost(t *testing.T) {
	for _, away := range []string{"//x", `/\x`, `\\x`, "/\t/x", " //x", "https:x", "javascript:x", "\n//x"} {
		if !leavesHost(away) {
			t.Errorf("%q stays", away)
		}
	}
	for _, stays := range []string{"/x", "/x//y", "x", "?x", "/:x", "/x:y"} {
		if leavesHost(stays) {
			t.Errorf("%q leaves", stays)
		}
	}
}

// FuzzReturnPath: whatever is asked for, the Location that is sent keeps the browser
// on the host, is one line of printable ASCII, and means what was asked for.
func FuzzReturnPath(f *testing.F) {
	for _, seed := range []string{"", "/", "/a?b#c", "//x", `/\x`, "/\t/x", "https://x", "/.//x", "/%2e%2e//x", "/a b", "/ü", "/\uFF0Fx", "/\x00", "/a\r\nb: c", "/%", "/@x", "/:80", "/x:y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		got := page.ReturnPath(target, "/fallback")
		if got != target && got != "/fallback" {
			t.Fatalf("%q became %q", target, got)
		}
		w := httptest.NewRecorder()
		page.Redirect(w, got)
		location := w.Header().Get("Location")
		if leavesHost(location) || !strings.HasPrefix(location, "/") {
			t.Fatalf("%q leads to %q", target, location)
		}
		for i := range len(location) {
			if location[i] <= 0x20 || location[i] >= 0x7f {
				t.Fatalf("%q leads to %q", target, location)
			}
		}
		base := &url.URL{Scheme: "https", Host: "host.example", Path: "/login"}
		u, err := base.Parse(location)
		if err != nil || u.Host != "host.example" || u.Scheme != "https" {
			t.Fatalf("%q leads to %v (%v)", target, u, err)
		}
		if again := page.ReturnPath(location, ""); again != location && len(location) <= 2048 {
			t.Fatalf("%q leads to %q, which would be refused", target, location)
		}
	})
}
