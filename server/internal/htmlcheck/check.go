// Package htmlcheck lets tests state what a page holds, by selector, and finds what
// no page may hold: script, inline style, links to elsewhere, and gaps that shut out
// users of assistive technology.
package htmlcheck

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/html"
)

// Checker states something about an element and what is below it.
type Checker func(*html.Node) error

// Check parses a page and returns everything that the checkers find wrong, or nil.
func Check(page string, checkers ...Checker) error {
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		return err
	}
	var problems []error
	for _, c := range checkers {
		problems = append(problems, c(root))
	}
	return errors.Join(problems...)
}

// In applies checkers to the one element that the selector names, and fails unless
// there is exactly one.
func In(selector string, checkers ...Checker) Checker {
	return func(n *html.Node) error {
		found := Find(n, selector)
		if len(found) != 1 {
			return fmt.Errorf("%s: %d elements, want one", selector, len(found))
		}
		var problems []error
		for _, c := range checkers {
			if err := c(found[0]); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", selector, err))
			}
		}
		return errors.Join(problems...)
	}
}

// NotIn fails if the selector names anything.
func NotIn(selector string) Checker { return Count(selector, 0) }

// Count fails unless the selector names so many elements.
func Count(selector string, want int) Checker {
	return func(n *html.Node) error {
		if got := len(Find(n, selector)); got != want {
			return fmt.Errorf("%s: %d elements, want %d", selector, got, want)
		}
		return nil
	}
}

// HasText fails unless the element's text, white space folded, contains want.
func HasText(want string) Checker {
	return func(n *html.Node) error {
		if got := Text(n); !strings.Contains(got, want) {
			return fmt.Errorf("text %q does not contain %q", got, want)
		}
		return nil
	}
}

// HasExactText fails unless the element's text, white space folded, is want.
func HasExactText(want string) Checker {
	return func(n *html.Node) error {
		if got := Text(n); got != want {
			return fmt.Errorf("text is %q, want %q", got, want)
		}
		return nil
	}
}

// HasAttr fails unless the element's attribute has exactly the value.
func HasAttr(name, want string) Checker {
	return func(n *html.Node) error {
		if got, ok := Attr(n, name); !ok || got != want {
			return fmt.Errorf("attribute %s is %q, want %q", name, got, want)
		}
		return nil
	}
}
