package htmlcheck

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/html"
)

// Sound fails for what no page of the site may hold, whatever the page: see inert
// and accessible.
func Sound(root *html.Node) error {
	var problems []error
	ids := make(map[string]int)
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if id, ok := Attr(n, "id"); ok {
			ids[id]++
			if ids[id] == 2 {
				problems = append(problems, fmt.Errorf("id %q is there twice", id))
			}
		}
		problems = append(problems, inert(n), accessible(root, n))
	}
	for _, one := range []string{"h1", "main", "title", "html[lang]"} {
		if got := len(Find(root, one)); got != 1 {
			problems = append(problems, fmt.Errorf("%s: %d elements, want one", one, got))
		}
	}
	return errors.Join(problems...)
}

// inert fails for script, inline style, embedded documents, and addresses that are
// not paths of this host.
func inert(n *html.Node) error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	switch n.Data {
	case "script", "style", "iframe", "object", "embed", "base", "template", "noscript":
		bad("<%s> on the page", n.Data)
	case "link":
		if rel, _ := Attr(n, "rel"); rel != "stylesheet" && rel != "icon" {
			bad("<link rel=%q>", rel)
		}
	case "meta":
		if equiv, ok := Attr(n, "http-equiv"); ok && equiv != "refresh" {
			bad("<meta http-equiv=%q>", equiv)
		}
	}
	for _, a := range n.Attr {
		switch {
		case a.Key == "style" || a.Key == "srcdoc" || strings.HasPrefix(a.Key, "on"):
			bad("<%s> has the attribute %s=%q", n.Data, a.Key, a.Val)
		case a.Key == "href" || a.Key == "src" || a.Key == "action" || a.Key == "formaction":
			fragment := n.Data == "a" && strings.HasPrefix(a.Val, "#")
			if !fragment && (!strings.HasPrefix(a.Val, "/") || strings.HasPrefix(a.Val, "//")) {
				bad("<%s> leads elsewhere: %s=%q", n.Data, a.Key, a.Val)
			}
		}
	}
	return errors.Join(problems...)
}

// accessible fails for elements without the name or the target that assistive
// technology needs (WCAG 2.2, success criteria 1.1.1, 1.3.1, 4.1.2).
func accessible(root, n *html.Node) error {
	refers := func(attr string) error {
		value, ok := Attr(n, attr)
		if ok && len(Find(root, "[id="+value+"]")) != 1 {
			return fmt.Errorf("<%s> refers by %s to %q, which is not there", n.Data, attr, value)
		}
		return nil
	}
	problems := []error{refers("aria-labelledby"), refers("aria-describedby")}
	id, _ := Attr(n, "id")
	kind, _ := Attr(n, "type")
	switch {
	case n.Data == "img":
		if _, ok := Attr(n, "alt"); !ok {
			problems = append(problems, errors.New("<img> without alt"))
		}
	case n.Data == "input" && kind != "hidden" && kind != "submit":
		if id == "" || len(Find(root, "label[for="+id+"]")) != 1 {
			problems = append(problems, fmt.Errorf("<input id=%q> without a label", id))
		}
	case (n.Data == "button" || n.Data == "a") && Text(n) == "":
		problems = append(problems, fmt.Errorf("<%s> without text", n.Data))
	case n.Data == "form":
		if method, _ := Attr(n, "method"); method != "post" {
			problems = append(problems, fmt.Errorf("<form> by %q: forms change something, so they post", method))
		}
	}
	return errors.Join(problems...)
}
