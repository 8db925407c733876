package latchkey_test

import (
	"context"
	"go/ast"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/server"
	"github.com/latchkey-go/latchkey/server/api"
	"github.com/latchkey-go/latchkey/upstream"
)

// What the pages say of names, routes and numbers is compared with the code here,
// so that they cannot drift apart.

func readPage(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func allPages(t *testing.T) []string {
	t.Helper()
	var pages []string
	err := filepath.WalkDir("docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".md") {
			pages = append(pages, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	top, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(pages, top...)
}

var (
	linkPattern    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fencePattern   = regexp.MustCompile("(?s)\n```.*?\n```")
	headingPattern = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInAnchors   = regexp.MustCompile("[^a-z0-9 _-]")
)

// anchors are the fragments that a page's headings can be linked by.
func anchors(page string) (list []string) {
	for _, m := range headingPattern.FindAllStringSubmatch(fencePattern.ReplaceAllString(page, ""), -1) {
		text := notInAnchors.ReplaceAllString(strings.ToLower(m[1]), "")
		list = append(list, strings.ReplaceAll(text, " ", "-"))
	}
	return list
}

func TestDocsLinks(t *testing.T) {
	for _, path := range allPages(t) {
		for _, m := range linkPattern.FindAllStringSubmatch(fencePattern.ReplaceAllString(readPage(t, path), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, fragment, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
			} else if fragment != "" && !slices.Contains(anchors(readPage(t, target)), fragment) {
				t.Errorf("%s links to %s: no such heading", path, m[1])
			}
		}
	}
}

func TestDocsRoutes(t *testing.T) {
	page := readPage(t, "docs/api.md")
	documented := make(map[string]string) // to who may call it
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z]+ /[^`]*)` \\| (\\w+) \\|").FindAllStringSubmatch(page, -1) {
		documented[m[1]] = m[2]
	}
	routes := map[string]string{"GET /openapi.json": "open", "GET /metrics": "open"}
	for _, rt := range api.New(api.Config{}).Routes() {
		routes[rt.Method+" "+rt.Path] = map[api.Who]string{api.Open: "open", api.Admin: "admin", api.Me: "me"}[rt.Who]
		for _, q := range rt.Query {
			if !strings.Contains(page, "`"+q.Name) && !strings.Contains(page, "?"+q.Name) {
				t.Errorf("docs/api.md does not name the parameter %s of %s", q.Name, rt.Path)
			}
		}
	}
	for route, who := range routes {
		if documented[route] != who {
			t.Errorf("docs/api.md has %q for %s, which is %s", documented[route], route, who)
		}
	}
	for route := range documented {
		if routes[route] == "" {
			t.Errorf("docs/api.md has %s, which is no route", route)
		}
	}
}

// constants returns the string constants of a type in a folder.
func constants(t *testing.T, dir, typ string) (values []string) {
	t.Helper()
	dirs, err := source()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range dirs[dir] {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			name, ok := spec.Type.(*ast.Ident)
			lit, isLit := spec.Values[0].(*ast.BasicLit)
			if ok && isLit && name.Name == typ {
				v, _ := strconv.Unquote(lit.Value)
				values = append(values, v)
			}
			return true
		})
	}
	if len(values) < 5 {
		t.Fatalf("only %d constants of type %s found", len(values), typ)
	}
	return values
}

func TestDocsCodes(t *testing.T) {
	page := readPage(t, "docs/api.md")
	for _, code := range constants(t, "", "Code") {
		if row := "| `" + code + "` | " + strconv.Itoa(latchkey.Code(code).Status()) + " |"; !strings.Contains(page, row) {
			t.Errorf("docs/api.md has no row %s", row)
		}
	}
}

func TestDocsActions(t *testing.T) {
	page := readPage(t, "docs/formats.md")
	for _, action := range constants(t, "audit", "Action") {
		if !strings.Contains(page, "`"+action+"`") {
			t.Errorf("docs/formats.md does not name the action %s", action)
		}
	}
}

// settings returns the flags of the binary, and which of them are settings: not of
// one command alone.
func settings(t *testing.T) map[string]bool {
	t.Helper()
	dirs, err := source()
	if err != nil {
		t.Fatal(err)
	}
	flags := make(map[string]bool)
	for _, f := range dirs["cmd/latchkey"] {
		if f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			members := make(map[string]string)
			for _, e := range lit.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok {
					if key, ok := kv.Key.(*ast.Ident); ok {
						members[key.Name] = "set"
						if v, ok := kv.Value.(*ast.BasicLit); ok {
							members[key.Name], _ = strconv.Unquote(v.Value)
						}
					}
				}
			}
			if members["name"] != "" && members["into"] != "" && members["help"] != "" {
				flags[members["name"]] = flags[members["name"]] || members["local"] == ""
			}
			return true
		})
	}
	if len(flags) < 20 {
		t.Fatalf("only %d flags found", len(flags))
	}
	return flags
}

