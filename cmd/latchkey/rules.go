package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/edge"
)

// rulesKey is the one key of the configuration file that is no flag: the edge's
// rules are a list of mappings, which no command line could hold.
const rulesKey = "rules"

// edgeRules are the rules of the configuration file.
type edgeRules struct {
	list  []edge.Rule
	lines []string // where each of them stands, for messages: "latchkey.yaml:12"
}

// readRules reads the list of rules. where is the file's name. What it does not
// understand is a problem each, with its line.
func readRules(where string, n *yaml.Node) (rules edgeRules, problems []string) {
	if n.Kind != yaml.SequenceNode {
		return rules, []string{fmt.Sprintf("%s:%d: %s: must be a list of rules", where, n.Line, rulesKey)}
	}
	for i, item := range n.Content {
		at := fmt.Sprintf("%s:%d", where, item.Line)
		if item.Kind != yaml.MappingNode {
			problems = append(problems, fmt.Sprintf("%s: rule %d must be a list of KEY: VALUE lines", at, i+1))
			continue
		}
		var r edge.Rule
		seen := make(map[string]bool)
		for j := 0; j+1 < len(item.Content); j += 2 {
			key, value := item.Content[j], item.Content[j+1]
			err := setRule(&r, key.Value, value)
			if seen[key.Value] {
				err = errors.New("is given twice")
			}
			seen[key.Value] = true
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s:%d: rule %d: %s: %v", where, key.Line, i+1, bounded(oneLine(key.Value), 40), err))
			}
		}
		rules.list, rules.lines = append(rules.list, r), append(rules.lines, at)
	}
	return rules, problems
}

// setRule sets one member of a rule.
func setRule(r *edge.Rule, key string, n *yaml.Node) (err error) {
	lists := map[string]*[]string{"hosts": &r.Hosts, "paths": &r.Paths, "methods": &r.Methods, "roles": &r.Roles, "providers": &r.Providers}
	if into, ok := lists[key]; ok {
		*into, err = ruleList(n)
		return err
	}
	known := []string{"hosts", "paths", "methods", "roles", "providers", "require", "fresh", "assurance", "passive", "audience"}
	if !slices.Contains(known, key) {
		return errors.New("is not known" + nearest(key, known))
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return errors.New("must be a plain value")
	}
	switch key {
	case "require":
		r.Require = edge.Require(n.Value)
	case "fresh":
		if r.Fresh, err = parseDuration(n.Value); err == nil && r.Fresh == 0 {
			err = errors.New("must be 1s or more; leave the line out for no limit")
		}
	case "assurance":
		r.Assurance = n.Value
	case "passive":
		if n.Tag != "!!bool" {
			return errors.New("must be true or false")
		}
		r.Passive = n.Value == "true"
	case "audience":
		r.Audience = n.Value
	}
	return err
}

// ruleList is a list of texts, or one text alone. An empty list would stand for
// everything, which nobody writes it for.
func ruleList(n *yaml.Node) (list []string, err error) {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for _, item := range items {
		if item.Kind != yaml.ScalarNode || item.Tag == "!!null" || item.Value == "" {
			return nil, errors.New("must be a plain value or a list of them")
		}
		list = append(list, item.Value)
	}
	if len(list) == 0 {
		return nil, errors.New("the list is empty; leave the line out for everything")
	}
	return list, nil
}

// ruleProblems is what the edge finds wrong with its configuration, in the words of
// the file and of the command line.
func (r edgeRules) ruleProblems(err error) (problems []string) {
	var e *latchkey.Error
	if !errors.As(err, &e) {
		return texts("", err)
	}
	for _, f := range e.Fields {
		index, member, isRule := strings.Cut(strings.TrimPrefix(f.Field, "Rules["), "].")
		i, bad := strconv.Atoi(index)
		switch {
		case isRule && bad == nil && i < len(r.lines):
			problems = append(problems, fmt.Sprintf("%s: rule %d: %s: %s", r.lines[i], i+1, member, f.Detail))
		case f.Field == "ProtectedHosts":
			problems = append(problems, "--protected-hosts: "+f.Detail)
		default:
			problems = append(problems, strings.ToLower(f.Field)+": "+f.Detail)
		}
	}
	return problems
}
