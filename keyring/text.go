package keyring

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	header     = "latchkey-keyring/v1"
	timeLayout = "2006-01-02T15:04:05.000000Z"
	absent     = "-"

	// maxText bounds a keyring's text: 255 keys take 27 KiB.
	maxText = 64 << 10
	// maxProblems bounds what is reported about one text.
	maxProblems = 20
)

// keyEncoding is the one spelling of key bytes: no padding, unused bits zero.
var keyEncoding = base64.RawURLEncoding.Strict()

// parse reads a keyring's text (the package comment defines it) and returns its
// keys or everything that is wrong with it. Problems name lines and fields and
// repeat nothing of the text but a key's ID: a line that cannot be understood
// may hold a key anywhere.
func parse(text string) (keys []Key, problems []string) {
	if len(text) > maxText {
		return nil, []string{fmt.Sprintf("longer than %d bytes: this is not a keyring", maxText)}
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if lines[0] != header {
		return nil, []string{"line 1: must be " + header + " and nothing else; make a keyring with `latchkey key generate`"}
	}
	var at []int // line numbers of keys
	for i, line := range lines[1:] {
		k, faults := parseKey(line)
		for _, f := range faults {
			problems = append(problems, fmt.Sprintf("line %d: %s", i+2, f))
		}
		if len(faults) > 0 {
			continue
		}
		if n := len(keys); n > 0 && k.ID < keys[n-1].ID {
			problems = append(problems, fmt.Sprintf("line %d: key id %d after %d; ids must ascend", i+2, k.ID, keys[n-1].ID))
		}
		if len(keys) < 256 { // one more than can be right; bounds the comparison of each with each
			keys, at = append(keys, k), append(at, i+2)
		}
	}
	for _, p := range checkKeys(keys, func(i int) string { return fmt.Sprintf("line %d", at[i]) }) {
		// What concerns the whole set is known only when each line was understood.
		if len(problems) == 0 || strings.HasPrefix(p, "line ") {
			problems = append(problems, p)
		}
	}
	if n := len(problems); n > maxProblems {
		problems = append(problems[:maxProblems:maxProblems], fmt.Sprintf("and %d more", n-maxProblems))
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return keys, nil
}

// parseKey reads one line.
func parseKey(line string) (k Key, faults []string) {
	if strings.Contains(line, "\r") {
		return k, []string{"has a carriage return; save the file with Unix line ends"}
	}
	fields := strings.Split(line, " ")
	if len(fields) != 5 {
		return k, []string{fmt.Sprintf("has %d fields, want 5 with one space between: id created active-from retired key", len(fields))}
	}
	fault := func(s string) { faults = append(faults, s) }

	id, err := strconv.ParseUint(fields[0], 10, 8)
	if err != nil || id == 0 || strconv.FormatUint(id, 10) != fields[0] {
		fault("field 1 (id) must be a number from 1 to 255")
	}
	k.ID = ID(id)
	for i, f := range []struct {
		name string
		to   *time.Time
	}{{"created", &k.Created}, {"active-from", &k.ActiveFrom}, {"retired", &k.Retired}} {
		text := fields[i+1]
		if f.to == &k.Retired && text == absent {
			continue
		}
		var ok bool
		if *f.to, ok = parseTime(text); !ok {
			fault(fmt.Sprintf("field %d (%s) must be a time in UTC such as 2026-01-02T15:04:05.000000Z", i+2, f.name))
		}
	}
	switch retired, text := fields[3] != absent, fields[4]; {
	case retired && text != absent:
		fault("field 5 (key) of a retired key must be -")
	case !retired && text == absent:
		fault("field 4 (retired) and field 5 (key) cannot both be -")
	case !retired:
		b, err := keyEncoding.DecodeString(text)
		if err != nil || len(b) != KeySize {
			fault("field 5 (key) must be 32 bytes in base64url without padding (43 characters)")
			break
		}
		k.secret = newSecret([KeySize]byte(b))
		clear(b)
	}
	return k, faults
}

// parseTime accepts the one spelling of a time. Years before 1970 are refused,
// above all the zero time, which means "not retired".
func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(timeLayout, s)
	if err != nil || t.Year() < 1970 || t.Format(timeLayout) != s {
		return time.Time{}, false
	}
	return t, true
}

// format returns the text of keys, which ascend by ID.
func format(keys []Key) string {
	var b strings.Builder
	b.WriteString(header + "\n")
	for _, k := range keys {
		retired, bytes := absent, absent
		if !k.acceptable() {
			retired = k.Retired.Format(timeLayout)
		} else if k.secret != nil {
			bytes = keyEncoding.EncodeToString(k.secret.bytes()[:])
		}
		fmt.Fprintf(&b, "%d %s %s %s %s\n", k.ID, k.Created.Format(timeLayout), k.ActiveFrom.Format(timeLayout), retired, bytes)
	}
	return b.String()
}

// unfold turns the value of an environment variable into a keyring's text.
func unfold(value string) string {
	var b strings.Builder
	for _, line := range strings.FieldsFunc(value, func(r rune) bool { return r == ';' || r == '\n' }) {
		if line = strings.Trim(line, " \t\r"); line != "" {
			b.WriteString(line)
			b.WriteByte('\n')
		}
	}
	return b.String()
}
