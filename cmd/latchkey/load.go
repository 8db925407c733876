package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxConfigFile bounds the configuration file.
const maxConfigFile = 1 << 20

// variableOf is the environment variable of a setting.
func variableOf(name string) string {
	return "LATCHKEY_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// given is a setting's text and where it came from, for messages.
type given struct {
	values []string
	origin string // "--idle", "LATCHKEY_IDLE" or "latchkey.yaml:3: idle"
	rules  edgeRules
	oidc   providerSettings
}

// sources are where settings come from: flags before variables before the file.
type sources struct {
	flags map[string][]string // what the command line set
	env   func(string) (string, bool)
	file  map[string]given
	bad   map[string]bool // what load did not understand
}

// find returns what was given for an option. An empty variable counts as not set:
// container files often pass variables through that nobody has set.
func (src *sources) find(o *option) (given, bool) {
	if v, ok := src.flags[o.name]; ok {
		return given{values: v, origin: "--" + o.name}, true
	}
	if o.local {
		return given{}, false
	}
	if v, ok := src.env(o.variable()); ok && v != "" {
		return given{values: []string{v}, origin: o.variable()}, true
	}
	v, ok := src.file[o.name]
	return v, ok
}

// load reads options into place. It returns every problem and which options were
// given and understood. What was not has its default, so that checks see a value.
func (src *sources) load(options []option) (set map[string]bool, problems []string) {
	set, src.bad = make(map[string]bool), make(map[string]bool)
	for i := range options {
		o := &options[i]
		g, ok := src.find(o)
		if !ok {
			if o.def == "" {
				continue
			}
			g = given{values: []string{o.def}, origin: "--" + o.name}
		}
		if err := o.assign(g.values); err != nil {
			problems = append(problems, g.origin+": "+err.Error())
			if src.bad[o.name] = true; o.def != "" {
				_ = o.assign([]string{o.def}) // the defaults are good
			}
			continue
		}
		set[o.name] = ok
	}
	return set, problems
}

// beyond drops problems that checks have found with options that were not
// understood: what is wrong with those is said.
func (src *sources) beyond(problems []string) []string {
	return slices.DeleteFunc(problems, func(p string) bool { return src.bad[strings.TrimPrefix(flagIn(p), "--")] })
}

// flagIn is the flag that a problem begins with, "" when it does not.
func flagIn(problem string) string {
	if flag, _, ok := strings.Cut(problem, ": "); ok && strings.HasPrefix(flag, "--") {
		return flag
	}
	return ""
}

// besides is the problems of more whose flags have none in first: two checks have
// their own words for the same thing.
func besides(first, more []string) (out []string) {
	for _, p := range more {
		flag := flagIn(p)
		if flag == "" || !slices.ContainsFunc(first, func(f string) bool { return flagIn(f) == flag }) {
			out = append(out, p)
		}
	}
	return out
}

// relabel names the variable or the line of the file in problems that checks have
// found with a flag's name, where the value came from there.
func (src *sources) relabel(options []option, problems []string) []string {
	for i, p := range problems {
		for j := range options {
			if rest, ok := strings.CutPrefix(p, "--"+options[j].name+": "); ok {
				if g, given := src.find(&options[j]); given {
					problems[i] = g.origin + ": " + rest
				}
			}
		}
	}
	return problems
}

// assign parses the texts given for an option.
func (o *option) assign(values []string) error {
	if list, ok := o.into.(*[]string); ok {
		*list = values
		return nil
	}
	text := values[len(values)-1] // a script may add to flags that a wrapper has set
	if len(o.allowed) > 0 && !slices.Contains(o.allowed, text) {
		return fmt.Errorf("%s is none of %s", shown(text), strings.Join(o.allowed, ", "))
	}
	switch into := o.into.(type) {
	case *string:
		*into = text
	case *bool:
		v, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%s is neither true nor false", shown(text))
		}
		*into = v
	case *int:
		v, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return fmt.Errorf("%s is not a number of 0 or more", shown(text))
		}
		*into = int(v)
	case *time.Duration:
		v, err := parseDuration(text)
		if err != nil {
			return err
		}
		*into = v
	default:
		return fmt.Errorf("cannot be set: %T", o.into)
	}
	return nil
}

