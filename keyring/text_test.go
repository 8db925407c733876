package keyring

import (
	"slices"
	"strings"
	"testing"
)

const (
	goodKey   = "KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio"
	otherKey  = "KysrKysrKysrKysrKysrKysrKysrKysrKysrKysrKys"
	zeroKey   = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	goodTime  = "2026-01-02T15:04:05.000000Z"
	goodLine  = "1 " + goodTime + " " + goodTime + " - " + goodKey
	otherLine = "2 " + goodTime + " " + goodTime + " - " + otherKey
	deadLine  = "3 " + goodTime + " " + goodTime + " " + goodTime + " -"
)

func TestParseRefusals(t *testing.T) {
	line := func(fields ...string) string { return header + "\n" + strings.Join(fields, " ") + "\n" }
	for _, c := range []struct {
		name, text string
		want       []string // the beginning of each problem
	}{
		{"empty", "", []string{"line 1: must be latchkey-keyring/v1"}},
		{"other_version", "latchkey-keyring/v2\n" + goodLine, []string{"line 1: must be"}},
		{"byte_order_mark", "\ufeff" + header + "\n" + goodLine, []string{"line 1: must be"}},
		{"header_only", header, []string{"there is no acceptable key"}},
		{"only_retired", header + "\n" + deadLine, []string{"there is no acceptable key"}},
		{"empty_line", header + "\n\n" + goodLine, []string{"line 2: has 1 fields"}},
		{"second_final_newline", header + "\n" + goodLine + "\n\n", []string{"line 3: has 1 fields"}},
		{"comment", header + "\n# ours\n" + goodLine, []string{"line 2: has 2 fields"}},
		{"two_spaces", header + "\n" + strings.Replace(goodLine, " ", "  ", 1), []string{"line 2: has 6 fields"}},
		{"trailing_space", header + "\n" + goodLine + " ", []string{"line 2: has 6 fields"}},
		{"tab", header + "\n" + strings.Replace(goodLine, " ", "\t", 1), []string{"line 2: has 4 fields"}},
		{"carriage_return", header + "\n" + goodLine + "\r\n", []string{"line 2: has a carriage return"}},
		{"id_zero", line("0", goodTime, goodTime, "-", goodKey), []string{"line 2: field 1 (id)"}},
		{"id_leading_zero", line("01", goodTime, goodTime, "-", goodKey), []string{"line 2: field 1 (id)"}},
		{"id_plus", line("+1", goodTime, goodTime, "-", goodKey), []string{"line 2: field 1 (id)"}},
		{"id_large", line("256", goodTime, goodTime, "-", goodKey), []string{"line 2: field 1 (id)"}},
		{"id_is_key", line(goodKey, goodTime, goodTime, "-", goodKey), []string{"line 2: field 1 (id)"}},
		{"time_without_fraction", line("1", "2026-01-02T15:04:05Z", goodTime, "-", goodKey), []string{"line 2: field 2 (created)"}},
		{"time_offset", line("1", goodTime, "2026-01-02T15:04:05.000000+00:00", "-", goodKey), []string{"line 2: field 3 (active-from)"}},
		{"time_comma", line("1", goodTime, "2026-01-02T15:04:05,000000Z", "-", goodKey), []string{"line 2: field 3 (active-from)"}},
		{"time_no_such_day", line("1", goodTime, "2026-02-30T15:04:05.000000Z", "-", goodKey), []string{"line 2: field 3 (active-from)"}},
		{"time_before_1970", line("1", "1969-12-31T23:59:59.999999Z", goodTime, "-", goodKey), []string{"line 2: field 2 (created)"}},
		// Go's zero time would read as "not retired".
		{"retired_zero_time", line("1", goodTime, goodTime, "0001-01-01T00:00:00.000000Z", "-"), []string{"line 2: field 4 (retired)"}},
		{"retired_with_key", line("1", goodTime, goodTime, goodTime, goodKey), []string{"line 2: field 5 (key) of a retired"}},
		{"neither", line("1", goodTime, goodTime, "-", "-"), []string{"line 2: field 4 (retired) and field 5"}},
		{"key_padded", line("1", goodTime, goodTime, "-", goodKey+"="), []string{"line 2: field 5 (key)"}},
		{"key_short", line("1", goodTime, goodTime, "-", goodKey[:42]), []string{"line 2: field 5 (key)"}},
		{"key_unused_bits", line("1", goodTime, goodTime, "-", goodKey[:42]+"p"), []string{"line 2: field 5 (key)"}},
		{"key_plain_base64", line("1", goodTime, goodTime, "-", "++++"+goodKey[4:]), []string{"line 2: field 5 (key)"}},
		{"key_zeros", line("1", goodTime, goodTime, "-", zeroKey), []string{"line 2: the key is all zeros"}},
		{"same_id", header + "\n" + goodLine + "\n1" + otherLine[1:], []string{"line 3: the same key id as line 2"}},
		{"same_bytes", header + "\n" + goodLine + "\n2" + goodLine[1:], []string{"line 3: the same key bytes as line 2"}},
		{"descending", header + "\n" + otherLine + "\n" + goodLine, []string{"line 3: key id 1 after 2"}},
		{"several", header + "\n" + goodLine[:40] + "\n0 x y - z\n" + otherLine, []string{
			"line 2: has", "line 3: field 1", "line 3: field 2", "line 3: field 3", "line 3: field 5"}},
		{"too_long", header + "\n" + goodLine + strings.Repeat("x", maxText), []string{"longer than 65536 bytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, problems := parse(c.text)
			if keys != nil || len(problems) != len(c.want) {
				t.Fatalf("parse gives %d keys and the problems %q, want %q", len(keys), problems, c.want)
			}
			for i, p := range problems {
				if !strings.HasPrefix(p, c.want[i]) {
					t.Errorf("problem %q, want %q", p, c.want[i])
				}
				if strings.Contains(p, goodKey[:8]) {
					t.Errorf("problem %q repeats the key", p)
				}
			}
		})
	}
}

