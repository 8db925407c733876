package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (p *program) migrateCommand() *cobra.Command {
	s, asJSON := &settings{}, false
	return p.cobra(s, command{
		use: "migrate", short: "Make the store, or bring it to this program's schema",
		long: `Bring the store to this program's schema, or make it where there is none. No other
command and no daemon changes the schema of a store that exists: back it up, then
run this. Running daemons of the previous version go on.`,
		example:  "  latchkey migrate\n  latchkey migrate --store sqlite:/var/lib/latchkey/latchkey.db",
		settings: storeOptions, own: []option{jsonOption(&asJSON)},
		check: func([]string) []string { return s.checkStore() },
		do: func(ctx context.Context, _ []string) error {
			scheme, _ := s.storeScheme()
			migrate := engines()[scheme].migrate
			if scheme == "memory" {
				return errOneProcess()
			}
			if s.demo {
				return usage("--demo: `latchkey serve --demo` makes the demo's store itself")
			}
			if migrate == nil {
				migrate = made
			}
			from, to, err := migrate(ctx, s)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.out, map[string]any{"from": from, "to": to})
			}
			text := fmt.Sprintf("%s is at schema %d already", redact(s.store), to)
			switch {
			case to == 0:
				text = fmt.Sprintf("%s is there, and has no schema to bring anywhere", redact(s.store))
			case from == 0:
				text = fmt.Sprintf("made %s with schema %d", redact(s.store), to)
			case from != to:
				text = fmt.Sprintf("brought %s from schema %d to %d", redact(s.store), from, to)
			}
			message(p.err, "%s", text)
			return nil
		},
	})
}

// made makes a store of a kind that has no schema, where there is none.
func made(ctx context.Context, s *settings) (from, to int, err error) {
	scheme, _ := s.storeScheme()
	store, err := engines()[scheme].open(ctx, s, opening{})
	if err != nil {
		return 0, 0, err
	}
	closeStore(store, &err)
	return 0, 0, err
}
