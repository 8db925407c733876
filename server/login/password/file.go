package password

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/latchkey-go/latchkey"
)

// User is one user of a file.
type User struct {
	// Name is what the user types, and the subject of the sessions: letters, digits and
	// "._@+-", at most 64 bytes. It is compared as it stands.
	Name string `yaml:"name"`
	// Hash is that of the password, "" for a user who cannot sign in.
	Hash string `yaml:"hash,omitempty"`
	// Display, Email and Roles are those of the sessions.
	Display string   `yaml:"display,omitempty"`
	Email   string   `yaml:"email,omitempty"`
	Roles   []string `yaml:"roles,omitempty,flow"`
	// Changed is when the password was set, UTC, seconds.
	Changed time.Time `yaml:"changed,omitempty"`
}

// Format writes the name for every verb: the rest holds a hash.
func (u User) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "user "+u.Name) }

// Bounds of a file.
const (
	maxFile = 4 << 20
	maxName = 64
)

// document is the file as it is written.
type document struct {
	Users []User `yaml:"users"`
}

// File reads users from a file. It is safe for concurrent use.
type File struct {
	path string

	mu    sync.Mutex
	stamp stamp
	users map[string]User
}

// stamp tells one state of a file from another.
type stamp struct {
	modified time.Time
	size     int64
	info     fs.FileInfo
}

// problem is an error about the file, for operators; it never repeats what stands in it.
func problem(path, text string) error {
	return latchkey.NewError(latchkey.CodeInternal, "users file "+filepath.Base(path)+": "+text, nil)
}

// Open checks the file and reads it. It is refused where other users may read it.
func Open(path string) (*File, error) {
	f := &File{path: path}
	_, err := f.read()
	return f, err
}

// Lookup returns a user, or false when there is none. It reads the file anew when that
// has changed. An error says that the file cannot be read: nobody signs in then.
func (f *File) Lookup(name string) (User, bool, error) {
	users, err := f.read()
	if err != nil {
		return User{}, false, err
	}
	u, ok := users[name]
	return u, ok, nil
}

// read returns the users, from memory while the file is as it was.
func (f *File) read() (map[string]User, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, problem(f.path, cause(err))
	}
	// A file that is replaced is another file, whatever its size and time.
	if f.users != nil && info.ModTime().Equal(f.stamp.modified) && info.Size() == f.stamp.size && os.SameFile(info, f.stamp.info) {
		return f.users, nil
	}
	list, info, err := load(f.path)
	if err != nil {
		return nil, err
	}
	f.users = make(map[string]User, len(list))
	for _, u := range list {
		f.users[u.Name] = u
	}
	f.stamp = stamp{info.ModTime(), info.Size(), info}
	return f.users, nil
}

// List returns the users of a file in the order of their names.
func List(path string) ([]User, error) {
	list, _, err := load(path)
	return list, err
}

// load reads and checks a file.
func load(path string) ([]User, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, problem(path, cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, nil, problem(path, cause(err))
	case !info.Mode().IsRegular():
		return nil, nil, problem(path, "is not a regular file")
	case hasModes() && info.Mode().Perm()&0o077 != 0:
		return nil, nil, problem(path, fmt.Sprintf("has mode %04o, so that others may read or change it; run chmod 600", info.Mode().Perm()))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, problem(path, cause(err))
	}
	if len(text) > maxFile {
		return nil, nil, problem(path, "is larger than 4 MiB")
	}
	var doc document
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, problem(path, "is not a list of users as `latchkey user` writes it") // the parser would repeat what stands there
	}
	seen := make(map[string]bool)
	for i := range doc.Users {
		u := &doc.Users[i]
		if why := u.Check(); why != "" || seen[u.Name] {
			if why == "" {
				why = "the name is there twice"
			}
			return nil, nil, problem(path, fmt.Sprintf("user %d: %s", i+1, why))
		}
		seen[u.Name] = true
	}
	slices.SortFunc(doc.Users, func(a, b User) int { return strings.Compare(a.Name, b.Name) })
	return doc.Users, info, nil
}

// Check says what is wrong with a user, or "".
func (u *User) Check() string {
	if u.Name == "" || len(u.Name) > maxName || strings.ContainsFunc(u.Name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._@+-", r)
	}) {
		return fmt.Sprintf("a name is 1 to %d letters, digits and ._@+-", maxName)
	}
	if _, ok := parse(u.Hash); u.Hash != "" && !ok {
		return "the hash is not one of argon2id"
	}
	for _, text := range []string{u.Display, u.Email} {
		if !plain(text) || len(text) > 320 {
			return "name to show and e-mail address are at most 320 bytes without control characters"
		}
	}
	for _, role := range u.Roles {
		if role == "" || len(role) > 255 || !plain(role) || strings.Contains(role, ",") {
			return "a role is 1 to 255 bytes without commas and control characters"
		}
	}
	if len(u.Roles) > 64 {
		return "a user has at most 64 roles"
	}
	return ""
}

func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 })
}

// Change replaces the users of a file, which is made if it is missing, by what change
// returns of the present ones. Two changes at once do not undo each other: the second
// is refused. Nobody sees the file half-written, and it is durable on return.
func Change(path string, change func([]User) ([]User, error)) (err error) {
	// The lock is the temporary file itself: it can be made by one at a time.
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return problem(path, "another change is under way; if none is, remove "+filepath.Base(temp))
	}
	if err != nil {
		return problem(path, cause(err))
	}
	defer func() {
		if cerr := f.Close(); cerr != nil && err == nil && !errors.Is(cerr, os.ErrClosed) {
			err = problem(path, cause(cerr))
		}
		if err != nil {
			_ = os.Remove(temp) // nothing else can be done about it
		}
	}()
	users, _, err := load(path)
	if _, missing := os.Stat(path); errors.Is(missing, fs.ErrNotExist) {
		users, err = nil, nil
	}
	if err != nil {
		return err
	}
	if users, err = change(users); err != nil {
		return err
	}
	text, err := yaml.Marshal(document{users})
	if err != nil {
		return problem(path, "cannot be written")
	}
	if text = append([]byte("# Users of Latchkey. Change it with: latchkey user\n"), text...); len(text) > maxFile {
		return problem(path, "would be larger than 4 MiB, and could not be read then") // nobody could sign in
	}
	if err := keepOwner(f, path); err != nil {
		return problem(path, "its owner cannot be kept; run this as the owner or as root")
	}
	if _, err := f.Write(text); err != nil {
		return problem(path, cause(err))
	}
	if err := f.Sync(); err != nil {
		return problem(path, cause(err))
	}
	if err := f.Close(); err != nil {
		return problem(path, cause(err))
	}
	if err := os.Rename(temp, path); err != nil {
		return problem(path, "cannot be replaced")
	}
	return syncFolder(path)
}

// syncFolder makes the file's new name durable, where folders can be synced.
func syncFolder(path string) error {
	if !hasModes() {
		return nil
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return problem(path, cause(err))
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return problem(path, cause(err))
	}
	return nil
}

func hasModes() bool { return runtime.GOOS != "windows" && runtime.GOOS != "plan9" }

// cause is an error of the file system without the path, which the message names.
func cause(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return "cannot be read or written"
}
