//go:build !linux

package sqlite

// suspension is not known here; where the monotonic clock stops during it, the
// store's time is behind by as long until the store is opened again.
func suspension() (int64, bool) { return 0, false }
