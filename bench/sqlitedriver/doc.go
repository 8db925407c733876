// Package sqlitedriver holds the measurements on which the choice of SQLite
// driver, and the layout of the tables of store/sqlite, rest. It has no code
// of its own: everything is a benchmark.
//
// Three drivers without cgo are compared, each through the interface it is
// best at: modernc.org/sqlite through database/sql, zombiezen.com/go/sqlite
// (the same translation of SQLite, called directly) and
// github.com/ncruces/go-sqlite3, called directly.
//
//	for i in 1 2 3 4 5 6; do go test -run '^$' -bench 'Select|Insert' -benchtime 0.3s ./sqlitedriver; done
//	go test -run '^$' -bench Create -benchtime 1x -timeout 20m -v ./sqlitedriver
//
// The first asks which driver, the second what each index of a session costs
// when 64 callers create sessions at a million rows, each waiting for its row
// to be on the disk; LATCHKEY_BENCH_LAYOUTS (a regular expression; names that
// begin with x- are those tried and not taken), LATCHKEY_BENCH_DRIVER and
// LATCHKEY_BENCH_ROUNDS choose what is compared. Both want an idle machine:
// the disk's own rate, printed beside, tells whether it was. Files go to LATCHKEY_BENCH_DIR when it is set (it should
// be on the disk in question) and to the test's temporary folder otherwise;
// they are removed afterwards.
package sqlitedriver
