//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package sqlite

// mayWrite leaves it to SQLite to find out.
func mayWrite(string) error { return nil }
