// Package databasetest is what the tests of compat's tables share: a database of each
// engine, a clock to turn, and the original systems in Python on the same database.
package databasetest
