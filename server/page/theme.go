package page

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey-go/latchkey"
)

// Theme changes the look of the pages: values of the variables at the top of their
// style sheet by name, such as "accent": "#8a2be2". A colour is that of the light look,
// and with "dark-" before its name that of the dark one.
type Theme map[string]string

// Names of variables. Colours have a light and a dark value each, the others one.
var (
	themeColours = []string{"paper", "card", "ink", "soft", "line", "accent", "accent-ink", "accent-wash", "danger", "danger-wash", "good", "good-wash"}
	themeOthers  = []string{"shadow", "radius", "width", "sans", "mono"}
)

// maxThemeValue bounds a value, in bytes.
const maxThemeValue = 200

// Check returns what is wrong with the theme: a name that is not a variable's, or a
// value with more in it than colours, lengths and fonts need. A value cannot end its
// declaration or name another address.
func (t Theme) Check() (problems []latchkey.FieldError) {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		value := t[name]
		colour := strings.TrimPrefix(name, "dark-")
		switch {
		case !slices.Contains(themeColours, colour) && !slices.Contains(themeOthers, name):
			problems = append(problems, latchkey.FieldError{Field: "Theme", Detail: fmt.Sprintf("%q is no variable; there are %s, with dark- before them for the dark look, and %s",
				name, strings.Join(themeColours, ", "), strings.Join(themeOthers, ", "))})
		case strings.TrimSpace(value) == "" || len(value) > maxThemeValue || strings.ContainsFunc(value, notInValue) || strings.Contains(strings.ToLower(value), "url"):
			problems = append(problems, latchkey.FieldError{Field: "Theme", Detail: fmt.Sprintf("the value of %s is not a colour, a length or a list of fonts", name)})
		}
	}
	return problems
}

func notInValue(r rune) bool {
	return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune(` #.,%()+-*/`, r)
}

// css is the theme as a style sheet, to come after the pages' own.
func (t Theme) css() []byte {
	var always, light, dark strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t)) {
		into, variable := &light, name
		if slices.Contains(themeOthers, name) {
			into = &always
		} else if colour, isDark := strings.CutPrefix(name, "dark-"); isDark {
			into, variable = &dark, colour
		}
		fmt.Fprintf(into, "  --%s: %s;\n", variable, t[name])
	}
	return fmt.Appendf(nil, ":root {\n%s}\n@media not all and (prefers-color-scheme: dark) {\n:root {\n%s}\n}\n@media (prefers-color-scheme: dark) {\n:root {\n%s}\n}\n", always.String(), light.String(), dark.String())
}
