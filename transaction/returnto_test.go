package transaction_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/transaction"
)

var hosts = []string{"app.example", "app.example:8443", "http://localhost:3000", "[::1]"}

func TestReturnTo(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"root", "/", "/"},
		{"path", "/reports", "/reports"},
		{"query", "/a?b=c&d=%2F", "/a?b=c&d=%2F"},
		{"url_in_query", "/a?next=https://example.com/", "/a?next=https://example.com/"},
		{"query_only", "/?//evil.example", "/?//evil.example"},
		{"dots_in_query", "/a?../..", "/a?../.."},
		{"encoded_backslash_in_query", "/a?b=%5C%0A", "/a?b=%5C%0A"},
		{"fragment", "/a#b", "/a#b"},
		{"question_in_fragment", "/a#b?c#d%20", "/a#b?c#d%20"},
		{"percent_in_query", "/a?q=100%", "/a?q=100%"},
		{"space", "/a b", "/a%20b"},
		{"umlaut", "/ü", "/%C3%BC"},
		{"encoded_umlaut", "/%c3%bc", "/%c3%bc"},
		{"latin1", "/%fc", "/%fc"},
		{"double_slash_later", "/a//b", "/a//b"},
		{"colon", "/a:b", "/a:b"},
		{"at", "/@alice", "/@alice"},
		{"dots_in_names", "/a.b/...c/..d", "/a.b/...c/..d"},
		{"nested", "/%25252541", "/%25252541"},
		{"percent_encoded_percent", "/100%25", "/100%25"},
		{"ellipsis", "/a…b", "/a%E2%80%A6b"},
		{"allowed_host", "https://app.example/a?b#c", "https://app.example/a?b#c"},
		{"allowed_host_alone", "https://app.example", "https://app.example/"},
		{"allowed_host_query", "https://app.example?x", "https://app.example/?x"},
		{"allowed_host_fragment", "https://app.example#x", "https://app.example/#x"},
		{"allowed_port", "https://app.example:8443/ü", "https://app.example:8443/%C3%BC"},
		{"allowed_scheme", "http://localhost:3000/a", "http://localhost:3000/a"},
		{"allowed_address", "https://[::1]/a", "https://[::1]/a"},
		{"as_long_as_may_be", "/" + strings.Repeat("a", 2047), "/" + strings.Repeat("a", 2047)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := transaction.ReturnTo(c.raw, hosts); got != c.want {
				t.Errorf("%q becomes %q", c.raw, got)
			}
		})
	}
}

