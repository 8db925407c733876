// Package sqlitestore measures store/sqlite at a million sessions: durable
// creates by 64 callers that each wait for theirs, against the disk's own rate
// and against one transaction each; a lookup against the bare prepared statement
// of the same driver; and both beside scs with its sqlite3store (cgo).
//
//	go test -run '^$' -bench . -v ./sqlitestore
//
// What each index adds to a create is measured apart, in package sqlitedriver
// (BenchmarkCreate), on which the tables of store/sqlite rest. Files go to
// LATCHKEY_BENCH_DIR when it is set (it should be on the disk in question) and
// to the test's temporary folder otherwise. An idle machine is wanted: the
// disk's rate, measured in turns with the rest, tells whether it was.
package sqlitestore
