// Package postgres keeps sessions in PostgreSQL 14 or later, shared by any number
// of nodes. docs/postgres.md tells operators about the tables, poolers and what
// survives what.
//
// # Changes
//
// Each change is one call of a function of the store's schema: one trip to the
// server and one transaction, which never waits for its caller. A node that is
// stopped in the midst of a change holds no lock, and cannot keep others from ending
// a session. The functions take the server's clock, once they have their locks, and
// they see to synchronous_commit themselves, also through a pooler. See
// migrations/0001_sessions.sql.
//
// A change that the server has certainly undone (a deadlock) is tried again. Where
// the answer was lost, it is latchkey.CodeStoreUnavailable and nothing is known.
//
// # Lookups
//
// Get is one statement, which also tells whether the session's generation has ended.
// Up to Config.Readers trips are under way at once. Callers who find them all
// taken share the next one, so that the server is asked for many sessions by one
// statement; a caller who finds one free goes alone, at once. Reads go to a server
// that can be written to and see every change that was acknowledged before.
//
// # Feed
//
// A change leaves an entry in a log, in its own transaction. A follower reads the
// log twice in each interval: that read is the proof of life that a near cache asks
// for. Entries have no positions, which would have to be given out under a lock
// until the disk has confirmed: a follower remembers PostgreSQL's own description of
// which transactions had ended at its last look, and asks for those that ended
// since. That is complete in whatever order transactions end. What is unsafe to
// compare is not: after a crash or a failover of the server, or where the log was
// pruned behind a follower, it is told to forget everything.
//
// So that nobody waits for the next look, a node also notifies the others by NOTIFY
// of what it changed, after the change, in a transaction of its own. One in the same
// transaction would be one at a time: PostgreSQL has transactions that notify commit
// one after the other, each waiting for the disk. A notification that is lost costs
// the time until the next look, and nothing else depends on it; one that anybody
// else sends hides nothing. Listening takes a connection of its own that leads to
// the server directly, Config.FeedURL where there is a pooler.
//
// # Time
//
// The store's time is the server's. Nodes learn its offset from their own monotonic
// clock at each look, and judge by it between looks.
package postgres
