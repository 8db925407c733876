package crossauth

import (
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/compat/engine"
	"github.com/latchkey-go/latchkey/compat/internal/py"
)

// Times in the table's text. SQLite's are what Python's %Y-%m-%d %H:%M:%S.%f reads,
// fraction and all. PostgreSQL's say their offset besides, which a column timestamp
// ignores and a column timestamptz needs.
const (
	sqliteTime   = "2006-01-02 15:04:05.000000"
	postgresTime = sqliteTime + "-07:00"
)

// moment writes a time for the table; zero is NULL.
func (k *KeyTable) moment(t time.Time) (engine.Value, error) {
	if t.IsZero() {
		return engine.NullValue(), nil
	}
	t = t.In(k.config.Location)
	if t.Year() < 1 || t.Year() > 9999 {
		return engine.Value{}, newError(BadRequest, "A time is beyond the years 1 to 9999")
	}
	if k.config.DB.IsPostgreSQL() {
		return engine.TextValue(t.Format(postgresTime)), nil
	}
	return engine.TextValue(t.Format(sqliteTime)), nil
}

// unreadable is a row that somebody else wrote.
func unreadable(column, detail string) error {
	return newError(DataFormat, "The key's row cannot be read: column "+column+" "+detail)
}

// decode reads a row. The columns must be there and of their types, but lastactive,
// which some tables lack. Others become Extra.
func (k *KeyTable) decode(r *engine.Row) (key Key, err error) {
	value, _ := r.Get("value") // one that is missing is no text either
	var ok bool
	if key.Value, ok = value.Text(); !ok || key.Value == "" {
		return Key{}, unreadable("value", "is missing or no text")
	}
	user, ok := r.Get(k.config.UserIDColumn)
	if key.UserID, ok = userOf(user, ok); !ok {
		return Key{}, unreadable(k.config.UserIDColumn, "is missing, or neither integer nor text")
	}
	if key.Created, err = k.time(r, "created", true); err != nil {
		return Key{}, err
	}
	if key.Created.IsZero() {
		return Key{}, unreadable("created", "is NULL")
	}
	if key.Expires, err = k.time(r, "expires", true); err != nil {
		return Key{}, err
	}
	if key.LastActive, err = k.time(r, "lastactive", false); err != nil {
		return Key{}, err
	}
	data, found := r.Get("data")
	if key.Data, ok = data.Text(); !found || !ok && data.Kind() != engine.Null {
		return Key{}, unreadable("data", "is missing, no text or over 1 MiB")
	}
	for _, name := range r.Names() {
		known := func(own string) bool { return strings.EqualFold(own, name) }
		if !known(k.config.UserIDColumn) && !slices.ContainsFunc(ownColumns, known) {
			v, _ := r.Get(name)
			key.Extra = append(key.Extra, Field{name, v})
		}
	}
	return key, nil
}

func userOf(v engine.Value, ok bool) (UserID, bool) {
	if n, isInt := v.Int(); isInt {
		return IntUser(n), ok
	}
	if s, isText := v.Text(); isText {
		return TextUser(s), ok
	}
	return UserID{}, ok && v.Kind() == engine.Null
}

// time reads a time; NULL is the zero time. A text without offset is in the table's
// time zone, an integer is Unix seconds, as the original reads it.
func (k *KeyTable) time(r *engine.Row, column string, required bool) (time.Time, error) {
	v, ok := r.Get(column)
	switch {
	case !ok && !required || ok && v.Kind() == engine.Null:
		return time.Time{}, nil
	case !ok:
		return time.Time{}, unreadable(column, "is missing")
	}
	if seconds, isInt := v.Int(); isInt && seconds > 0 && seconds < 1<<37 { // within four digits of year
		return time.Unix(seconds, 0).UTC(), nil
	}
	text, _ := v.Text()
	t, naive, ok := py.ParseISO(text)
	if !ok || len(text) < len("2006-01-02 15:04:05") {
		return time.Time{}, unreadable(column, "is no time of the form YYYY-MM-DD HH:MM:SS.ffffff")
	}
	if naive {
		t = time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), k.config.Location)
	}
	if t = t.UTC(); t.IsZero() { // which would read as NULL
		return time.Time{}, unreadable(column, "is before every time that can be kept")
	}
	return t, nil
}
