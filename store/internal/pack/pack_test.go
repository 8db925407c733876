package pack_test

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

func event() audit.Event {
	return audit.Event{Action: audit.Revoke, Actor: "admin", Provider: "p", Subject: "ann", IP: "192.0.2.0/24", Outcome: audit.Done,
		Reason: "lost laptop", Count: 3}
}

func TestEvent(t *testing.T) {
	want := event()
	packed := pack.AppendEvent([]byte("head"), &want, "more")[4:]
	var got audit.Event
	var more string
	if err := pack.ReadEvent(packed, &got, &more); err != nil || got != want || more != "more" {
		t.Fatalf("%+v, %q, %v", got, more, err)
	}
	for cut := range packed {
		if pack.ReadEvent(packed[:cut], &got, &more) == nil {
			t.Errorf("%d of %d bytes are an event", cut, len(packed))
		}
	}
	for name, b := range map[string][]byte{"trailing": append(packed[:len(packed):len(packed)], 0), "format": append([]byte{2}, packed[1:]...)} {
		if pack.ReadEvent(b, &got, &more) == nil {
			t.Errorf("%s: read", name)
		}
	}
	if pack.ReadEvent(packed, &got) == nil {
		t.Error("read with a text too few")
	}
}

func FuzzReadEvent(f *testing.F) {
	e := event()
	f.Add(pack.AppendEvent(nil, &e))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := audit.Event{Seq: 1, Time: time.Unix(1, 0)}
		if pack.ReadEvent(b, &got) != nil || got.Count < 0 {
			return
		}
		var again audit.Event
		if err := pack.ReadEvent(pack.AppendEvent(nil, &got), &again); err != nil || again.Reason != got.Reason || again.Count != got.Count {
			t.Fatalf("%+v is read again as %+v, %v", got, again, err)
		}
	})
}

// Names that are split elsewhere are other keys; only the anonymous have key 0.
func TestKeys(t *testing.T) {
	if pack.WhoKey("a", "bc") == pack.WhoKey("ab", "c") || pack.SIDKey("a", "bc") == pack.SIDKey("ab", "c") ||
		pack.MarkKey(pack.Identity, "a", "bc") == pack.MarkKey(pack.Identity, "ab", "c") || pack.MarkKey(pack.Identity, "a", "b") == pack.MarkKey(pack.SID, "a", "b") {
		t.Error("two names, one key")
	}
	if pack.WhoKey("p", "") != 0 || pack.WhoKey("p", "ann") == 0 {
		t.Error("the key 0")
	}
	// SHA-256("i" | uvarint(1) | "p" | "ann"), its first eight bytes.
	sum := sha256.Sum256([]byte("i\x01pann"))
	if got := pack.WhoKey("p", "ann"); uint64(got) != binary.BigEndian.Uint64(sum[:]) {
		t.Errorf("%x", got)
	}

}
