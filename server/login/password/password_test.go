package password_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/login/password"
)

// reference is a hash by the reference implementation's command, argon2, of "password"
// under the salt "somesalt" (its own test vector for argon2id).
const reference = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestVerify(t *testing.T) {
	v := password.NewVerifier()
	own, err := password.NewHash("pässword of the tests")
	if err != nil {
		t.Fatal(err)
	}
	again, err := password.NewHash("pässword of the tests")
	if err != nil || again == own {
		t.Error("two hashes of one password are the same", err)
	}
	for name, c := range map[string]struct {
		hash, password string
		want           bool
	}{
		"reference":       {reference, "password", true},
		"reference_other": {reference, "Password", false},
		"own":             {own, "pässword of the tests", true},
		"decomposed":      {own, "pa\u0308ssword of the tests", true},
		"own_other":       {own, "passwörd of the tests", false},
		"empty":           {own, "", false},
		"too_long":        {own, strings.Repeat("x", 2000), false},
		"no_hash":         {"", "", false},
		"no_hash_zeros":   {"", "password", false},
		"other_kind":      {strings.Replace(reference, "argon2id", "argon2i", 1), "password", false},
		"other_version":   {strings.Replace(reference, "v=19", "v=16", 1), "password", false},
		"memory_bomb":     {strings.Replace(reference, "m=65536", "m=4194304000", 1), "password", false},
		"pass_bomb":       {strings.Replace(reference, "t=2", "t=99999", 1), "password", false},
		"no_lanes":        {strings.Replace(reference, "p=1", "p=0", 1), "password", false},
		"signed_number":   {strings.Replace(reference, "t=2", "t=+2", 1), "password", false},
		"short_hash":      {reference[:60], "password", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := v.Verify(t.Context(), c.hash, c.password); err != nil || got != c.want {
				t.Errorf("%v (%v), want %v", got, err, c.want)
			}
		})
	}
}

// TestVerifierBounded: more callers than there is room for are turned away at once.
func TestVerifierBounded(t *testing.T) {
	v := password.NewVerifier()
	var all sync.WaitGroup
	var mu sync.Mutex
	codes := make(map[latchkey.Code]int)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 400 {
		all.Go(func() {
			_, err := v.Verify(ctx, reference, "x")
			mu.Lock()
			defer mu.Unlock()
			if codes[latchkey.CodeOf(err)]++; err != nil {
				cancel() // the rest need not wait
			}
		})
	}
	all.Wait()
	if codes[latchkey.CodeRateLimited] == 0 || len(codes) > 2 {
		t.Errorf("%v", codes)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if _, err := password.Open(path); err == nil {
		t.Error("a file that is not there was opened")
	}
	add := func(names ...string) error {
		return password.Change(path, func(users []password.User) ([]password.User, error) {
			for _, n := range names {
				users = append(users, password.User{Name: n, Hash: reference, Roles: []string{"admin"}, Display: "Ada: #1 \"x\"", Email: "a@example.com"})
			}
			return users, nil
		})
	}
	if err := add("bob", "ada"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	f, err := password.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	u, ok, err := f.Lookup("ada")
	if !ok || err != nil || u.Hash != reference || !slices.Equal(u.Roles, []string{"admin"}) || u.Display != "Ada: #1 \"x\"" {
		t.Errorf("%v %v %v", u, ok, err)
	}
	if text := fmt.Sprintf("%v %+v %#v", u, u, u); strings.Contains(text, "argon2") {
		t.Errorf("a user prints as %s", text)
	}
	if _, ok, err := f.Lookup("eve"); ok || err != nil {
		t.Error(ok, err)
	}
	// A change is seen at once.
	if err := add("eve"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := f.Lookup("eve"); !ok || err != nil {
		t.Error(ok, err)
	}
	if list, err := password.List(path); err != nil || len(list) != 3 || list[0].Name != "ada" {
		t.Error(list, err)
	}
	// One that fails leaves everything as it was, and no lock.
	boom := errors.New("boom")
	if err := password.Change(path, func([]password.User) ([]password.User, error) { return nil, boom }); !errors.Is(err, boom) {
		t.Error(err)
	}
	// Two at once: one waits for nobody and is refused.
	err = password.Change(path, func(users []password.User) ([]password.User, error) { return users, add("x") })
	if err == nil || !strings.Contains(err.Error(), "another change is under way") {
		t.Error(err)
	}
	if list, err := password.List(path); err != nil || len(list) != 3 {
		t.Error(list, err)
	}
}

// A file that would be too large to be read is not written: nobody could sign in.
func TestFileTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	add := func(name string, n int) error {
		return password.Change(path, func(users []password.User) ([]password.User, error) {
			for i := range n {
				users = append(users, password.User{Name: fmt.Sprintf("%s%d", name, i), Hash: reference})
			}
			return users, nil
		})
	}
	if err := add("a", 1000); err != nil {
		t.Fatal(err)
	}
	if err := add("b", 40_000); err == nil || !strings.Contains(err.Error(), "would be larger than 4 MiB") {
		t.Errorf("error %v", err)
	}
	if list, err := password.List(path); err != nil || len(list) != 1000 {
		t.Errorf("%d users (%v)", len(list), err)
	}
	if err := add("c", 1); err != nil { // and no lock is left
		t.Error(err)
	}
}

func TestRefusedFiles(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"readable":      {"users: []\n", 0o644, "chmod 600"},
		"unknown_field": {"users:\n- name: ada\n  passwort: geheim\n", 0o600, "is not a list"},
		"no_list":       {"users: x\n", 0o600, "is not a list"},
		"bad_name":      {"users:\n- name: \"a b\"\n", 0o600, "user 1: a name is"},
		"twice":         {"users:\n- name: a\n- name: a\n", 0o600, "user 2: the name is there twice"},
		"clear_text":    {"users:\n- name: a\n  hash: geheim\n", 0o600, "user 1: the hash"},
		"bad_role":      {"users:\n- name: a\n  roles: [\"a,b\"]\n", 0o600, "user 1: a role"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "users")
			if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := password.Open(path); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim") {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// A file that turns bad while the daemon runs signs nobody in.
func TestFileTurnsBad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("users:\n- name: ada\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := password.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, spoil := range []func() error{func() error { return os.WriteFile(path, []byte("users: [\n"), 0o600) }, func() error { return os.Remove(path) }} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := f.Lookup("ada"); ok || err == nil {
			t.Error("a file that cannot be read still has users")
		}
	}
}

func TestCheck(t *testing.T) {
	for text, fine := range map[string]bool{"12345678": true, "1234567": false, "ööööööö": false, "öööööööö": true, "a\nbcdefghij": false, "\xff12345678": false, strings.Repeat("x", 1025): false} {
		if why := password.Check(text); (why == "") != fine {
			t.Errorf("%q: %s", text, why)
		}
	}
}
