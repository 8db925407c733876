package transaction_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/needs"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/transaction"
)

// held is what a cookie holds, in the words of testdata/cookie.py.
type held struct {
	State    string            `json:"state"`
	Nonce    string            `json:"nonce"`
	Verifier string            `json:"verifier"`
	ReturnTo string            `json:"return_to"`
	Extra    map[string]string `json:"extra"`
	Began    int64             `json:"began"`
}

func heldBy(t transaction.Transaction) held {
	return held{t.State, t.Nonce, t.Verifier, t.ReturnTo, t.Extra, t.Began.UnixMicro()}
}

func (h held) same(o held) bool {
	return h.State == o.State && h.Nonce == o.Nonce && h.Verifier == o.Verifier && h.ReturnTo == o.ReturnTo && h.Began == o.Began && maps.Equal(h.Extra, o.Extra)
}

// TestFormat computes the cookie a second time, in Python by the package comment: it
// opens what is sealed here, and what it seals is opened here.
func TestFormat(t *testing.T) {
	python := needs.Python(t, "cryptography")
	s := newSite(t, nil)
	if _, err := s.keys.Set(keyring.NewKey(7, [32]byte{1, 2, 3}, s.clock.Time())); err != nil {
		t.Fatal(err)
	}
	common := map[string]any{"key": "010203" + strings.Repeat("00", 29), "key_id": 7, "prefix": "__Host-signin", "provider": "acmé"}
	var in bytes.Buffer
	ask := func(more map[string]any) {
		maps.Copy(more, common)
		if err := json.NewEncoder(&in).Encode(more); err != nil {
			t.Fatal(err)
		}
	}
	b := &browser{}
	mine := s.begin(b, transaction.Params{Provider: "acmé", ReturnTo: "/a?b=ü", Extra: map[string]string{"z": "", "a": "é"}})
	ask(map[string]any{"op": "open", "name": b.names[0], "value": b.values[b.names[0]]})
	theirs := held{State: strings.Repeat("A", 43), Nonce: strings.Repeat("B", 42) + "A", Verifier: strings.Repeat("C", 42) + "A",
		ReturnTo: "/c", Extra: map[string]string{"k": "v", "l": "w"}, Began: s.clock.Time().Add(-time.Second).UnixMicro() + 1}
	ask(map[string]any{"op": "seal", "state": theirs.State, "nonce": theirs.Nonce, "verifier": theirs.Verifier,
		"return_to": theirs.ReturnTo, "extra": theirs.Extra, "began": theirs.Began})
	cmd := exec.Command(python, "testdata/cookie.py")
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var opened held
	var sealed struct{ Name, Value string }
	answers := json.NewDecoder(bytes.NewReader(out))
	if err := answers.Decode(&opened); err != nil {
		t.Fatal(err)
	}
	if err := answers.Decode(&sealed); err != nil {
		t.Fatal(err)
	}
	if !opened.same(heldBy(mine)) {
		t.Errorf("Python opens %+v", opened)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", fmt.Sprintf("%s=%s", sealed.Name, sealed.Value))
	got, err := s.Finish(t.Context(), httptest.NewRecorder(), r, "acmé", theirs.State)
	if err != nil || !theirs.same(heldBy(got)) {
		t.Errorf("Python's cookie holds %+v, %v (%v)", heldBy(got), err, transaction.ReasonOf(err))
	}
}
