package reflow

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/compat/internal/py"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// Identity is who is signed in, as the cookie holds it.
type Identity struct {
	Subject   string
	Email     *string // nil is null
	Name      *string // nil is null
	Provider  string
	IssuedAt  Date
	ExpiresAt Date
	// SignedInAt is when a re-issued identity was first issued; zero when it is the
	// first, whose IssuedAt it is.
	SignedInAt time.Time
}

// signedInMember is the member of re-issued cookies that the original does not have.
const signedInMember = "signed_in_at"

// signedIn is the time of the sign-in.
func (id *Identity) signedIn() time.Time {
	if id.SignedInAt.IsZero() {
		return id.IssuedAt.Time
	}
	return id.SignedInAt
}

// Date is a time with the offset it was written with. Its precision is a microsecond.
type Date struct {
	time.Time
	// Naive means that the text had no offset; Time is then in UTC.
	Naive bool
}

// String is pydantic's JSON text of a date: RFC 3339, Z for UTC, microseconds all six
// or none, no offset when naive.
func (d Date) String() string {
	layout := "2006-01-02T15:04:05"
	if d.Nanosecond() >= 1000 {
		layout += ".000000"
	}
	if !d.Naive {
		layout += "Z07:00"
	}
	return d.Format(layout)
}

// object is the JSON object of id, in the original's order, and our own member.
func (id *Identity) object() pyjson.Object {
	optional := func(s *string) any {
		if s == nil {
			return nil
		}
		return *s
	}
	o := pyjson.Object{
		{Name: "sub", Value: id.Subject}, {Name: "email", Value: optional(id.Email)},
		{Name: "name", Value: optional(id.Name)}, {Name: "provider_id", Value: id.Provider},
		{Name: "issued_at", Value: id.IssuedAt.String()}, {Name: "expires_at", Value: id.ExpiresAt.String()},
	}
	if !id.SignedInAt.IsZero() {
		o = append(o, pyjson.Member{Name: signedInMember, Value: Date{Time: id.SignedInAt.UTC()}.String()})
	}
	return o
}

// MarshalJSON writes the JSON object of the cookie.
func (id Identity) MarshalJSON() ([]byte, error) {
	return pyjson.Marshal(pyjson.Compact, id.object())
}

// parseIdentity reads the payload of an identity cookie as the original's model
// does: further members are ignored, strings must be strings, dates may be text or
// Unix seconds.
func parseIdentity(payload any) (id Identity, ok bool) {
	o, ok := payload.(pyjson.Object)
	if !ok {
		return id, false
	}
	var got [6]bool
	id.Subject, got[0] = o.Text("sub")
	id.Provider, got[1] = o.Text("provider_id")
	id.Email, got[2] = optionalText(o, "email")
	id.Name, got[3] = optionalText(o, "name")
	id.IssuedAt, got[4] = date(o, "issued_at")
	id.ExpiresAt, got[5] = date(o, "expires_at")
	return id, got == [6]bool{true, true, true, true, true, true}
}

func optionalText(o pyjson.Object, name string) (*string, bool) {
	v, _ := o.Get(name)
	if v == nil {
		return nil, true
	}
	s, ok := v.(string)
	return &s, ok
}

func date(o pyjson.Object, name string) (Date, bool) {
	v, _ := o.Get(name)
	switch v := v.(type) {
	case string:
		return parseDate(v)
	case json.Number:
		return numberDate(string(v))
	}
	return Date{}, false
}

// parseDate reads a date as pydantic 2 does: RFC 3339 with some freedom, a day
// alone (midnight, naive), or a number in text.
func parseDate(s string) (Date, bool) {
	day, err := time.Parse("2006-01-02", s[:min(len(s), 10)])
	if err != nil || day.Year() < 1 {
		return numberDate(s)
	}
	if len(s) == 10 {
		return Date{day, true}, true
	}
	if !strings.ContainsRune("Tt _", rune(s[10])) {
		return Date{}, false
	}
	return clock(day, s[11:])
}

// two reads two digits at most so large.
func two(s string, most int) (int, bool) {
	if len(s) < 2 || s[0]-'0' > 9 || s[1]-'0' > 9 {
		return 0, false
	}
	v := int(s[0]-'0')*10 + int(s[1]-'0')
	return v, v <= most
}

// clock reads HH:MM[:SS[.f…]] and an offset, and adds them to day. Digits past the
// microsecond are cut.
func clock(day time.Time, s string) (Date, bool) {
	hour, ok := two(s, 23)
	if !ok || len(s) < 5 || s[2] != ':' {
		return Date{}, false
	}
	minute, ok := two(s[3:], 59)
	if !ok {
		return Date{}, false
	}
	s = s[5:]
	second, micro := 0, 0
	if strings.HasPrefix(s, ":") {
		if second, ok = two(s[1:], 59); !ok {
			return Date{}, false
		}
		if s = s[3:]; s != "" && (s[0] == '.' || s[0] == ',') {
			digits := 1
			for unit := 100_000; digits < len(s) && s[digits]-'0' < 10; digits++ {
				micro += int(s[digits]-'0') * unit
				unit /= 10
			}
			if digits == 1 {
				return Date{}, false
			}
			s = s[digits:]
		}
	}
	zone, ok := offset(s)
	if !ok {
		return Date{}, false
	}
	t := time.Date(day.Year(), day.Month(), day.Day(), hour, minute, second, micro*1000, zone)
	return Date{t, s == ""}, true
}

// offset reads Z, ±HH:MM, ±HHMM or nothing.
func offset(s string) (*time.Location, bool) {
	switch {
	case s == "" || s == "Z" || s == "z":
		return time.UTC, true
	case len(s) != 5 && (len(s) != 6 || s[3] != ':') || s[0] != '+' && s[0] != '-':
		return nil, false
	}
	hours, ok := two(s[1:], 23)
	minutes, ok2 := two(s[len(s)-2:], 59)
	seconds := hours*3600 + minutes*60
	if s[0] == '-' {
		seconds = -seconds
	}
	if seconds == 0 {
		return time.UTC, ok && ok2
	}
	return time.FixedZone("", seconds), ok && ok2
}

// watershed is where pydantic begins to take numbers for milliseconds.
const watershed = 2e10

// numberDate reads Unix seconds, or milliseconds when there are too many.
func numberDate(s string) (Date, bool) {
	if strings.ContainsAny(s, "_xXpPnN") { // spellings that ParseFloat would read
		return Date{}, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return Date{}, false
	}
	if math.Abs(f) > watershed {
		f /= 1000
	}
	micro, ok := py.Microseconds(f)
	t := time.UnixMicro(micro).UTC()
	return Date{t, false}, ok && t.Year() >= 1 && t.Year() <= 9999
}

// ShouldReissue reports whether more than half of the identity's lifetime is over at
// now. Exactly half is not more. Lifetime and age are in microseconds, half of an
// odd one rounded to even, as Python's timedelta does.
func ShouldReissue(id *Identity, now time.Time) bool {
	return shouldReissue(id.ExpiresAt.UnixMicro()-id.IssuedAt.UnixMicro(), now.UnixMicro()-id.IssuedAt.UnixMicro())
}

func shouldReissue(lifetime, age int64) bool {
	half := lifetime >> 1 // rounds down
	if lifetime&1 == 1 && half&1 == 1 {
		half++
	}
	return age > half
}