func TestParseManyProblems(t *testing.T) {
	_, problems := parse(header + strings.Repeat("\nx", 1000))
	if len(problems) != maxProblems+1 || problems[maxProblems] != "and 980 more" {
		t.Errorf("%d problems, the last %q", len(problems), problems[len(problems)-1])
	}
}

// TestParseLargest: the largest keyring there can be fits the size limit.
func TestParseLargest(t *testing.T) {
	var keys []Key
	for id := 1; id <= 255; id++ {
		k, err := GenerateKey(ID(id), normalTime(testTime), nil)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	text := format(keys)
	if len(text) > maxText/2 {
		t.Errorf("255 keys take %d bytes", len(text))
	}
	got, problems := parse(text)
	if len(problems) > 0 || !slices.EqualFunc(got, keys, Key.same) {
		t.Errorf("255 keys do not come back: %q", problems)
	}
	_, problems = parse(text + strings.Replace(goodLine, "1", "256", 1) + "\n")
	if len(problems) != 1 {
		t.Errorf("a 256th key: %q", problems)
	}
}

func TestUnfold(t *testing.T) {
	want := header + "\n" + goodLine + "\n" + otherLine + "\n"
	for name, value := range map[string]string{
		"lines":       want,
		"semicolons":  strings.ReplaceAll(want, "\n", ";"),
		"both":        strings.ReplaceAll(want, "\n", "; \n ; "),
		"windows":     strings.ReplaceAll(want, "\n", "\r\n"),
		"surrounded":  "\n ;" + want + "\n\n",
		"without_end": strings.TrimSuffix(want, "\n"),
	} {
		if got := unfold(value); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// FuzzParse: no text makes the parser panic or repeat what it was given, and a
// text that it accepts is the only spelling of its keys.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", header, header + "\n", header + "\n" + goodLine, header + "\n" + goodLine + "\n" + otherLine + "\n" + deadLine + "\n",
		header + ";" + goodLine + ";", header + "\n" + deadLine, header + "\n\n" + goodLine, header + "\n" + otherLine + "\n" + goodLine,
		header + "\n" + strings.ReplaceAll(goodLine, "000000", "999999"), header + "\n255" + goodLine[1:] + "\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, text := range []string{text, unfold(text)} {
			keys, problems := parse(text)
			if (keys == nil) != (len(problems) > 0) {
				t.Fatalf("%d keys and %d problems", len(keys), len(problems))
			}
			if keys == nil {
				mustNotRepeat(t, strings.Join(problems, "\n"), text)
				continue
			}
			again := format(keys)
			if again != text && again != text+"\n" {
				t.Fatalf("%q is formatted as %q", text, again)
			}
			back, problems := parse(again)
			if len(problems) > 0 || !slices.EqualFunc(back, keys, Key.same) {
				t.Fatalf("%q does not come back: %q", again, problems)
			}
			if s := arrange(keys, 1); len(s.starts) == 0 || !slices.EqualFunc(s.keys, keys, Key.same) {
				t.Fatalf("%q arranges to %v", text, s.keys)
			}
		}
	})
}

// mustNotRepeat fails if a message holds a run of 20 or more characters of the
// text that could be (part of) a key.
func mustNotRepeat(t *testing.T, message, text string) {
	t.Helper()
	for _, run := range strings.FieldsFunc(text, func(r rune) bool {
		return r > 127 || !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", r)
	}) {
		if len(run) >= 20 && strings.Contains(message, run) {
			t.Fatalf("the message %q repeats the input", message)
		}
	}
}
