package latchkey

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey-go/latchkey/keyring"
)

func drawRecord(t *rapid.T) Record {
	text := rapid.StringN(0, 40, 200)
	when := rapid.Custom(func(t *rapid.T) time.Time {
		return fromMicro(rapid.Int64Range(0, 4e15).Draw(t, "us"))
	})
	list := rapid.SliceOfN(rapid.StringN(1, 10, 40), 0, 5)
	blob := rapid.SliceOfN(rapid.Byte(), 0, 200)
	nonNil := func(s []string) []string {
		if len(s) == 0 {
			return nil
		}
		return s
	}
	bytesOrNil := func(b []byte) []byte {
		if len(b) == 0 {
			return nil
		}
		return b
	}
	r := Record{
		Provider: text.Draw(t, "provider"), Subject: text.Draw(t, "subject"), Email: text.Draw(t, "email"), Name: text.Draw(t, "name"),
		Roles: nonNil(list.Draw(t, "roles")), Methods: nonNil(list.Draw(t, "methods")), Assurance: text.Draw(t, "acr"),
		AuthTime: when.Draw(t, "auth"), SID: text.Draw(t, "sid"), CreatedAt: when.Draw(t, "created"), ExpiresAt: when.Draw(t, "expires"),
		Idle: time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "idle")) * time.Microsecond, Lifetime: time.Hour,
		IP: text.Draw(t, "ip"), UserAgent: text.Draw(t, "ua"), Wrap: bytesOrNil(blob.Draw(t, "wrap")), Data: bytesOrNil(blob.Draw(t, "data")),
		RotatedAt: when.Draw(t, "rotated"), Stateless: rapid.Bool().Draw(t, "stateless"),
	}
	copy(r.SecretHash[:], blob.Draw(t, "hash"))
	copy(r.PatchID[:], blob.Draw(t, "patch"))
	copy(r.SupersededHash[:], blob.Draw(t, "superseded"))
	if rapid.Bool().Draw(t, "rotating") {
		r.PreviousHash[0] = 1
		r.PreviousWrap = bytesOrNil(blob.Draw(t, "pwrap"))
		copy(r.RotateNonce[:], blob.Draw(t, "nonce"))
		r.RotateKey = keyring.ID(rapid.Byte().Draw(t, "key"))
		r.GraceEnd = when.Draw(t, "grace")
	}
	return r
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecord(t)
		packed := AppendRecord(nil, &r)
		var got Record
		if err := DecodeRecord(packed, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, r) {
			t.Fatalf("got  %+v\nwant %+v", got, r)
		}
		// Cut anywhere, or with something behind it, it is no record.
		cut := rapid.IntRange(0, len(packed)-1).Draw(t, "cut")
		if DecodeRecord(packed[:cut], &got) == nil {
			t.Fatalf("%d of %d bytes are a record", cut, len(packed))
		}
		if DecodeRecord(append(packed, 0), &got) == nil {
			t.Fatal("trailing byte accepted")
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(AppendRecord(nil, &Record{}))
	f.Add(AppendRecord(nil, &Record{Subject: "alice", Roles: []string{"a", "b"}, PreviousHash: [32]byte{1}, Wrap: make([]byte, 60)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		if DecodeRecord(b, &r) != nil {
			return
		}
		again := AppendRecord(nil, &r)
		var r2 Record
		if err := DecodeRecord(again, &r2); err != nil || !reflect.DeepEqual(r, r2) {
			t.Fatalf("a decoded record does not survive: %v", err)
		}
	})
}

func TestViewHoldsEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecord(t)
		for i := range r.Roles { // validation keeps newlines out of them
			r.Roles[i] = string(bytes.ReplaceAll([]byte(r.Roles[i]), []byte("\n"), []byte("_")))
		}
		for i := range r.Methods {
			r.Methods[i] = string(bytes.ReplaceAll([]byte(r.Methods[i]), []byte("\n"), []byte("_")))
		}
		r.ID[5], r.LastSeenAt, r.Version = 9, fromMicro(123456), 77
		v, err := newView(&r, &token{key: 3, raw: [tokenRaw]byte{50: 7}}, map[string]json.RawMessage{"a": []byte(`1`), "b": []byte(`"two"`)}, false)
		if err != nil {
			t.Fatal(err)
		}
		s := Session{v: v, seen: micro(r.LastSeenAt)}
		info := s.Info()
		if s.Subject() != r.Subject || s.Provider() != r.Provider || s.Email() != r.Email || s.Name() != r.Name || s.SID() != r.SID ||
			s.Assurance() != r.Assurance || s.IP() != r.IP || s.UserAgent() != r.UserAgent || !reflect.DeepEqual(s.Roles(), r.Roles) ||
			!reflect.DeepEqual(s.Methods(), r.Methods) || !s.AuthTime().Equal(r.AuthTime) || !s.CreatedAt().Equal(r.CreatedAt) ||
			!s.ExpiresAt().Equal(r.ExpiresAt) || !s.LastSeenAt().Equal(r.LastSeenAt) || s.ID() != r.ID || s.Version() != 77 || info.ID != r.ID {
			t.Fatalf("view differs: %+v\n%+v", info, r)
		}
		raw, ok := v.value("b")
		if !ok || string(raw) != `"two"` {
			t.Fatalf("value %s %v", raw, ok)
		}
		if _, ok := v.value("c"); ok {
			t.Fatal("absent value found")
		}
	})
}
