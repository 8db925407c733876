// Command plot draws the figures of docs/performance.md from what the benchmarks
// left in a folder: growth.txt and the distributions of lookups that package growth
// wrote, and those of package propagation. It leaves alone a figure for which there is nothing.
//
//	plot bench/out docs/performance
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// stores is the order of lines.
var stores = []string{"memory", "sqlite", "redis", "postgres", "mariadb"}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: plot FROM TO")
		os.Exit(2)
	}
	from, to := os.Args[1], os.Args[2]
	if err := errors.Join(growth(from, to), purge(from, to), propagation(from, to)); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

// growth draws BenchmarkGrowth/STORE/OPERATION/SESSIONS-CPUS n time "ns/op" …
func growth(from, to string) error {
	lines := map[string]map[string][]point{} // by operation and store
	err := eachLine(filepath.Join(from, "growth.txt"), func(text string) {
		fields := strings.Fields(text)
		if len(fields) < 4 || fields[3] != "ns/op" {
			return
		}
		parts := strings.Split(fields[0], "/")
		if len(parts) != 4 || parts[0] != "BenchmarkGrowth" {
			return
		}
		size, _, _ := strings.Cut(parts[3], "-")
		sessions, err1 := strconv.ParseFloat(size, 64)
		took, err2 := strconv.ParseFloat(fields[2], 64)
		if err1 != nil || err2 != nil {
			return
		}
		operation := parts[2]
		if lines[operation] == nil {
			lines[operation] = map[string][]point{}
		}
		lines[operation][parts[1]] = append(lines[operation][parts[1]], point{sessions, took / 1e3})
	})
	if err != nil || len(lines) == 0 {
		return err
	}
	x := axis{from: 1e4, to: 1e6, log: true, ticks: []float64{1e4, 1e5, 1e6}, label: count}
	y := axis{from: 0.3, to: 3e4, log: true, ticks: []float64{1, 10, 100, 1e3, 1e4}, label: micros}
	var panels []panel
	for _, o := range []struct{ name, title string }{{"get", "Look up one session"}, {"list", "List one identity's ten sessions"},
		{"create", "Sign in"}, {"revoke_identity", "End all sessions of one identity"}} {
		panels = append(panels, panel{title: o.title, x: x, y: y, lines: ordered(lines[o.name], true)})
	}
	return save(to, "growth.svg", figure("What an operation takes as the table grows",
		"Median for one caller, by sessions in the store, ten of each identity. Both scales are logarithmic.", 2, panels))
}

// purge draws the distributions of lookups with and without a purge: quantile,
// microseconds without, and with. The rarer a time is, the further apart quantiles
// stand.
func purge(from, to string) error {
	rarity := func(v float64) string { return fmt.Sprintf("%.4g%%", 100-100/v) }
	x := axis{from: 2, to: 1000, log: true, ticks: []float64{2, 10, 100, 1000}, label: rarity}
	y := axis{from: 1, to: 1e5, log: true, ticks: []float64{1, 10, 100, 1e3, 1e4, 1e5}, label: micros}
	var panels []panel
	for _, store := range stores[1:] { // of those that outlive their process
		var without, during []point
		err := eachLine(filepath.Join(from, "purge-"+store+".tsv"), func(text string) {
			var quantile, a, b float64
			if n, err := fmt.Sscan(text, &quantile, &a, &b); n == 3 && err == nil && quantile < 1 {
				without = append(without, point{1 / (1 - quantile), a})
				during = append(during, point{1 / (1 - quantile), b})
			}
		})
		if err != nil {
			return err
		}
		if len(without) > 0 {
			panels = append(panels, panel{title: names[store], x: x, y: y, marks: []mark{{x: 100}},
				lines: []line{{"while purged", colours[store], during, false}, {"without", "#777777", without, false}}})
		}
	}
	if len(panels) == 0 {
		return nil
	}
	return save(to, "purge.svg", figure("Lookups while ended sessions are purged",
		"Time within which that share of lookups in the store is answered, at 2,000 a second: from half of them to 99.9%.", 2, panels))
}

// propagation draws the distributions of package propagation: name, quantile,
// microseconds since the revocation was asked for, and since it was answered.
func propagation(from, to string) error {
	byLoad := map[string]map[string][]point{}
	files, err := filepath.Glob(filepath.Join(from, "propagation-*.tsv"))
	if err != nil || len(files) == 0 {
		return err
	}
	column := map[string]int{"idle": 2, "loaded": 3}
	for _, file := range files {
		err := eachLine(file, func(text string) {
			fields := strings.Split(text, "\t")
			if len(fields) != 4 {
				return
			}
			store, load, _ := strings.Cut(fields[0], "/")
			quantile, err1 := strconv.ParseFloat(fields[1], 64)
			took, err2 := strconv.ParseFloat(fields[column[load]], 64)
			if err1 != nil || err2 != nil {
				return
			}
			if byLoad[load] == nil {
				byLoad[load] = map[string][]point{}
			}
			byLoad[load][store] = append(byLoad[load][store], point{took, quantile * 100})
		})
		if err != nil {
			return err
		}
	}
	x := axis{from: 10, to: 1e6, log: true, ticks: []float64{10, 100, 1e3, 1e4, 1e5, 1e6}, label: micros}
	y := axis{from: 0, to: 100, ticks: []float64{0, 25, 50, 75, 99}, label: func(v float64) string { return fmt.Sprintf("%.0f%%", v) }}
	panels := []panel{
		{title: "Idle: from when it was asked for", x: x, y: y, lines: ordered(byLoad["idle"], false), marks: []mark{{y: 99}, {x: 1e3, text: "1 ms"}}},
		{title: "With 16 loaders: from the answer", x: x, y: y, lines: ordered(byLoad["loaded"], false), marks: []mark{{y: 99}, {x: 5e3, text: "5 ms"}}},
	}
	return save(to, "propagation.svg", figure("How long an ended session is still granted on another node",
		"Share of revocations after which the other node, which had the session in its memory, has refused it by then.", 2, panels))
}

// ordered makes lines of what each store has, in the order of stores.
func ordered(byStore map[string][]point, dots bool) (lines []line) {
	for _, store := range stores {
		if points := byStore[store]; len(points) > 0 {
			slices.SortStableFunc(points, func(a, b point) int {
				if dots {
					return int(a.x - b.x)
				}
				return 0 // quantiles come in order
			})
			lines = append(lines, ofStore(store, points, dots))
		}
	}
	return lines
}

func count(v float64) string {
	if v >= 1e6 {
		return fmt.Sprintf("%g M", v/1e6)
	}
	return fmt.Sprintf("%g k", v/1e3)
}

func micros(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%g s", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%g ms", v/1e3)
	}
	return fmt.Sprintf("%g µs", v)
}

func eachLine(path string, each func(string)) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		each(lines.Text())
	}
	return lines.Err()
}

func save(dir, name, text string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
}
