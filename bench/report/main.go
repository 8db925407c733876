// Command report reads the output of `go test -bench` and prints, for each figure
// that Latchkey promises, what was asked and what was measured: ratios between
// benchmarks of the same run, from the medians.
//
//	report out/*.txt
//	report -into ../docs/performance.md out/*.txt
package main

import (
	"bufio"
	"flag"
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

const (
	begin = "<!-- begin: what bench/report prints -->\n"
	end   = "<!-- end -->\n"
)

func main() {
	into := flag.String("into", "", "also put the tables into this page, if all was run")
	partly := flag.Bool("partly", false, "put them there even if not all was run; what was not says so")
	flag.Parse()
	r := make(results)
	for _, path := range flag.Args() {
		if err := r.read(path); err != nil {
			fail(err)
		}
	}
	text, whole := r.tables()
	fmt.Print(text)
	if *into == "" {
		return
	}
	if !whole && !*partly {
		fmt.Fprintln(os.Stderr, "report: not all was run, so", *into, "stays as it is")
		return
	}
	page, err := os.ReadFile(*into)
	if err != nil {
		fail(err)
	}
	before, rest, ok1 := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		fail(fmt.Errorf("%s has no place for the tables", *into))
	}
	if err := os.WriteFile(*into, []byte(before+begin+"\n"+text+end+after), 0o644); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "report:", err)
	os.Exit(1)
}

// tables are all figures as Markdown; whole reports that each was measured.
func (r results) tables() (text string, whole bool) {
	var b strings.Builder
	whole = true
	for _, t := range tables {
		fmt.Fprintf(&b, "### %s\n\n", t.title)
		w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
		fmt.Fprintln(w, "| figure\t| asked\t| measured\t|")
		fmt.Fprintln(w, "|---\t|---\t|---\t|")
		for _, row := range t.rows {
			asked, measured := row.texts(r)
			fmt.Fprintf(w, "| %s\t| %s\t| %s\t|\n", row.what, asked, measured)
			whole = whole && measured != notRun
		}
		w.Flush()
		b.WriteByte('\n')
	}
	b.WriteString("### Times of that run\n\nMedians, on the machine below.\n\n")
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, name := range times {
		if ns, ok := r.median(name, "ns/op"); ok {
			fmt.Fprintf(w, "    %s\t%10.0f ns\n", name, ns)
		}
	}
	w.Flush()
	b.WriteByte('\n')
	return b.String(), whole
}

const notRun = "not run"

// texts are what was asked for and what was measured.
func (row row) texts(r results) (asked, measured string) {
	unit, inverse := strings.CutPrefix(row.unit, "1/")
	v, ok := r.median(row.over, unit)
	if ok && row.under != "" {
		var under float64
		under, ok = r.median(row.under, unit)
		v /= under
	}
	if inverse {
		v = 1 / v
	}
	measured = notRun
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
