package pyjson_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/compat/pyjson"
)

func write(t *testing.T, style pyjson.Style, v any) string {
	t.Helper()
	b, err := pyjson.Append([]byte("x"), style, v)
	if err != nil || b[0] != 'x' {
		t.Fatalf("%q %v", b, err)
	}
	return string(b[1:])
}

func TestStyles(t *testing.T) {
	v := pyjson.Object{
		{Name: "z", Value: []any{1, nil, true}},
		{Name: "a", Value: "<&>/\u2028\u007fé🎲\"\\\b\f\n\r\t\x01\x1f"},
		{Name: "o", Value: pyjson.Object{}},
		{Name: "l", Value: []any{}},
	}
	for style, want := range map[pyjson.Style]string{
		pyjson.Compact:      `{"z":[1,null,true],"a":"<&>/` + "\u2028\u007fé🎲" + `\"\\\b\f\n\r\t\u0001\u001f","o":{},"l":[]}`,
		pyjson.Default:      `{"z": [1, null, true], "a": "<&>/\u2028\u007f\u00e9\ud83c\udfb2\"\\\b\f\n\r\t\u0001\u001f", "o": {}, "l": []}`,
		pyjson.CompactASCII: `{"z":[1,null,true],"a":"<&>/\u2028\u007f\u00e9\ud83c\udfb2\"\\\b\f\n\r\t\u0001\u001f","o":{},"l":[]}`,
	} {
		if got := write(t, style, v); got != want {
			t.Errorf("style %d:\n got %s\nwant %s", style, got, want)
		}
		back, err := pyjson.Parse([]byte(write(t, style, v)))
		if err != nil || write(t, style, back) != want {
			t.Errorf("style %d does not come back: %v", style, err)
		}
	}
}

// The right column is what Python 3.11 prints for json.dumps(json.loads(left)).
func TestNumbersAsPythonWritesThem(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "-0": "0", "-0.0": "-0.0", "1.50": "1.5", "1e3": "1000.0", "1E-5": "1e-05", "0.0001": "0.0001",
		"1e15": "1000000000000000.0", "1e16": "1e+16", "123456789012345678": "123456789012345678", "1e22": "1e+22",
		"9007199254740993": "9007199254740993", "0.1": "0.1", "1e-320": "1e-320", "1.7976931348623157e308": "1.7976931348623157e+308",
	} {
		if got := write(t, pyjson.Compact, json.Number(text)); got != want {
			t.Errorf("%s is written %s, want %s", text, got, want)
		}
		if v, err := pyjson.Parse([]byte(text)); err != nil || v != json.Number(text) {
			t.Errorf("%s is read as %v, %v", text, v, err)
		}
	}
	if got := write(t, pyjson.Verbatim, []any{json.Number("1.50"), json.Number("-0"), "é"}); got != `[1.50,-0,"\u00e9"]` {
		t.Error(got)
	}
	huge, _ := new(big.Int).SetString(strings.Repeat("9", 100), 10)
	for want, v := range map[string]any{"1": int64(1), "18446744073709551615": uint64(math.MaxUint64), huge.String(): huge, "2.0": 2.0,
		"7": int8(7), "0.5": float32(0.5), "null": (*big.Int)(nil)} {
		if got := write(t, pyjson.Compact, v); got != want {
			t.Errorf("%T is written %s, want %s", v, got, want)
		}
	}
}

func TestGoValues(t *testing.T) {
	type inner struct {
		B string `json:"b"`
		A int64  `json:"a"`
	}
	if got := write(t, pyjson.Default, inner{"<é>", 9007199254740993}); got != `{"b": "<\u00e9>", "a": 9007199254740993}` {
		t.Error(got)
	}
	if got := write(t, pyjson.Compact, map[string]any{"b": 1, "a": []string{"x"}}); got != `{"a":["x"],"b":1}` {
		t.Error(got)
	}
}

func TestUnwritable(t *testing.T) {
	var deep any = 1
	for range pyjson.MaxDepth + 2 {
		deep = []any{deep}
	}
	for name, v := range map[string]any{"nan": math.NaN(), "infinity": math.Inf(1), "utf8": "a\xff", "name": pyjson.Object{{Name: "\xff"}},
		"deep": deep, "number": json.Number("01"), "empty-number": json.Number(""), "overflow": json.Number("1e400"), "channel": make(chan int)} {
		if b, err := pyjson.Marshal(pyjson.Compact, v); !errors.Is(err, pyjson.ErrUnwritable) {
			t.Errorf("%s: %.40q, %v", name, b, err)
		}
	}
}

