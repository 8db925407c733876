package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/latchkey-go/latchkey/server/login/password"
)

// defaultUsers is the file that `latchkey user` changes unless told otherwise. The
// daemon reads one only when --users names it.
const defaultUsers = "latchkey.users"

var userOptions = []string{"config", "users"}

// userJSON is a user in JSON. It never holds the hash.
type userJSON struct {
	Name        string   `json:"name"`
	Display     string   `json:"display"`
	Email       string   `json:"email"`
	Roles       []string `json:"roles"`
	HasPassword bool     `json:"has_password"`
	ChangedAt   any      `json:"changed_at"`
}

func (p *program) userCommands() []*cobra.Command {
	return []*cobra.Command{p.userAdd(), p.userPasswd(), p.userList()}
}

// usersFile is the file of users.
func (s *settings) usersFile() string {
	if s.users == "" {
		return defaultUsers
	}
	return s.users
}

const passwordHelp = "read the password from this file instead of asking for it; - is standard input"

func (p *program) userAdd() *cobra.Command {
	s, from := &settings{}, ""
	u := password.User{}
	return p.cobra(s, command{
		use: "add NAME", short: "Add a user who signs in by password",
		long: `Add a user to the file of --users, which is made when it is missing, readable to its
owner only (mode 0600). The password is asked for on a terminal, and otherwise read as
one line from standard input; it is never a flag, which other users could see. It is
kept as a hash of Argon2id. A daemon that runs with this file knows the user at once.`,
		example: `  latchkey user add ada --display "Ada Lovelace" --role admin
  pass show latchkey/ada | latchkey user add ada`,
		args: []string{"NAME"}, settings: userOptions,
		own: []option{
			{name: "display", kind: "text", into: &u.Display, local: true, help: "the name to show"},
			{name: "email", kind: "address", into: &u.Email, local: true, help: "e-mail address"},
			{name: "role", kind: "role", into: &u.Roles, local: true, help: "a role of the user's sessions; may be repeated"},
			{name: "password-file", kind: "file", into: &from, local: true, help: passwordHelp},
		},
		check: func(args []string) []string { return checkUser(&u, args) },
		do: func(ctx context.Context, args []string) error {
			if taken, err := s.hasUser(args[0]); err != nil || taken {
				if err == nil {
					err = failed("`latchkey user passwd "+args[0]+"` sets another password", "there is a user %s already", args[0])
				}
				return err
			}
			var err error
			if u.Hash, err = p.newPassword(from); err != nil {
				return err
			}
			u.Name, u.Changed = args[0], time.Now().UTC().Truncate(time.Second)
			err = password.Change(s.usersFile(), func(users []password.User) ([]password.User, error) {
				if slices.ContainsFunc(users, func(o password.User) bool { return o.Name == u.Name }) {
					return nil, failed("", "there is a user %s already", u.Name)
				}
				return append(users, u), nil
			})
			if err == nil {
				message(p.err, "added %s to %s", u.Name, shownPath(s.usersFile()))
			}
			return err
		},
	})
}

// checkUser returns what is wrong with a user's name and what goes with it.
func checkUser(u *password.User, args []string) []string {
	if len(args) == 0 {
		return nil // and that is said
	}
	named := *u
	named.Name = args[0]
	if why := named.Check(); why != "" {
		return []string{"NAME: " + why}
	}
	return nil
}

func (p *program) userPasswd() *cobra.Command {
	s, from := &settings{}, ""
	return p.cobra(s, command{
		use: "passwd NAME", short: "Set a user's password",
		long: `Set the password of a user in the file of --users. It is asked for as by
` + "`latchkey user add`" + `. The user's sessions live on; end them where the old password
may be in other hands.`,
		example: `  latchkey user passwd ada && latchkey session revoke --subject ada --provider local`,
		args:    []string{"NAME"}, settings: userOptions,
		own:   []option{{name: "password-file", kind: "file", into: &from, local: true, help: passwordHelp}},
		check: func(args []string) []string { return checkUser(&password.User{}, args) },
		do: func(ctx context.Context, args []string) error {
			nobody := failed("`latchkey user list` shows the users", "there is no user %s in %s", args[0], shownPath(s.usersFile()))
			known, err := s.hasUser(args[0])
			if err != nil {
				return err
			}
			if !known {
				return nobody
			}
			hash, err := p.newPassword(from)
			if err != nil {
				return err
			}
			err = password.Change(s.usersFile(), func(users []password.User) ([]password.User, error) {
				i := slices.IndexFunc(users, func(o password.User) bool { return o.Name == args[0] })
				if i < 0 {
					return nil, nobody
				}
				users[i].Hash, users[i].Changed = hash, time.Now().UTC().Truncate(time.Second)
				return users, nil
			})
			if err == nil {
				message(p.err, "set the password of %s; their sessions live on (`latchkey session revoke --subject %s --provider local` ends them)", args[0], args[0])
			}
			return err
		},
	})
}

