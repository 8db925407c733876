//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/server/api"
)

// writeLines writes an input of n sessions.
func writeLines(t *testing.T, path string, n int) {
	t.Helper()
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `{"subject":"user-%d","provider":"old","sid":"row-%d","roles":["staff"],"data":{"cart":%d}}`+"\n", i, i, i)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// makeStore makes keys and a store, which is the daemon's to do where there is no schema.
func makeStore(t *testing.T, dir, store string) {
	t.Helper()
	cli(t, dir, 0, "key", "generate")
	start(t, dir, "--store", store, "--public-url", "https://auth.example.com").stop()
}

// allSessions lists every session by its sid.
func allSessions(t *testing.T, dir, store, state string) map[string][]api.Session {
	t.Helper()
	found, cursor := make(map[string][]api.Session), ""
	for {
		args := []string{"session", "list", "--store", store, "--state", state, "--limit", "500", "--json"}
		if cursor != "" {
			args = append(args, "--cursor", cursor)
		}
		var page api.SessionPage
		if err := json.Unmarshal([]byte(cli(t, dir, 0, args...)), &page); err != nil {
			t.Fatal(err)
		}
		for _, s := range page.Sessions {
			found[s.SID] = append(found[s.SID], s)
		}
		if page.NextCursor == nil {
			return found
		}
		cursor = *page.NextCursor
	}
}

// tokensIn returns the tokens of a file of results by line; the later result counts.
func tokensIn(t *testing.T, path string) map[int]parsedResult {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	byLine := make(map[int]parsedResult)
	for _, r := range parseResults(t, string(text)) {
		byLine[r.Line] = r
	}
	return byLine
}

// An import that is killed, again and again, is finished by repeating it: each line
// has one live session in the end, and its token is in the file.
func TestImportKilled(t *testing.T) {
	const lines = 3000
	for name, launch := range map[string]func(t *testing.T) string{
		"sqlite":   func(*testing.T) string { return "sqlite:latchkey.db" },
		"redis":    func(t *testing.T) string { return servers.StartRedis(t, "--appendonly", "yes").URL },
		"postgres": func(t *testing.T) string { return servers.StartPostgres(t).URL },
	} {
		t.Run(name, func(t *testing.T) {
			dir, store := t.TempDir(), launch(t)
			makeStore(t, dir, store)
			writeLines(t, filepath.Join(dir, "in.jsonl"), lines)
			out := filepath.Join(dir, "out.jsonl")
			args := []string{"import", "sessions", "in.jsonl", "--store", store, "--out", "out.jsonl", "--resume", "--replace"}
			for round := range 2 {
				killAfter(t, dir, out, (round+1)*300_000, args)
			}
			var sum importSummary
			if err := json.Unmarshal([]byte(cli(t, dir, 0, append(args, "--json")...)), &sum); err != nil {
				t.Fatal(err)
			}
			if sum.Lines != lines || sum.Resumed == 0 || sum.Imported == 0 || sum.Resumed+sum.Imported != lines || sum.Failed+sum.Exists > 0 {
				t.Errorf("%+v", sum)
			}
			t.Logf("%+v", sum)
			found, told := allSessions(t, dir, store, "live"), tokensIn(t, out)
			if len(found) != lines || len(told) != lines {
				t.Errorf("%d sessions, %d results", len(found), len(told))
			}
			for i := range lines {
				s := found[fmt.Sprintf("row-%d", i)]
				if r := told[i+1]; len(s) != 1 || s[0].ID != r.ID || r.Token == "" {
					t.Fatalf("line %d: %d live sessions, and the file has %q", i+1, len(s), r.ID)
				}
			}
			// Tokens of the first run and of the last are good.
			d := start(t, dir, "--store", store, "--public-url", "https://auth.example.com")
			for _, line := range []int{1, lines/2 + 1, lines} {
				if status := d.me(told[line].Token); status != 200 {
					t.Errorf("the token of line %d: %d", line, status)
				}
			}
			d.stop()
		})
	}
}

