package login_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/latchkey-go/latchkey/server/internal/pagetest"
)

// TestTargets signs in with each target and looks at where the browser would go.
func TestTargets(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{})
	for _, tc := range []struct{ name, rd, location string }{
		{"none", "", "/account"},
		{"path", "/reports", "/reports"},
		{"root", "/", "/"},
		{"query", "/a?b=c&d=%2F", "/a?b=c&d=%2F"},
		{"url_in_query", "/a?next=https://example.com/", "/a?next=https://example.com/"},
		{"fragment", "/a#b", "/a#b"},
		{"space", "/a b", "/a%20b"},
		{"umlaut", "/ü", "/%C3%BC"},
		{"fullwidth_slash", "/\uFF0Fevil.example", "/account"},
		{"double_slash_later", "/a//b", "/a//b"},
		{"encoded_slash", "/%2Fevil.example", "/account"},
		{"other_host", "https://evil.example/", "/account"},
		{"scheme_relative", "//evil.example/", "/account"},
		{"three_slashes", "///evil.example/", "/account"},
		{"backslash", `/\evil.example`, "/account"},
		{"two_backslashes", `\\evil.example`, "/account"},
		{"backslash_later", `/a\b`, "/account"},
		{"tab_between", "/\t/evil.example", "/account"},
		{"newline_between", "/\n/evil.example", "/account"},
		{"header_injection", "/a\r\nSet-Cookie: x=y", "/account"},
		{"nul", "/a\x00b", "/account"},
		{"c1", "/a\u0085b", "/account"},
		{"not_utf8", "/a\xff", "/account"},
		{"leading_space", " /a", "/account"},
		{"relative", "a", "/account"},
		{"query_only", "?a", "/account"},
		{"script", "javascript:alert(1)", "/account"},
		{"data", "data:text/html,x", "/account"},
		{"scheme_without_slashes", "https:evil.example", "/account"},
		{"user_at_host", "//user@evil.example", "/account"},
		{"dot_then_slash", "/.//evil.example", "/account"},
		{"dots_then_slash", "/a/..//evil.example", "/account"},
		{"encoded_dots", "/a/%2e%2E//evil.example", "/account"},
		{"bad_escape", "/%zz", "/account"},
		{"too_long", "/" + string(make([]byte, 2048)), "/account"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := site.Browser(t)
			wantRedirect(t, b.Post("/login", url.Values{"name": {"ada"}, "rd": {tc.rd}}), tc.location)
			wantRedirect(t, b.Get("/login?"+url.Values{"rd": {tc.rd}}.Encode()), tc.location)
		})
	}
}

// TestFirstTargetCounts: with several rd there is one answer for show and submit.
func TestFirstTargetCounts(t *testing.T) {
	b := pagetest.New(t, pagetest.Options{}).Browser(t)
	wantRedirect(t, b.Post("/login", url.Values{"name": {"ada"}, "rd": {"/a", "//evil.example"}}), "/a")
	wantRedirect(t, b.Get("/login?rd=//evil.example&rd=/a"), "/account")
}

func TestHeadIsNoForm(t *testing.T) {
	b := pagetest.New(t, pagetest.Options{}).Browser(t)
	if a := b.Do(http.MethodHead, "/login", nil, nil); a.Status != http.StatusOK || a.Body != "" {
		t.Errorf("status %d, body %q", a.Status, a.Body)
	}
}
