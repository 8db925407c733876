package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-go/latchkey/server/login/password"
)

// maxUsersInput bounds what `import users` reads: the file of users holds no more.
const maxUsersInput = 4 << 20

const importUsersLong = `Add users who sign in by password to the file of --users, with the passwords that they
have: all of the input that is good, in one step. A line is

  ada:$argon2id$v=19$…                        as in a password file, or several with ; between
  {"name":"ada","hash":"$argon2id$…","display":"Ada","email":"…","roles":["admin"]}

Only hashes of Argon2id (version 19, within 1 GiB, 16 passes and 16 lanes) can be
compared here. Others, such as bcrypt, crypt, {SHA}, pbkdf2 and scrypt, are refused;
with --no-passwords those users are added without a password, and sign in once
` + "`latchkey user passwd NAME`" + ` has set one.

A user whom the file has already is left as they are, and that counts as a refusal.`

// importedUser is what came of one entry.
type importedUser struct {
	Line   int    `json:"line"`
	Name   string `json:"name"`
	Added  bool   `json:"added"`
	Detail string `json:"detail"` // why not, or what is to be done; "" for neither
}

func (p *program) importUsers() *cobra.Command {
	s := &settings{}
	var noPasswords, strict, dryRun, asJSON bool
	return p.cobra(s, command{
		use: "users FILE", short: "Add users with their password hashes to the file of --users",
		long: importUsersLong,
		example: `  latchkey import users --dry-run users.txt
  printenv AUTH_BASIC_USERS | latchkey import users -`,
		args: []string{"FILE"}, settings: userOptions,
		own: []option{
			{name: "no-passwords", kind: "bool", def: "false", into: &noPasswords, local: true, help: "add users without a password where their hash is of another kind"},
			{name: "strict", kind: "bool", def: "false", into: &strict, local: true, help: "add nobody when anybody is refused"},
			{name: "dry-run", kind: "bool", def: "false", into: &dryRun, local: true, help: "check every line, and write nothing"},
			jsonOption(&asJSON),
		},
		do: func(_ context.Context, args []string) error {
			text, err := p.usersInput(args[0])
			if err != nil {
				return err
			}
			entries, users := parseUsers(text, noPasswords)
			if err := s.addUsers(entries, users, strict, dryRun); err != nil {
				return err
			}
			return p.tellUsers(s, entries, strict, dryRun, asJSON)
		},
	})
}

// usersInput reads all of the input.
func (p *program) usersInput(path string) (string, error) {
	if path != "-" {
		text, err := readSmall(path, maxUsersInput)
		if err != nil {
			return "", usage(fmt.Sprintf("FILE: %s: %v", shownPath(path), err))
		}
		return text, nil
	}
	b, err := io.ReadAll(io.LimitReader(p.in, maxUsersInput+1))
	if err != nil {
		return "", failed("", "the input cannot be read: %v", pathCause(err))
	}
	if len(b) > maxUsersInput {
		return "", failed("", "the input is larger than %d KiB", maxUsersInput>>10)
	}
	return string(b), nil
}

// parseUsers reads entries, and the users that those of them stand for that are good;
// users[i] belongs to entries[i]. Blank lines and lines that begin with # are passed over.
func parseUsers(text string, noPasswords bool) (entries []importedUser, users []password.User) {
	seen := make(map[string]int)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		parts := []string{line}
		if !strings.HasPrefix(line, "{") {
			parts = strings.Split(line, ";") // as in AUTH_BASIC_USERS
		}
		for _, part := range parts {
			part = strings.TrimSpace(part)
			if part == "" || strings.HasPrefix(part, "#") {
				continue
			}
			u, entry := parseUser(part, noPasswords)
			if entry.Line = n; entry.Added && seen[u.Name] > 0 {
				entry.Added, entry.Detail = false, fmt.Sprintf("line %d has the same name", seen[u.Name])
			} else if entry.Added {
				seen[u.Name] = n
			}
			entries, users = append(entries, entry), append(users, u)
		}
	}
	return entries, users
}

// parseUser reads one entry. Its texts repeat nothing but a name that is one.
func parseUser(text string, noPasswords bool) (u password.User, entry importedUser) {
	u.Changed = time.Now().UTC().Truncate(time.Second)
	if strings.HasPrefix(text, "{") {
		if detail := decodeUser(text, &u); detail != "" {
			return u, importedUser{Detail: detail}
		}
	} else {
		var ok bool
		if u.Name, u.Hash, ok = strings.Cut(text, ":"); !ok {
			return u, importedUser{Detail: "is neither NAME:HASH nor a JSON object"}
		}
		u.Hash, _, _ = strings.Cut(u.Hash, ":") // what follows is some systems' own
	}
	bare := password.User{Name: u.Name}
	if why := bare.Check(); why != "" {
		return u, importedUser{Detail: why}
	}
	entry.Name = u.Name
	if kind := otherHash(u.Hash); kind != "" {
		if !noPasswords {
			entry.Detail = "the hash is of " + kind + ", which cannot be compared here"
			if u.Hash == "" {
				entry.Detail = "there is no hash"
			}
			return u, entry
		}
		u.Hash, u.Changed = "", time.Time{}
		entry.Detail = "without a password: the hash was of " + kind
	}
	if why := u.Check(); why != "" {
		entry.Detail = why
		return u, entry
	}
	entry.Added = true
	return u, entry
}

