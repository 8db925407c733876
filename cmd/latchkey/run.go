package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

// run is the whole program but for the process around it: it returns the exit status.
func run(ctx context.Context, args []string, in io.Reader, out, err io.Writer, env func(string) (string, bool)) int {
	p := &program{args: args, in: in, out: out, err: err, env: env}
	root := p.root()
	args, bad := arrange(root, args)
	if bad != nil {
		return report(err, bad)
	}
	p.args = args
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(err)
	if e := root.ExecuteContext(ctx); e != nil {
		return report(err, p.asUsage(e))
	}
	return exitDone
}

// asUsage turns what cobra itself finds wrong with a command line into bad usage:
// every other error here is ours and carries its own status.
func (p *program) asUsage(err error) error {
	if _, ours := errors.AsType[*failure](err); ours {
		return err
	}
	// Of what stands behind these words only a known flag's name may be repeated:
	// the rest is as the user typed it.
	text := err.Error()
	for _, start := range []string{"flag needs an argument", "unknown flag", "unknown command", "invalid argument", "unknown shorthand flag", "bad flag syntax"} {
		if strings.HasPrefix(text, start) {
			problem := start
			if start == "flag needs an argument" {
				problem, _, _ = strings.Cut(text, "\n")
			}
			return &failure{status: exitUsage, problems: []string{problem}, hint: usageHint}
		}
	}
	return err
}

const usageHint = "`latchkey help` lists the commands, `latchkey COMMAND --help` their flags"

const rootLong = `Latchkey issues, checks, renews and ends web sessions.

Settings come from flags, then from variables LATCHKEY_<FLAG> (LATCHKEY_IDLE for
--idle; an empty one counts as not set), then from the YAML file that --config
names (idle: 30m), then from their defaults. Durations are Go durations that may
begin with days: 90s, 30m, 24h, 90d.

Exit status: 0 done, 1 failed, 2 bad usage or configuration, 3 no such session,
4 store unavailable.`

const rootExample = `  latchkey serve --demo                          try it: prints where to look
  latchkey key generate && latchkey serve        the daemon on 127.0.0.1:8420
  latchkey session list --subject alice          who is signed in, and from where
  latchkey session revoke --subject alice        throw them out now`

// root makes the command tree.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{Use: "latchkey", Short: "Sessions you can end", Long: rootLong, Example: rootExample,
		SilenceErrors: true, SilenceUsage: true, RunE: groupRun}
	root.CompletionOptions.DisableDefaultCmd = true // there is one of our own
	root.SetHelpCommand(p.helpCommand(root))
	root.AddCommand(
		p.serveCommand(),
		p.group("session", "Issue, show, list and end sessions", p.sessionCommands),
		p.group("user", "Add and list users who sign in by password", p.userCommands),
		p.group("key", "Make, rotate, list and retire the keys that authenticate tokens", p.keyCommands),
		p.auditCommand(),
		p.explainCommand(),
		p.policyCommand(),
		p.doctorCommand(),
		p.migrateCommand(),
		p.group("import", "Move sessions and users of another system here", p.importCommands),
		p.benchCommand(),
		p.group("compat", "Work with other systems' sessions", p.compatCommands),
		p.completionCommand(),
		p.versionCommand(),
	)
	return root
}

// group makes a command that only holds others.
func (p *program) group(name, short string, commands func() []*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, RunE: groupRun, Args: cobra.ArbitraryArgs}
	cmd.FParseErrWhitelist.UnknownFlags = true
	cmd.AddCommand(commands()...)
	return cmd
}

// helpCommand prints the help of a command. Unlike cobra's own it fails for one that does not exist.
func (p *program) helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{Use: "help [COMMAND]", Short: "Print the help of a command", RunE: func(_ *cobra.Command, args []string) error {
		found, rest, err := root.Find(args)
		if err != nil || len(rest) > 0 {
			return groupRun(found, rest)
		}
		found.InitDefaultHelpFlag()
		return found.Help()
	}}
}

// groupRun answers a command line that ends at a group: the next word is missing or wrong.
func groupRun(cmd *cobra.Command, args []string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			names = append(names, c.Name())
		}
	}
	slices.Sort(names)
	problem := fmt.Sprintf("%s needs a command: %s", cmd.CommandPath(), strings.Join(names, ", "))
	if len(args) > 0 {
		problem = fmt.Sprintf("unknown command%s for %s%s; it has %s", shownWord(args[0]), cmd.CommandPath(), nearest(args[0], names), strings.Join(names, ", "))
	}
	return &failure{status: exitUsage, problems: []string{problem}, hint: fmt.Sprintf("`%s --help` shows more", cmd.CommandPath())}
}

func isTerminal(f *os.File) bool { return isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()) }
