package storetest

import "testing"

func testManager(t *testing.T, h Harness) {}
