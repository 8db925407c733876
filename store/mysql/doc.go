// Package mysql keeps sessions in a database of a MariaDB server, for any number
// of nodes. It is tested with MariaDB 10.11. MySQL 8.0 and later should work, and
// is not tested; [Store.Warnings] says so then. docs/mysql.md tells operators of
// the server's settings and of the tables.
//
// # Durability
//
// A change is one transaction with its audit event and its entry in the log that
// followers read. It is acknowledged when the server has confirmed the commit, and
// a server that does not flush each commit (innodb_flush_log_at_trx_commit other
// than 1) is refused unless the URL allows it. Whenever the answer to a commit is
// lost, the answer is latchkey.CodeStoreUnavailable: the change may be in effect.
// What did not come to a commit, because transactions met in a circle or waited too
// long for a row, is begun anew.
//
// # Reads
//
// Everything is read from the server that the URL names, which must be the primary:
// a replica's answer could be older than what was acknowledged. One that is
// read-only is refused, at Get and at each poll too, so that a primary which is
// demoted is noticed. Get is one statement, in which the session is also judged
// against the present generation; callers that find the connections busy share a
// query.
//
// # Feed
//
// Followers of a Store are told of its own changes before these are acknowledged.
// Changes of other nodes are read from the log twice in each interval, and that
// read is the proof of life that a near cache asks for. So a revocation is
// followed elsewhere within half an interval and the time of a read; a near cache
// asks for four proofs in a staleness of one second, and is mostly an eighth of a
// second behind at the latest. Positions in the log are taken from one row that is
// locked until the commit: they become visible in their order, and none is passed
// by. That row is taken last in a transaction whose last trip writes and commits, so
// that it is held for as long as the server needs and not for a trip.
//
// # Several nodes
//
// Sign-ins and revocations of one subject, or of one provider's own session, come
// one after the other, by the lock of one of 1,024 rows. Touches and changes of one
// session lock that session. Nothing locks a table.
//
// # Time
//
// The store's time is the server's clock. Each node keeps the difference to its own
// monotonic clock, and puts it right by what it is told with each poll and change,
// so that stepping a node's clock changes nothing.
//
// # What it does not promise
//
// Failing over to a replica loses what it had not received. Galera clusters are not
// tested; all nodes must name the same server of one, since another one answers
// from what it has received so far. Count, Purge and the count of a revocation of
// everything look at every row.
package mysql
