package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// build says which program this is.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"` // of the version control; "" when not known
	Time     string `json:"time"`     // of the revision
	Modified bool   `json:"modified"` // the tree had changes that were not committed
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// thisBuild reads what the Go toolchain wrote into the binary.
func thisBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, kv := range info.Settings {
		switch kv.Key {
		case "vcs.revision":
			b.Revision = kv.Value
		case "vcs.time":
			b.Time = kv.Value
		case "vcs.modified":
			b.Modified = kv.Value == "true"
		}
	}
	return b
}

func (b build) String() string {
	text := "latchkey " + b.Version
	if b.Revision != "" {
		text += " " + b.Revision[:min(12, len(b.Revision))]
		if b.Modified {
			text += "+changes"
		}
	}
	return text + " (" + b.Go + ", " + b.Platform + ")"
}

func (p *program) versionCommand() *cobra.Command {
	asJSON := false
	return p.cobra(&settings{}, command{
		use: "version", short: "Print which program this is", example: "  latchkey version\n  latchkey version --json",
		own: []option{jsonOption(&asJSON)},
		do: func(context.Context, []string) error {
			if asJSON {
				return printJSON(p.out, thisBuild())
			}
			_, err := fmt.Fprintln(p.out, thisBuild())
			return err
		},
	})
}

func (p *program) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	var cmd *cobra.Command
	cmd = p.cobra(&settings{}, command{
		use: "completion SHELL", short: "Print a completion script for bash, zsh or fish",
		example: `  source <(latchkey completion bash)
  latchkey completion zsh > "${fpath[1]}/_latchkey"
  latchkey completion fish > ~/.config/fish/completions/latchkey.fish`,
		args: []string{"SHELL"},
		check: func(args []string) []string {
			if len(args) > 0 && !slices.Contains(shells, args[0]) {
				return []string{"SHELL: " + shown(args[0]) + " is none of " + strings.Join(shells, ", ")}
			}
			return nil
		},
		do: func(_ context.Context, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(p.out, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(p.out)
			}
			return cmd.Root().GenFishCompletion(p.out, true)
		},
	})
	cmd.ValidArgs = shells
	return cmd
}
