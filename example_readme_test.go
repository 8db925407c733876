package latchkey_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/store/sqlite"
)

// The program of the README: sessions in an embedded database.
func Example() {
	defer inTemporaryFolder()()

	// README begins
	store, err := sqlite.Open(sqlite.Config{Path: "sessions.db"}) // made when absent
	if err != nil {
		log.Fatal(err)
	}
	keys, err := keyring.Open("sessions.keys", keyring.Options{CreateIfMissing: true})
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := latchkey.New(latchkey.Config{Store: store, Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	site := sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := latchkey.FromContext(r.Context())
		if err == nil && r.URL.Path == "/login" { // after checking who it is
			err = s.SignIn(r.Context(), latchkey.SignIn{Subject: "alice"})
		}
		if err != nil {
			latchkey.WriteProblem(w, r, err)
			return
		}
		fmt.Fprintf(w, "hello %q", s.Subject())
	}))
	// README ends; then http.ListenAndServe("127.0.0.1:8080", site)

	var b browser
	fmt.Println(b.get(site, "/"))
	fmt.Println(b.get(site, "/login"))
	fmt.Println(b.get(site, "/"))
	fmt.Println(sessions.Close(context.Background()), store.Close())
	// Output:
	// 200 hello ""
	// 200 hello "alice"
	// 200 hello "alice"
	// <nil> <nil>
}

// inTemporaryFolder changes to a folder of its own, and returns what goes back.
func inTemporaryFolder() func() {
	before, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "latchkey")
	if err != nil {
		panic(err)
	}
	if err := os.Chdir(dir); err != nil {
		panic(err)
	}
	return func() {
		if err := os.Chdir(before); err != nil {
			panic(err)
		}
		_ = os.RemoveAll(dir)
	}
}

// TestReadme holds the README's program to the one above, and its opening to what
// a reader gets to see before scrolling.
func TestReadme(t *testing.T) {
	source := readPage(t, "example_readme_test.go")
	_, program, _ := strings.Cut(source, "\t// README begins\n")
	program, _, found := strings.Cut(program, "\t// README ends")
	if !found {
		t.Fatal("the example has lost its marks")
	}
	program = strings.ReplaceAll("\n"+program, "\n\t", "\n")[1:]
	readme := readPage(t, "README.md")
	if !strings.Contains(readme, "```go\n"+program+"```\n") {
		t.Errorf("README.md does not hold the program of example_readme_test.go:\n%s", program)
	}
	opening := strings.Join(strings.SplitN(readme, "\n", 61)[:60], "\n")
	for _, part := range []string{"latchkey serve --demo", "make test", "```go", "**Guaranteed**", "**Not guaranteed**"} {
		if !strings.Contains(opening, part) {
			t.Errorf("the first 60 lines of README.md lack %q", part)
		}
	}
}
