// Package sqlitedriver holds the measurements on which the choice of SQLite
// driver, and the layout of the tables of store/sqlite, rest. It has no code
// of its own: everything is a benchmark.
//
// Three drivers without cgo are compared, each through the interface it is
// best at: modernc.org/sqlite through database/sql, zombiezen.com/go/sqlite
// (the same translation of SQLite, called directly) and
// github.com/ncruces/go-sqlite3, called directly.
//
//	go test -run '^$' -bench 'Select|Insert' -count 6 ./sqlitedriver
//	go test -run '^$' -bench Create -benchtime 1x -timeout 20m -v ./sqlitedriver
//
// The first asks which driver, the second what each index of a session costs
// when 64 callers create sessions at a million rows, each waiting for its row
// to be on the disk. Files go to LATCHKEY_BENCH_DIR when it is set (it should
// be on the disk in question) and to the test's temporary folder otherwise;
// they are removed afterwards.
package sqlitedriver
