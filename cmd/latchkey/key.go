package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-go/latchkey/keyring"
)

// keyJSON is a key in JSON. It never holds the key itself.
type keyJSON struct {
	ID         int    `json:"id"`
	State      string `json:"state"`
	CreatedAt  any    `json:"created_at"`
	ActiveFrom any    `json:"active_from"`
	RetiredAt  any    `json:"retired_at"`
}

func keyShape(k keyring.Info) keyJSON {
	return keyJSON{ID: int(k.ID), State: string(k.State), CreatedAt: stamp(k.Created), ActiveFrom: stamp(k.ActiveFrom), RetiredAt: stamp(k.Retired)}
}

func jsonOption(into *bool) option {
	return option{name: "json", kind: "bool", def: "false", into: into, local: true, help: "print JSON, in the shapes of the HTTP API"}
}

func (p *program) keyCommands() []*cobra.Command {
	return []*cobra.Command{p.keyGenerate(), p.keyRotate(), p.keyList(), p.keyRetire()}
}

func (p *program) keyGenerate() *cobra.Command {
	s, asJSON := &settings{}, false
	return p.cobra(s, command{
		use: "generate", short: "Make a keyring with one random key",
		long: `Make the keyring file with one random key, active at once, readable to its owner
only (mode 0600). An existing file is left as it is, and the status is 1.`,
		example: `  latchkey key generate
  latchkey key generate --keys /etc/latchkey/latchkey.keys`,
		settings: keyOptions, own: []option{jsonOption(&asJSON)},
		check: func([]string) []string { return s.checkKeyFile() },
		do: func(context.Context, []string) error {
			k, err := keyring.Create(s.keys, keyring.Options{})
			if err != nil {
				return err
			}
			return p.printKey(k, asJSON, "made "+shownPath(s.keys)+" with key 1")
		},
	})
}

func (p *program) keyRotate() *cobra.Command {
	s, asJSON, delay := &settings{}, false, time.Duration(0)
	return p.cobra(s, command{
		use: "rotate", short: "Add a key that will become the active one",
		long: `Add a random key to the keyring file. It is accepted at once and active after
--delay, so that every daemon knows it before the first token bears it: daemons
read the file again every 30 seconds, and on SIGHUP. Nobody is signed out. Until a
minute before its start, ` + "`latchkey key retire ID`" + ` takes the key back.`,
		example:  "  latchkey key rotate\n  latchkey key rotate --delay 0     # with a single daemon, followed by SIGHUP",
		settings: keyOptions,
		own: []option{
			{name: "delay", kind: "duration", def: formatDuration(keyring.DefaultActivationDelay), into: &delay, local: true, help: "how long after now the key becomes active, at most 30d"},
			jsonOption(&asJSON),
		},
		check: func([]string) (problems []string) {
			if delay > keyring.MaxActivationDelay {
				problems = append(problems, fmt.Sprintf("--delay: %s is above the most of %s", formatDuration(delay), formatDuration(keyring.MaxActivationDelay)))
			}
			return append(problems, s.checkKeyChange()...)
		},
		do: func(context.Context, []string) error {
			ring, err := keyring.Open(s.keys, keyring.Options{})
			if err != nil {
				return err
			}
			k, err := keyring.Rotate(s.keys, time.Now(), delay)
			if err != nil {
				return err
			}
			for _, other := range ring.Keys(time.Now()) {
				if other.State == keyring.StateNext {
					message(p.err, "key %d, of an earlier rotation, is still to become active, %s; key %d comes after it (`latchkey key retire %d` takes the earlier one back)",
						other.ID, when(other.ActiveFrom, time.Now()), k.ID, other.ID)
				}
			}
			return p.printKey(k, asJSON, "added key "+strconv.Itoa(int(k.ID))+", active from "+when(k.ActiveFrom, time.Now()))
		},
	})
}

func (p *program) keyList() *cobra.Command {
	s, asJSON := &settings{}, false
	return p.cobra(s, command{
		use: "list", short: "List the keys, without their bytes",
		example:  "  latchkey key list\n  latchkey key list --keys env:LATCHKEY_KEYRING --json",
		settings: keyOptions, own: []option{jsonOption(&asJSON)},
		check: func([]string) []string { return s.checkKeys(false) },
		do: func(context.Context, []string) error {
			ring, err := keyring.Open(s.keys, keyring.Options{})
			if err != nil {
				return err
			}
			now := time.Now()
			keys := ring.Keys(now)
			if asJSON {
				list := make([]keyJSON, len(keys))
				for i, k := range keys {
					list[i] = keyShape(k)
				}
				return printJSON(p.out, map[string]any{"keys": list})
			}
			rows := [][]string{{"ID", "STATE", "CREATED", "ACTIVE FROM", "RETIRED"}}
			for _, k := range keys {
				rows = append(rows, []string{strconv.Itoa(int(k.ID)), string(k.State), when(k.Created, now), when(k.ActiveFrom, now), when(k.Retired, now)})
			}
			return table(p.out, rows)
		},
	})
}

func (p *program) keyRetire() *cobra.Command {
	s, asJSON := &settings{}, false
	parse := func(text string) (keyring.ID, bool) {
		n, err := strconv.ParseUint(text, 10, 8)
		return keyring.ID(n), err == nil && n > 0
	}
	return p.cobra(s, command{
		use: "retire ID", short: "Refuse a key that is superseded, or not yet active, and erase its bytes",
		long: `Refuse a key from now on and erase its bytes. It is refused, with status 1, until
the longest absolute limit has passed since the key was superseded: before that
it would end sessions. Give --absolute or --preset as the daemon has it; the
longest it has had counts. A key that was never active is retired at once, which
undoes a rotation, until a minute before its start.`,
		example: "  latchkey key retire 1\n  latchkey key retire 1 --absolute 30d",
		args:    []string{"ID"}, settings: append([]string{"preset", "absolute"}, keyOptions...), own: []option{jsonOption(&asJSON)},
		check: func(args []string) (problems []string) {
			if len(args) > 0 {
				if _, ok := parse(args[0]); !ok {
					problems = append(problems, "ID: "+shown(args[0])+" is not a number from 1 to 255; `latchkey key list` shows the keys")
				}
			}
			problems = append(problems, s.checkPolicy()...)
			return append(problems, s.checkKeyChange()...)
		},
		do: func(_ context.Context, args []string) error {
			id, _ := parse(args[0])
			_, absolute := s.limits()
			k, err := keyring.Retire(s.keys, id, time.Now(), absolute)
			if err != nil {
				return err
			}
			return p.printKey(k, asJSON, "retired key "+args[0])
		},
	})
}

// checkKeyFile refuses a keyring that only its owner elsewhere can change.
func (s *settings) checkKeyFile() []string {
	if strings.HasPrefix(s.keys, "env:") {
		return []string{"--keys: an environment variable cannot be changed from here; change a keyring file and give the variable its text"}
	}
	return nil
}

// checkKeyChange returns why the keyring cannot be read, or not be changed from here.
func (s *settings) checkKeyChange() []string {
	if problems := s.checkKeyFile(); problems != nil {
		return problems
	}
	return s.checkKeys(false)
}

// printKey tells what became of a key.
func (p *program) printKey(k keyring.Info, asJSON bool, text string) error {
	if asJSON {
		return printJSON(p.out, map[string]any{"key": keyShape(k)})
	}
	message(p.err, "%s", text)
	return nil
}
