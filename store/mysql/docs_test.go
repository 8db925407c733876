package mysql

import (
	"os"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/store/internal/migration"
)

// The page that operators read holds the tables as they are.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/mysql.md")
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := migration.Steps(migrations)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range scripts {
		if !strings.Contains(string(page), "```sql\n"+strings.TrimSpace(text)+"\n```") {
			t.Errorf("docs/mysql.md does not hold migration %d as it is", i+1)
		}
	}
}
