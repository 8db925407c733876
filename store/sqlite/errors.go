package sqlite

import (
	"context"
	"errors"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/latchkey-go/latchkey"
)

// Causes of failures.
var (
	errClosed   = errors.New("the store is closed")
	errReadOnly = errors.New("the store was opened for reading only")
	errMigrated = errors.New("another program has changed the database to a schema that this program does not know; use a newer latchkey")
	errDamaged  = errors.New("a row of the database is damaged")
	errCommit   = errors.New("the commit was not confirmed") // and may be in effect: what it held must not be run again
)

// Where the files are not what the store has open; see files.
var (
	errAway        = errors.New("the database file is not in its place; put it back there, or restart the program if it is lost")
	errReplaced    = errors.New("the database file was replaced while the store was open; restart the program to use the new one")
	errLogGone     = errors.New("the log of the database was removed while the store was open; restart the program")
	errLogReplaced = errors.New("the log of the database was removed while the store was open, and another program has begun a new one; restart the program")
)

// ErrSchema is the cause of what Open and Migrate answer to a store whose schema
// this program cannot use, because it is older or newer; compare by [errors.Is].
// The file is there and as it was, and waiting does not help: the message says
// whether to migrate it or to use a newer program.
var ErrSchema = errors.New("the schema of the database is not one that this program uses")

const cannotWrite = "the database cannot be written to; check the permissions of the file and of its directory, and whether the file system is mounted read-only"

const noAnswer = "the session store gave no answer"

// unavailable is the answer to a call whose outcome is not known.
func unavailable(cause error) error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, noAnswer, explained(cause))
}

// explained adds what to do to SQLite's own words.
func explained(err error) error {
	if what := advice(err); what != "" {
		return fmt.Errorf("%s: %w", what, err)
	}
	return err
}

// advice tells an operator what SQLite's result means and what to do about it,
// or "" for results that say it themselves.
func advice(err error) string {
	code := sqlite.ErrCode(err)
	switch code {
	case sqlite.ResultIOErrFsync, sqlite.ResultIOErrDirFsync:
		return "the disk did not confirm a write; check it, and restart the program"
	case sqlite.ResultReadOnlyDirectory:
		return "the directory of the database cannot be written to; make it writable, SQLite keeps its log there"
	}
	switch code.ToPrimary() {
	case sqlite.ResultBusy:
		return "another program holds the database locked; end it or let it finish"
	case sqlite.ResultReadOnly:
		return cannotWrite
	case sqlite.ResultFull:
		return "the disk is full; make room, the store then goes on by itself"
	case sqlite.ResultCorrupt:
		return "the database is damaged; restore a backup, or recover what is left with `sqlite3 FILE .recover`"
	case sqlite.ResultNotADB:
		return "the file is not an SQLite database; give the path of a Latchkey store"
	case sqlite.ResultCantOpen:
		return "the database or its log cannot be opened; check the permissions of the file and that its directory can be written to"
	case sqlite.ResultPerm, sqlite.ResultAuth:
		return "access to the database is denied; check the permissions of the file and of its directory"
	case sqlite.ResultIOErr:
		return "the disk or the file system failed; check them"
	}
	return ""
}

// cannotOpen is an error of opening a store: one line that names the file.
func cannotOpen(path string, err error) error {
	var known *latchkey.Error
	if errors.As(err, &known) {
		return err
	}
	what := advice(err)
	if what == "" {
		what = "the database cannot be opened: " + err.Error()
	}
	return latchkey.NewError(latchkey.CodeStoreUnavailable, fmt.Sprintf("sqlite store %s: %s", path, what), err)
}

// refused is an error of opening a store that SQLite knows nothing of.
func refused(path, format string, args ...any) error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, fmt.Sprintf("sqlite store %s: ", path)+fmt.Sprintf(format, args...), nil)
}

// wrongSchema is the error of opening a store that is older or newer than this program.
func wrongSchema(path, format string, args ...any) error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, fmt.Sprintf("sqlite store %s: ", path)+fmt.Sprintf(format, args...), ErrSchema)
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

// brokenOff is the answer to a call whose context has ended.
func brokenOff(ctx context.Context) error { return unavailable(context.Cause(ctx)) }
