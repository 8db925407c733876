// Package migration reads the numbered steps that lead a store's tables from one
// schema to the next. How they are applied is each store's own affair.
package migration

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Steps returns the texts of migrations/NNNN_name.sql in order: the one at n leads to
// schema n+1. A number that is missing or out of place is an error.
func Steps(files fs.FS) ([]string, error) {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	scripts := make([]string, len(names))
	for i, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			return nil, fmt.Errorf("migration %s is not number %d", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		scripts[i] = string(text)
	}
	return scripts, nil
}

// Known is the newest schema that the steps lead to; 0 if they cannot be read, which
// does not happen with those that are embedded, since the stores' tests read them.
func Known(files fs.FS) int {
	scripts, err := Steps(files)
	if err != nil {
		return 0
	}
	return len(scripts)
}
