package crossauth_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/crossauth"
	"github.com/latchkey-go/latchkey/compat/engine"
	"github.com/latchkey-go/latchkey/compat/internal/databasetest"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

var (
	at     = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) // a whole second: no fraction in Python's text
	later  = at.Add(time.Hour + 678901*time.Microsecond)
	nobody crossauth.UserID
	alice  = crossauth.TextUser("alice")
	empty  = crossauth.TextUser("")
	never  time.Time
)

func save(t testing.TB, s crossauth.KeyStorage, k crossauth.Key) crossauth.Key {
	t.Helper()
	if k.Created.IsZero() {
		k.Created = at
	}
	if err := s.SaveKey(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	return k
}

// values are the values of the keys of users that are there.
func values(t testing.TB, s crossauth.KeyStorage, users ...crossauth.UserID) string {
	t.Helper()
	var all []string
	for _, u := range users {
		list, err := s.GetAllForUser(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range list {
			all = append(all, k.Value)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// equal compares keys; NULL columns of the program's own count as not there.
func equal(a, b crossauth.Key) bool {
	null := func(f crossauth.Field) bool { return f.Value.Kind() == engine.Null }
	a.Extra, b.Extra = slices.DeleteFunc(slices.Clone(a.Extra), null), slices.DeleteFunc(slices.Clone(b.Extra), null)
	return fmt.Sprint(a) == fmt.Sprint(b)
}

func wantCode(t testing.TB, err error, want crossauth.Code) {
	t.Helper()
	if code(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestKeys(t *testing.T) {
	eachStorage(t, func(t *testing.T, s crossauth.KeyStorage) {
		ctx := t.Context()
		one := save(t, s, crossauth.Key{Value: "s:one", UserID: alice, Expires: later, LastActive: later, Data: `{"a": 1}`,
			Extra: []crossauth.Field{{Name: "note", Value: engine.TextValue("x'; --?1$1")}}})
		two := save(t, s, crossauth.Key{Value: "s:two"})
		zone := save(t, s, crossauth.Key{Value: "s:zone", UserID: empty, Created: at.In(time.FixedZone("", 9*3600)).Add(time.Nanosecond)})
		zone.Created = at
		for _, k := range []crossauth.Key{one, two, zone} {
			if got, err := s.GetKey(ctx, k.Value); err != nil || !equal(got, k) {
				t.Errorf("%v %v, want %v", got, err, k)
			}
		}
		if err := s.SaveKey(ctx, crossauth.Key{Value: "s:one", Created: at}); code(err) != crossauth.KeyExists {
			t.Error(err)
		}
		if got, _ := s.GetKey(ctx, "s:one"); !equal(got, one) {
			t.Error("a save that failed changed", got)
		}
		_, err := s.GetKey(ctx, "S:ONE")
		wantCode(t, err, crossauth.InvalidKey)
		wantCode(t, s.SaveKey(ctx, crossauth.Key{Created: at}), crossauth.InvalidKey)
		wantCode(t, s.SaveKey(ctx, crossauth.Key{Value: "x"}), crossauth.BadRequest)
		for range 2 {
			if err := s.DeleteKey(ctx, "s:one"); err != nil {
				t.Error(err)
			}
		}
		if got := values(t, s, alice, nobody, empty); got != "s:two s:zone" {
			t.Error(got)
		}
	})
}

func TestUpdateKey(t *testing.T) {
	eachStorage(t, func(t *testing.T, s crossauth.KeyStorage) {
		ctx := t.Context()
		k := save(t, s, crossauth.Key{Value: "v", UserID: alice, Expires: later})
		other := save(t, s, crossauth.Key{Value: "w", UserID: alice, Expires: later})
		change := func(p crossauth.PartialKey, want func()) {
			t.Helper()
			p.Value = "v"
			if err := s.UpdateKey(ctx, p); err != nil {
				t.Error(err)
			}
			want()
			if got, err := s.GetKey(ctx, "v"); err != nil || !equal(got, k) {
				t.Errorf("%v %v, want %v", got, err, k)
			}
		}
		data := `{"a": {}}`
		change(crossauth.PartialKey{}, func() {})
		change(crossauth.PartialKey{LastActive: &later}, func() { k.LastActive = later })
		change(crossauth.PartialKey{Expires: &never, LastActive: &never}, func() { k.Expires, k.LastActive = never, never })
		change(crossauth.PartialKey{UserID: &nobody, Data: &data}, func() { k.UserID, k.Data = nobody, data })
		change(crossauth.PartialKey{UserID: &empty, Created: &later, Extra: []crossauth.Field{{Name: "note", Value: engine.TextValue("n")}}}, func() {
			k.UserID, k.Created, k.Extra = empty, later, []crossauth.Field{{Name: "note", Value: engine.TextValue("n")}}
		})
		change(crossauth.PartialKey{Extra: []crossauth.Field{{Name: "note", Value: engine.NullValue()}}}, func() { k.Extra = nil })
		if got, _ := s.GetKey(ctx, "w"); !equal(got, other) {
			t.Error("another key changed:", got)
		}
		wantCode(t, s.UpdateKey(ctx, crossauth.PartialKey{Value: "absent", Data: &data}), crossauth.InvalidKey)
		wantCode(t, s.UpdateKey(ctx, crossauth.PartialKey{Value: "absent"}), crossauth.InvalidKey)
		wantCode(t, s.UpdateKey(ctx, crossauth.PartialKey{Data: &data}), crossauth.InvalidKey)
		if _, err := s.GetKey(ctx, "absent"); code(err) != crossauth.InvalidKey {
			t.Error("an update made a key")
		}
	})
}

func TestExtraNames(t *testing.T) {
	eachStorage(t, func(t *testing.T, s crossauth.KeyStorage) {
		save(t, s, crossauth.Key{Value: "v"})
		for _, name := range []string{"", "a b", "note = 'x' --", "é", "a\x00", "note\"", strings.Repeat("n", 64), "value", "VALUE", "id", "userid", "lastactive", "Data"} {
			extra := []crossauth.Field{{Name: name, Value: engine.TextValue("x")}}
			wantCode(t, s.SaveKey(t.Context(), crossauth.Key{Value: "w", Created: at, Extra: extra}), crossauth.BadRequest)
			wantCode(t, s.UpdateKey(t.Context(), crossauth.PartialKey{Value: "v", Extra: extra}), crossauth.BadRequest)
			wantCode(t, s.DeleteMatching(t.Context(), crossauth.PartialKey{Extra: extra}), crossauth.BadRequest)
		}
		twice := []crossauth.Field{{Name: "note"}, {Name: "NOTE"}}
		wantCode(t, s.UpdateKey(t.Context(), crossauth.PartialKey{Value: "v", Extra: twice}), crossauth.BadRequest)
		if got := values(t, s, nobody); got != "v" {
			t.Error(got)
		}
	})
}

func TestDeleteAllForUser(t *testing.T) {
	eachStorage(t, func(t *testing.T, s crossauth.KeyStorage) {
		all := []crossauth.UserID{alice, empty, nobody}
		fill := func() {
			for i, u := range all {
				for _, v := range []string{"s:a", "s:b", "S:c", "p:d", "s_e"} {
					_ = s.DeleteKey(t.Context(), fmt.Sprint(v, i))
					save(t, s, crossauth.Key{Value: fmt.Sprint(v, i), UserID: u})
				}
			}
		}
		for _, c := range []struct {
			user           crossauth.UserID
			prefix, except string
			gone           string
		}{
			{alice, "s:", "", "s:a0 s:b0"}, {alice, "s:", "s:a0", "s:b0"}, {alice, "s:", "s:a1", "s:a0 s:b0"}, {empty, "s:", "", "s:a1 s:b1"},
			{nobody, "s:", "", "s:a2 s:b2"}, {nobody, "s:", "s:b2", "s:a2"}, {crossauth.TextUser("bob"), "s:", "", ""},
			{alice, "s_", "", "s_e0"}, {alice, "%", "", ""}, {alice, "p:", "", "p:d0"}, {alice, "", "", "S:c0 p:d0 s:a0 s:b0 s_e0"},
		} {
			fill()
			before := strings.Fields(values(t, s, all...))
			if err := s.DeleteAllForUser(t.Context(), c.user, c.prefix, c.except); err != nil {
				t.Error(err)
			}
			left := strings.Fields(values(t, s, all...))
			gone := slices.DeleteFunc(before, func(v string) bool { return slices.Contains(left, v) })
			if got := strings.Join(gone, " "); got != c.gone {
				t.Errorf("%v %q %q: gone are %q, want %q", c.user, c.prefix, c.except, got, c.gone)
			}
		}
	})
}

func TestDeleteMatching(t *testing.T) {
	eachStorage(t, func(t *testing.T, s crossauth.KeyStorage) {
		data := "{}"
		fill := func() {
			for _, k := range []crossauth.Key{
				{Value: "a", UserID: alice, Created: at, Expires: later}, {Value: "b", UserID: alice, Created: later, Data: data},
				{Value: "c", Created: at}, {Value: "d", UserID: empty, Created: at, LastActive: at, Extra: []crossauth.Field{{Name: "note", Value: engine.TextValue("n")}}},
			} {
				_ = s.DeleteKey(t.Context(), k.Value)
				save(t, s, k)
			}
		}
		note := func(v engine.Value) []crossauth.Field { return []crossauth.Field{{Name: "note", Value: v}} }
		for _, c := range []struct {
			name string
			key  crossauth.PartialKey
			left string
		}{
			{"value", crossauth.PartialKey{Value: "a"}, "b c d"}, {"user", crossauth.PartialKey{UserID: &alice}, "c d"},
			{"nobody", crossauth.PartialKey{UserID: &nobody}, "a b d"}, {"created", crossauth.PartialKey{Created: &at}, "b"},
			{"both", crossauth.PartialKey{UserID: &alice, Created: &at}, "b c d"}, {"expires", crossauth.PartialKey{Expires: &later}, "b c d"},
			{"never", crossauth.PartialKey{Expires: &never}, "a"}, {"data", crossauth.PartialKey{Data: &data}, "a c d"},
			{"active", crossauth.PartialKey{LastActive: &at}, "a b c"}, {"extra", crossauth.PartialKey{Extra: note(engine.TextValue("n"))}, "a b c"},
			{"extra-null", crossauth.PartialKey{Extra: note(engine.NullValue())}, "d"}, {"none", crossauth.PartialKey{Value: "a", UserID: &nobody}, "a b c d"},
		} {
			fill()
			if err := s.DeleteMatching(t.Context(), c.key); err != nil {
				t.Error(c.name, err)
			}
			if got := values(t, s, alice, nobody, empty); got != c.left {
				t.Errorf("%s: left are %s", c.name, got)
			}
		}
		fill()
		wantCode(t, s.DeleteMatching(t.Context(), crossauth.PartialKey{}), crossauth.BadRequest)
		if got := values(t, s, alice, nobody, empty); got != "a b c d" {
			t.Error(got)
		}
	})
}

func TestData(t *testing.T) {
	set := func(name string, v any) crossauth.DataEntry { return crossauth.DataEntry{Name: name, Value: v} }
	unset := func(name string) crossauth.DataEntry { return crossauth.DataEntry{Name: name, Delete: true} }
	cases := []struct {
		name, data string
		entries    []crossauth.DataEntry
		want       string
		code       crossauth.Code
	}{
		{"first", "", []crossauth.DataEntry{set("a", 1)}, `{"a": 1}`, ""},
		{"order", `{"z":1,"a":2}`, []crossauth.DataEntry{set("a", "é"), set("m", nil)}, `{"z": 1, "a": "\u00e9", "m": null}`, ""},
		{"number-text", `{"n":12345678901234567890.10}`, []crossauth.DataEntry{set("a", true)}, `{"n": 1.2345678901234567e+19, "a": true}`, ""},
		{"dotted", `{"a":{"b":{}}}`, []crossauth.DataEntry{set("a.b.c", pyjson.Object{{Name: "x", Value: 1}})}, `{"a": {"b": {"c": {"x": 1}}}}`, ""},
		{"own-parents", "", []crossauth.DataEntry{set("a", pyjson.Object{}), set("a.b", 1)}, `{"a": {"b": 1}}`, ""},
		{"no-parent", `{"a":{}}`, []crossauth.DataEntry{set("a.b.c", 1)}, "", crossauth.BadRequest},
		{"all-or-nothing", `{"a":1}`, []crossauth.DataEntry{set("a", 2), set("x.y", 1)}, "", crossauth.BadRequest},
		{"parent-list", `{"a":[1]}`, []crossauth.DataEntry{set("a.0", 1)}, "", crossauth.BadRequest},
		{"parent-null", `{"a":null}`, []crossauth.DataEntry{set("a.b", 1)}, "", crossauth.BadRequest},
		{"unwritable", `{}`, []crossauth.DataEntry{set("a", func() {})}, "", crossauth.BadRequest},
		{"long-name", `{}`, []crossauth.DataEntry{set(strings.Repeat("a.", 600), 1)}, "", crossauth.BadRequest},
		{"too-big", `{}`, []crossauth.DataEntry{set("a", strings.Repeat("x", engine.MaxText))}, "", crossauth.BadRequest},
		{"delete", `{"a":{"b":1,"c":2}}`, []crossauth.DataEntry{unset("a.b")}, `{"a": {"c": 2}}`, ""},
		{"delete-absent", `{"a":1}`, []crossauth.DataEntry{unset("b"), unset("a.b"), unset("x.y")}, `{"a":1}`, ""},
		{"delete-last", `{"a":1}`, []crossauth.DataEntry{unset("a")}, `{}`, ""},
		{"no-json", `{"a":`, []crossauth.DataEntry{set("a", 1)}, "", crossauth.DataFormat},
		{"list", `[]`, []crossauth.DataEntry{unset("a")}, "", crossauth.DataFormat},
	}
	eachStorage(t, func(t *testing.T, s crossauth.KeyStorage) {
		for _, c := range cases {
			save(t, s, crossauth.Key{Value: c.name, Data: c.data})
			err := s.UpdateManyData(t.Context(), c.name, c.entries)
			if c.code != "" {
				wantCode(t, err, c.code)
				c.want = c.data
			} else if err != nil {
				t.Error(c.name, err)
			}
			if got, _ := s.GetKey(t.Context(), c.name); got.Data != c.want {
				t.Errorf("%s: %s, want %s", c.name, got.Data, c.want)
			}
		}
		save(t, s, crossauth.Key{Value: "one"})
		if err := errors.Join(s.UpdateData(t.Context(), "one", "a", pyjson.Object{}), s.UpdateData(t.Context(), "one", "a.b", "x"), s.DeleteData(t.Context(), "one", "a.c")); err != nil {
			t.Error(err)
		}
		if got, _ := s.GetKey(t.Context(), "one"); got.Data != `{"a": {"b": "x"}}` {
			t.Error(got.Data)
		}
		wantCode(t, s.UpdateData(t.Context(), "absent", "a", 1), crossauth.InvalidKey)
		wantCode(t, s.DeleteData(t.Context(), "absent", "a"), crossauth.InvalidKey)
	})
}

// No writer loses another's change.
func TestTwoWriters(t *testing.T) {
	eachStorage(t, func(t *testing.T, s crossauth.KeyStorage) {
		const each = 25
		save(t, s, crossauth.Key{Value: "v"})
		var wg sync.WaitGroup
		saved := make([]int, 2)
		for w := range 2 {
			wg.Go(func() {
				for i := range each {
					if err := s.UpdateData(t.Context(), "v", fmt.Sprintf("w%d_%d", w, i), i); err != nil {
						t.Error(err)
					}
					switch err := s.SaveKey(t.Context(), crossauth.Key{Value: fmt.Sprint("race", i), Created: at}); {
					case err == nil:
						saved[w]++
					case code(err) != crossauth.KeyExists:
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		k, _ := s.GetKey(t.Context(), "v")
		o, err := crossauth.DecodeData(k.Data)
		if err != nil || len(o) != 2*each || saved[0]+saved[1] != each {
			t.Error(len(o), "changes survive;", saved, "keys were saved", err)
		}
	})
}

func TestIntegerUsers(t *testing.T) {
	databases.Each(t, func(t *testing.T, db database) {
		s := made(t, db.DB, func(c *crossauth.KeyTableConfig) {
			c.IntegerUserIDs, c.Table, c.UserIDColumn = true, "keys", "ownerId"
		})
		zero, five := crossauth.IntUser(0), crossauth.IntUser(5)
		a, b, c := save(t, s, crossauth.Key{Value: "a", UserID: zero}), save(t, s, crossauth.Key{Value: "b", UserID: five}), save(t, s, crossauth.Key{Value: "c"})
		for _, k := range []crossauth.Key{a, b, c} {
			if got, err := s.GetKey(t.Context(), k.Value); err != nil || !equal(got, k) || got.UserID != k.UserID {
				t.Errorf("%v %v, want %v", got, err, k)
			}
		}
		if err := s.DeleteAllForUser(t.Context(), zero, "", ""); err != nil {
			t.Error(err)
		}
		if err := s.DeleteMatching(t.Context(), crossauth.PartialKey{UserID: &five}); err != nil {
			t.Error(err)
		}
		if got := values(t, s, zero, five, nobody); got != "c" {
			t.Error(got)
		}
		wantCode(t, s.SaveKey(t.Context(), crossauth.Key{Value: "d", UserID: five, Created: at, Extra: []crossauth.Field{{Name: "ownerid"}}}), crossauth.BadRequest)
	})
}

// The table's times are wall-clock times of a zone; every driver's form is read.
func TestLocation(t *testing.T) {
	databases.Each(t, func(t *testing.T, db database) {
		s := made(t, db.DB, func(c *crossauth.KeyTableConfig) { c.Location = time.FixedZone("", -5*3600) })
		k := save(t, s, crossauth.Key{Value: "v", Expires: later})
		if got, err := s.GetKey(t.Context(), "v"); err != nil || !equal(got, k) {
			t.Error(got, err)
		}
		wall := "2026-01-01 22:04:05.000000"
		if n := databasetest.Execute(t, db.DB, "UPDATE Key SET data = '' WHERE created = ?1", engine.TextValue(wall)); n != 1 {
			t.Error("the table has another time than", wall)
		}
		for _, spelling := range []string{"2026-01-01 22:04:05", "2026-01-01T22:04:05.0", wall} {
			databasetest.Execute(t, db.DB, "UPDATE Key SET created = ?1", engine.TextValue(spelling))
			if got, err := s.GetKey(t.Context(), "v"); err != nil || !got.Created.Equal(at) {
				t.Error(spelling, got.Created, err)
			}
			_ = s.DeleteMatching(t.Context(), crossauth.PartialKey{Value: "w", Created: &at})
		}
		if db.IsPostgreSQL() {
			databasetest.Execute(t, db.DB, "ALTER TABLE Key ALTER COLUMN expires TYPE timestamptz")
			if err := s.UpdateKey(t.Context(), crossauth.PartialKey{Value: "v", Expires: &later}); err != nil {
				t.Error(err)
			}
		} else {
			databasetest.Execute(t, db.DB, "UPDATE Key SET expires = '2026-01-02 04:04:05.678901+00:00', created = ?1", engine.IntValue(at.Unix()))
		}
		if got, err := s.GetKey(t.Context(), "v"); err != nil || !equal(got, k) {
			t.Error(got, err)
		}
		far := time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -12*3600))
		wantCode(t, made(t, db.DB, nil).UpdateKey(t.Context(), crossauth.PartialKey{Value: "v", Expires: &far}), crossauth.BadRequest)
	})
}

func TestHostileKeyRows(t *testing.T) {
	columns := []string{"value", "userid", "created", "expires", "lastactive", "data"}
	test := func(t *testing.T, db database) {
		s := made(t, db.DB, nil)
		sessions, err := crossauth.NewSessionCookie(crossauth.SessionCookieConfig{Storage: s, Secret: longSecret, Now: func() time.Time { return at }})
		if err != nil {
			t.Fatal(err)
		}
		good := []string{"'" + crossauth.HashSessionID(token) + "'", "'alice'", "'2026-01-02 03:04:05.000000'", "'2026-01-06 03:04:05.000000'", "NULL", "''"}
		for _, h := range []struct{ name, column, value, typ string }{
			{"good", "", "", ""}, {"no-active", "lastactive", "-", "ok"}, {"no-user", "userid", "-", ""}, {"no-created", "created", "-", ""}, {"no-expires", "expires", "-", ""},
			{"no-data", "data", "-", ""}, {"user-real", "userid", "1.5", "REAL"}, {"created-null", "created", "NULL", ""}, {"created-word", "created", "'now'", ""},
			{"created-date", "created", "'2026-01-02'", ""}, {"expires-empty", "expires", "''", ""}, {"expires-ms", "expires", "1767323045678", "BIGINT"},
			{"expires-real", "expires", "1767323045.5", "REAL"}, {"active-word", "lastactive", "'x'", ""}, {"data-number", "data", "5", "BIGINT"},
			{"data-huge", "data", "'" + strings.Repeat("x", engine.MaxText+1) + "'", ""},
		} {
			t.Run(h.name, func(t *testing.T) {
				var define, insert []string
				for i, name := range columns {
					typ, v := "TEXT", good[i]
					if name == h.column {
						if v = h.value; h.typ != "" {
							typ = h.typ
						}
					}
					if v != "-" {
						define, insert = append(define, name+" "+typ), append(insert, v)
					}
				}
				databasetest.Execute(t, db.DB, "DROP TABLE Key")
				databasetest.Execute(t, db.DB, "CREATE TABLE Key ("+strings.Join(define, ", ")+")")
				databasetest.Execute(t, db.DB, "INSERT INTO Key VALUES ("+strings.Join(insert, ", ")+")")
				key, err := sessions.GetSessionKey(t.Context(), token)
				if h.column == "" || h.typ == "ok" {
					if err != nil || key.UserID != alice {
						t.Error(key, err)
					}
					return
				}
				wantCode(t, err, crossauth.DataFormat)
				if !crossauth.Refused(err) || !strings.Contains(err.Error(), h.column) || key.Value != "" {
					t.Error(key, err)
				}
			})
		}
		databasetest.Execute(t, db.DB, "INSERT INTO Key SELECT * FROM Key")
		_, err = sessions.GetSessionKey(t.Context(), token)
		wantCode(t, err, crossauth.DataFormat)
		databasetest.Execute(t, db.DB, "DROP TABLE Key")
		_, err = sessions.GetSessionKey(t.Context(), token)
		if wantCode(t, err, crossauth.Connection); crossauth.Refused(err) || errors.Unwrap(err) == nil {
			t.Error(err)
		}
	}
	databases.EachOfOneConnection(t, test)
}

func TestTableErrors(t *testing.T) {
	_, err := crossauth.NewKeyTable(crossauth.KeyTableConfig{Table: "Key; DROP", UserIDColumn: "é"})
	for _, want := range []string{"DB", "Table", "UserIDColumn"} {
		if code(err) != crossauth.Configuration || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
	databases.Each(t, func(t *testing.T, db database) {
		s := made(t, db.DB, nil)
		databasetest.Execute(t, db.DB, "ALTER TABLE Key ADD COLUMN must INTEGER CHECK (must > 0)")
		wantCode(t, s.SaveKey(t.Context(), crossauth.Key{Value: "v", Created: at, Extra: []crossauth.Field{{Name: "must", Value: engine.IntValue(0)}}}), crossauth.ConstraintViolation)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, get := s.GetKey(ctx, "v")
		_, all := s.GetAllForUser(ctx, alice)
		for _, err := range []error{get, all, s.SaveKey(ctx, crossauth.Key{Value: "v", Created: at}), s.UpdateData(ctx, "v", "a", 1), s.DeleteKey(ctx, "v"),
			s.DeleteAllForUser(ctx, alice, "", ""), s.UpdateKey(ctx, crossauth.PartialKey{Value: "v", UserID: &alice}), s.CreateTable(ctx)} {
			wantCode(t, err, crossauth.Connection)
		}
	})
}
