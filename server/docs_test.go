package server_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey"
)

// docs/api.md has the routes that the server has, no more and no fewer, and the status of every code.
func TestPageMatchesRoutes(t *testing.T) {
	page, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	routes := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z]+ /[^`]*)` \\|").FindAllSubmatch(page, -1) {
		routes[string(m[1])] = true
	}
	h := start(t, nil)
	want := map[string]bool{"GET /metrics": true, "GET /openapi.json": true}
	for path, methods := range h.doc {
		for method := range methods {
			want[strings.ToUpper(method)+" "+path] = true
		}
	}
	if !maps.Equal(routes, want) {
		t.Errorf("the page has  %v\nthe server has %v", slices.Sorted(maps.Keys(routes)), slices.Sorted(maps.Keys(want)))
	}
	codes := 0
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (\\d{3}) \\|").FindAllSubmatch(page, -1) {
		codes++
		if status := latchkey.Code(m[1]).Status(); fmt.Sprint(status) != string(m[2]) {
			t.Errorf("%s is %d; the page says %s", m[1], status, m[2])
		}
	}
	if codes != 18 {
		t.Errorf("the page has %d codes, there are 18", codes)
	}
}
