package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// arrange puts flags that stand before the command behind it, where cobra looks
// for them: the settings and --json, which have one meaning for every command.
// --version asks for the command of that name. What is no command and no such
// flag is bad usage.
func arrange(root *cobra.Command, args []string) ([]string, error) {
	kinds := map[string]string{"json": "bool", "help": "bool"}
	for _, o := range (&settings{}).options() {
		kinds[o.name] = o.kind
	}
	var words, flags, problems []string
	version, cmd, rest := false, root, args
loop:
	for len(rest) > 0 && cmd.HasSubCommands() {
		arg := rest[0]
		if !strings.HasPrefix(arg, "-") || arg == "-" || arg == "--" {
			if cmd == root && slices.Contains([]string{"help", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}, arg) {
				return rest, nil
			}
			next := subcommand(cmd, arg)
			if next == nil && len(problems) > 0 {
				break loop // it may be the value of a flag that is not known
			}
			if next == nil {
				return nil, groupRun(cmd, rest[:1])
			}
			words, cmd, rest = append(words, arg), next, rest[1:]
			continue
		}
		rest = rest[1:]
		name, _, assigned := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		kind, known := kinds[name]
		switch {
		case arg == "-h":
			flags = append(flags, "--help")
		case arg == "--version" && cmd == root:
			version = true
		case !known || !strings.HasPrefix(arg, "--"):
			problems = append(problems, unknownFlag(arg, kinds)+"; flags of one command follow its name")
		case assigned || kind == "bool":
			flags = append(flags, arg)
		case len(rest) == 0:
			problems = append(problems, "flag needs an argument: --"+name)
		default:
			flags, rest = append(flags, arg, rest[0]), rest[1:]
		}
	}
	switch {
	case len(problems) > 0:
		return nil, &failure{status: exitUsage, problems: problems, hint: usageHint}
	case version:
		words, rest = []string{"version"}, nil
	case cmd.HasSubCommands() && slices.Contains(flags, "--help"):
		flags = []string{"--help"}
	case cmd.HasSubCommands():
		flags = nil // it is the command that is missing
	}
	return append([]string{}, slices.Concat(words, flags, rest)...), nil // not nil, for which cobra takes the process's own
}

func subcommand(cmd *cobra.Command, name string) *cobra.Command {
	for _, c := range cmd.Commands() {
		if c.Name() == name {
			return c
		}
	}
	return nil
}

// unknownFlag is the problem of a flag that is not known, without its value, which may be a secret.
func unknownFlag[V any](arg string, known map[string]V) string {
	var names []string
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	dashes := arg[:len(arg)-len(strings.TrimLeft(arg, "-"))]
	name, _, _ := strings.Cut(arg[len(dashes):], "=")
	return fmt.Sprintf("unknown flag %s%s", shown(dashes+name), nearest(name, names))
}