// killAfter runs the program and kills it once the file is so long, if it does not
// end before.
func killAfter(t *testing.T, dir, file string, size int, args []string) {
	t.Helper()
	cmd := exec.Command(builtBinary, args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("it ended before it was killed: %v\n%s", err, errs.String())
		default:
		}
		if info, err := os.Stat(file); err == nil && info.Size() > int64(size) {
			break
		} else if time.Since(began) > patience {
			t.Fatalf("the file does not grow: %v", err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
}

// SIGINT ends an import that waits for more input, after what it has read.
func TestImportSIGINT(t *testing.T) {
	dir := prepare(t)
	cmd := exec.Command(builtBinary, "import", "sessions", "--json")
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, `{"subject":"a"}`+"\n"+`{"subject":"b"}`+"\n"+`{"subj`); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }).Stop()
	// Both are answered although the input goes on.
	text := ""
	for b := make([]byte, 1<<16); strings.Count(text, "\n") < 2; {
		n, err := out.Read(b)
		if err != nil {
			t.Fatalf("%v after %q\n%s", err, text, errs.String())
		}
		text += string(b[:n])
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the status is looked at
	if cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(errs.String(), "interrupted after 2 lines") || !strings.Contains(string(rest), `"stopped":"interrupted"`) {
		t.Errorf("status %v, %q, %q", cmd.ProcessState, rest, errs.String())
	}
	if found := allSessions(t, dir, "sqlite:latchkey.db", "live"); len(found[""]) != 2 {
		t.Errorf("%d sessions", len(found[""]))
	}
}

// A reader that goes away leaves no session behind whose token it did not get, but for
// what the pipe took.
func TestImportReaderGone(t *testing.T) {
	dir := prepare(t)
	writeLines(t, filepath.Join(dir, "in.jsonl"), 2000)
	cmd := exec.Command(builtBinary, "import", "sessions", "in.jsonl")
	cmd.Dir = dir
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	b := make([]byte, 1000)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	r.Close()
	_ = cmd.Wait() // the status is looked at
	if cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(errs.String(), "the results cannot be written: broken pipe") {
		t.Errorf("status %v, %q", cmd.ProcessState, errs.String())
	}
	// A pipe holds 64 KiB, a result has more than 300 bytes.
	if n := len(allSessions(t, dir, "sqlite:latchkey.db", "live")); n > (64<<10)/300+10 {
		t.Errorf("%d sessions live", n)
	}
	if n := len(allSessions(t, dir, "sqlite:latchkey.db", "ended")); n == 0 {
		t.Error("none was ended")
	}
}

// A server that dies in the middle is status 4; the rest follows when it is back.
func TestImportServerDies(t *testing.T) {
	const lines = 3000
	server := servers.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	dir := t.TempDir()
	makeStore(t, dir, server.URL)
	writeLines(t, filepath.Join(dir, "in.jsonl"), lines)
	out := filepath.Join(dir, "out.jsonl")
	cmd := exec.Command(builtBinary, "import", "sessions", "in.jsonl", "--store", server.URL, "--out", "out.jsonl", "--json")
	cmd.Dir = dir
	var text, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(out); err == nil && info.Size() > 100_000 {
			break
		} else if time.Since(began) > patience {
			t.Fatal("the file does not grow")
		}
	}
	server.Kill(t)
	_ = cmd.Wait() // the status is looked at
	if cmd.ProcessState.ExitCode() != exitUnavailable || !strings.Contains(text.String(), `"stopped": "store_unavailable"`) {
		t.Fatalf("status %v, %s%s", cmd.ProcessState, text.String(), errs.String())
	}
	if strings.Contains(text.String()+errs.String(), servers.Password) {
		t.Error("the password is shown")
	}
	server.Restart(t)
	cli(t, dir, 0, "import", "sessions", "in.jsonl", "--store", server.URL, "--out", "out.jsonl", "--resume", "--replace")
	found, told := allSessions(t, dir, server.URL, "live"), tokensIn(t, out)
	for i := range lines {
		if s := found[fmt.Sprintf("row-%d", i)]; len(s) != 1 || s[0].ID != told[i+1].ID {
			t.Fatalf("line %d: %d live sessions, and the file has %+v", i+1, len(s), told[i+1])
		}
	}
}
