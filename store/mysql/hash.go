package mysql

// stripes is how many rows latchkey_lock has.
const stripes = 1024

// stripe is the row at which those who deal with a key wait for each other.
func stripe(key int64) int64 { return int64(uint64(key) % stripes) }