func TestReturnToRefuses(t *testing.T) {
	for name, raw := range map[string]string{
		"none": "", "relative": "a", "query": "?a", "fragment": "#a", "dot": "./a", "space_first": " /a", "newline_first": "\n/a",
		"two_slashes": "//evil.example/", "three_slashes": "///evil.example/", "slash_backslash": `/\evil.example`, "backslashes": `\\evil.example`,
		"backslash_slash": `\/evil.example`, "backslash_later": `/a\b`, "backslash_in_query": `/a?b=\`, "backslash_in_fragment": `/a#\`,
		"tab": "/\t/evil.example", "newline": "/\n/evil.example", "return": "/\r/evil.example", "injection": "/a\r\nSet-Cookie: x=y", "nul": "/a\x00b",
		"delete": "/a\x7fb", "c1": "/a\u0085b", "not_utf8": "/a\xff", "tab_in_query": "/a?b\tc",
		"user": "//user@evil.example", "user_before_allowed": "https://app.example@evil.example/", "user_at_allowed": "https://user@app.example/",
		"password_at_allowed": "https://user:pw@app.example/", "encoded_at": "https://app.example%40evil.example/",
		"script": "javascript:alert(1)", "script_with_slashes": "javascript://app.example/%0aalert(1)", "data": "data:text/html,x", "file": "file:///etc/passwd",
		"no_slashes": "https:app.example", "one_slash": "https:/app.example", "three_after_scheme": "https:///app.example", "backslashes_after_scheme": `https:\\app.example`,
		"upper_scheme": "HTTPS://app.example/", "upper_host": "https://APP.example/", "tab_in_scheme": "ht\ttps://app.example/", "http_of_https": "http://app.example/",
		"https_of_http": "https://localhost:3000/", "other_host": "https://evil.example/", "suffix": "https://app.example.evil.example/", "prefix": "https://evilapp.example/",
		"subdomain": "https://x.app.example/", "dot_at_end": "https://app.example./", "other_port": "https://app.example:444/", "usual_port": "https://app.example:443/",
		"port_and_user": "https://app.example:8443@evil.example/", "backslash_host": `https://app.example\.evil.example/`, "backslash_path": `https://app.example/\x`,
		"space_in_host": "https://app.example /", "tab_in_host": "https://app.exam\tple/", "unicode_dot": "https://app\u3002example/", "fullwidth_dot": "https://app\uff0eexample/",
		"halfwidth_dot": "https://app\uff61example/", "fullwidth_host": "https://ａpp.example/", "soft_hyphen": "https://app\u00ad.example/", "zone": "https://[::1%25eth0]/",
		"no_host": "https://", "only_slashes": "https:////app.example/", "path_of_allowed": "https://app.example//evil.example",
		"encoded_slash": "/%2Fevil.example", "encoded_slash_lower": "/%2fevil.example", "encoded_backslash": "/%5cevil.example", "encoded_backslash_later": "/a%5Cb",
		"encoded_tab": "/%09/evil.example", "encoded_newline": "/a%0d%0ab", "encoded_nul": "/a%00", "encoded_c1": "/a%c2%85",
		"twice_encoded_slash": "/%252Fevil.example", "thrice": "/%25252fevil.example", "four_times": "/%2525252fevil.example", "without_end": "/%2525252525252fevil.example", "nested_too_deep": "/%252525252541",
		"encoded_under_broken": "/%25zz%255cevil.example", "broken": "/%zz", "broken_end": "/a%", "broken_end_2": "/a%4", "broken_fragment": "/a#100%",
		"dot_segment": "/.//evil.example", "dots": "/a/..//evil.example", "dots_at_end": "/a/..", "encoded_dots": "/a/%2E%2e//evil.example", "half_encoded_dots": "/a/.%2e/b",
		"twice_encoded_dots": "/a/%252e%252e/b", "dots_with_parameter": "/a/..;x=y/b", "encoded_parameter": "/a/..%3bx/b",
		"fullwidth_slash": "/\uff0fevil.example", "fraction_slash": "/\u2044evil.example", "division_slash": "/\u2215evil.example", "big_solidus": "/\u29f8evil.example",
		"encoded_fullwidth_slash": "/%EF%BC%8Fevil.example", "fullwidth_backslash": "/a\uff3cb", "small_backslash": "/\ufe68b", "set_minus": "/\u2216b", "reverse_solidus_operator": "/\u29f5b",
		"fullwidth_dots": "/a/\uff0e\uff0e/b", "small_dots": "/a/\ufe52\ufe52/b", "one_dot_leaders": "/a/\u2024\u2024/b", "two_dot_leader": "/a/\u2025/b", "ideographic_dots": "/a/\u3002\u3002/b",
		"too_long": "/" + strings.Repeat("a", 2048), "too_long_encoded": "/" + strings.Repeat("ü", 1000), "very_long": "/" + strings.Repeat("a", 10<<20),
	} {
		t.Run(name, func(t *testing.T) {
			if got := transaction.ReturnTo(raw, hosts); got != "" {
				t.Errorf("%.100q becomes %.100q", raw, got)
			}
		})
	}
	for _, list := range [][]string{nil, {""}, {"https://"}, {"app.example/"}, {"App.example"}, {"*"}, {"*.example"}} {
		for _, raw := range []string{"https://app.example/", "https:///", "https://", "https://*/"} {
			if got := transaction.ReturnTo(raw, list); got != "" {
				t.Errorf("%q is allowed by %q", raw, list)
			}
		}
	}
}

