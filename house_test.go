package latchkey_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The rules of CONTRIBUTING.md that a program can check.
const (
	maxFileLines     = 600
	maxFuncLines     = 80
	maxTestFuncLines = 150
	maxMethods       = 8
	module           = "github.com/latchkey-go/latchkey"
)

// rooms is the house of docs/architecture.md from the roof down: a room imports
// rooms below it, and itself. "" is the root package.
var rooms = []string{"cmd", "server", "upstream", "lock", "compat/apicrud/sessionmanager", "compat/internal/databasetest", "compat", "transaction", "csrf", "internal", "store/storetest", "latchkeytest", "store", "internal/respguard", "nearcache", "", "keyring", "audit"}

// alone names the rooms that import none of ours although some are below them.
var alone = []string{"keyring", "audit"}

// withDependencies names the rooms that may import other people's modules.
var withDependencies = []string{"cmd", "server", "store/storetest", "store", "upstream", "lock", "compat/apicrud/sessionmanager", "compat/internal/databasetest", "internal", "internal/respguard"}

// testRooms are packages that are test code although their files are not named so.
var testRooms = []string{"store/storetest", "server/internal/pagetest", "server/internal/htmlcheck", "compat/internal/vectortest", "compat/internal/databasetest", "internal/servers", "internal/histories"}

// sourceFile is one parsed Go file.
type sourceFile struct {
	path  string // with slashes, from the module's root
	dir   string // "" for the root
	text  string
	ast   *ast.File
	test  bool // test code
	ours  bool // of this module, and not of one of its own below it
	lines int
}

// source parses every Go file of the tree once.
var source = sync.OnceValues(func() (map[string][]*sourceFile, error) {
	dirs := make(map[string][]*sourceFile)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (name[0] == '.' || name[0] == '_' || name == "testdata" || name == "bin" || name == "out"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f := &sourceFile{path: filepath.ToSlash(path), text: string(text), lines: strings.Count(string(text), "\n")}
		if f.dir = filepath.ToSlash(filepath.Dir(path)); f.dir == "." {
			f.dir = ""
		}
		f.ours = !strings.HasPrefix(f.path, "bench/") && !strings.HasPrefix(f.path, "tools/")
		f.test = strings.HasSuffix(name, "_test.go") || slices.Contains(testRooms, f.dir)
		if f.ast, err = parser.ParseFile(positions, f.path, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return err
		}
		dirs[f.dir] = append(dirs[f.dir], f)
		return nil
	})
	return dirs, err
})

var positions = token.NewFileSet()

func eachFile(t *testing.T, visit func(f *sourceFile)) {
	t.Helper()
	dirs, err := source()
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, list := range dirs {
		for _, f := range list {
			visit(f)
			files++
		}
	}
	if files < 50 {
		t.Fatalf("only %d files: the walk went wrong", files)
	}
}

// roomOf is the place of a folder in rooms.
func roomOf(dir string) (int, bool) {
	for {
		if i := slices.Index(rooms, dir); i >= 0 {
			return i, true
		}
		cut := strings.LastIndexByte(dir, '/')
		if cut < 0 {
			return 0, false
		}
		dir = dir[:cut]
	}
}

func TestHouseImports(t *testing.T) {
	eachFile(t, func(f *sourceFile) {
		if !f.ours || strings.HasSuffix(f.path, "_test.go") {
			return
		}
		from, ok := roomOf(f.dir)
		if !ok {
			t.Errorf("%s: the folder is no room of the house", f.path)
			return
		}
		for _, spec := range f.ast.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if why := forbidden(rooms[from], from, path); why != "" {
				t.Errorf("%s imports %s: %s", f.path, path, why)
			}
		}
	})
}

// forbidden says why a room may not import a package, or "".
func forbidden(room string, at int, path string) string {
	if path == module || strings.HasPrefix(path, module+"/") {
		dir := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
		to, ok := roomOf(dir)
		switch {
		case !ok:
			return "no room of the house"
		case to < at:
			return "the room is above"
		case to != at && slices.Contains(alone, room):
			return room + " stands alone"
		case room == "" && to != at && dir != "keyring" && dir != "audit":
			return "the root imports keyring and audit only"
		}
		return ""
	}
	if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") && !slices.Contains(withDependencies, room) {
		return "this room uses the standard library only"
	}
	return ""
}

