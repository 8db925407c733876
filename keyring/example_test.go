package keyring_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/latchkey-go/latchkey/keyring"
)

// Keys are opened from a file that only its owner can read, and made when there
// is none.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "keyring")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ring, err := keyring.Open(filepath.Join(dir, "latchkey.keys"), keyring.Options{CreateIfMissing: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	id, _ := ring.Active(time.Now())
	mac, _ := ring.MAC(id, keyring.PurposeToken, []byte("message"))
	fmt.Println(ring)
	fmt.Println("token:", ring.VerifyMAC(id, keyring.PurposeToken, []byte("message"), mac[:]))
	fmt.Println("rotation:", ring.VerifyMAC(id, keyring.PurposeRotate, []byte("message"), mac[:]))
	// Output:
	// keyring with key 1
	// token: true
	// rotation: false
}

// A rotation and, a day after the old key was superseded, its retirement.
func ExampleRotate() {
	dir, err := os.MkdirTemp("", "keyring")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "latchkey.keys")
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	ring, err := keyring.Open(path, keyring.Options{CreateIfMissing: true, Clock: func() time.Time { return now }})
	if err != nil {
		fmt.Println(err)
		return
	}
	show := func() {
		if _, err := ring.Reload(); err != nil { // Watch does this every 30 s
			fmt.Println(err)
		}
		for _, k := range ring.Keys(now) {
			fmt.Printf("%s key %d: %s\n", now.Format(time.TimeOnly), k.ID, k.State)
		}
	}
	if _, err := keyring.Rotate(path, now, keyring.DefaultActivationDelay); err != nil {
		fmt.Println(err)
	}
	show()
	now = now.Add(keyring.DefaultActivationDelay)
	show()
	now = now.Add(24 * time.Hour)
	if _, err := keyring.Retire(path, 1, now, 24*time.Hour); err != nil {
		fmt.Println(err)
	}
	show()
	// Output:
	// 12:00:00 key 1: active
	// 12:00:00 key 2: next
	// 12:10:00 key 1: accepted
	// 12:10:00 key 2: active
	// 12:10:00 key 1: retired
	// 12:10:00 key 2: active
}

// Session data opens only with the secret it was sealed for; renewing the secret
// wraps the data key again and leaves the data alone.
func ExampleWrapDataKey() {
	id := [keyring.SessionIDSize]byte{1}
	oldSecret, newSecret, dataKey := [32]byte{2}, [32]byte{3}, [32]byte{4} // random in earnest

	data, _ := keyring.SealData(&dataKey, id, []byte(`{"cart":3}`), nil)
	wrap, _ := keyring.WrapDataKey(&oldSecret, id, &dataKey, nil)
	key, _ := keyring.UnwrapDataKey(&oldSecret, id, wrap)
	wrap, _ = keyring.WrapDataKey(&newSecret, id, &key, nil)

	key, _ = keyring.UnwrapDataKey(&newSecret, id, wrap)
	plain, err := keyring.OpenData(&key, id, data)
	fmt.Println(string(plain), err)
	_, err = keyring.UnwrapDataKey(&oldSecret, id, wrap)
	fmt.Println(errors.Is(err, keyring.ErrUnwrap))
	// Output:
	// {"cart":3} <nil>
	// true
}
