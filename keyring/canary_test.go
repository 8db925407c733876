package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// canary is the bytes of a key whose traces are searched for: no byte occurs
// twice, so that a part of it is recognised too.
func canary() (b [KeySize]byte) {
	for i := range b {
		b[i] = byte(0xa1 + 2*i)
	}
	return b
}

// traces is every spelling of a part of the canary, in lower case, with its name.
var traces = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	b := canary()
	for i := 0; i+4 <= len(b); i++ {
		part := b[i : i+4]
		decimals := strings.Trim(fmt.Sprint(part), "[]")
		for name, form := range map[string]string{
			"raw":     string(part),
			"hex":     hex.EncodeToString(part),
			"spaced":  fmt.Sprintf("% x", part),
			"go":      strings.Trim(fmt.Sprintf("%#v", part), "[]byte{}"),
			"decimal": decimals,
			"commas":  strings.ReplaceAll(decimals, " ", ", "),
			"compact": strings.ReplaceAll(decimals, " ", ","),
		} {
			m[strings.ToLower(form)] = name
		}
	}
	for _, e := range []*base64.Encoding{base64.RawURLEncoding, base64.RawStdEncoding} {
		text := e.EncodeToString(b[:])
		for i := 0; i+8 <= len(text); i++ {
			m[strings.ToLower(text[i:i+8])] = "base64"
		}
	}
	return m
})

// leaks returns how (a part of) the canary shows in s, "" if it does not.
func leaks(s string) string {
	s = strings.ToLower(s)
	for form, name := range traces() {
		if strings.Contains(s, form) {
			return name
		}
	}
	return ""
}

func TestLeaksFindsLeaks(t *testing.T) {
	b := canary()
	for _, s := range []string{
		string(b[:]), fmt.Sprint(b), fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), fmt.Sprintf("%#v", b), fmt.Sprintf("%#v", b[:]),
		keyEncoding.EncodeToString(b[:]), base64.StdEncoding.EncodeToString(b[:]), "at " + hex.EncodeToString(b[9:14]),
	} {
		if leaks(s) == "" {
			t.Errorf("no leak is found in %q", s)
		}
	}
}

// TestNothingPrintsASecret prints everything that holds a key in every way there
// is, also from within other values.
func TestNothingPrintsASecret(t *testing.T) {
	k := NewKey(3, canary(), testTime)
	r, err := New(k)
	if err != nil {
		t.Fatal(err)
	}
	r.MAC(3, PurposeToken, []byte("m")) // so that there are derived keys to print
	type hidden struct {
		key  Key
		ring *Ring
	}
	type shown struct {
		Key  Key
		Ring *Ring
	}
	values := []any{k, &k, []Key{k}, map[string]Key{"k": k}, r, hidden{k, r}, &hidden{k, r}, []hidden{{k, r}}, shown{k, r},
		r.Keys(testTime), r.load(), *r.load(), errors.Join(fmt.Errorf("about %v and %v", k, r))}
	for i, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%T", "%p", "%c", "%U", "%o", "%b", "%e", "%100.50v"} {
			if how := leaks(fmt.Sprintf(verb, v)); how != "" {
				t.Errorf("value %d with %s leaks (%s)", i, verb, how)
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("text", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "v", v)
		if how := leaks(log.String()); how != "" {
			t.Errorf("value %d leaks into a log (%s)", i, how)
		}
		if j, err := json.Marshal(v); err == nil && leaks(string(j)) != "" {
			t.Errorf("value %d leaks into JSON", i)
		}
	}
	if got := fmt.Sprintf("%v %+v %#v %s %x", k, k, k, k, k); got != strings.TrimSpace(strings.Repeat("key 3 ", 5)) {
		t.Errorf("a key prints as %q", got)
	}
	if j, err := json.Marshal(shown{k, r}); err != nil || string(j) != `{"Key":"key 3","Ring":"keyring with key 3"}` {
		t.Errorf("JSON is %s, %v", j, err)
	}
}

// TestNoErrorHoldsASecret damages a keyring at every place and in several ways
// and reads the complaints.
func TestNoErrorHoldsASecret(t *testing.T) {
	key := keyEncoding.EncodeToString(func() []byte { b := canary(); return b[:] }())
	text := header + "\n1 " + goodTime + " " + goodTime + " - " + key + "\n" + otherLine + "\n"
	var damaged []string
	for i := range text {
		for _, s := range []string{"", " ", "\n", "x", "-", ";", "\x01", "\r", "é"} {
			damaged = append(damaged, text[:i]+s+text[i+1:], text[:i]+s+text[i:])
		}
		damaged = append(damaged, text[:i], text[i:])
	}
	problems := 0
	for _, text := range damaged {
		t.Setenv("KEYRING_CANARY", text)
		for _, source := range []string{"env:KEYRING_CANARY", "env:" + text, header + text} {
			_, err := Open(source, Options{})
			if err == nil {
				continue
			}
			problems++
			for _, s := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
				if how := leaks(s); how != "" {
					t.Fatalf("the error for a damaged text leaks (%s): %s", how, s)
				}
			}
		}
	}
	if problems < 1000 {
		t.Errorf("only %d of %d damaged texts were refused", problems, len(damaged))
	}
	b, id := canary(), [SessionIDSize]byte{}
	_, err1 := UnwrapDataKey(&b, id, b[:])
	_, err2 := UnwrapDataKey(&b, id, make([]byte, WrapSize))
	_, err3 := OpenData(&b, id, b[:])
	if how := leaks(fmt.Sprint(err1, err2, err3)); how != "" || err1 == nil || err2 == nil || err3 == nil {
		t.Errorf("a sealing error leaks (%s)", how)
	}
}
