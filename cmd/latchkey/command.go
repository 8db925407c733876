package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// program is one run of the binary: what it was given and where it writes.
type program struct {
	args     []string
	in       io.Reader
	out, err io.Writer
	env      func(string) (string, bool)
}

// command describes a subcommand. Everything wrong with its command line and its
// settings is told at once, before do is called.
type command struct {
	use     string // name and positional arguments, such as "show ID"
	short   string
	long    string
	example string
	// args names the positional arguments; those in brackets may be left out.
	args []string
	// settings names the settings that the command uses.
	settings []string
	// own are flags of this command alone.
	own []option
	// check returns what is wrong with settings and flags that were understood.
	check func(args []string) []string
	do    func(ctx context.Context, args []string) error
}

// cobra makes the cobra command; s is where the settings go.
func (p *program) cobra(s *settings, c command) *cobra.Command {
	options := append(slices.DeleteFunc(s.options(), func(o option) bool { return !slices.Contains(c.settings, o.name) }), c.own...)
	cmd := &cobra.Command{Use: c.use, Short: c.short, Long: c.long, Example: c.example, Args: cobra.ArbitraryArgs}
	// Unknown flags are reported with everything else, by prepare.
	cmd.FParseErrWhitelist.UnknownFlags = true
	cmd.Flags().SortFlags = false
	for i := range options {
		o := &options[i]
		v := &flagText{kind: o.kind, def: o.def}
		flag := cmd.Flags().VarPF(v, o.name, "", o.help)
		if o.kind == "bool" {
			flag.NoOptDefVal = "true"
		}
		if len(o.allowed) > 0 {
			// It fails only for a flag that does not exist or has a function already.
			_ = cmd.RegisterFlagCompletionFunc(o.name, cobra.FixedCompletions(o.allowed, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	// A setting that the command has no use for may be given all the same, as it may
	// stand in the file and in the environment: one set of flags serves every command.
	for _, o := range s.options() {
		if cmd.Flags().Lookup(o.name) == nil {
			flag := cmd.Flags().VarPF(&flagText{kind: o.kind, def: o.def}, o.name, "", o.help)
			flag.Hidden = true
			if o.kind == "bool" {
				flag.NoOptDefVal = "true"
			}
		}
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := p.prepare(cmd, s, c, options, args); err != nil {
			return err
		}
		return c.do(cmd.Context(), args)
	}
	return cmd
}

// prepare loads and checks what a command was given.
func (p *program) prepare(cmd *cobra.Command, s *settings, c command, options []option, args []string) error {
	problems := strangeFlags(cmd.Flags(), p.args)
	problems = append(problems, strangeArgs(c.args, args)...)
	src := sources{flags: make(map[string][]string), env: p.env}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if v, ok := f.Value.(*flagText); ok {
			src.flags[f.Name] = v.values
		}
	})
	if path := p.configPath(&src, options); path != "" {
		var known []string
		for _, o := range s.options()[1:] {
			known = append(known, o.name)
		}
		var bad []string
		src.file, bad = readConfig(path, known)
		problems = append(problems, bad...)
	}
	set, bad := src.load(options)
	s.given = set
	problems = append(problems, bad...)
	s.rules, s.oidc = src.file[rulesKey].rules, src.file[providersKey].oidc
	s.demoDefaults()
	if c.check != nil {
		problems = append(problems, src.relabel(options, src.beyond(c.check(args)))...)
	}
	if err := usage(dedupe(problems)...); err != nil {
		f := explain(err)
		f.hint = fmt.Sprintf("`%s --help` explains the flags", cmd.CommandPath())
		return f
	}
	return nil
}

// configPath is the configuration file that the command reads, or "".
func (p *program) configPath(src *sources, options []option) string {
	i := slices.IndexFunc(options, func(o option) bool { return o.name == "config" })
	if i < 0 {
		return ""
	}
	g, ok := src.find(&options[i])
	if !ok {
		return ""
	}
	return g.values[len(g.values)-1]
}

// demoDefaults gives the demo its own files.
func (s *settings) demoDefaults() {
	if !s.demo {
		return
	}
	if !s.given["store"] {
		s.store = demoStore
	}
	if !s.given["keys"] {
		s.keys = demoKeys
	}
}

// dedupe drops repeated problems: two checks may find the same.
func dedupe(problems []string) []string {
	var out []string
	for _, p := range problems {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// flagText takes a flag's value as it stands; load parses it, so that one wrong
// value does not hide the others.
type flagText struct {
	kind, def string
	values    []string
}

func (f *flagText) String() string {
	if f.kind == "bool" && f.def == "false" {
		return ""
	}
	return f.def
}

func (f *flagText) Set(v string) error {
	f.values = append(f.values, v)
	return nil
}

func (f *flagText) Type() string { return f.kind }

// strangeFlags returns the flags on the command line that the command does not
// have, and those whose value is missing. It names flags only: what was meant as
// a value may be a secret.
func strangeFlags(flags *pflag.FlagSet, args []string) (problems []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			continue
		}
		name, _, assigned := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		flag := flags.Lookup(name)
		if !strings.HasPrefix(arg, "--") {
			flag = nil
			if len(name) == 1 {
				flag = flags.ShorthandLookup(name)
			}
		}
		switch {
		case flag == nil:
			known := make(map[string]bool)
			flags.VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
			problems = append(problems, unknownFlag(arg, known))
		case !assigned && flag.NoOptDefVal == "":
			i++ // its value
		}
	}
	return problems
}

// strangeArgs returns what is wrong with the number of positional arguments. What
// is too many is not repeated: it may be the value of a flag that lost its name.
func strangeArgs(names, args []string) (problems []string) {
	for i, name := range names {
		if i >= len(args) && !strings.HasPrefix(name, "[") {
			problems = append(problems, name+" is missing")
		}
	}
	switch extra := len(args) - len(names); {
	case extra <= 0:
	case len(names) == 0:
		problems = append(problems, "unexpected "+pluralOnly(extra, "argument")+"; the command takes flags only")
	default:
		problems = append(problems, "unexpected "+pluralOnly(extra, "argument")+" behind "+strings.Join(names, " "))
	}
	return problems
}

// terminal returns w as a file when it is a terminal.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f)
}
