// Package vectortest reads the conformance cases for the tests of compat.
package vectortest

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

// Case is one line: an operation, its input and what the original made of it.
type Case struct {
	ID     string          `json:"id"`
	Format string          `json:"format"`
	Op     string          `json:"op"`
	In     json.RawMessage `json:"in"`
	Want   struct {
		OK         bool            `json:"ok"`
		Value      json.RawMessage `json:"value"`
		Error      string          `json:"error"`
		DecodesTo  json.RawMessage `json:"decodes_to"`
		Compressed bool            `json:"compressed"`
		JSON       json.RawMessage `json:"json"`
	} `json:"want"`
	Line []byte `json:"-"`
}

// Load returns the cases of a format. dir is the folder of package runner.
func Load(tb testing.TB, dir, format string) (cases []Case) {
	tb.Helper()
	text, err := os.ReadFile(dir + "/testdata/vectors/" + format + ".jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	if cases = Parse(tb, text); len(cases) < 5 {
		tb.Fatalf("only %d cases of %s", len(cases), format)
	}
	return cases
}

// Parse reads cases, one a line.
func Parse(tb testing.TB, text []byte) (cases []Case) {
	tb.Helper()
	for line := range bytes.Lines(text) {
		c := Case{Line: bytes.TrimSpace(line)}
		if err := json.Unmarshal(line, &c); err != nil {
			tb.Fatal(err)
		}
		cases = append(cases, c)
	}
	return cases
}

// Text returns a string member of a case's input, "" when there is none.
func (c *Case) Text(tb testing.TB, name string) string {
	tb.Helper()
	var in map[string]json.RawMessage
	if err := json.Unmarshal(c.In, &in); err != nil {
		tb.Fatal(err)
	}
	var s string
	_ = json.Unmarshal(in[name], &s) // absent or null: ""
	return s
}
