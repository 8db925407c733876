// Command report reads the output of `go test -bench` and prints, for each figure
// that Latchkey promises, what was asked and what was measured: ratios between
// benchmarks of the same run, from the medians.
//
//	report out/*.txt
package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// results holds every measurement of a benchmark by unit.
type results map[string]map[string][]float64

var procs = regexp.MustCompile(`-\d+$`)

func (r results) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(procs.ReplaceAllString(fields[0], ""), "Benchmark")
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				continue
			}
			if r[name] == nil {
				r[name] = make(map[string][]float64)
			}
			r[name][fields[i+1]] = append(r[name][fields[i+1]], v)
		}
	}
	return lines.Err()
}

// median returns a benchmark's median in a unit.
func (r results) median(name, unit string) (float64, bool) {
	v := slices.Clone(r[name][unit])
	if len(v) == 0 {
		return 0, false
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2, true
	}
	return v[len(v)/2], true
}

// row is one promised figure: over/under in a unit (or over alone), against a bound.
type row struct {
	what        string
	over, under string
	unit        string
	bound       float64
	least       bool // the bound is the least, not the most
	show        string
}

var rows = []row{
	{"near-cache hit, subject, no context copy: times faster than scs memstore", "Hot/scs_memstore", "Hot/latchkey_subject", "ns/op", 60, true, "%.0f×"},
	{"the same through the middleware's context", "Hot/scs_memstore", "Hot/latchkey_subject_context", "ns/op", 35, true, "%.0f×"},
	{"one of six data values: times faster than scs memstore", "Hot/scs_memstore", "Hot/latchkey_value", "ns/op", 25, true, "%.0f×"},
	{"near-cache hit: times faster than gorilla CookieStore", "Hot/gorilla_cookiestore", "Hot/latchkey_subject", "ns/op", 0, true, "%.0f×"},
	{"allocations of a hit, no context copy", "Hot/latchkey_subject", "", "allocs/op", 0, false, "%.0f"},
	{"allocations of a hit through the context", "Hot/latchkey_subject_context", "", "allocs/op", 2, false, "%.0f"},
	{"full collection with a million cached sessions, ms", "Million/collect", "", "ms/GC", 3, false, "%.2f"},
	{"memory per cached session beyond its strings, bytes", "Million/collect", "", "B/session-strings", 200, false, "%.0f"},
	{"durable create, 64 callers, a million rows: times the disk's fsync rate", "SQLiteCreate/grouped", "", "x-fsync", 2, true, "%.2f×"},
	{"durable create: times one transaction each", "SQLiteCreate/grouped", "", "x-alone", 3.5, true, "%.2f×"},
	{"csrf check of a same-origin POST, ns", "CSRF/latchkey", "", "ns/op", 100, false, "%.0f"},
	{"the same: allocations", "CSRF/latchkey", "", "allocs/op", 0, false, "%.0f"},
	{"the same: times faster than gorilla/csrf", "CSRF/gorilla_csrf", "CSRF/latchkey", "ns/op", 20, true, "%.0f×"},
	{"the same: times faster than nosurf", "CSRF/nosurf", "CSRF/latchkey", "ns/op", 0, true, "%.0f×"},
	{"token of a stored session (itsdangerous): times faster than Python's loads", "SessionID/python", "", "x-latchkey", 10, true, "%.1f×"},
	{"compressed identity (reflow), decoded, dates judged: times faster than Python", "Identity/password/python", "", "x-latchkey", 3, true, "%.1f×"},
	{"the same, the format alone: times faster than Python's loads", "Identity/password/python_dict", "", "x-latchkey_loads", 3, true, "%.1f×"},
	{"a longer identity, decoded: times faster than Python", "Identity/oidc/python", "", "x-latchkey", 0, true, "%.1f×"},
	{"stateless check: times faster than gorilla CookieStore, signed and encrypted", "Stateless/gorilla_cookiestore", "", "x-latchkey", 30, true, "%.0f×"},
	{"the same: times faster than Python's loads of the same identity", "Stateless/python", "", "x-latchkey", 25, true, "%.0f×"},
	{"the same: allocations", "Stateless/latchkey", "", "allocs/op", 4, false, "%.0f"},
	{"the same through the middleware's context: allocations", "Stateless/latchkey_context", "", "allocs/op", 4, false, "%.0f"},
	{"upstream cache hit in the process, ns", "Upstream/process", "", "ns/op", 300, false, "%.0f"},
	{"the same: times faster than redis-py GET and GET", "Upstream/python", "", "x-process", 300, true, "%.0f×"},
	{"upstream cache hit in Redis: commands sent (redis-py sends 2)", "Upstream/trips_native", "", "commands/op", 1, false, "%.0f"},
	{"SQLite lookup on a miss: times the bare prepared statement", "SQLiteGet/latchkey", "SQLiteGet/bare", "ns/op", 1.3, false, "%.2f×"},
}

func main() {
	r := make(results)
	for _, path := range os.Args[1:] {
		if err := r.read(path); err != nil {
			fmt.Fprintln(os.Stderr, "report:", err)
			os.Exit(1)
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| figure\t| asked\t| measured\t|")
	fmt.Fprintln(w, "|---\t|---\t|---\t|")
	for _, row := range rows {
		measured, ok := r.median(row.over, row.unit)
		if ok && row.under != "" {
			var under float64
			under, ok = r.median(row.under, row.unit)
			measured /= under
		}
		text := "not run"
		if ok {
			text = fmt.Sprintf(row.show, measured)
			if row.least && measured < row.bound || !row.least && measured > row.bound {
				text += " (missed)"
			}
		}
		asked := "at most " + fmt.Sprintf(row.show, row.bound)
		if row.least {
			asked = "at least " + fmt.Sprintf(row.show, row.bound)
			if row.bound == 0 {
				asked = "–"
			}
		}
		fmt.Fprintf(w, "| %s\t| %s\t| %s\t|\n", row.what, asked, text)
	}
	w.Flush()
}