// readConfig reads the configuration file. known lists the keys it may hold.
func readConfig(path string, known []string) (map[string]given, []string) {
	text, err := readSmall(path, maxConfigFile)
	if err != nil {
		return nil, []string{fmt.Sprintf("--config: file %s: %v", shownPath(path), err)}
	}
	return parseConfig(path, text, known)
}

// parseConfig reads a configuration file's text: a YAML mapping from setting
// names to scalars, or to lists of scalars for what is comma-separated on the
// command line. It reports every unknown key, every key given twice and every value
// of another kind, each with its line, and a second document.
func parseConfig(path, text string, known []string) (map[string]given, []string) {
	where, _ := strconv.Unquote(shownPath(path))
	where = oneLine(where)
	var doc, more yaml.Node
	decoder := yaml.NewDecoder(strings.NewReader(text))
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil // empty, or comments only
	}
	second := err == nil
	if second {
		err = decoder.Decode(&more)
		second = err == nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		// The parser's message may repeat what stands in the file; its line is enough.
		return nil, []string{fmt.Sprintf("%s: is not valid YAML%s", where, yamlLine(err))}
	}
	if second {
		return nil, []string{fmt.Sprintf("%s:%d: a second document begins here; put every setting into the first", where, max(more.Line, 1))}
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, []string{fmt.Sprintf("%s:%d: the file must be a list of KEY: VALUE lines", where, root.Line)}
	}
	values := make(map[string]given)
	var problems []string
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		origin := fmt.Sprintf("%s:%d: %s", where, key.Line, oneLine(key.Value))
		if _, twice := values[key.Value]; key.Value == rulesKey && !twice {
			rules, bad := readRules(where, value)
			values[rulesKey] = given{origin: origin, rules: rules}
			problems = append(problems, bad...)
			continue
		}
		if _, twice := values[key.Value]; key.Value == providersKey && !twice {
			providers, bad := readProviders(where, value)
			values[providersKey] = given{origin: origin, oidc: providers}
			problems = append(problems, bad...)
			continue
		}
		if key.Kind != yaml.ScalarNode || !slices.Contains(append(known, rulesKey, providersKey), key.Value) {
			problems = append(problems, fmt.Sprintf("%s:%d: unknown key %s%s", where, key.Line, shown(key.Value), nearest(key.Value, known)))
			continue
		}
		if _, twice := values[key.Value]; twice {
			problems = append(problems, origin+": is given twice")
			continue
		}
		v, err := configValue(value, slices.Contains(listSettings, key.Value))
		if err != nil {
			problems = append(problems, origin+": "+err.Error())
			continue
		}
		values[key.Value] = given{values: []string{v}, origin: origin}
	}
	return values, problems
}

// configValue is the text of a value, which may be a list if lists says so. Aliases
// are not followed: no setting needs them, and nested ones can grow without bound.
func configValue(n *yaml.Node, lists bool) (string, error) {
	wrong := errors.New("must be a plain value")
	if lists {
		wrong = errors.New("must be a plain value or a list of them")
	}
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return "", errors.New("has no value; leave the line out for the default")
		}
		return n.Value, nil
	case yaml.SequenceNode:
		if !lists {
			return "", wrong
		}
		var items []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" || strings.Contains(item.Value, ",") {
				return "", errors.New("a list holds plain values without commas")
			}
			items = append(items, item.Value)
		}
		if len(items) == 0 {
			return "", errors.New("the list is empty; leave the line out for the default")
		}
		return strings.Join(items, ","), nil
	}
	return "", wrong
}

// yamlLine takes the line number out of a YAML error.
func yamlLine(err error) string {
	_, after, ok := strings.Cut(err.Error(), "line ")
	if !ok {
		return ""
	}
	digits := after[:len(after)-len(strings.TrimLeft(after, "0123456789"))]
	if digits == "" {
		return ""
	}
	return " near line " + digits
}

// nearest suggests the known name that a wrong one was meant to be.
func nearest(wrong string, known []string) string {
	wrong = strings.ToLower(strings.ReplaceAll(wrong, "_", "-"))
	best, least := "", 3
	for _, k := range known {
		if d := distance(wrong, k, least); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is the number of single-byte edits between a and b, or most if there are as many.
func distance(a, b string, most int) int {
	if len(a) > 64 || max(len(a)-len(b), len(b)-len(a)) >= most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(b)], most)
}
