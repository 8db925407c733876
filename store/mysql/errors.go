package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"github.com/latchkey-go/latchkey"
)

// Causes of failures.
var (
	errClosed   = errors.New("the store is closed")
	errReadOnly = errors.New("the store was opened for reading only")
	errMigrated = errors.New("another program has changed the tables to a schema that this program does not know; use a newer latchkey")
	errDamaged  = errors.New("the store's tables are damaged")
	errCommit   = errors.New("the commit was not confirmed") // and may be in effect: what it held must not be run again
	errReplica  = errors.New("the server is read-only, perhaps a replica now; the store needs the primary")
	errBusy     = errors.New("others changed the same sessions all the time")
)

// ErrSchema is the cause of what Open and Migrate answer to a store whose schema
// this program cannot use, because it is older or newer; compare by [errors.Is].
// The tables are there and as they were, and waiting does not help: the message
// says whether to migrate them or to use a newer program.
var ErrSchema = errors.New("the schema of the database is not one that this program uses")

const noAnswer = "the session store gave no answer"

// unavailable is the answer to a call whose outcome is not known.
func unavailable(cause error) error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, noAnswer, explained(cause))
}

// explained adds what to do to the server's own words.
func explained(err error) error {
	if what := advice(err); what != "" {
		return fmt.Errorf("%s: %w", what, err)
	}
	return err
}

// Numbers of errors. See mariadb.com/kb/en/mariadb-error-code-reference.
const (
	codeTooMany       = 1040
	codeNoDatabase    = 1044
	codeDenied        = 1045
	codeUnknownDB     = 1049
	codeShutdown      = 1053
	codeDuplicate     = 1062
	codeNoColumn      = 1054
	codeTableFull     = 1114
	codeNoPrivilege   = 1142
	codeNoTable       = 1146
	codeDiskFull      = 1021
	codeEngine        = 1030
	codeWriteFailed   = 1026
	codeWait          = 1205
	codeDeadlock      = 1213
	codeReadOnlyRow   = 1290
	codeReadOnlyMode  = 1836
	codeReadOnlyTable = 1036
	codeUserLimit     = 1203
	codeHostBlocked   = 1129
	codePluginTLS     = 3159 // connections without TLS are refused
)

// code is the number of a server's error, 0 for others.
func code(err error) uint16 {
	var e *driver.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

// advice tells an operator what an error means and what to do about it, or "" for
// those that say it themselves.
func advice(err error) string {
	switch code(err) {
	case codeTooMany, codeUserLimit:
		return "the server has too many connections; raise max_connections or lower the store's"
	case codeDenied, codeNoDatabase:
		return "the server refuses this user; check the name, the password and the grants"
	case codeUnknownDB:
		return "there is no such database; make it first (CREATE DATABASE)"
	case codeNoPrivilege:
		return "the user may not do this; grant it all privileges on the database"
	case codeNoTable, codeNoColumn:
		return "the store's tables are not there, or are another program's"
	case codeTableFull, codeDiskFull, codeWriteFailed:
		return "the server's disk is full; make room, the store then goes on by itself"
	case codeEngine:
		return "the server's storage failed; check its disk"
	case codeReadOnlyRow, codeReadOnlyMode, codeReadOnlyTable:
		return "the server is read-only; the store needs the primary"
	case codeShutdown:
		return "the server is stopping"
	case codeHostBlocked:
		return "the server blocks this host after too many failures; run FLUSH HOSTS on it"
	case codePluginTLS:
		return "the server refuses connections without TLS; use ?tls=verify"
	}
	var unverified *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.Is(err, driver.ErrNoTLS):
		return "the server offers no TLS; set it up there, or use ?tls=off on a network you trust"
	case errors.As(err, &unverified), errors.As(err, &authority):
		return "the server's certificate is not one for this host; give its authority by ?ca=PATH"
	case errors.As(err, &dns):
		return "the server's host is not known"
	case errors.As(err, &op) && op.Op == "dial":
		return "the server cannot be reached; check the address and whether it runs"
	}
	return ""
}

// cannotOpen is an error of opening a store: one line that names the server.
func (to *target) cannotOpen(err error) error {
	var known *latchkey.Error
	if errors.As(err, &known) {
		return err
	}
	what := advice(err)
	switch {
	case what == "" && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)):
		what = "the server does not answer"
	case what == "":
		what = "cannot be used: " + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	return latchkey.NewError(latchkey.CodeStoreUnavailable, fmt.Sprintf("mysql store %s: %s", to.shown, what), err)
}

// refused is an error of opening a store that the server knows nothing of.
func (to *target) refused(format string, args ...any) error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, fmt.Sprintf("mysql store %s: ", to.shown)+fmt.Sprintf(format, args...), nil)
}

// wrongSchema is the error of opening a store that is older or newer than this program.
func (to *target) wrongSchema(format string, args ...any) error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, fmt.Sprintf("mysql store %s: ", to.shown)+fmt.Sprintf(format, args...), ErrSchema)
}

func noSuchSession() error {
	return latchkey.NewError(latchkey.CodeNoSuchSession, "no such session", nil)
}

// answered reports whether err is an answer about the request itself, so that
// nothing is in doubt.
func answered(err error) bool {
	var e *latchkey.Error
	return errors.As(err, &e)
}

// answer makes err what a caller gets.
func answer(err error) error {
	if err == nil || answered(err) {
		return err
	}
	return unavailable(err)
}

// again reports whether a transaction that was not committed may be run anew: it
// met others', or its connection was an old one that the server has left.
func again(err error) bool {
	switch code(err) {
	case codeDeadlock, codeWait, codeDuplicate:
		return true
	}
	return lost(err)
}

// lost reports whether a connection broke.
func lost(err error) bool {
	return errors.Is(err, driver.ErrInvalidConn) || errors.Is(err, sqldriver.ErrBadConn) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}