func TestNotJSON(t *testing.T) {
	nest := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, text := range []string{"", " ", "nul", "nullx", "01", "-", "1.", ".5", "1e", "+1", "NaN", "Infinity", "-Infinity", `"`, `"\x"`, `"\u12"`,
		`"\u12g4"`, "\"\t\"", "\"\xff\"", "[1,]", "[1 2]", "[", "{", `{"a"}`, `{"a":}`, `{"a":1,}`, "{1:2}", "1 2", "\ufeff1", "'a'",
		nest(pyjson.MaxDepth + 1), strings.Repeat("1", pyjson.MaxIntegerDigits+1), strings.Repeat(`{"a":`, 100000)} {
		_, err := pyjson.Parse([]byte(text))
		var syntax *pyjson.SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%.20q: %v", text, err)
		}
		if pyjson.Check([]byte(text)) == nil {
			t.Errorf("%.20q passes Check", text)
		}
	}
	for _, text := range []string{nest(pyjson.MaxDepth), strings.Repeat("1", pyjson.MaxIntegerDigits), " \t\n\r1 ", `"\ud83c\udfb2\/"`,
		strings.Repeat("1", pyjson.MaxIntegerDigits+1) + ".5"} {
		if _, err := pyjson.Parse([]byte(text)); err != nil {
			t.Errorf("%.20q: %v", text, err)
		}
		if err := pyjson.Check([]byte(text)); err != nil {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	for _, half := range []string{`"\ud800"`, `"\ud800\n"`, `"\udc00x"`, `"\ud800\ud800"`} {
		if _, err := pyjson.Parse([]byte(half)); err == nil {
			t.Errorf("%s is read", half)
		}
		if err := pyjson.Check([]byte(half)); err != nil {
			t.Errorf("%s: %v", half, err)
		}
	}
	if _, err := pyjson.ParseObject([]byte("[]")); err == nil {
		t.Error("an array is an object")
	}
}

// Of a repeated name the first place and the last value count, as in a dict.
func TestRepeatedNames(t *testing.T) {
	v, err := pyjson.Parse([]byte(`{"a":1,"b":2,"a":3}`))
	if err != nil || write(t, pyjson.Compact, v) != `{"a":3,"b":2}` {
		t.Error(v, err)
	}
	var text strings.Builder
	for i := range 200 {
		text.WriteString(`,"n` + string(rune('a'+i%100)) + `":1`)
	}
	o, err := pyjson.ParseObject([]byte("{" + text.String()[1:] + `,"na":"last"}`))
	if err != nil || len(o) != 100 || o[0].Value != "last" {
		t.Errorf("%d members, %v", len(o), err)
	}
}

func TestObject(t *testing.T) {
	o := pyjson.Object{{Name: "a", Value: "x"}, {Name: "n", Value: nil}}
	o = o.Set("a", "y").Set("c", 1)
	if want := (pyjson.Object{{Name: "a", Value: "y"}, {Name: "n"}, {Name: "c", Value: 1}}); !reflect.DeepEqual(o, want) {
		t.Error(o)
	}
	if s, ok := o.Text("a"); !ok || s != "y" {
		t.Error(s, ok)
	}
	if _, ok := o.Text("n"); ok {
		t.Error("null is a text")
	}
	if _, ok := o.Get("n"); !ok {
		t.Error("null is not there")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,-3e+5,null,true,"\ud83c\udfb2\n"],"b":{}}`, `"\ud800"`, "[[[[", `{"a":1,"a":2}`, "1e400", " 1 "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := pyjson.Parse(text)
		if (err == nil) && pyjson.Check(text) != nil {
			t.Fatal("Check refuses what Parse reads")
		}
		if err == nil != json.Valid(text) && err == nil {
			t.Fatal("encoding/json refuses it")
		}
		if err != nil {
			return
		}
		for _, style := range []pyjson.Style{pyjson.Compact, pyjson.Default, pyjson.CompactASCII} {
			once, err := pyjson.Marshal(style, v)
			if errors.Is(err, pyjson.ErrUnwritable) {
				return // a number out of range
			}
			again, err := pyjson.Parse(once)
			if err != nil {
				t.Fatalf("%s: %v", once, err)
			}
			if twice, err := pyjson.Marshal(style, again); err != nil || string(twice) != string(once) {
				t.Fatalf("%s becomes %s, %v", once, twice, err)
			}
		}
	})
}
