package runner

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey/compat/internal/py"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// input is a case's input. A member that is missing or of another type makes it bad,
// which is looked at once, in the end.
type input struct {
	members map[string]json.RawMessage
	bad     bool
}

// value returns a member's value; nil is null.
func (in *input) value(name string) any {
	raw, ok := in.members[name]
	if !ok {
		in.bad = true
		return nil
	}
	v, err := pyjson.Parse(raw)
	in.bad = in.bad || err != nil
	return v
}

func (in *input) text(name string) string {
	s, ok := in.value(name).(string)
	in.bad = in.bad || !ok
	return s
}

// optional returns a text that may be null.
func (in *input) optional(name string) *string {
	switch v := in.value(name).(type) {
	case string:
		return &v
	case nil:
		return nil
	}
	in.bad = true
	return nil
}

// object returns a member that is an object, and whether it is one.
func (in *input) object(name string) (input, bool) {
	var members map[string]json.RawMessage
	err := json.Unmarshal(in.members[name], &members)
	return input{members: members}, err == nil && members != nil
}

func (in *input) number(name string) float64 {
	n, _ := in.value(name).(json.Number)
	f, err := strconv.ParseFloat(string(n), 64)
	in.bad = in.bad || err != nil
	return f
}

// now returns a time given as Unix seconds, to the microsecond.
func (in *input) now(name string) time.Time {
	n, _ := in.value(name).(json.Number)
	if seconds, err := n.Int64(); err == nil {
		return time.Unix(seconds, 0)
	}
	micro, ok := py.Microseconds(in.number(name))
	in.bad = in.bad || !ok
	return time.UnixMicro(micro)
}

// microseconds returns a number of seconds in microseconds.
func (in *input) microseconds(name string) int64 {
	micro, ok := py.Microseconds(in.number(name))
	in.bad = in.bad || !ok
	return micro
}

// age returns a maximum age given in seconds, cut to what a Duration holds.
func (in *input) age(name string) time.Duration {
	f := in.number(name)
	switch {
	case f < 0:
		return -1
	case f > 9e9: // 285 years
		return math.MaxInt64
	}
	return time.Duration(f * 1e9)
}

func (in *input) hex(name string) []byte {
	b, err := hex.DecodeString(in.text(name))
	in.bad = in.bad || err != nil
	return b
}

// texts returns a list of strings; one string is a list of it.
func (in *input) texts(name string) (list []string) {
	v := in.value(name)
	if s, ok := v.(string); ok {
		return []string{s}
	}
	items, ok := v.([]any)
	in.bad = in.bad || !ok || len(items) == 0
	for _, item := range items {
		s, ok := item.(string)
		in.bad = in.bad || !ok
		list = append(list, s)
	}
	return list
}
