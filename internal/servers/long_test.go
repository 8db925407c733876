package servers_test

import (
	"testing"

	"github.com/latchkey-go/latchkey/internal/servers"
)

func TestLong(t *testing.T) {
	t.Setenv("LATCHKEY_CHAOS_ROUNDS", "1")
	if !servers.Long() || servers.Sized(2, 1) != 2 {
		t.Error("the long runs are short")
	}
	t.Setenv("LATCHKEY_CHAOS_ROUNDS", "")
	want := 1
	if servers.Long() {
		want = 2
	}
	if got := servers.Sized(2, 1); got != want {
		t.Errorf("size %d, want %d", got, want)
	}
}