// hostOf reads a Location as browsers do (WHATWG URL, "basic URL parser"), as far as the
// host is concerned, written from that text and not from the code under test. base
// is the host that is left for another only when the address says so.
func hostOf(location, base string) string {
	location = strings.TrimFunc(location, func(r rune) bool { return r <= ' ' })
	location = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(location)
	scheme := ""
	for i, c := range location {
		if c == ':' && i > 0 {
			scheme, location = strings.ToLower(location[:i]), location[i+1:]
			break
		}
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		other := c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.'
		if !letter && (i == 0 || !other) {
			break
		}
	}
	slash := func(i int) bool { return len(location) > i && (location[i] == '/' || location[i] == '\\') }
	if scheme == "" && (!slash(0) || !slash(1)) {
		return base
	}
	if scheme != "" && scheme != "http" && scheme != "https" {
		return scheme + ":"
	}
	host := strings.TrimLeft(location, `/\`)
	if i := strings.IndexAny(host, `/\?#`); i >= 0 {
		host = host[:i]
	}
	return host[strings.LastIndexByte(host, '@')+1:]
}

func TestHostOf(t *testing.T) {
	for location, want := range map[string]string{
		"//x": "x", `/\x`: "x", `\\x`: "x", "/\t/x/y": "x", " //x": "x", "https:x": "x", "javascript:x": "javascript:", "\n//x?y": "x", "https://u@x:1/": "x:1",
		"/x": "base", "/x//y": "base", "x": "base", "?x": "base", "/:x": "base", "/x:y": "base",
	} {
		if got := hostOf(location, "base"); got != want {
			t.Errorf("%q leads to %q", location, got)
		}
	}
}

// FuzzReturnTo: whatever is asked for, the answer keeps the browser on this host or an
// allowed one, is one line of printable ASCII, and is a fixed point.
func FuzzReturnTo(f *testing.F) {
	for _, seed := range []string{"", "/", "/a?b#c", "//x", `/\x`, "/\t/x", "https://x", "/.//x", "/%2e%2e//x", "/a b", "/ü", "/\uFF0Fx", "/\x00", "/a\r\nb: c", "/%", "/@x", "/:80", "/x:y",
		"https://app.example/a", "https://app.example@x/", "https://app.example:8443?x", "http://localhost:3000//x", "/%25252e", "/..;/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got := transaction.ReturnTo(raw, hosts)
		if got == "" {
			return
		}
		for i := range len(got) {
			if got[i] <= 0x20 || got[i] >= 0x7f || got[i] == '\\' {
				t.Fatalf("%q leads to %q", raw, got)
			}
		}
		host := hostOf(got, "base")
		if strings.HasPrefix(raw, "/") != (host == "base") {
			t.Fatalf("%q leads to %q", raw, host)
		}
		base := &url.URL{Scheme: "https", Host: "base", Path: "/login"}
		u, err := base.Parse(got)
		if err != nil || u.Host != host || u.User != nil || u.Scheme != "https" && host != "localhost:3000" {
			t.Fatalf("%q leads to %v (%v)", raw, u, err)
		}
		// What a server behind this one makes of it, after decoding.
		if decoded, err := url.PathUnescape(u.EscapedPath()); err != nil || hostOf(decoded, "base") != "base" {
			t.Fatalf("%q leads to %q behind a proxy", raw, decoded)
		}
		switch host {
		case "base", "app.example", "app.example:8443", "localhost:3000", "[::1]":
		default:
			t.Fatalf("%q leads to %q", raw, host)
		}
		if again := transaction.ReturnTo(got, hosts); again != got {
			t.Fatalf("%q leads to %q, and that to %q", raw, got, again)
		}
	})
}
