package mysql

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

func TestScript(t *testing.T) {
	var q script
	q.add("SELECT ?, ?, ?", num(-5), raw("it's ?"), orNull(nil))
	q.add("SELECT ?", list([]int64{1, 2}, num))
	if got := q.text(); got != "SELECT -5, x'69742773203f', NULL;\nSELECT 1,2" || q.err != nil {
		t.Errorf("%q, %v", got, q.err)
	}
	q.add("SELECT ?")
	if q.err == nil {
		t.Error("a value is missing, and no error")
	}
}

// Taken off in parts, statements stay whole and in their order.
func TestScriptSplit(t *testing.T) {
	for most := range 60 {
		var q script
		var want []string
		for n := range 6 {
			text := "DO " + strings.Repeat("x", n*3)
			want = append(want, text)
			q.add(text)
		}
		var got []string
		parts := 0
		for front := q.split(most); front != nil; front = q.split(most) {
			got = append(got, strings.Split(front.text(), ";\n")...)
			if parts++; len(front.ends) > 1 && front.b.Len() > most {
				t.Errorf("%d: a part of %d bytes", most, front.b.Len())
			}
		}
		got = append(got, strings.Split(q.text(), ";\n")...)
		if !slices.Equal(got, want) {
			t.Errorf("%d: %q", most, got)
		}
		if most < 10 && parts != 5 {
			t.Errorf("%d: %d parts", most, parts)
		}
	}
}

// A change of more sessions than the log names has all of them forgotten.
func TestTooManyToName(t *testing.T) {
	a, b := two(t)
	w := fixture.Follow(t, b, 20*time.Millisecond)
	_, err := change(t.Context(), a, func(tx *tx) (struct{}, error) {
		tx.changed = make([]latchkey.ID, mostNamed+1)
		return struct{}{}, tx.begin(nil, nil)
	})
	if err != nil {
		t.Fatal(fixture.Chain(err))
	}
	fixture.Eventually(t, "the end of all", func() bool {
		return slices.ContainsFunc(w.All(), func(b latchkey.Batch) bool { return b.All && len(b.IDs) == 0 })
	})
}
