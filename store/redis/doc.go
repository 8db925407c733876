// Package redis keeps sessions in Redis 7 or Valkey, by the client library rueidis.
// It is the store of many nodes that want the shortest way to a session and the
// shortest time to a revocation. docs/redis.md says how servers are set up, what is
// durable, and which keys there are.
//
// # Trips
//
// Every change is one script, and so one atomic step and one trip: a sign-in with its
// limit, its predecessor and its audit event too. Scripts are loaded once and called
// by their hash. A read is one MGET of the row and of the store's generation; for an
// ID that has no row a second command follows, which tells nothing from something
// foreign. Concurrent callers share connections, and their commands travel together.
//
// # Time
//
// Limits are judged by the server's clock, in the scripts. The node's idea of it,
// Store.StoreTime, is its own monotonic clock and how far the server's was ahead of
// that at the latest beats; nothing follows from setting a node's clock. After a
// suspension of the node's machine it is behind until the first beat.
//
// # The feed
//
// Changes are published by the scripts that make them (PUBLISH), and a follower's node
// hears of them on a connection of its own, on which it also sends its beats: a beat
// is a script that publishes to a channel which this connection alone has subscribed
// to. The server writes to a connection in the order in which it ran the scripts, so
// that a beat which came back proves that everything before it has come. The lease
// runs from when it was sent.
//
// Client-side caching (CLIENT TRACKING) and a stream were the other candidates.
// Tracking tells of every write to a key, so each touch would empty every cache, and
// it cannot carry a beat. A stream survives a short break of the connection, where
// publications are lost and the cache begins empty. But it is one more write, and each
// entry costs every node another trip to ask for the next; and after a failover its
// positions cannot be believed either. A publication is the shortest way, a script's
// end to the other node's socket, and costs the server no memory; a break is noticed
// at once, by the connection's end, and costs a node one read for each session that it
// is asked about afterwards.
//
// A follower is told of changes of its own Store in the same way, and a change waits
// for that before it returns.
//
// # Bounds
//
// A revocation of an identity takes about five microseconds of the server's time for
// each of its sessions, during which nobody else is served. Lists of everybody, Count
// and Purge look at a bounded number of rows in each step. Rows whose retention is over
// are removed by the server, and leave the indexes when sign-ins and purges meet them.
package redis