// hasUser reports whether the file has a user. One that is not there has none.
func (s *settings) hasUser(name string) (bool, error) {
	if _, err := os.Stat(s.usersFile()); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	users, err := password.List(s.usersFile())
	return slices.ContainsFunc(users, func(u password.User) bool { return u.Name == name }), err
}

func (p *program) userList() *cobra.Command {
	s, asJSON := &settings{}, false
	return p.cobra(s, command{
		use: "list", short: "List the users who sign in by password",
		example: "  latchkey user list\n  latchkey user list --json", settings: userOptions, own: []option{jsonOption(&asJSON)},
		do: func(context.Context, []string) error {
			users, err := password.List(s.usersFile())
			if err != nil {
				return err
			}
			shapes := make([]userJSON, len(users))
			rows := [][]string{{"NAME", "DISPLAY", "EMAIL", "ROLES", "PASSWORD SET"}}
			for i, u := range users {
				shapes[i] = userJSON{u.Name, u.Display, u.Email, append([]string{}, u.Roles...), u.Hash != "", stamp(u.Changed)}
				set := "never"
				if u.Hash != "" {
					set = when(u.Changed, time.Now())
				}
				rows = append(rows, []string{u.Name, dash(u.Display), dash(u.Email), dash(strings.Join(u.Roles, ",")), set})
			}
			if asJSON {
				return printJSON(p.out, map[string]any{"users": shapes})
			}
			return table(p.out, rows)
		},
	})
}

// newPassword reads a password and returns its hash.
func (p *program) newPassword(from string) (string, error) {
	text, err := p.readPassword(from)
	if err != nil {
		return "", err
	}
	if why := password.Check(text); why != "" {
		return "", failed("", "%s", why)
	}
	if utf8.RuneCountInString(text) < password.AdvisedPassword {
		message(p.err, "the password is short: NIST SP 800-63B-4 asks for %d characters where there is no second factor", password.AdvisedPassword)
	}
	return password.NewHash(text)
}

// readPassword asks for a password, twice on a terminal, where it is not shown.
func (p *program) readPassword(from string) (string, error) {
	if from != "" && from != "-" {
		text, err := readSmall(from, password.MaxPassword+2)
		if err != nil {
			return "", failed("", "--password-file: file %s: %v", shownPath(from), err)
		}
		return strings.TrimRight(text, "\r\n"), nil
	}
	if f, ok := p.in.(*os.File); ok && from == "" && term.IsTerminal(int(f.Fd())) {
		var typed [2]string
		for i, prompt := range []string{"Password: ", "Again: "} {
			fmt.Fprint(p.err, prompt)
			text, err := term.ReadPassword(int(f.Fd()))
			fmt.Fprintln(p.err)
			if err != nil {
				return "", failed("", "the password cannot be read from the terminal")
			}
			typed[i] = string(text)
		}
		if typed[0] != typed[1] {
			return "", failed("", "the two passwords differ")
		}
		return typed[0], nil
	}
	text, err := bufio.NewReader(io.LimitReader(p.in, password.MaxPassword+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", failed("", "the password cannot be read from standard input")
	}
	return strings.TrimRight(text, "\r\n"), nil
}

// checkUsers returns what is wrong with --users.
func (s *settings) checkUsers() []string {
	if s.loginLimit > 1_000_000 {
		return []string{"--login-limit: is above 1000000; 0 is any number"}
	}
	if s.users == "" {
		return nil
	}
	if s.demo {
		return []string{"--users: does not go with --demo, which lets anybody in under any name"}
	}
	if _, err := password.List(s.users); err != nil {
		return texts("--users: ", err)
	}
	return nil
}
