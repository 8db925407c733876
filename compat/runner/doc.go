// Package runner answers conformance cases: it lets a program that is not written in
// Go put the formats of compat to the test.
//
// A case is a line of JSON, {"id", "format", "op", "in"}; its answer is another,
// {"id", "ok": true, "value"} or {"id", "ok": false, "error"}, in the order of the
// cases and written as soon as it is known. An unknown format or op is "unsupported",
// unusable input is "bad_case"; the id of a line that is no JSON object is null.
//
// The runner answers as the original systems do: any secret will do, ties pass,
// nothing of the packages' hardening applies but for the bounds of memory. Answers
// are ASCII, and the text of numbers is kept.
package runner
