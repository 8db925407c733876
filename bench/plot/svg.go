package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
)

// point is a place on a chart, in the data's units.
type point struct{ x, y float64 }

// line is a store's, or a part of what was measured of one. Its points go from left
// to right.
type line struct {
	name, colour string
	points       []point
	dots         bool // the points were measured one by one, and are shown
}

// ofStore is a line with a store's name and colour.
func ofStore(store string, points []point, dots bool) line {
	return line{names[store], colours[store], points, dots}
}

// axis is a scale, with the values that are named along it.
type axis struct {
	from, to float64
	log      bool
	ticks    []float64
	label    func(float64) string
}

// place maps a value to 0…1; what lies outside is put at the edge.
func (a axis) place(v float64) float64 {
	from, to := a.from, a.to
	if a.log {
		v, from, to = math.Log10(max(v, from/10)), math.Log10(from), math.Log10(to)
	}
	return min(max((v-from)/(to-from), 0), 1)
}

// panel is one chart of a figure.
type panel struct {
	title string
	x, y  axis
	lines []line
	marks []mark
}

// mark is a straight line for the eye: where a figure is promised.
type mark struct {
	x, y float64 // one of them is 0
	text string
}

// colours tell the stores apart, to the colour-blind too (after Okabe and Ito).
var colours = map[string]string{"memory": "#777777", "sqlite": "#aa4499", "redis": "#d55e00", "postgres": "#0072b2", "mariadb": "#009e73"}

// names are the stores' as people know them.
var names = map[string]string{"memory": "memory", "sqlite": "SQLite", "redis": "Redis", "postgres": "PostgreSQL", "mariadb": "MariaDB"}

const (
	panelWidth, panelHeight = 300.0, 230.0
	left, right             = 54.0, 92.0 // for labels beside a chart
	top, bottom             = 34.0, 42.0
	headline                = 46.0
)

// figure draws panels side by side, columns to a row. It is one file of SVG 1.1 with
// a background of its own, so that it reads the same on light and dark pages.
func figure(title, subtitle string, columns int, panels []panel) string {
	rows := (len(panels) + columns - 1) / columns
	cellWidth, cellHeight := left+panelWidth+right, top+panelHeight+bottom
	width, height := cellWidth*float64(columns), headline+cellHeight*float64(rows)
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-labelledby="title desc" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="11" fill="#333">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&s, "<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n", html.EscapeString(title), html.EscapeString(describe(subtitle, panels)))
	fmt.Fprintf(&s, `<rect width="%.0f" height="%.0f" fill="#fff"/>`+"\n", width, height)
	fmt.Fprintf(&s, `<text x="%.0f" y="20" font-size="15" font-weight="600" fill="#111">%s</text>`+"\n", left/2, html.EscapeString(title))
	fmt.Fprintf(&s, `<text x="%.0f" y="38" fill="#555">%s</text>`+"\n", left/2, html.EscapeString(subtitle))
	for i, p := range panels {
		x, y := cellWidth*float64(i%columns)+left, headline+cellHeight*float64(i/columns)+top
		fmt.Fprintf(&s, `<g transform="translate(%.0f %.0f)">`+"\n", x, y)
		p.draw(&s)
		s.WriteString("</g>\n")
	}
	s.WriteString("</svg>\n")
	return s.String()
}

// describe is a figure in words, for those who do not see it: where each line begins
// on the chart, and ends.
func describe(subtitle string, panels []panel) string {
	var s strings.Builder
	s.WriteString(subtitle)
	for _, p := range panels {
		fmt.Fprintf(&s, "\n%s:", p.title)
		for i, l := range p.lines {
			if i > 0 {
				s.WriteByte(';')
			}
			seen := slices.IndexFunc(l.points, func(v point) bool { return v.x >= p.x.from })
			a, b := l.points[max(seen, 0)], l.points[len(l.points)-1]
			fmt.Fprintf(&s, " %s, %s at %s, %s at %s", l.name, p.y.label(short(a.y)), p.x.label(short(a.x)), p.y.label(short(b.y)), p.x.label(short(b.x)))
		}
		s.WriteByte('.')
	}
	return s.String()
}

