package htmlcheck

import (
	"strings"

	"golang.org/x/net/html"
)

// step is one part of a selector: a tag, an ID, classes and attributes, all of which
// must fit one element.
type step struct {
	tag     string
	classes []string
	attrs   [][2]string // name and value; an empty value asks for presence only
}

// parseSelector reads a small part of CSS: "tag", "#id", ".class", "[attr]",
// "[attr=value]" without spaces in the value, joined without space for one element
// and with spaces for descendants.
func parseSelector(selector string) []step {
	var steps []step
	for part := range strings.FieldsSeq(selector) {
		steps = append(steps, parseStep(part))
	}
	return steps
}

func parseStep(part string) step {
	var s step
	end := strings.IndexAny(part, "#.[")
	if end < 0 {
		return step{tag: part}
	}
	s.tag, part = part[:end], part[end:]
	for part != "" {
		kind := part[0]
		part = part[1:]
		if kind == '[' {
			var inside string
			inside, part, _ = strings.Cut(part, "]")
			name, value, _ := strings.Cut(inside, "=")
			s.attrs = append(s.attrs, [2]string{name, value})
			continue
		}
		name := part
		if end := strings.IndexAny(part, "#.["); end >= 0 {
			name, part = part[:end], part[end:]
		} else {
			part = ""
		}
		if kind == '#' {
			s.attrs = append(s.attrs, [2]string{"id", name})
		} else {
			s.classes = append(s.classes, name)
		}
	}
	return s
}

func (s *step) fits(n *html.Node) bool {
	if n.Type != html.ElementNode || s.tag != "" && n.Data != s.tag {
		return false
	}
	for _, a := range s.attrs {
		value, ok := Attr(n, a[0])
		if !ok || a[1] != "" && value != a[1] {
			return false
		}
	}
	value, _ := Attr(n, "class")
	have := strings.Fields(value)
	for _, want := range s.classes {
		found := false
		for _, class := range have {
			found = found || class == want
		}
		if !found {
			return false
		}
	}
	return true
}

// Find returns the elements below n that a selector names, in document order. The
// selector may join "tag", "#id", ".class", "[attr]" and "[attr=value]" for one
// element, and separate descendants by spaces.
func Find(n *html.Node, selector string) []*html.Node {
	found := []*html.Node{n}
	for _, s := range parseSelector(selector) {
		var next []*html.Node
		seen := make(map[*html.Node]bool)
		for _, from := range found {
			for d := range from.Descendants() {
				if s.fits(d) && !seen[d] {
					seen[d] = true
					next = append(next, d)
				}
			}
		}
		found = next
	}
	return found
}

// Attr returns an attribute's value and whether it is there.
func Attr(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

// Text returns the text of n and below, with white space folded. Elements that a
// browser puts on a line or into a cell of their own are apart from their neighbours.
func Text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
			continue
		}
		switch d.Data {
		case "p", "div", "section", "header", "main", "form", "h1", "h2", "h3", "ul", "li", "dl", "dt", "dd", "table", "caption", "tr", "th", "td", "label", "button":
			b.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