func TestHouseSizes(t *testing.T) {
	eachFile(t, func(f *sourceFile) {
		if f.lines > maxFileLines {
			t.Errorf("%s has %d lines, at most %d", f.path, f.lines, maxFileLines)
		}
		most := maxFuncLines
		if f.test {
			most = maxTestFuncLines
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if lines := span(n); lines > most {
					t.Errorf("%s: %s has %d lines, at most %d", f.path, n.Name.Name, lines, most)
				}
			case *ast.InterfaceType:
				if n.Methods.NumFields() > maxMethods {
					t.Errorf("%s: an interface has %d methods, at most %d", positions.Position(n.Pos()), n.Methods.NumFields(), maxMethods)
				}
			}
			return true
		})
	})
}

func span(n ast.Node) int {
	return positions.Position(n.End()).Line - positions.Position(n.Pos()).Line + 1
}

func TestHousePackageDocs(t *testing.T) {
	dirs, err := source()
	if err != nil {
		t.Fatal(err)
	}
	for dir, files := range dirs {
		var documented []string
		code := false
		for _, f := range files {
			if strings.HasSuffix(f.path, "_test.go") {
				continue
			}
			code = true
			if f.ast.Doc != nil && !strings.HasPrefix(f.ast.Doc.Text(), "\n") {
				documented = append(documented, f.path)
			}
		}
		if code && len(documented) != 1 {
			t.Errorf("package in %q has %d package comments, wants one: %v", dir, len(documented), documented)
		}
	}
}

func TestHouseDocumented(t *testing.T) {
	eachFile(t, func(f *sourceFile) {
		if f.ast.Name.Name == "main" || strings.HasSuffix(f.path, "_test.go") || strings.Contains("/"+f.dir+"/", "/internal/") {
			return
		}
		for _, decl := range f.ast.Decls {
			for _, name := range undocumented(decl) {
				t.Errorf("%s: %s is exported and has no comment", positions.Position(decl.Pos()), name)
			}
		}
	})
}

// undocumented lists what a declaration exports without a comment. In a group of
// constants or variables the group's comment will do.
func undocumented(decl ast.Decl) (names []string) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && receiverExported(d) {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					names = append(names, s.Name.Name)
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if n.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}

func receiverExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

func TestHouseNothingLeftUndone(t *testing.T) {
	marks := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"}
	eachFile(t, func(f *sourceFile) {
		for _, group := range f.ast.Comments {
			for _, mark := range marks {
				if strings.Contains(group.Text(), mark) {
					t.Errorf("%s: %s", positions.Position(group.Pos()), mark)
				}
			}
		}
	})
}

// Names of subtests are pasted into -run, where a space becomes an underscore.
func TestHouseSubtestNames(t *testing.T) {
	eachFile(t, func(f *sourceFile) {
		if !f.test {
			return
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 2 {
				return true
			}
			fun, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || fun.Sel.Name != "Run" {
				return true
			}
			if name, ok := call.Args[0].(*ast.BasicLit); ok && strings.ContainsAny(name.Value, " \t") {
				t.Errorf("%s: the subtest's name %s has a space", positions.Position(n.Pos()), name.Value)
			}
			return true
		})
	})
}

// TestHouseRules makes sure that the rules above can fail at all.
func TestHouseRules(t *testing.T) {
	for _, c := range []struct {
		room, path string
		allowed    bool
	}{
		{"", "net/http", true},
		{"", module + "/keyring", true},
		{"", module + "/nearcache", false},
		{"", "golang.org/x/crypto/argon2", false},
		{"keyring", module + "/audit", false},
		{"keyring", module, false},
		{"csrf", module + "/server", false},
		{"csrf", module, true},
		{"csrf", module + "/elsewhere", false},
		{"store", module + "/nearcache", true},
		{"store", module + "/store/storetest", false},
		{"store", "github.com/ncruces/go-sqlite3", true},
		{"cmd", module + "/server/api", true},
	} {
		if got := forbidden(c.room, slices.Index(rooms, c.room), c.path) == ""; got != c.allowed {
			t.Errorf("%q may import %s: %v", c.room, c.path, got)
		}
	}
	text := "package p\n\nfunc F() {}\n\ntype t struct{}\n\nfunc (t) M() {}\n\nconst (\n\tA = 1\n\tB = 2 // said\n)\n"
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range f.Decls {
		names = append(names, undocumented(d)...)
	}
	if got := fmt.Sprint(names); got != "[F A]" {
		t.Errorf("undocumented: %s", got)
	}
}
