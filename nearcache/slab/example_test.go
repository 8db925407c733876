package slab_test

import (
	"fmt"

	"github.com/latchkey-go/latchkey/nearcache/slab"
)

func Example() {
	cache, err := slab.New(slab.Config{MaxBytes: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	key := [16]byte{15: 1}
	cache.Put(&key, []byte("a row"), 100)
	cache.Advance(&key, 250) // seen at 250
	cache.Advance(&key, 200) // late: marks only grow

	value, mark, ok := cache.Get(&key)
	fmt.Printf("%s %d %v\n", value, mark, ok)

	cache.Delete(&key)
	_, _, ok = cache.Get(&key)
	fmt.Println(ok, cache.Stats().Entries)
	// Output:
	// a row 250 true
	// false 0
}
