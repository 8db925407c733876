package runner_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/latchkey-go/latchkey/compat/internal/vectortest"
	"github.com/latchkey-go/latchkey/compat/pyjson"
	"github.com/latchkey-go/latchkey/compat/runner"
)

// ask runs cases and returns the lines that answer them.
func ask(t testing.TB, lines ...string) []string {
	t.Helper()
	var out bytes.Buffer
	if err := runner.Run(context.Background(), strings.NewReader(strings.Join(lines, "\n")), &out); err != nil {
		t.Fatal(err)
	}
	answers := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(answers) != len(lines) {
		t.Fatalf("%d answers to %d cases", len(answers), len(lines))
	}
	return answers
}

type result struct {
	ID    any             `json:"id"`
	OK    bool            `json:"ok"`
	Value json.RawMessage `json:"value"`
	Error string          `json:"error"`
}

func parse(t testing.TB, line string) (r result) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("%.200s: %v", line, err)
	}
	return r
}

// tree is JSON with the text of numbers, for comparison.
func tree(t testing.TB, text []byte) (v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%.200s: %v", text, err)
	}
	return v
}

var formats = []string{"itsdangerous", "reflow", "cb", "crossauth", "session_cache", "apicrud"}

func TestVectors(t *testing.T) {
	for _, format := range formats {
		askAll(t, vectortest.Load(t, ".", format))
	}
}

// askAll compares the answers to cases with what the originals made of them.
func askAll(t *testing.T, cases []vectortest.Case) {
	lines := make([]string, len(cases))
	for i, c := range cases {
		lines[i] = string(c.Line)
	}
	for i, line := range ask(t, lines...) {
		c, got := cases[i], parse(t, line)
		t.Run(strings.ReplaceAll(c.ID, " ", "_"), func(t *testing.T) { compare(t, &c, got) })
	}
}

