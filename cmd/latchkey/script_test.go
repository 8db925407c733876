package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// builtBinary is the program as built for the tests that run it as a daemon.
var builtBinary string

// suite is the tests with what they need built before and removed after.
type suite struct{ *testing.M }

func (s suite) Run() int {
	dir, err := os.MkdirTemp("", "latchkey")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	builtBinary = filepath.Join(dir, "latchkey")
	if out, err := exec.Command("go", "build", "-o", builtBinary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return s.M.Run()
}

// TestMain lets the scripts run this very test binary as latchkey.
func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){"latchkey": main})
}

// TestScripts runs testdata/*.txtar. Beside testscript's own commands they have
//
//	status N latchkey ARG...   run latchkey, which must exit with status N
//	json PATH VALUE            in the JSON printed last, PATH (a.0.b) must match the regular expression VALUE
//	save PATH NAME             keep the value at PATH of the JSON printed last in the variable NAME
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GOCOVERDIR", os.Getenv("GOCOVERDIR"))
			// Else each of hundreds of runs sleeps for a second at its end, built with -race.
			env.Setenv("GORACE", "atexit_sleep_ms=10")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": cmdStatus, "json": cmdJSON, "save": cmdSave},
	})
}

func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command arg...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("status %s, want %s\n%s%s", got, args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// find returns the value at a path in the JSON on standard output.
func find(ts *testscript.TestScript, path string) any {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for part := range strings.SplitSeq(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			next, ok := at[part]
			if !ok {
				ts.Fatalf("there is no %s of %s", part, path)
			}
			v = next
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); part == "length" {
				v = float64(len(at))
				continue
			} else if err != nil || i >= len(at) {
				ts.Fatalf("there is no %s of %s", part, path)
			}
			v = at[i]
		default:
			ts.Fatalf("there is no %s of %s", part, path)
		}
	}
	return v
}

func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: json PATH REGEXP")
	}
	got := text(find(ts, args[0]))
	if match, err := regexp.MatchString("^(?:"+args[1]+")$", got); err != nil || match == neg {
		ts.Fatalf("%s is %s, want %s (%v)", args[0], got, args[1], err)
	}
}

func cmdSave(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: save PATH NAME")
	}
	ts.Setenv(args[1], text(find(ts, args[0])))
}
