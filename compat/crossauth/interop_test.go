package crossauth_test

import (
	"math"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/crossauth"
	"github.com/latchkey-go/latchkey/compat/internal/databasetest"
)

// The original in Python, in its own time zone, and this package on one table.
func TestInterop(t *testing.T) {
	for _, zone := range []struct {
		name, tz string
		location *time.Location
	}{{"utc", "UTC", nil}, {"local", "<-0330>3:30", time.FixedZone("", -(3*3600 + 1800))}} {
		t.Run(zone.name, func(t *testing.T) {
			databases.Each(t, func(t *testing.T, db database) {
				storage := made(t, db.DB, func(c *crossauth.KeyTableConfig) { c.Location = zone.location })
				modules := "sqlite3"
				if db.IsPostgreSQL() {
					modules += ", psycopg2"
				}
				interop(t, storage, databasetest.StartOriginal(t, modules, []string{"TZ=" + zone.tz}, "testdata/crossauth.py", db.URL, longSecret))
			})
		})
	}
}

type theirKey struct {
	Error      string
	UserID     *string `json:"userid"`
	Age        float64
	Left, Idle *float64
	Data       map[string]any
}

func near(f *float64, want float64) bool { return f != nil && math.Abs(*f-want) < 120 }

func interop(t *testing.T, storage crossauth.KeyStorage, python *databasetest.Original) {
	ctx := t.Context()
	s, err := crossauth.NewSessionCookie(crossauth.SessionCookieConfig{Storage: storage, Secret: longSecret, MaxAge: 24 * time.Hour, IdleTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	// Theirs, here.
	var theirs, anonymous string
	python.Ask(t, object{"op": "create", "userid": "alice", "max_age": 86400, "data": `{"a": "é"}`}, &theirs)
	python.Ask(t, object{"op": "create", "userid": nil, "max_age": 0, "data": nil}, &anonymous)
	id, err := s.UnsignCookie(theirs)
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.GetSessionKey(ctx, id)
	if err != nil || key.UserID != alice || key.Expires.Sub(key.Created) != 24*time.Hour || time.Since(key.Created).Abs() > time.Minute || key.Data != `{"a": "é"}` {
		t.Fatal(key, err)
	}
	anonymousID, err := s.UnsignCookie(anonymous)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := s.GetSessionKey(ctx, anonymousID); err != nil || !key.UserID.Anonymous() || !key.Expires.IsZero() || key.Data != "" {
		t.Fatal(key, err)
	}
	// Changed here, read there.
	if err := s.UpdateData(ctx, id, crossauth.DataEntry{Name: "b", Value: "\u2028"}); err != nil {
		t.Fatal(err)
	}
	if err := s.UpdateActivity(ctx, id); err != nil {
		t.Fatal(err)
	}
	var got theirKey
	python.Ask(t, object{"op": "get", "cookie": theirs}, &got)
	if got.Error != "" || *got.UserID != "alice" || !near(got.Left, 86400) || !near(got.Idle, 0) || got.Data["a"] != "é" || got.Data["b"] != "\u2028" {
		t.Errorf("%+v", got)
	}
	// Ours, there.
	mine, err := s.SignIn(ctx, anonymousID, alice)
	if err != nil {
		t.Fatal(err)
	}
	cookie, err := s.MakeCookie(mine)
	if err != nil {
		t.Fatal(err)
	}
	got = theirKey{}
	python.Ask(t, object{"op": "get", "cookie": cookie.Value}, &got)
	if got.Error != "" || *got.UserID != "alice" || math.Abs(got.Age) > 120 || !near(got.Left, 86400) || !near(got.Idle, 0) {
		t.Errorf("%+v", got)
	}
	python.Ask(t, object{"op": "update_data", "cookie": cookie.Value, "name": "c", "value": 1.5}, new(any))
	if o, err := s.Data(ctx, mine.Value); err != nil || len(o) != 1 || o[0].Name != "c" {
		t.Error(o, err)
	}
	python.Ask(t, object{"op": "get", "cookie": anonymous}, &got)
	if got.Error != "InvalidKey" {
		t.Errorf("the anonymous session is there after the sign-in: %+v", got)
	}
	// Ended there.
	python.Ask(t, object{"op": "delete_all_for_user", "userid": "alice", "except_cookie": cookie.Value}, new(any))
	holds(t, s, id, crossauth.InvalidKey)
	holds(t, s, mine.Value, "")
}
