package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/latchkey-go/latchkey"
)

// Causes of failures.
var (
	errClosed    = errors.New("the store is closed")
	errDamaged   = errors.New("a row of the database is damaged")
	errNoStore   = errors.New("the row that describes the store is missing; restore the database from a backup")
	errStandby   = errors.New("the server is a standby; give the address of the primary")
	errIsolation = errors.New("transactions through the pooler are not READ COMMITTED; take default_transaction_isolation off the role and the database, and have the pooler connect anew")
	errMigrated  = errors.New("another program has changed the database to a schema that this program does not know; use a newer latchkey")
)

// ErrSchema is the cause of what Open and Migrate answer to a store whose schema
// this program cannot use, because it is older or newer; compare by [errors.Is].
// The store is there and as it was, and waiting does not help: the message says
// whether to migrate it or to use a newer program.
var ErrSchema = errors.New("the schema of the database is not one that this program uses")

const noAnswer = "the session store gave no answer"

// unavailable is the answer to a call whose outcome is not known.
func unavailable(cause error) error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, noAnswer, explained(cause))
}

// failure is the driver's error without what it refers to: an error of connecting
// leads to its configuration, and so to the password.
type failure struct {
	text    string
	state   string // SQLSTATE
	rule    string // the constraint that was broken
	context error
}

func (f *failure) Error() string { return f.text }

// Unwrap returns the context's error where that is why.
func (f *failure) Unwrap() error { return f.context }

// plain makes a driver's error one that may be kept.
func plain(err error) error {
	var known *failure
	var lk *latchkey.Error
	if err == nil || errors.As(err, &known) || errors.As(err, &lk) {
		return err
	}
	if own := ownCause(err); own != nil {
		return own
	}
	f := &failure{text: oneLine(err.Error()), state: sqlState(err)}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		f.rule = pg.ConstraintName
	}
	for _, of := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, of) {
			f.context = of
		}
	}
	return f
}

// ownCause is the one of this package's causes that err leads to, or nil.
func ownCause(err error) error {
	for _, own := range []error{errClosed, errDamaged, errNoStore, errStandby, errIsolation, errMigrated, errWire} {
		if errors.Is(err, own) {
			return own
		}
	}
	return nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// explained adds what to do to the server's own words.
func explained(err error) error {
	what := ""
	if ownCause(err) == nil {
		what = advice(err)
	}
	err = plain(err)
	if what != "" {
		return fmt.Errorf("%s: %w", what, err)
	}
	return err
}

// sqlState is the five-character code of a server's error, "" for any other.
func sqlState(err error) string {
	var e *pgconn.PgError
	var f *failure
	switch {
	case errors.As(err, &e):
		return e.Code
	case errors.As(err, &f):
		return f.state
	}
	return ""
}

// advice tells an operator what a server's code means and what to do about it, or
// "" for errors that say it themselves.
func advice(err error) string {
	switch state := sqlState(err); state {
	case "":
	case "28P01", "28000":
		return "the server refuses the user or the password; check both, and the server's pg_hba.conf"
	case "3D000":
		return "the server has no such database; create it, or correct the name at the end of the URL"
	case "3F000", "42P01", "42883", "42703":
		return "a table or function of the store is missing; run `latchkey migrate`, or restore a backup"
	case "42501":
		return "the user may not do this; grant it the rights on the store's schema, or use its owner"
	case "25006":
		return "the server is read-only; give the address of the primary"
	case "53100":
		return "the server's disk is full; make room, the store then goes on by itself"
	case "53200":
		return "the server is out of memory"
	case "53300", "53400":
		return "the server has no connection left; raise its max_connections or use fewer nodes"
	case "57P01", "57P02", "57P03":
		return "the server is stopping or starting; the store goes on by itself once it runs"
	case "57014", "55P03":
		return "the server gave up waiting; look for long transactions in pg_stat_activity"
	case "P0002":
		return errNoStore.Error()
	case "08P01":
		return "the server or the pooler before it does not understand the request; see docs/postgres.md on poolers"
	case "26000", "42P05":
		return "prepared statements do not pass the pooler; add pooler=1 to the URL"
	}
	return netAdvice(err)
}

// netAdvice is advice on what keeps one from reaching the server.
func netAdvice(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &dns):
		return "the server's name is not known; check the host in the URL"
	case errors.As(err, &unknown), errors.As(err, &name), errors.As(err, &cert):
		return "the server's certificate is not trusted; check sslmode and sslrootcert in the URL"
	case errors.As(err, &op) && op.Op == "dial":
		return "the server cannot be reached; check host and port in the URL, and whether it runs"
	case pgconn.Timeout(err), errors.Is(err, context.DeadlineExceeded):
		return "the server did not answer in time"
	}
	return ""
}

// refused is an error of opening a store.
func refused(where, format string, args ...any) error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, fmt.Sprintf("postgres store %s: ", where)+fmt.Sprintf(format, args...), nil)
}

// wrongSchema is the error of opening a store that is older or newer than this program.
func wrongSchema(where, format string, args ...any) error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, fmt.Sprintf("postgres store %s: ", where)+fmt.Sprintf(format, args...), ErrSchema)
}

// cannotOpen is an error of opening a store: one line that names the server.
func cannotOpen(where string, err error) error {
	var known *latchkey.Error
	if errors.As(err, &known) {
		return err
	}
	what := advice(err)
	err = plain(err)
	switch {
	case what == "" || ownCause(err) != nil:
		what = "cannot be opened: " + cut(err.Error())
	case sqlState(err) == "":
		what += " (" + cut(err.Error()) + ")"
	}
	return latchkey.NewError(latchkey.CodeStoreUnavailable, fmt.Sprintf("postgres store %s: %s", where, what), err)
}

// cut bounds a driver's text in a message of one line.
func cut(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

func noSuchSession() error {
	return latchkey.NewError(latchkey.CodeNoSuchSession, "no such session", nil)
}

// answer makes err what a caller gets.
func answer(err error) error {
	var e *latchkey.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return unavailable(err)
}

// brokenOff is the answer to a call whose context has ended.
func brokenOff(ctx context.Context) error { return unavailable(context.Cause(ctx)) }
