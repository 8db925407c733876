// Package lock gives named locks over Redis or PostgreSQL: at most one holder of a
// name at a time, over any number of processes and machines.
//
//	client, err := lock.NewRedisClient(rueidis.ClientOption{InitAddress: []string{"127.0.0.1:6379"}})
//	…
//	locks, err := lock.NewRedis(lock.RedisConfig{Client: client})
//	…
//	held, err := locks.Acquire(ctx, "invoices", lock.Options{Wait: 10 * time.Second})
//	if err != nil {
//		return err // ErrTimeout: somebody else has it
//	}
//	defer held.Release(context.WithoutCancel(ctx))
//	return writeInvoices(held.Context(), held.Token())
//
// # What is promised
//
// A lock is a lease: the server forgets it when TTL has passed without a renewal,
// so that a dead holder blocks nobody for long. While it is held a goroutine
// renews it every third of TTL. The holder counts the lease from before it asked
// and gives it up a twentieth of TTL early, so it knows of the end before anybody
// else can have the lock, as long as its clock and the server's run at the same
// speed within 5 %.
//
// When the lock is lost (no renewal got through in time, or the server says that
// somebody else has it) [Lock.Context] is cancelled with [ErrLost] as its cause and
// [Lock.Lost] is closed. Use that context for the work.
//
// No lock over a network can stop a holder that does not look: a process that was
// halted longer than TTL, or a write that is already on its way, comes too late and
// does not know. Two remedies, and work that must never be doubled needs the second:
//
//   - [Lock.Err] reads both clocks, the monotonic and the wall clock, without a trip
//     to the server, and is right the moment a halted process goes on or a suspended
//     machine wakes, when timers may not have fired yet.
//   - [Lock.Token] is a fencing token: a number that grows with every acquisition of
//     the name. Pass it with each write and let what is written to refuse a token
//     below one it has seen.
//
// A token is the greater of the last one plus one and the server's time in
// microseconds. It grows after a lease ran out, and also after a server lost its
// data or a failover lost the last writes, provided that the clock of the server
// did not go back by more than what was lost. The last token of a name is forgotten
// a week after the name was last acquired (Redis) or by [Locker.Purge] (PostgreSQL).
//
// Locks are not re-entrant and not fair: whoever asks first after the release has it.
//
// # Which back end
//
// Redis: a key with an expiry that holds the owner, an unguessable value, and a key
// for the last token. Acquiring, renewing and releasing are one script each, so
// nothing comes between a comparison and its change. What the server loses is lost:
// with an append-only file written at every command a lock survives a crash;
// without one, or at a failover (replication is asynchronous), it may be granted a
// second time while the first holder learns of it at its next renewal, a third of
// TTL later at most. The token grows all the same. A policy that evicts keys with
// an expiry may evict locks.
//
// PostgreSQL: a row with owner, token and the end of the lease by the server's clock.
// Advisory locks were not chosen: those of a session are lost or leaked behind a
// pooler in transaction mode and live as long as a dead TCP connection, those of a
// transaction hold a transaction open for the whole work, and neither has a lease
// or a token. Each step here is a single statement without session state or prepared
// statements, so that PgBouncer may stand between. The commit is durable even where
// synchronous_commit is off. Give the locker a pool with a connection to spare: a
// renewal that waits for a connection until the lease ends is a lost lock.
//
// # Together with apicrud
//
// [ModeMutex] uses the keys of the Mutex class of the Python package apicrud, so that
// both exclude each other. docs/compat/mutex.md lists the differences.
package lock
