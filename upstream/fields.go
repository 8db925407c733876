package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
)

// Fields names the members of an upstream's JSON answer that a User is made of. A
// name may be a path through objects, with dots: "prefs.tier". An empty name leaves
// the user's member unknown.
type Fields struct {
	// ID must be there, a string or a whole number.
	ID string
	// Email, Name, Tier are strings; of another type they are unknown.
	Email, Name, Tier string
	// EmailVerified is true, or the text "true" that some providers send (OpenID
	// Connect Core 1.0 §5.1 has a boolean); whatever else is there is false.
	EmailVerified string
	// CreatedAt and UpdatedAt are RFC 3339 or Unix seconds; otherwise they are unknown.
	CreatedAt, UpdatedAt string
	// ExpiresAt is the same, but a value that is no time is no answer at all.
	ExpiresAt string
	// Claims takes other members along as they are: its keys are members of
	// User.Claims, its values paths. What is absent is left out.
	Claims map[string]string
}

// AppwriteFields returns the members of Appwrite's account endpoint (GET
// /v1/account). The tier is looked for in the user's preferences, which users can set:
// where it matters, take it from a label or a team by Claims.
func AppwriteFields() Fields {
	return Fields{ID: "$id", Email: "email", Name: "name", EmailVerified: "emailVerification", Tier: "prefs.tier",
		CreatedAt: "$createdAt", UpdatedAt: "$updatedAt"}
}

// OpenIDFields returns the standard claims of OpenID Connect Core 1.0 §5.1, which
// introspection answers (RFC 7662 §2.2) use as well.
func OpenIDFields() Fields {
	return Fields{ID: "sub", Email: "email", Name: "name", EmailVerified: "email_verified", UpdatedAt: "updated_at"}
}

func (f Fields) isZero() bool {
	return len(f.Claims) == 0 && f.ID == "" && f.Email == "" && f.Name == "" && f.Tier == "" && f.EmailVerified == "" &&
		f.CreatedAt == "" && f.UpdatedAt == "" && f.ExpiresAt == ""
}

// resolve copies f, or takes the usual fields when it is empty.
func (f Fields) resolve(usual Fields, wrong *problems) Fields {
	if f.isZero() {
		return usual
	}
	if f.ID == "" {
		wrong.add("Fields.ID", "is required: name the member with the user's lasting ID")
	}
	f.Claims = maps.Clone(f.Claims)
	return f
}

// errFields is why an answer makes no user.
var errFields = errors.New("upstream: the answer lacks the user's ID, or has an expiry that is no time")

// user makes a User of an answer.
func (f *Fields) user(object map[string]any) (u User, err error) {
	switch id := at(object, f.ID).(type) {
	case string:
		u.ID = id
	case json.Number:
		if _, err := strconv.ParseInt(id.String(), 10, 64); err == nil {
			u.ID = id.String()
		}
	}
	if u.ID == "" {
		return User{}, errFields
	}
	u.Email, _ = at(object, f.Email).(string)
	u.Name, _ = at(object, f.Name).(string)
	u.Tier, _ = at(object, f.Tier).(string)
	switch v := at(object, f.EmailVerified).(type) {
	case bool:
		u.EmailVerified = v
	case string:
		u.EmailVerified = v == "true"
	}
	u.CreatedAt, _ = timeOf(at(object, f.CreatedAt))
	u.UpdatedAt, _ = timeOf(at(object, f.UpdatedAt))
	if v := at(object, f.ExpiresAt); v != nil {
		var ok bool
		if u.ExpiresAt, ok = timeOf(v); !ok {
			return User{}, errFields
		}
	}
	claims := make(map[string]any, len(f.Claims))
	for name, path := range f.Claims {
		if v := at(object, path); v != nil {
			claims[name] = v
		}
	}
	if len(claims) > 0 {
		text, err := json.Marshal(claims)
		if err != nil {
			return User{}, fmt.Errorf("upstream: a claim: %w", err)
		}
		u.Claims = string(text)
	}
	return u, nil
}

// at follows a path; nil is nothing there, or null.
func at(object map[string]any, path string) any {
	if path == "" {
		return nil
	}
	for {
		name, rest, more := strings.Cut(path, ".")
		v := object[name]
		if !more {
			return v
		}
		inner, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		object, path = inner, rest
	}
}

// maxUnix is the first second of the year 10000.
const maxUnix = 253402300800

// timeOf reads RFC 3339 or Unix seconds, with a fraction or none.
func timeOf(v any) (time.Time, bool) {
	switch v := v.(type) {
	case string:
		t, err := time.Parse(time.RFC3339, v)
		return t.UTC().Truncate(time.Microsecond), err == nil
	case json.Number:
		f, err := v.Float64()
		if err != nil || f <= 0 || f >= maxUnix {
			return time.Time{}, false
		}
		return time.UnixMicro(int64(f * 1e6)).UTC(), true
	}
	return time.Time{}, false
}