// decodeUser reads an entry in JSON, strictly, and says what is wrong with it.
func decodeUser(text string, u *password.User) string {
	var in struct {
		Name    string   `json:"name"`
		Hash    string   `json:"hash"`
		Display string   `json:"display"`
		Email   string   `json:"email"`
		Roles   []string `json:"roles"`
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return "is not a JSON object of name, hash, display, email and roles"
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return "something follows the JSON object"
	}
	u.Name, u.Hash, u.Display, u.Email, u.Roles = in.Name, in.Hash, in.Display, in.Email, in.Roles
	return ""
}

// otherHash names the kind of a hash that is not of Argon2id; "" for one that is.
func otherHash(hash string) string {
	for _, k := range []struct{ prefix, kind string }{
		{"$argon2id$", ""}, {"$argon2i$", "Argon2i"}, {"$argon2d$", "Argon2d"}, {"$2", "bcrypt"}, {"$apr1$", "MD5 (apr1)"},
		{"$1$", "MD5 (crypt)"}, {"$5$", "SHA-256 (crypt)"}, {"$6$", "SHA-512 (crypt)"}, {"$y$", "yescrypt"}, {"$7$", "scrypt"}, {"$scrypt$", "scrypt"},
		{"$pbkdf2", "PBKDF2"}, {"pbkdf2", "PBKDF2"}, {"{", "an LDAP scheme"},
	} {
		if strings.HasPrefix(hash, k.prefix) {
			return k.kind
		}
	}
	return "an unknown kind"
}

// addUsers adds the users whose entries are good and whom the file does not have, in
// one step, and notes in the entries who was left out.
func (s *settings) addUsers(entries []importedUser, users []password.User, strict, dryRun bool) error {
	leftOut := func(present []password.User) bool {
		names := make(map[string]bool, len(present))
		for _, u := range present {
			names[u.Name] = true
		}
		any := false
		for i := range entries {
			if entries[i].Added && names[users[i].Name] {
				entries[i].Added, entries[i].Detail = false, "there is a user of this name already"
			}
			any = any || !entries[i].Added
		}
		return any
	}
	if dryRun || !slices.ContainsFunc(entries, func(e importedUser) bool { return e.Added }) {
		if _, err := os.Stat(s.usersFile()); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		present, err := password.List(s.usersFile())
		leftOut(present)
		return err
	}
	errStays := errors.New("the file stays as it is")
	err := password.Change(s.usersFile(), func(present []password.User) ([]password.User, error) {
		if leftOut(present) && strict {
			return nil, errStays
		}
		for i, e := range entries {
			if e.Added {
				present = append(present, users[i])
			}
		}
		return present, nil
	})
	if errors.Is(err, errStays) {
		return nil
	}
	return err
}

// tellUsers tells what came of the entries.
func (p *program) tellUsers(s *settings, entries []importedUser, strict, dryRun, asJSON bool) error {
	refused := 0
	for _, e := range entries {
		if !e.Added {
			refused++
		}
	}
	if strict && refused > 0 {
		for i := range entries {
			entries[i].Added = false
		}
	}
	added := 0
	rows := [][]string{{"LINE", "NAME", "ADDED", "WHY"}}
	for _, e := range entries {
		word := "no"
		if e.Added {
			word, added = "yes", added+1
		}
		rows = append(rows, []string{fmt.Sprint(e.Line), dash(e.Name), word, dash(e.Detail)})
	}
	var err error
	if asJSON {
		err = printJSON(p.out, map[string]any{"users": append([]importedUser{}, entries...), "added": added, "refused": refused, "dry_run": dryRun})
	} else {
		err = table(p.out, rows)
	}
	if err != nil {
		return err
	}
	if dryRun {
		message(p.err, "%s could be added; nothing was written", plural(added, "user", "users"))
	} else {
		message(p.err, "added %s to %s", plural(added, "user", "users"), shownPath(s.usersFile()))
	}
	if refused > 0 {
		return failed("", "%s refused", plural(refused, "user was", "users were"))
	}
	return nil
}
