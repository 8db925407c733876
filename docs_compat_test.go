package latchkey_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The pages of docs/compat say of each thing of an original what it is here. The names
// that they say so by are compared with the code.

// exported is what a package exports: types, functions, variables and constants, and
// below a type its fields and methods.
type exported map[string]map[string]bool

func (e exported) add(name, member string) {
	if e[name] == nil {
		e[name] = make(map[string]bool)
	}
	if member != "" {
		e[name][member] = true
	}
}

// has reports whether a name, or a member with its type or without, is exported.
func (e exported) has(name string) bool {
	owner, member, dotted := strings.Cut(name, ".")
	if _, ok := e[owner]; ok {
		return !dotted || e[owner][member]
	}
	for _, members := range e {
		if members[name] {
			return true
		}
	}
	return false
}

// exports returns what the package in a folder exports.
func exports(t *testing.T, dir string) exported {
	t.Helper()
	dirs, err := source()
	if err != nil {
		t.Fatal(err)
	}
	e := make(exported)
	for _, f := range dirs[dir] {
		if f.test {
			continue
		}
		for _, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					e.add(d.Name.Name, "")
					continue
				}
				typ := d.Recv.List[0].Type
				if star, ok := typ.(*ast.StarExpr); ok {
					typ = star.X
				}
				if name, ok := typ.(*ast.Ident); ok {
					e.add(name.Name, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					e.addSpec(spec)
				}
			}
		}
	}
	if len(e) < 3 {
		t.Fatalf("%s exports only %d names", dir, len(e))
	}
	return e
}

func (e exported) addSpec(spec ast.Spec) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		for _, n := range s.Names {
			e.add(n.Name, "")
		}
	case *ast.TypeSpec:
		e.add(s.Name.Name, "")
		fields := new(ast.FieldList)
		switch typ := s.Type.(type) {
		case *ast.StructType:
			fields = typ.Fields
		case *ast.InterfaceType:
			fields = typ.Methods
		}
		for _, field := range fields.List {
			for _, n := range field.Names {
				e.add(s.Name.Name, n.Name)
			}
		}
	}
}

// packagesOf are the folders of our packages that a page may speak of, by name: those
// it links to, and what they are used with.
func packagesOf(t *testing.T, page string) map[string]exported {
	t.Helper()
	packages := map[string]exported{"latchkey": exports(t, ""), "engine": exports(t, "compat/engine"), "upstream": exports(t, "upstream"), "lock": exports(t, "lock"), "transaction": exports(t, "transaction")}
	dirs, err := source()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range linkPattern.FindAllStringSubmatch(readPage(t, page), -1) {
		dir := filepath.ToSlash(filepath.Join(filepath.Dir(page), m[1]))
		if len(dirs[dir]) > 0 {
			packages[filepath.Base(dir)] = exports(t, dir)
		}
	}
	return packages
}

var (
	codePattern = regexp.MustCompile("`([^`]+)`")
	// namePattern is an exported Go name, with its package or type before it. What has an
	// underscore is a variable of some environment.
	namePattern = regexp.MustCompile(`^(?:([a-z]+)\.)?([A-Z][a-z0-9]*(?:[A-Z]+[a-z0-9]*)*[a-z0-9](?:\.[A-Z][A-Za-z0-9]*)?)(?:[(: ].*)?$`)
)

// hereColumn returns the cells of the columns that are headed "here", line by line.
func hereColumn(page string) (cells []string) {
	column := -1
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "|") {
			column = -1
			continue
		}
		row := strings.Split(strings.ReplaceAll(line, `\|`, ""), "|")
		if column < 0 {
			column = slices.IndexFunc(row, func(cell string) bool { c := strings.TrimSpace(cell); return c == "here" || c == "`lock.ModeMutex`" })
			if column < 0 {
				column = len(row) // a table without: read to its end
			}
			continue
		}
		if column < len(row) {
			cells = append(cells, row[column])
		}
	}
	return cells
}

func TestDocsCompatNames(t *testing.T) {
	pages, err := filepath.Glob("docs/compat/*.md")
	if err != nil || len(pages) < 7 {
		t.Fatal(pages, err)
	}
	found := 0
	for _, page := range pages {
		packages := packagesOf(t, filepath.ToSlash(page))
		for _, cell := range hereColumn(readPage(t, page)) {
			for _, code := range codePattern.FindAllStringSubmatch(cell, -1) {
				m := namePattern.FindStringSubmatch(code[1])
				if m == nil || m[2] == "Dangerously" { // which options begin with
					continue
				}
				found++
				if !known(packages, m[1], m[2]) {
					t.Errorf("%s says `%s`, which is in none of %v", page, code[1], slices.Sorted(maps.Keys(packages)))
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d names found", found)
	}
}

func known(packages map[string]exported, pkg, name string) bool {
	if pkg != "" {
		e, ours := packages[pkg]
		return !ours || e.has(name)
	}
	for _, e := range packages {
		if e.has(name) {
			return true
		}
	}
	return false
}

// TestDocsCompatCode parses the Go of the pages and looks for the names that it uses of
// our packages.
func TestDocsCompatCode(t *testing.T) {
	pages, err := filepath.Glob("docs/compat/*.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, page := range pages {
		packages := packagesOf(t, filepath.ToSlash(page))
		for _, m := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readPage(t, page), -1) {
			blocks++
			f, err := parser.ParseFile(token.NewFileSet(), page, "package p\nfunc f() {\n"+m[1]+"}", parser.SkipObjectResolution)
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					checkSelector(t, page, packages, n)
				case *ast.CompositeLit:
					checkLiteral(t, page, packages, n)
				}
				return true
			})
		}
	}
	if blocks < 5 {
		t.Errorf("only %d blocks of Go", blocks)
	}
}

func checkSelector(t *testing.T, page string, packages map[string]exported, n *ast.SelectorExpr) {
	t.Helper()
	x, ok := n.X.(*ast.Ident)
	if !ok {
		return
	}
	if e, ours := packages[x.Name]; ours && !e.has(n.Sel.Name) {
		t.Errorf("%s uses %s.%s, which is not there", page, x.Name, n.Sel.Name)
	}
}

// checkLiteral compares the fields of a literal with those of its type.
func checkLiteral(t *testing.T, page string, packages map[string]exported, n *ast.CompositeLit) {
	t.Helper()
	typ, ok := n.Type.(*ast.SelectorExpr)
	if !ok {
		return
	}
	x, ok := typ.X.(*ast.Ident)
	if !ok || packages[x.Name] == nil {
		return
	}
	for _, element := range n.Elts {
		kv, ok := element.(*ast.KeyValueExpr)
		if !ok {
			t.Errorf("%s: a literal of %s.%s without names", page, x.Name, typ.Sel.Name)
			continue
		}
		if key, ok := kv.Key.(*ast.Ident); ok && !packages[x.Name].has(typ.Sel.Name+"."+key.Name) {
			t.Errorf("%s: %s.%s has no field %s", page, x.Name, typ.Sel.Name, key.Name)
		}
	}
}
