// Package sqlite keeps sessions in one SQLite file, without cgo and without a
// server. It is the store of the single binary, and of programs that embed
// Latchkey and must not sign everybody out when they restart.
//
// # Durability
//
// The file is in WAL mode with synchronous=FULL: what was acknowledged survives
// kill -9 and a loss of power, as far as the disk keeps what it confirmed. One
// goroutine writes. It commits what callers wait for together, up to 256 changes
// in one transaction, so that 64 callers get about three durable creates for each
// fsync of the disk; a change that fails spoils no other. When the disk is full,
// the database locked for longer than Config.Wait or a write fails, the callers
// concerned are answered latchkey.CodeStoreUnavailable, and the store goes on by
// itself once the cause is gone.
//
// # Reads
//
// Reads have connections of their own and wait for no writer. A read sees every
// change that was acknowledged before it began, by whichever process: it is one
// statement, in which the session is also judged against the present generation.
//
// # Several processes
//
// Several processes on one machine may use the file at once, and the sqlite3
// shell beside them; it must be on a local file system. Changes of this process
// reach its followers before the call that made them returns, those of others by
// reading a log of changes at each interval. That read is the proof of life that
// a near cache asks for. The log is pruned after a minute or two; a follower that
// was away for longer is told to forget everything.
//
// Never let two SQLite libraries open the file in one process, and never open
// and close it by other means there (to copy it, say): POSIX drops the process's
// locks with the first descriptor that is closed. To back a store up, use
// `sqlite3 FILE ".backup COPY"`.
//
// # Files that go away
//
// A store answers nothing while the database, its -wal or its -shm is not the file
// that it has open: others would not see what it writes, nor it what they revoke.
// That is looked at before and after each commit, at each poll of a follower, and
// before a read when the last look is more than 100 ms ago. A database that is away
// and comes back as the same file is used again, and followers are told to forget
// everything. One that was replaced, or whose log was removed, stays unusable until
// the store is opened again, by a program that is started again: SQLite shares the
// log's index among all connections that a process has to a file. Closing the last
// store saves a log that was removed, unless another process has begun a new one.
//
// # Tables
//
// A session is a row of columns for what changes or is looked up alone, with the
// rest packed beside them. One table only is in a random order, that which leads
// from a subject to its sessions, because each such table costs a page for every
// row put in; everything else ascends with time. What may be used once, and the
// list of changed stateless sessions, are written by what uses or changes them only.
// See the files in migrations for the tables, and Schema for how versions of them
// get along.
//
// # Time
//
// The store's time is the wall clock as it was when the store was opened, plus
// the monotonic time since, plus (on Linux) the time that the machine was
// suspended. Setting the machine's clock changes nothing until the store is
// opened again; Ahead then tells if the file is from a later time.
//
// Processes that opened the file by different clocks judge limits differently,
// but never a revocation: it marks what looks expired or idle, too, and nothing is
// noted of a session that only looks so. A subject's expired sessions are therefore
// looked at by each of its sign-ins under a limit until they are purged, at about
// a microsecond each; revoked ones are not.
//
// # What it does not promise
//
// Reads and writes do not scale beyond one machine. Count, Purge and a revocation
// of everything look at every row. An erasure overwrites what it removes, in the
// file and in the log; copies that the file system or the disk keeps are out of
// its reach.
package sqlite
