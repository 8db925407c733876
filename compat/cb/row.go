package cb

import (
	"time"

	"github.com/latchkey-go/latchkey/compat/engine"
)

// decode reads a row. Every column must be there and of its type: a default for what
// is missing would be somebody's rights.
func decode(r *engine.Row) (s Session, err error) {
	for _, read := range []func() error{
		func() (err error) { s.ID, err = integer(r, "id"); return err },
		func() (err error) { s.UserID, err = integer(r, "user_id"); return err },
		func() (err error) { s.CreatedAt, err = moment(r, "created_at"); return err },
		func() (err error) { s.ExpiresAt, err = moment(r, "expires_at"); return err },
		func() (err error) { s.IP, err = text(r, "ip"); return err },
		func() (err error) { s.UserAgent, err = text(r, "user_agent"); return err },
		func() (err error) { s.RevokedAt, err = revocation(r); return err },
	} {
		if err := read(); err != nil {
			return Session{}, err
		}
	}
	return s, nil
}

func column(r *engine.Row, name string) (engine.Value, error) {
	v, ok := r.Get(name)
	if !ok {
		return v, &RowError{name, "is missing"}
	}
	return v, nil
}

func integer(r *engine.Row, name string) (int64, error) {
	v, err := column(r, name)
	if err != nil {
		return 0, err
	}
	n, ok := v.Int()
	if !ok {
		return 0, &RowError{name, "is no integer"}
	}
	return n, nil
}

func text(r *engine.Row, name string) (string, error) {
	v, err := column(r, name)
	if err != nil {
		return "", err
	}
	s, ok := v.Text()
	if !ok {
		return "", &RowError{name, "is no text"}
	}
	return s, nil
}

func moment(r *engine.Row, name string) (time.Time, error) {
	s, err := text(r, name)
	if err != nil {
		return time.Time{}, err
	}
	t, ok := ParseTime(s)
	if !ok {
		return time.Time{}, &RowError{name, "is no time of the form YYYY-MM-DDTHH:MM:SS[.ffffff]+00:00"}
	}
	return t, nil
}

// revocation reads revoked_at; NULL is the zero time.
func revocation(r *engine.Row) (time.Time, error) {
	v, err := column(r, "revoked_at")
	if err != nil || v.Kind() == engine.Null {
		return time.Time{}, err
	}
	return moment(r, "revoked_at")
}