func TestDocsFlags(t *testing.T) {
	flags := settings(t)
	operations, cli := readPage(t, "docs/operations.md"), readPage(t, "docs/cli.md")
	named := func(page, flag string) bool {
		return regexp.MustCompile("--" + flag + `\b[^-]`).MatchString(page)
	}
	for flag, setting := range flags {
		if setting && !regexp.MustCompile("(?m)^\\| `[^|]*--"+flag+"`").MatchString(operations) {
			t.Errorf("docs/operations.md has no row for the setting --%s", flag)
		}
		if !setting && !named(cli, flag) {
			t.Errorf("docs/cli.md does not name --%s", flag)
		}
	}
	others := []string{"help"}
	for _, path := range allPages(t) {
		for _, m := range regexp.MustCompile("[ `(]--([a-z][a-z-]*)").FindAllStringSubmatch(withoutOthers(readPage(t, path)), -1) {
			if _, ok := flags[m[1]]; !ok && !slices.Contains(others, m[1]) {
				t.Errorf("%s names --%s, which is no flag", path, m[1])
			}
		}
	}
}

// withoutOthers drops the lines that run other programs with flags of their own.
func withoutOthers(page string) string {
	var kept []string
	for line := range strings.Lines(page) {
		if !strings.Contains(line, "docker ") && !strings.Contains(line, "podman ") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func TestDocsCommands(t *testing.T) {
	dirs, err := source()
	if err != nil {
		t.Fatal(err)
	}
	cli, found := readPage(t, "docs/cli.md"), 0
	for _, f := range dirs["cmd/latchkey"] {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			kv, ok := n.(*ast.KeyValueExpr)
			if !ok || f.test {
				return true
			}
			key, ok := kv.Key.(*ast.Ident)
			lit, isLit := kv.Value.(*ast.BasicLit)
			if !ok || !isLit || key.Name != "use" {
				return true
			}
			found++
			use, _ := strconv.Unquote(lit.Value)
			name, _, _ := strings.Cut(use, " ")
			if !regexp.MustCompile(`(?m)^### latchkey .*\b` + name + `\b`).MatchString(cli) {
				t.Errorf("docs/cli.md has no heading for the command %s", name)
			}
			return true
		})
	}
	if found < 10 {
		t.Errorf("only %d commands found", found)
	}
}

func TestDocsMetrics(t *testing.T) {
	var keys *keyring.Ring
	m, store, clock := setup(t, func(cfg *latchkey.Config) { keys = cfg.Keys })
	cache, err := nearcache.New(nearcache.Config{Store: store, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := upstream.NewUserInfo(upstream.UserInfoConfig{URL: "https://id.example.com/userinfo"})
	if err != nil {
		t.Fatal(err)
	}
	users, err := upstream.New(upstream.Config{Upstream: elsewhere})
	if err != nil {
		t.Fatal(err)
	}
	defer users.Close()
	s, err := server.New(server.Config{Manager: m, Store: store, Keys: keys, CacheStats: cache.Stats, Upstream: users, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(context.Background(), "GET", "/healthz", nil))
	w := httptest.NewRecorder()
	s.MetricsHandler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	page := readPage(t, "docs/operations.md")
	scraped := make(map[string]bool)
	for _, metric := range regexp.MustCompile(`(?m)^# TYPE (latchkey_\w+) (\w+)$`).FindAllStringSubmatch(w.Body.String(), -1) {
		scraped[metric[1]] = true
		if !regexp.MustCompile("(?m)^\\|.*`" + metric[1] + "`.*\\| " + metric[2] + " \\|").MatchString(page) {
			t.Errorf("docs/operations.md has no row for the %s %s", metric[2], metric[1])
		}
	}
	if len(scraped) < 20 {
		t.Errorf("only %d metrics scraped", len(scraped))
	}
	for _, name := range regexp.MustCompile("`(latchkey_[a-z_]+)`").FindAllStringSubmatch(page, -1) {
		if !scraped[name[1]] {
			t.Errorf("docs/operations.md names %s, which is no metric", name[1])
		}
	}
}

// TestDocsSchema holds the page to the migrations of the SQLite store.
func TestDocsSchema(t *testing.T) {
	files, err := filepath.Glob("store/sqlite/migrations/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no migrations: %v", err)
	}
	page := readPage(t, "docs/formats.md")
	for _, file := range files {
		if !strings.Contains(page, "```sql\n"+strings.TrimSpace(readPage(t, file))+"\n```") {
			t.Errorf("docs/formats.md does not hold %s as it is", file)
		}
	}
}
