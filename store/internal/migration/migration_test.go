package migration_test

import (
	"slices"
	"testing"
	"testing/fstest"

	"github.com/latchkey-go/latchkey/store/internal/migration"
)

func TestSteps(t *testing.T) {
	good := fstest.MapFS{"migrations/0001_a.sql": {Data: []byte("one")}, "migrations/0002_b.sql": {Data: []byte("two")}, "migrations/notes.txt": {}}
	if got, err := migration.Steps(good); err != nil || !slices.Equal(got, []string{"one", "two"}) || migration.Known(good) != 2 {
		t.Errorf("%q, %v", got, err)
	}
	for name, files := range map[string]fstest.MapFS{
		"gap":   {"migrations/0001_a.sql": {}, "migrations/0003_c.sql": {}},
		"first": {"migrations/0002_x.sql": {}},
		"word":  {"migrations/first_x.sql": {}},
		"twice": {"migrations/0001_a.sql": {}, "migrations/0001_b.sql": {}},
	} {
		if got, err := migration.Steps(files); err == nil || migration.Known(files) != 0 {
			t.Errorf("%s: %q", name, got)
		}
	}
}
