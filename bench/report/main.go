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

func main() {
	r := make(results)
	for _, path := range os.Args[1:] {
		if err := r.read(path); err != nil {
			fmt.Fprintln(os.Stderr, "report:", err)
			os.Exit(1)
		}
	}
	for _, t := range tables {
		fmt.Printf("### %s\n\n", t.title)
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
		fmt.Fprintln(w, "| figure\t| asked\t| measured\t|")
		fmt.Fprintln(w, "|---\t|---\t|---\t|")
		for _, row := range t.rows {
			asked, measured := row.texts(r)
			fmt.Fprintf(w, "| %s\t| %s\t| %s\t|\n", row.what, asked, measured)
		}
		w.Flush()
		fmt.Println()
	}
}

// texts are what was asked for and what was measured.
func (row row) texts(r results) (asked, measured string) {
	v, ok := r.median(row.over, row.unit)
	if ok && row.under != "" {
		var under float64
		under, ok = r.median(row.under, row.unit)
		v /= under
	}
	measured = "not run"
	if ok {
		measured = fmt.Sprintf(row.show, v)
		if row.least && v < row.bound || !row.least && v > row.bound {
			measured += " (missed)"
		}
	}
	switch {
	case !row.least:
		asked = "at most " + fmt.Sprintf(row.show, row.bound)
	case row.bound == 0:
		asked = "–"
	default:
		asked = "at least " + fmt.Sprintf(row.show, row.bound)
	}
	return asked, measured
}
