package redis

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// Whatever stands under a key, a row is read whole or refused.
func FuzzUnpackRow(f *testing.F) {
	now := time.UnixMicro(1_700_000_000_000_001).UTC()
	r := latchkey.Record{Provider: "idp", Subject: "ann", SID: "s", CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour), Idle: time.Minute,
		Roles: []string{"a"}, Wrap: []byte{1}, Data: []byte{2, 3}, Stateless: true}
	row := packRow(&r, "3f2"+strings.Repeat("w", 22), subjectRef("ann"), sidRef("idp", "s"))
	f.Add([]byte(row))
	f.Add([]byte(row[:headSize]))
	f.Add([]byte(row[:atRevoked] + "\x00\x00\x00\x00\x00\x00\x00\x01" + row[atRevoked+8:] + packEnd("by", "reason")))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got latchkey.Record
		before := bytes.Clone(b)
		if err := unpackRow(b, &got); err == nil && got.Version != 0 && len(b) < headSize {
			t.Error("read a row out of less than its head")
		}
		if !bytes.Equal(b, before) {
			t.Error("reading changed the row")
		}
	})
}

func FuzzUnpackEvent(f *testing.F) {
	f.Add("\x01" + strings.Repeat("\x00", 19) + "\x08" + stem("", "") + strings.Repeat("\x00", 20))
	f.Fuzz(func(t *testing.T, text string) {
		var e audit.Event
		if err := unpackEvent(text, &e); err == nil && len(text) < eventHead {
			t.Error("read an event out of less than its head")
		}
	})
}

// The feed reads what any server may send.
func FuzzReadValue(f *testing.F) {
	for _, s := range []string{"+OK\r\n", ":1\r\n", "$3\r\nabc\r\n", ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\np\r\n", "%1\r\n+a\r\n:1\r\n", "*-1\r\n", "$-1\r\n", "_\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for range 100 {
			v, err := readValue(r, 0)
			if err != nil {
				return
			}
			if len(v.text) > len(b) || len(v.list) > len(b) {
				t.Error("a value is longer than what was read")
			}
		}
	})
}

func FuzzMessages(f *testing.F) {
	f.Add("0123456789abcdef:1:i:01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f")
	f.Add("0123456789abcdef:18446744073709551615:a:")
	f.Add("aaaa 127.0.0.1:7000@17000,host master - 0 0 3 connected 0-5460 5462 [93-<-id]\n")
	f.Fuzz(func(t *testing.T, text string) {
		if m, ok := parseMessage(text); ok && len(m.ids)*idSize > len(text) {
			t.Error("more IDs than the message holds")
		}
		_ = readNodes(text, "127.0.0.1:1", make([]claimed, slots))
	})
}
