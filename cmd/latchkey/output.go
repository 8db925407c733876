package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// timeLayout is RFC 3339 UTC with six fraction digits, as everywhere in the API.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// exact is an instant as people read it.
func exact(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// when is an instant with its distance from now; "-" for none.
func when(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return exact(t) + " (" + distanceOf(t.Sub(now)) + ")"
}

// distanceOf is a distance in time in its largest unit, "3m ago" or "in 2h".
func distanceOf(d time.Duration) string {
	past := d < 0
	d = max(d, -d).Round(time.Second)
	var text string
	switch {
	case d < time.Second:
		return "now"
	case d < 2*time.Minute:
		text = fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		text = fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		text = fmt.Sprintf("%dh", d/time.Hour)
	default:
		text = fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	if past {
		return text + " ago"
	}
	return "in " + text
}

// stamp is an instant in JSON; null for none.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(timeLayout)
}

// table prints rows in aligned columns under their headings. What it prints
// cannot move the cursor, whatever the cells hold.
func table(w io.Writer, rows [][]string) error {
	var widths []int
	for _, row := range rows {
		for i := range row {
			row[i] = oneLine(row[i])
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printJSON prints v as one JSON value, indented for people; programs do not mind.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// plural counts things.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// pluralOnly is a thing, or how many there are when it is not one.
func pluralOnly(n int, thing string) string {
	if n == 1 {
		return thing
	}
	return fmt.Sprintf("%ss (%d)", thing, n)
}

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
