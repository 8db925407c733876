package main

import "testing"

// There is headroom unless the operator has told the collector what to do.
func TestHeadroom(t *testing.T) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Setenv(name, "")
	}
	if n := len(makeHeadroom()); n != headroom {
		t.Errorf("%d bytes", n)
	}
	for name, value := range map[string]string{"GOGC": "50", "GOMEMLIMIT": "100MiB"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if n := len(makeHeadroom()); n != 0 {
				t.Errorf("%d bytes", n)
			}
		})
	}
}
