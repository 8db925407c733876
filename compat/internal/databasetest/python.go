package databasetest

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/internal/needs"
)

// Python returns a Python that has the modules, a list with commas. Without one the
// test is skipped, and fails where CI=true.
func Python(t testing.TB, modules string) string {
	t.Helper()
	return needs.Python(t, modules)
}

// Original is an original system in Python that answers requests, a line of JSON each.
type Original struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// StartOriginal starts a script that needs modules, until the end of the test. The
// variables are added to the environment.
func StartOriginal(t testing.TB, modules string, variables []string, script string, args ...string) *Original {
	t.Helper()
	cmd := exec.Command(Python(t, modules), append([]string{script}, args...)...)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	cmd.Stderr, cmd.Env = os.Stderr, append(os.Environ(), variables...)
	if err1 != nil || err2 != nil || cmd.Start() != nil {
		t.Fatal("python does not start", err1, err2)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &Original{in, bufio.NewReader(out)}
}

// Ask sends a request and reads its answer.
func (o *Original) Ask(t testing.TB, request map[string]any, answer any) {
	t.Helper()
	line, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	got, err := o.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v", request, err)
	}
	if err := json.NewDecoder(strings.NewReader(got)).Decode(answer); err != nil {
		t.Fatalf("%q: %v", got, err)
	}
}
