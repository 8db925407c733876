// Package sqlite keeps sessions in one SQLite file, with no cgo and no server.
package sqlite
