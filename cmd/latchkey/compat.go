package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/latchkey-go/latchkey/compat/runner"
)

func (p *program) compatCommands() []*cobra.Command {
	return []*cobra.Command{p.cobra(&settings{}, command{
		use: "run", short: "Answer conformance cases: a JSON line in, a JSON line out",
		long: `Read conformance cases from standard input, one JSON object a line
({"id","format","op","in"}, up to 64 MiB), and write a line for each, in order and
at once: {"id","ok":true,"value":…} or {"id","ok":false,"error":"CODE"}. An unknown
format or operation is "unsupported", unusable input "bad_case". The runner answers
as the original systems do, weaknesses included, and takes secrets of any length;
the Go packages do not. The status is 0 unless reading or writing fails.`,
		example: `  latchkey compat run < cases.jsonl`,
		do: func(ctx context.Context, _ []string) error {
			return runner.Run(ctx, p.in, p.out)
		},
	})}
}