// short is a number with the digits that a reader wants, three.
func short(v float64) float64 {
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	return v
}

// at maps a point to the panel's pixels.
func (p *panel) at(v point) (x, y float64) {
	return p.x.place(v.x) * panelWidth, (1 - p.y.place(v.y)) * panelHeight
}

func (p *panel) draw(s *strings.Builder) {
	fmt.Fprintf(s, `<text x="0" y="-12" font-size="12" font-weight="600" fill="#111">%s</text>`+"\n", html.EscapeString(p.title))
	for _, v := range p.x.ticks {
		x, _ := p.at(point{x: v, y: p.y.from})
		fmt.Fprintf(s, `<path d="M%.1f 0V%.0f" stroke="#eee"/><text x="%.1f" y="%.0f" text-anchor="middle" fill="#555">%s</text>`+"\n",
			x, panelHeight, x, panelHeight+17, html.EscapeString(p.x.label(v)))
	}
	for _, v := range p.y.ticks {
		_, y := p.at(point{x: p.x.from, y: v})
		fmt.Fprintf(s, `<path d="M0 %.1fH%.0f" stroke="#eee"/><text x="-8" y="%.1f" text-anchor="end" fill="#555">%s</text>`+"\n",
			y, panelWidth, y+4, html.EscapeString(p.y.label(v)))
	}
	for _, m := range p.marks {
		if m.x > 0 {
			x, _ := p.at(point{x: m.x, y: p.y.from})
			fmt.Fprintf(s, `<path d="M%.1f 0V%.0f" stroke="#999" stroke-dasharray="4 3"/><text x="%.1f" y="%.0f" fill="#777" transform="translate(4 0)">%s</text>`+"\n",
				x, panelHeight, x, panelHeight-8, html.EscapeString(m.text))
			continue
		}
		_, y := p.at(point{x: p.x.from, y: m.y})
		fmt.Fprintf(s, `<path d="M0 %.1fH%.0f" stroke="#999" stroke-dasharray="4 3"/>`+"\n", y, panelWidth)
	}
	fmt.Fprintf(s, `<path d="M0 0V%.0fH%.0f" fill="none" stroke="#999"/>`+"\n", panelHeight, panelWidth)
	ends := make([]float64, len(p.lines))
	for i, l := range p.lines {
		ends[i] = p.line(s, l)
		if !l.dots {
			ends[i] = 8 + 14*float64(i) // lines that all end at the top are named in their order
		}
	}
	apart(ends, 14)
	for i, l := range p.lines {
		fmt.Fprintf(s, `<text x="%.0f" y="%.1f" fill="%s" font-weight="600">%s</text>`+"\n", panelWidth+8, ends[i]+4, l.colour, html.EscapeString(l.name))
	}
}

// line draws one line, and returns the height at which it ends, for its name.
func (p *panel) line(s *strings.Builder, l line) (end float64) {
	var path strings.Builder
	verb := "M"
	var lastX, lastY float64
	for i, v := range l.points {
		x, y := p.at(v)
		if i > 0 && i < len(l.points)-1 && math.Hypot(x-lastX, y-lastY) < 1.5 {
			continue // nobody would see it
		}
		lastX, lastY = x, y
		fmt.Fprintf(&path, "%s%.1f %.1f", verb, x, y)
		verb, end = "L", y
	}
	fmt.Fprintf(s, `<path d="%s" fill="none" stroke="%s" stroke-width="2" stroke-linejoin="round"/>`+"\n", path.String(), l.colour)
	if l.dots {
		for _, v := range l.points {
			x, y := p.at(v)
			fmt.Fprintf(s, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s" stroke="#fff"/>`+"\n", x, y, l.colour)
		}
	}
	return end
}

// apart moves heights until no two are closer than gap.
func apart(heights []float64, gap float64) {
	for range 50 {
		for i := range heights {
			for k := range heights {
				if d := heights[k] - heights[i]; k > i && math.Abs(d) < gap {
					push := (gap - math.Abs(d)) / 2
					if d < 0 {
						push = -push
					}
					heights[i] -= push
					heights[k] += push
				}
			}
		}
	}
}