func generated(t testing.TB) []vectortest.Case {
	t.Helper()
	text, err := os.ReadFile("testdata/generated/cases.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	cases := vectortest.Parse(t, text)
	if len(cases) < 700 {
		t.Fatalf("only %d cases", len(cases))
	}
	return cases
}

// Edge cases that testdata/generate.py has made with the original libraries.
func TestGenerated(t *testing.T) { askAll(t, generated(t)) }

// The same cases made anew by the libraries of this machine, whose compressor may be
// another.
func TestGeneratedHere(t *testing.T) {
	cmd := exec.Command(python(t), "testdata/generate.py")
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	cases, kept := vectortest.Parse(t, text), generated(t)
	if len(cases) != len(kept) {
		t.Fatalf("%d cases, and %d are kept: run the script again", len(cases), len(kept))
	}
	for i := range cases {
		if cases[i].ID != kept[i].ID {
			t.Fatalf("%s where %s is kept: run the script again", cases[i].ID, kept[i].ID)
		}
	}
	askAll(t, cases)
}

func compare(t *testing.T, c *vectortest.Case, got result) {
	want := c.Want
	if got.ID != c.ID || got.OK != want.OK || got.Error != want.Error {
		t.Fatalf("got %+v %s, want %+v", got, got.Value, want)
	}
	switch {
	case want.Value != nil:
		if !reflect.DeepEqual(tree(t, got.Value), tree(t, want.Value)) {
			t.Errorf("got %s, want %s", got.Value, want.Value)
		}
	case want.JSON != nil:
		var text string
		if err := json.Unmarshal(got.Value, &text); err != nil || !reflect.DeepEqual(tree(t, []byte(text)), tree(t, want.JSON)) {
			t.Errorf("got %s, want %s", got.Value, want.JSON)
		}
	case want.DecodesTo != nil:
		var token string
		if err := json.Unmarshal(got.Value, &token); err != nil || strings.HasPrefix(token, ".") != want.Compressed {
			t.Fatal(token, err)
		}
		in, err := pyjson.ParseObject(c.In)
		if err != nil {
			t.Fatal(err)
		}
		again := mustCase(t, "itsdangerous", "loads", in.Set("token", token).Set("max_age", 0))
		if back := parse(t, ask(t, again)[0]); !reflect.DeepEqual(tree(t, back.Value), tree(t, want.DecodesTo)) {
			t.Errorf("decodes to %s, want %s", back.Value, want.DecodesTo)
		}
	case want.OK:
		t.Error("a case that wants nothing")
	}
}

func mustCase(t testing.TB, format, op string, in pyjson.Object) string {
	t.Helper()
	text, err := pyjson.Marshal(pyjson.Verbatim, pyjson.Object{{Name: "id", Value: "x"}, {Name: "format", Value: format}, {Name: "op", Value: op}, {Name: "in", Value: in}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestBadCases(t *testing.T) {
	for line, want := range map[string]string{
		"no json":                              `{"id":null,"ok":false,"error":"bad_case"}`,
		"[]":                                   `{"id":null,"ok":false,"error":"bad_case"}`,
		"null":                                 `{"id":null,"ok":false,"error":"bad_case"}`,
		"{\"id\":\"\xff\"}":                    `{"id":null,"ok":false,"error":"bad_case"}`,
		strings.Repeat("[", 20000):             `{"id":null,"ok":false,"error":"bad_case"}`,
		`{"id":"a"}`:                           `{"id":"a","ok":false,"error":"bad_case"}`,
		`{"id": 1.50, "format":1,"op":"hash"}`: `{"id":1.50,"ok":false,"error":"bad_case"}`,
		`{"id":"é🎲","format":"x","op":"y"}`:    `{"id":"\u00e9\ud83c\udfb2","ok":false,"error":"unsupported"}`,
		`{"id":[1],"format":"cb","op":"hash","in":{}}`:                                                                                                       `{"id":[1],"ok":false,"error":"unsupported"}`,
		`{"format":"crossauth","op":"hash"}`:                                                                                                                 `{"id":null,"ok":false,"error":"bad_case"}`,
		`{"format":"crossauth","op":"hash","in":null}`:                                                                                                       `{"id":null,"ok":false,"error":"bad_case"}`,
		`{"id":2,"format":"crossauth","op":"hash","in":{}}`:                                                                                                  `{"id":2,"ok":false,"error":"bad_case"}`,
		`{"id":2,"format":"crossauth","op":"hash","in":{"text":null}}`:                                                                                       `{"id":2,"ok":false,"error":"bad_case"}`,
		`{"id":2,"format":"crossauth","op":"hash","in":{"text":"\ud800"}}`:                                                                                   `{"id":2,"ok":false,"error":"bad_case"}`,
		`{"id":2,"format":"crossauth","op":"mask_csrf_token","in":{"token":"A","mask_bytes_hex":"00"}}`:                                                      `{"id":2,"ok":false,"error":"bad_case"}`,
		`{"id":2,"format":"apicrud","op":"encrypt","in":{"secret":"s","iv_hex":"00","plaintext":""}}`:                                                        `{"id":2,"ok":false,"error":"bad_case"}`,
		`{"id":2,"format":"apicrud","op":"decrypt","in":{"secret":"s","value":"x"}}`:                                                                         `{"id":2,"ok":false,"error":"bad_case"}`,
		`{"id":2,"format":"apicrud","op":"jwt","in":{"secret":"s","claims":[]}}`:                                                                             `{"id":2,"ok":false,"error":"bad_case"}`,
		`{"id":2,"format":"cb","op":"lookup","in":{"cookie":null,"secret":"","salt":"","now":0,"row":{},"session_max_days":1}}`:                              `{"id":2,"ok":false,"error":"bad_case"}`,
		`{"id":2,"format":"itsdangerous","op":"dumps","in":{"payload_json":"{","secrets":["s"],"salt":"","digest":"sha1","key_derivation":"none","now":0}}`:  `{"id":2,"ok":false,"error":"bad_case"}`,
		`{"id":2,"format":"itsdangerous","op":"dumps","in":{"payload_json":"1","secrets":[],"salt":"","digest":"sha1","key_derivation":"none","now":0}}`:     `{"id":2,"ok":false,"error":"bad_case"}`,
		`{"id":2,"format":"itsdangerous","op":"dumps","in":{"payload_json":"1","secrets":["s"],"salt":"","digest":"md5","key_derivation":"none","now":0}}`:   `{"id":2,"ok":false,"error":"bad_case"}`,
		`{"id":2,"format":"itsdangerous","op":"dumps","in":{"payload_json":"1","secrets":["s"],"salt":"","digest":"sha1","key_derivation":"none","now":-5}}`: `{"id":2,"ok":false,"error":"bad_case"}`,
	} {
		if got := ask(t, line)[0]; got != want {
			t.Errorf("%.100s\n got %s\nwant %s", line, got, want)
		}
	}
	good := `{"id":1,"format":"crossauth","op":"hash","in":{"text":"PLAINTEXT"}}`
	got := ask(t, good, "", " ", good+"\r", good)
	hash := `{"id":1,"ok":true,"value":"y0Dn2tyGFhuXmN5IUS8zLSHBQfzB4ooIb95KM3WqsbU"}`
	bad := `{"id":null,"ok":false,"error":"bad_case"}`
	if want := []string{hash, bad, bad, hash, hash}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

// Cases of the shapes of the vectors whose answers follow from the rules.
func TestMoreCases(t *testing.T) {
	const entry = `{"user_id":"u","email":"e","name":"n","email_verified":true,"tier":"free","created_at":"2025-11-14T12:00:00","updated_at":"2025-11-14T12:00:00+00:00","session_expire":"2026-01-02T03:04:06+00:00","cached_at":1767323045.5}`
	for _, c := range []struct{ format, op, in, want string }{
		{"reflow", "should_reissue", `{"ttl_seconds":3,"elapsed_seconds":1.500001}`, `true`},
		{"reflow", "should_reissue", `{"ttl_seconds":3,"elapsed_seconds":1.5}`, `false`},
		{"session_cache", "ttl", `{"ttl_seconds":300,"session_remaining":-5}`, `1`},
		{"session_cache", "ttl", `{"ttl_seconds":300,"session_remaining":null}`, `300`},
		{"session_cache", "ttl", `{"ttl_seconds":0,"session_remaining":10}`, `0`},
		{"session_cache", "get", `{"now":1767323046.0,"cached":` + entry + `,"marker":null}`, `true`},
		{"session_cache", "get", `{"now":1767323046.000001,"cached":` + entry + `,"marker":null}`, `miss`},
		{"session_cache", "get", `{"now":1767323046.0,"cached":` + entry + `,"marker":"1767323045.5"}`, `true`},
		{"session_cache", "get", `{"now":1767323046.0,"cached":` + entry + `,"marker":"1767323045.6"}`, `miss`},
		{"session_cache", "get", `{"now":1767323046.0,"cached":` + entry + `,"marker":"x"}`, `miss`},
		{"session_cache", "get", `{"now":1,"cached":null,"marker":null}`, `miss`},
		{"session_cache", "get", `{"now":1,"cached":{"user_id":"u"},"marker":null}`, `miss`},
		{"session_cache", "get", `{"now":1767323046,"cached":` + strings.Replace(entry, `,"cached_at":1767323045.5`, "", 1) + `,"marker":"1"}`, `miss`},
		{"apicrud", "key", `{"uid":"u","token":"ab"}`, `"ses:u:ab"`},
		{"apicrud", "jwt", `{"secret":"","claims":{}}`, `"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.LwimMJA3puF3ioGeS-tfczR3370GXBZMIL-bdpu4hOU"`},
		{"crossauth", "csrf_validate", `{"cookie":null,"header":"a.b","secret":"s"}`, `invalid`},
		{"reflow", "decode", `{"cookie":null,"secret":"s","max_age":1,"now":1}`, `invalid`},
		{"cb", "lookup", `{"cookie":"x.y.z","secret":"s","salt":"","now":1,"row":null,"session_max_days":1}`, `invalid`},
		{"itsdangerous", "loads", `{"token":"WzFd..x","secrets":"s","salt":null,"digest":"sha384","key_derivation":"hmac","max_age":1.5,"now":1.9}`, `bad_signature`},
	} {
		line := fmt.Sprintf(`{"id":1,"format":%q,"op":%q,"in":%s}`, c.format, c.op, c.in)
		want := `{"id":1,"ok":true,"value":` + c.want + `}`
		if c.want[0] >= 'a' && c.want != "true" && c.want != "false" {
			want = `{"id":1,"ok":false,"error":"` + c.want + `"}`
		}
		if got := ask(t, line)[0]; got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
}

func TestNumberTextIsKept(t *testing.T) {
	in := pyjson.Object{{Name: "payload_json", Value: `{"a":1.50,"b":12345678901234567890123,"c":1e3,"d":"漢\u2028"}`}, {Name: "secrets", Value: []any{"s"}},
		{Name: "salt", Value: "x"}, {Name: "digest", Value: "sha256"}, {Name: "key_derivation", Value: "concat"}, {Name: "now", Value: 7}}
	var token string
	if err := json.Unmarshal(parse(t, ask(t, mustCase(t, "itsdangerous", "dumps", in))[0]).Value, &token); err != nil {
		t.Fatal(err)
	}
	got := ask(t, mustCase(t, "itsdangerous", "loads", in.Set("token", token).Set("max_age", nil)))[0]
	// Numbers as Python writes what it reads; then kept.
	if want := `{"id":"x","ok":true,"value":{"a":1.5,"b":12345678901234567890123,"c":1000.0,"d":"\u6f22\u2028"}}`; got != want {
		t.Errorf("got %s", got)
	}
}

// Each answer must be there before the next case is sent.
func TestAnswersAtOnce(t *testing.T) {
	toRunner, cases := io.Pipe()
	answers, fromRunner := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- runner.Run(context.Background(), toRunner, fromRunner)
		fromRunner.Close()
	}()
	lines := bufio.NewReader(answers)
	for i := range 20 {
		fmt.Fprintf(cases, `{"id":%d,"format":"crossauth","op":"hash","in":{"text":""}}`+"\n", i)
		line, err := lines.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, fmt.Sprintf(`{"id":%d,"ok":true`, i)) {
			t.Fatal(line, err)
		}
	}
	cases.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A line of MaxLine bytes is read, one of a byte more is a bad case, and the next is read again.
func TestLineLimit(t *testing.T) {
	const frame = `{"id":1,"format":"crossauth","op":"hash","in":{"text":""}}`
	fill := func(n int) io.Reader { return io.LimitReader(spaces{}, int64(n)) }
	var out bytes.Buffer
	in := io.MultiReader(fill(runner.MaxLine-len(frame)), strings.NewReader(frame+"\r\n"), fill(runner.MaxLine+1-len(frame)), strings.NewReader(frame+"\n"+frame))
	if err := runner.Run(context.Background(), in, &out); err != nil {
		t.Fatal(err)
	}
	hash := `{"id":1,"ok":true,"value":"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}` + "\n"
	if want := hash + `{"id":null,"ok":false,"error":"bad_case"}` + "\n" + hash; out.String() != want {
		t.Errorf("%s", out.String())
	}
}

type spaces struct{}

func (spaces) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestErrorsOfTheStreams(t *testing.T) {
	ctx := context.Background()
	if err := runner.Run(ctx, iotest.ErrReader(errors.New("torn")), io.Discard); err == nil || err.Error() != "torn" {
		t.Error(err)
	}
	if err := runner.Run(ctx, strings.NewReader("x\n"), failing{}); err == nil || err.Error() != "full" {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := runner.Run(ended, strings.NewReader("x\n"), io.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := runner.Run(ctx, strings.NewReader(""), failing{}); err != nil {
		t.Error("nothing asked, nothing answered:", err)
	}
}

func FuzzRun(f *testing.F) {
	for _, format := range formats {
		for _, c := range vectortest.Load(f, ".", format) {
			if len(c.Line) < 4096 {
				f.Add(c.Line)
			}
		}
	}
	for i, c := range generated(f) {
		if i%9 == 0 && len(c.Line) < 1024 {
			f.Add(c.Line)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var out bytes.Buffer
		if err := runner.Run(context.Background(), bytes.NewReader(text), &out); err != nil {
			t.Fatal(err)
		}
		want := bytes.Count(text, []byte("\n"))
		if len(text) > 0 && text[len(text)-1] != '\n' {
			want++
		}
		if got := bytes.Count(out.Bytes(), []byte("\n")); got != want {
			t.Fatalf("%d answers to %d lines", got, want)
		}
		for line := range bytes.Lines(out.Bytes()) {
			if !json.Valid(line) {
				t.Fatalf("%s", line)
			}
		}
	})
}
