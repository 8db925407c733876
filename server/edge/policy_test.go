package edge

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/latchkeytest"
)

func policy(t testing.TB, rules []Rule, hosts ...string) *Policy {
	t.Helper()
	if len(hosts) == 0 && slices.ContainsFunc(rules, func(r Rule) bool { return len(r.Hosts) > 0 }) {
		hosts = []string{"app.example.com", "app.example.com:8443", "http://app.example.com", "a.b.example.com", "example.com", "notexample.com",
			"ports.example.org", "ports.example.org:8443", "other.example.net", "other.example.com"}
	}
	p, err := NewPolicy(PolicyConfig{Rules: rules, ProtectedHosts: hosts, PublicURL: &url.URL{Scheme: "https", Host: "auth.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// session is that of somebody who has signed in.
func session(t testing.TB, in latchkey.SignIn) (latchkey.Session, *latchkey.Manager, *latchkeytest.Clock) {
	t.Helper()
	m, clock := latchkeytest.NewManager(t, nil)
	in.Subject = "alice"
	s, err := m.Read(nil, latchkeytest.Request(t, m, in, "GET", "/", nil))
	if err != nil || !s.SignedIn() {
		t.Fatalf("no session: %v", err)
	}
	return s, m, clock
}

func get(address string) *Question {
	q := &Question{Method: "GET"}
	q.Scheme, q.Host, q.Target, _ = splitURL(address)
	q.settle()
	return q
}

func TestFirstRuleWins(t *testing.T) {
	p := policy(t, []Rule{
		{Hosts: []string{"app.example.com"}, Paths: []string{"/static/*", "/health"}, Require: RequirePublic},
		{Hosts: []string{"app.example.com"}, Paths: []string{"/admin/*"}, Methods: []string{"GET"}, Roles: []string{"reader"}},
		{Hosts: []string{"app.example.com"}, Paths: []string{"/admin/*"}, Roles: []string{"admin"}},
		{Hosts: []string{"*.example.com"}, Methods: []string{"OPTIONS"}, Require: RequirePublic},
		{Hosts: []string{"ports.example.org"}, Methods: []string{"GET"}, Require: RequireDeny},
		{Hosts: []string{"ports.example.org"}, Require: RequirePublic},
		{Paths: []string{"/everywhere"}, Require: RequirePublic},
	})
	for _, c := range []struct {
		method, url string
		rule        int
	}{
		{"GET", "https://app.example.com/static/a.css", 0},
		{"GET", "https://app.example.com/static", 0},
		{"GET", "https://app.example.com/static/", 0},
		{"GET", "https://app.example.com/staticky", NoRule},
		{"GET", "https://app.example.com/Static/", NoRule},
		{"GET", "https://app.example.com/health?verbose=/../x", 0},
		{"GET", "https://app.example.com/health/", NoRule},
		{"GET", "https://app.example.com/%68ealth", 0},
		{"GET", "https://APP.Example.com:443/health", 0},
		{"GET", "https://app.example.com:8443/health", 0}, // a rule without a port is for every port
		{"GET", "https://app.example.com/admin/x", 1},
		{"HEAD", "https://app.example.com/admin/x", 1},
		{"POST", "https://app.example.com/admin/x", 2},
		{"POST", "https://app.example.com/admin", 2},
		{"OPTIONS", "https://app.example.com/", 3},
		{"OPTIONS", "https://a.b.example.com/", 3},
		{"OPTIONS", "https://example.com/", NoRule},
		{"OPTIONS", "https://notexample.com/", NoRule},
		{"GET", "https://ports.example.org:8443/", 4},
		{"GET", "https://ports.example.org/", 4},
		{"POST", "https://ports.example.org:8443/", 5},
		{"GET", "https://other.example.net/everywhere", 6},
		{"GET", "http://app.example.com/static/a.css", 0},
		{"GET", "https://app.example.com/static/a;v=1", 0},
		{"GET", "https://app.example.com/x;v=1/y", NoRule},
	} {
		q := get(c.url)
		q.Method = c.method
		if rule, why, ok := p.match(q); !ok || rule != c.rule {
			t.Errorf("%s %s: rule %d (%v %s), want %d", c.method, c.url, rule, ok, why, c.rule)
		}
	}
}

// Where a rule looks at paths, a path that services could read otherwise is denied;
// where none does, it is the service's own affair.
func TestAmbiguousPaths(t *testing.T) {
	p := policy(t, []Rule{{Hosts: []string{"app.example.com"}, Paths: []string{"/public/*"}, Require: RequirePublic}, {Hosts: []string{"app.example.com"}, Paths: []string{"/admin/*"}, Roles: []string{"admin"}}})
	for _, path := range []string{
		"/public/%2fadmin", "/public%2Fadmin", "/public/..%2fadmin", "/public/%5cadmin", "/public/%5Cadmin", `/public\admin`, `/public/..\admin`,
		"/public/%2e%2e/admin", "/public/%2E./admin", "/public/.%2e/admin", "/public/%252e%252e/admin", "/public/%25", "/public/%",
		"/public/%2", "/public/%zz", "/public//admin", "//admin", "/public/../admin", "/public/./x", "/public/..", "/public/.", "/..", "/.",
		"/public/..;/admin", "/public/..;x=1/admin", "/public/.;/admin", "/public;/../admin", "/public/\x01", "/public/%00", "/public/%0a", "/public/%7f", "/public/%c0%ae%c0%ae/admin", "/public/%ff", "/admin%3f/x", "/public/%23", "/public/%0D%0A",
		"/public/\xc3\xa9", "/public/\xff", "/public/\x7f", "/public/a b", "/public/#x", "/public#/../admin", "/admin;x", "/admin;x/y", "/;x/admin/y", "/public;x/admin",
		"/a;/admin", "/;/admin",
	} {
		q := get("https://app.example.com/")
		q.Target = path
		rule, why, ok := p.match(q)
		if path == "/a;/admin" { // no rule in either reading
			if !ok || rule != NoRule {
				t.Errorf("%q: %d %s %v", path, rule, why, ok)
			}
			continue
		}
		if ok || why != ReasonPath {
			t.Errorf("%q falls under rule %d (%s %v), and should be denied", path, rule, why, ok)
		}
		q.Host = "other.example.com"
		if rule, why, ok := p.match(q); !ok || rule != NoRule {
			t.Errorf("%q on a host without rules: %d %s %v", path, rule, why, ok)
		}
	}
	for _, path := range []string{"", "*", "http://app.example.com/public/x", "public/x", "?x"} {
		q := get("https://app.example.com/")
		q.Target = path
		if _, why, ok := p.match(q); ok || why != ReasonPath {
			t.Errorf("%q is taken (%s)", path, why)
		}
	}
	for _, path := range []string{"/public/...", "/public/..a", "/public/.well-known", "/public/a%20b", "/public/%C3%A9", "/public/x?a=%2f..//%5c", "/public/~a!$&'()*+,=:@"} {
		q := get("https://app.example.com/")
		q.Target = path
		if rule, why, ok := p.match(q); !ok || rule != 0 {
			t.Errorf("%q: %d %s %v", path, rule, why, ok)
		}
	}
}

// Whatever a client writes, no path that a usual server would serve from below
// /admin passes as public.
func TestNoPathAroundRules(t *testing.T) {
	p := policy(t, []Rule{{Paths: []string{"/admin/*"}, Roles: []string{"admin"}}, {Require: RequirePublic}})
	pieces := []string{"/", "admin", "public", ".", "..", ";", ";x=1", "%2f", "%2e", "%5c", "\\", "%25", "%61dmin", "a", "%", "?", "#", "%2E%2e", "//", " ", "\t"}
	rapid.Check(t, func(t *rapid.T) {
		target := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 8).Draw(t, "pieces"), "")
		q := &Question{Method: "GET", Scheme: "https", Host: "app.example.com", Target: target}
		if rule, _, ok := p.match(q); !ok || rule != 1 {
			return
		}
		for _, read := range readings(target) {
			if read == "/admin" || strings.HasPrefix(read, "/admin/") {
				t.Fatalf("%q is public, and some servers read %q", target, read)
			}
		}
	})
}

// readings are the paths that servers of different manners make of a target: with
// and without decoding, parameters, backslashes and empty segments.
func readings(target string) (list []string) {
	path, _, _ := strings.Cut(target, "?")
	path, _, _ = strings.Cut(path, "#")
	for _, decode := range []int{0, 1, 2} {
		for _, parameters := range []bool{false, true} {
			for _, backslash := range []bool{false, true} {
				p := path
				for range decode {
					if u, err := url.PathUnescape(p); err == nil {
						p = u
					}
				}
				if backslash {
					p = strings.ReplaceAll(p, `\`, "/")
				}
				var out []string
				for segment := range strings.SplitSeq(p, "/") {
					if parameters {
						segment, _, _ = strings.Cut(segment, ";")
					}
					switch segment {
					case "", ".":
					case "..":
						out = out[:max(len(out)-1, 0)]
					default:
						out = append(out, segment)
					}
				}
				list = append(list, "/"+strings.Join(out, "/"))
			}
		}
	}
	return list
}

func TestHosts(t *testing.T) {
	p := policy(t, nil, "app.example.com", "odd.example.com:8443", "http://plain.example.com")
	for host, want := range map[string]Reason{
		"app.example.com": "", "APP.example.COM": "", "app.example.com:443": "", "odd.example.com:8443": "", "plain.example.com": "", "auth.example.com": "",
		"app.example.com:80": ReasonUnlisted, "odd.example.com": ReasonUnlisted, "evil.example.com": ReasonUnlisted, "xapp.example.com": ReasonUnlisted, "127.0.0.1": ReasonUnlisted, "[::1]:80": ReasonUnlisted,
		"app.example.com.": ReasonHost, "app..example.com": ReasonHost, ".example.com": ReasonHost, "app.example.com:": ReasonHost, "app.example.com:0443": ReasonHost, "app.example.com:99999": ReasonHost,
		"user@app.example.com": ReasonHost, "app.example.com,evil.example.com": ReasonHost, "app.example.com evil": ReasonHost, "app.exämple.com": ReasonHost, "[::1": ReasonHost, "[]": ReasonHost, "[::1]x": ReasonHost, "a:b:c": ReasonHost,
	} {
		q := get("https://" + host + "/")
		if _, why, ok := p.match(q); why != want || ok != (want == "") {
			t.Errorf("%s: %q %v, want %q", host, why, ok, want)
		}
	}
}

// CONNECT is how a WebSocket over HTTP/2 begins; services see a GET.
func TestConnect(t *testing.T) {
	p := policy(t, []Rule{
		{Hosts: []string{"app.example.com"}, Paths: []string{"/admin/*"}, Methods: []string{"GET"}, Roles: []string{"admin"}},
		{Hosts: []string{"app.example.com"}, Paths: []string{"/open/*"}, Methods: []string{"CONNECT"}, Require: RequirePublic},
		{Hosts: []string{"app.example.com"}, Paths: []string{"/chat"}, Methods: []string{"GET", "CONNECT"}, Roles: []string{"staff"}},
	})
	for path, want := range map[string]Reason{"/admin/x": ReasonMethod, "/open/x": ReasonMethod, "/chat": "", "/else": "", "/admin;x": ReasonPath} {
		q := get("https://app.example.com" + path)
		q.Method = "CONNECT"
		if _, why, ok := p.match(q); why != want || ok != (want == "") {
			t.Errorf("%s: %q %v, want %q", path, why, ok, want)
		}
	}
}

func TestJudge(t *testing.T) {
	s, m, clock := session(t, latchkey.SignIn{Provider: "corp", Roles: []string{"staff", "editor"}, Assurance: "aal2"})
	clock.Advance(10 * time.Minute)
	nobody := latchkey.Session{}
	for _, c := range []struct {
		name string
		rule Rule
		s    latchkey.Session
		want Verdict
		why  Reason
	}{
		{"default", Rule{}, s, Grant, ReasonSatisfied},
		{"nobody", Rule{}, nobody, SignIn, ReasonNoSession},
		{"public", Rule{Require: RequirePublic}, nobody, Grant, ReasonPublic},
		{"public-signed-in", Rule{Require: RequirePublic}, s, Grant, ReasonPublic},
		{"deny", Rule{Require: RequireDeny}, s, Deny, ReasonRule},
		{"role", Rule{Roles: []string{"admin", "editor"}}, s, Grant, ReasonSatisfied},
		{"no-role", Rule{Roles: []string{"admin", "edit", "staff editor"}}, s, Deny, ReasonRole},
		{"role-nobody", Rule{Roles: []string{"editor"}}, nobody, SignIn, ReasonNoSession},
		{"provider", Rule{Providers: []string{"corp"}}, s, Grant, ReasonSatisfied},
		{"other-provider", Rule{Providers: []string{"demo"}}, s, Deny, ReasonProvider},
		{"fresh", Rule{Fresh: 10 * time.Minute}, s, Grant, ReasonSatisfied},
		{"stale", Rule{Fresh: 10*time.Minute - 1}, s, SignIn, ReasonNotFresh},
		{"level", Rule{Assurance: "aal2"}, s, Grant, ReasonSatisfied},
		{"lower-level", Rule{Assurance: "aal1"}, s, Grant, ReasonSatisfied},
		{"higher-level", Rule{Assurance: "aal3"}, s, SignIn, ReasonAssurance},
		{"other-class", Rule{Assurance: "urn:mace:incommon:iap:silver"}, s, SignIn, ReasonAssurance},
		{"everything", Rule{Roles: []string{"staff"}, Providers: []string{"corp"}, Fresh: time.Hour, Assurance: "aal1"}, s, Grant, ReasonSatisfied},
		{"denied-rather-than-asked", Rule{Roles: []string{"admin"}, Assurance: "aal3"}, s, Deny, ReasonRole},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.rule.Hosts = []string{"app.example.com"}
			d := policy(t, []Rule{c.rule}).decide(get("https://app.example.com/x"), c.s, m.Now())
			if d.Verdict != c.want || d.Reason != c.why || d.Rule != 0 {
				t.Errorf("%+v, want %v %s", d, c.want, c.why)
			}
		})
	}
}

func TestConfigurationProblems(t *testing.T) {
	_, err := NewPolicy(PolicyConfig{PerHost: true, ProtectedHosts: []string{"ok.example.com", "App.example.com", "a/b", "ftp://x.example.com", "x.example.com."}, Rules: []Rule{
		{Hosts: []string{"*"}, Paths: []string{"admin", "/a/../b", "/a*", "/a/*/b", "/a%20b", "//", "/x/", "/", "/*", "/ü/*", "//*", "/a//*", "/a;b"}, Methods: []string{"get"}},
		{Hosts: []string{"*.*.example.com", "*.example.com", "example.com:80", "EXAMPLE.com"}, Require: "nobody", Roles: []string{"a,b", ""}, Fresh: -1},
		{Require: RequirePublic, Roles: []string{"admin"}},
		{Fresh: time.Second - 1, Assurance: "gold level"},
		{Fresh: time.Second, Assurance: "höher"},
		{Assurance: strings.Repeat("x", 256)},
	}})
	if latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
		t.Fatal(err)
	}
	for _, want := range []string{`Rules[0].hosts: "*"`, `"admin" is not a path`, `"/a/../b"`, `"/a*"`, `"/a/*/b"`, `"/a%20b"`, `"//"`, `"//*"`, `"/a//*"`, `"/a;b"`, `"get"`,
		`"*.*.example.com"`, `"EXAMPLE.com"`, `"example.com:80"`, `"nobody" is none of`, `"a,b"`, `Rules[1].fresh`, `Rules[2].require`,
		`Rules[3].fresh`, `Rules[3].assurance`, `Rules[4].assurance`, `Rules[5].assurance`, "PublicURL", "Prefix", "entry 2", "entry 3", "entry 4", "entry 5"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not told: %s", want)
		}
	}
	if strings.Contains(err.Error(), "Rules[4].fresh") {
		t.Error("told of a second, which is good")
	}
	for _, good := range []string{`"/x/"`, `"/"`, `"/*"`, `"/ü/*"`, `"*.example.com"`} {
		if strings.Contains(err.Error(), good+" is not") {
			t.Errorf("told of %s, which is good", good)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

func TestDecideAlloc(t *testing.T) {
	s, m, _ := session(t, latchkey.SignIn{Roles: []string{"staff", "admin"}, Assurance: "aal2"})
	p := policy(t, benchRules, "app.example.com")
	now := m.Now()
	for _, target := range []string{"/admin/users?page=3", "/%61dmin/users", "/static/a.css", "/elsewhere;x=1", "/public/../x"} {
		q := get("https://app.example.com" + target)
		if n := testing.AllocsPerRun(100, func() { p.decide(q, s, now) }); n != 0 {
			t.Errorf("%s: %v allocations", target, n)
		}
	}
	if d := p.decide(get("https://app.example.com/admin/users"), s, now); d.Verdict != Grant || d.Rule != 2 {
		t.Errorf("%+v", d)
	}
}

// benchRules have the right one last.
var benchRules = []Rule{
	{Hosts: []string{"*.static.example.com"}, Require: RequirePublic},
	{Paths: []string{"/static/*", "/favicon.ico", "/robots.txt"}, Require: RequirePublic},
	{Hosts: []string{"app.example.com"}, Paths: []string{"/admin/*"}, Roles: []string{"root", "admin"}, Fresh: time.Hour, Assurance: "aal2"},
}

func BenchmarkDecideAlloc(b *testing.B) {
	s, m, _ := session(b, latchkey.SignIn{Roles: []string{"staff", "admin"}, Assurance: "aal2"})
	p := policy(b, benchRules, "app.example.com")
	q, now := get("https://app.example.com/admin/users?page=3"), m.Now()
	b.ReportAllocs()
	for b.Loop() {
		if d := p.decide(q, s, now); d.Verdict != Grant {
			b.Fatal(d)
		}
	}
}

// A host or a port that only the client chose gets round no rule.
func TestRulesOfHostsFailClosed(t *testing.T) {
	public := &url.URL{Scheme: "https", Host: "auth.example.com"}
	for name, cfg := range map[string]PolicyConfig{
		"no-protected-hosts": {PublicURL: public, Rules: []Rule{{Hosts: []string{"app.example.com"}, Require: RequireDeny}}},
		"port":               {PublicURL: public, ProtectedHosts: []string{"app.example.com"}, Rules: []Rule{{Hosts: []string{"app.example.com:8443"}, Require: RequireDeny}}},
		"default-port":       {PublicURL: public, ProtectedHosts: []string{"app.example.com"}, Rules: []Rule{{Hosts: []string{"app.example.com:443"}, Require: RequireDeny}}},
		"six":                {PublicURL: public, ProtectedHosts: []string{"app.example.com"}, Rules: []Rule{{Hosts: []string{"[::1]:8443"}, Require: RequireDeny}}},
	} {
		if _, err := NewPolicy(cfg); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
}
