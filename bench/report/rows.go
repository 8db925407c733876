package main

// row is one promised figure: over/under in a unit (or over alone), or its inverse for
// a unit that begins with "1/", against a bound.
type row struct {
	what        string
	over, under string
	unit        string
	bound       float64 // none when 0, unless least is unset
	least       bool    // the bound is the least, not the most
	show        string
}

// table is a part of the figures.
type table struct {
	title string
	rows  []row
}

// tables are the figures in the order of docs/performance.md.
var tables = []table{
	{"A check in the process", []row{
		{"near-cache hit, subject, no context copy: times faster than scs memstore", "Hot/scs_memstore", "Hot/latchkey_subject", "ns/op", 60, true, "%.0f×"},
		{"the same through the middleware's context", "Hot/scs_memstore", "Hot/latchkey_subject_context", "ns/op", 35, true, "%.0f×"},
		{"one of six data values: times faster than scs memstore", "Hot/scs_memstore", "Hot/latchkey_value", "ns/op", 25, true, "%.0f×"},
		{"near-cache hit: times faster than gorilla CookieStore", "Hot/gorilla_cookiestore", "Hot/latchkey_subject", "ns/op", 0, true, "%.0f×"},
		{"allocations of a hit, no context copy", "Hot/latchkey_subject", "", "allocs/op", 0, false, "%.0f"},
		{"allocations of a hit through the context", "Hot/latchkey_subject_context", "", "allocs/op", 2, false, "%.0f"},
		{"full collection with a million cached sessions, ms", "Million/collect", "", "ms/GC", 3, false, "%.2f"},
		{"memory per cached session beyond its strings, bytes", "Million/collect", "", "B/session-strings", 200, false, "%.0f"},
	}},
	{"Forgery checks", []row{
		{"csrf check of a same-origin POST, ns", "CSRF/latchkey", "", "ns/op", 100, false, "%.0f"},
		{"the same: allocations", "CSRF/latchkey", "", "allocs/op", 0, false, "%.0f"},
		{"the same: times faster than gorilla/csrf", "CSRF/gorilla_csrf", "CSRF/latchkey", "ns/op", 20, true, "%.0f×"},
		{"the same: times faster than nosurf", "CSRF/nosurf", "CSRF/latchkey", "ns/op", 0, true, "%.0f×"},
	}},
	{"Beside the Python systems", []row{
		{"token of a stored session (itsdangerous): times faster than Python's loads", "SessionID/python", "", "x-latchkey", 10, true, "%.1f×"},
		{"compressed identity (reflow), decoded, dates judged: times faster than Python", "Identity/password/python", "", "x-latchkey", 3, true, "%.1f×"},
		{"the same, the format alone: times faster than Python's loads", "Identity/password/python_dict", "", "x-latchkey_loads", 3, true, "%.1f×"},
		{"a longer identity, decoded: times faster than Python", "Identity/oidc/python", "", "x-latchkey", 0, true, "%.1f×"},
	}},
	{"Sessions without a store", []row{
		{"stateless check: times faster than gorilla CookieStore, signed and encrypted", "Stateless/gorilla_cookiestore", "", "x-latchkey", 30, true, "%.0f×"},
		{"the same: times faster than Python's loads of the same identity", "Stateless/python", "", "x-latchkey", 25, true, "%.0f×"},
		{"the same: allocations", "Stateless/latchkey", "", "allocs/op", 4, false, "%.0f"},
		{"the same through the middleware's context: allocations", "Stateless/latchkey_context", "", "allocs/op", 4, false, "%.0f"},
	}},
	{"The validated-session cache", []row{
		{"upstream cache hit in the process, ns", "Upstream/process", "", "ns/op", 300, false, "%.0f"},
		{"the same: times faster than redis-py GET and GET", "Upstream/python", "", "x-process", 300, true, "%.0f×"},
		{"upstream cache hit in Redis: commands sent (redis-py sends 2)", "Upstream/trips_native", "", "commands/op", 1, false, "%.0f"},
	}},
	{"The edge", []row{
		{"check behind nginx, 64 connections: throughput, times that of an unchecked 204", "Nginx/unchecked", "", "x-latchkey", 0.9, true, "%.2f×"},
		{"the same: 99th percentile, times that of an unchecked 204", "Nginx/unchecked", "", "1/p99-x-latchkey", 1.25, false, "%.2f×"},
		{"the same: times the throughput of a check by scs memstore", "Scs/scs", "", "x-latchkey", 1.4, true, "%.2f×"},
		{"the same, of one whose process has the Go runtime's defaults", "Peers/scs_default", "", "x-latchkey", 0, true, "%.2f×"},
		{"the same: times the throughput of oauth2-proxy's, sessions in cookies", "Peers/oauth2proxy_cookie", "", "x-latchkey", 0, true, "%.1f×"},
		{"the same, 99th percentile: that of oauth2-proxy, times ours", "Peers/oauth2proxy_cookie", "", "p99-x-latchkey", 0, true, "%.1f×"},
		{"the same: times the throughput of oauth2-proxy's, sessions in Redis", "Peers/oauth2proxy_redis", "", "x-latchkey", 0, true, "%.1f×"},
		{"the same, 99th percentile: that of oauth2-proxy, times ours", "Peers/oauth2proxy_redis", "", "p99-x-latchkey", 0, true, "%.1f×"},
		{"the check without nginx, processor time: times faster than by scs memstore", "Alone/scs", "", "x-latchkey", 0, true, "%.1f×"},
		{"checks answered with an assertion signed before, 1,024 sessions at two services, %", "Reuse/latchkey", "", "%reused", 99, true, "%.2f"},
	}},
	{"Stores", []row{
		{"SQLite durable create, 64 callers, a million rows: times the disk's fsync rate", "SQLiteCreate/grouped", "", "x-fsync", 2, true, "%.2f×"},
		{"the same: times one transaction each", "SQLiteCreate/grouped", "", "x-alone", 3.5, true, "%.2f×"},
		{"SQLite lookup on a miss: times the bare prepared statement", "SQLiteGet/latchkey", "", "x-bare", 1.3, false, "%.2f×"},
		{"Redis lookup on a miss: commands sent", "RedisGet/trips", "", "commands/op", 1, false, "%.0f"},
		{"the same, one caller: times a bare GET, medians", "RedisGet/one/latchkey", "", "x-get", 1.15, false, "%.2f×"},
		{"the same, 64 callers: times faster than the same read through go-redis", "RedisGet/64/goredis", "", "x-latchkey", 1.5, true, "%.2f×"},
		{"the same, 256 callers", "RedisGet/256/goredis", "", "x-latchkey", 2.2, true, "%.2f×"},
		{"the same, 64 callers: times faster than scs goredisstore", "RedisGet/64/scs_goredisstore", "", "x-latchkey", 0, true, "%.2f×"},
		{"the same, 256 callers", "RedisGet/256/scs_goredisstore", "", "x-latchkey", 0, true, "%.2f×"},
		{"PostgreSQL lookup on a miss, one caller: times SELECT 1, medians", "PostgresGet/one/latchkey", "", "x-select_1", 1.2, false, "%.2f×"},
		{"the same, 16 callers: times the throughput of pgbench -S", "PostgresGet/many/pgbench", "PostgresGet/many/latchkey", "ns/op", 0.8, true, "%.2f×"},
		{"the same, 256 callers whose misses are read together", "PostgresGet/many/pgbench", "PostgresGet/many/latchkey_coalesced", "ns/op", 3, true, "%.2f×"},
	}},
	{"What is behind a hit", []row{
		{"near-cache hit over SQLite: times that over memory", "Behind/sqlite", "", "x-memory", 1.1, false, "%.2f×"},
		{"near-cache hit over Redis", "Behind/redis", "", "x-memory", 1.1, false, "%.2f×"},
		{"near-cache hit over PostgreSQL", "Behind/postgres", "", "x-memory", 1.1, false, "%.2f×"},
		{"near-cache hit over MariaDB", "Behind/mariadb", "", "x-memory", 1.1, false, "%.2f×"},
		{"writes that 1,000 reads wait for, Redis", "ReadsWrite/redis", "", "writes/1000-reads", 0, false, "%.0f"},
		{"writes that 1,000 reads wait for, PostgreSQL", "ReadsWrite/postgres", "", "writes/1000-reads", 0, false, "%.0f"},
		{"writes that 1,000 reads wait for, MariaDB", "ReadsWrite/mariadb", "", "writes/1000-reads", 0, false, "%.0f"},
		{"writes that 1,000 reads wait for, SQLite", "ReadsWrite/sqlite", "", "writes/1000-reads", 0, false, "%.0f"},
	}},
	{"A revocation on another node", []row{
		{"revoke to refused elsewhere, Redis, idle: 99th percentile, ms", "Propagation/redis/idle", "", "p99-ms", 1, false, "%.2f"},
		{"the same with 16 loaders, from the answer", "Propagation/redis/loaded", "", "from-answer-p99-ms", 5, false, "%.2f"},
		{"revoke to refused elsewhere, PostgreSQL, idle: 99th percentile, ms", "Propagation/postgres/idle", "", "p99-ms", 1, false, "%.2f"},
		{"the same with 16 loaders, from the answer", "Propagation/postgres/loaded", "", "from-answer-p99-ms", 5, false, "%.2f"},
		{"revoke to refused elsewhere, MariaDB, idle: 99th percentile, ms", "Propagation/mariadb/idle", "", "p99-ms", 0, true, "%.0f"},
		{"the same with 16 loaders, from the answer", "Propagation/mariadb/loaded", "", "from-answer-p99-ms", 0, true, "%.0f"},
		{"revoke to refused in another process, SQLite, idle: 99th percentile, ms", "Propagation/sqlite/idle", "", "p99-ms", 0, true, "%.0f"},
		{"the same with 16 loaders, from the answer", "Propagation/sqlite/loaded", "", "from-answer-p99-ms", 0, true, "%.0f"},
	}},
	{"As the table grows", grown()},
}

// grown are the figures of package growth: what an operation takes at a million
// sessions, by what it takes at ten thousand; and what lookups take while a million are
// purged, by what they take otherwise.
func grown() (list []row) {
	for _, store := range []struct{ name, title string }{{"sqlite", "SQLite"}, {"redis", "Redis"}, {"postgres", "PostgreSQL"}, {"mariadb", "MariaDB"}} {
		for _, operation := range []struct{ name, title string }{{"list", "listing one identity"}, {"revoke_identity", "ending all of one identity"}} {
			over, under := "Growth/"+store.name+"/"+operation.name+"/1000000", "Growth/"+store.name+"/"+operation.name+"/10000"
			list = append(list, row{operation.title + " at 1,000,000 sessions, " + store.title + ": times that at 10,000", over, under, "ns/op", 2, false, "%.2f×"})
		}
		list = append(list,
			row{"lookups while 1,000,000 ended sessions are purged, " + store.title + ": 99th percentile, times that otherwise",
				"Growth/" + store.name + "/get_while_purged/1000000", "", "x-p99", 2, false, "%.2f×"},
			row{"the same: sessions purged a second, their events too", "Growth/" + store.name + "/purge/1000000", "", "sessions/s", 0, true, "%.0f"})
	}
	return list
}

// times are the benchmarks whose times are shown as they are.
var times = []string{"Hot/latchkey_subject", "Hot/latchkey_subject_context", "Hot/latchkey_value", "Hot/scs_memstore", "Hot/gorilla_cookiestore",
	"Stateless/latchkey", "Stateless/gorilla_cookiestore", "Stateless/python", "CSRF/latchkey", "CSRF/gorilla_csrf",
	"SessionID/latchkey", "SessionID/python", "Identity/password/latchkey", "Identity/password/python",
	"Upstream/process", "Upstream/redis_native", "Upstream/redis_get", "Upstream/python",
	"SQLiteGet/latchkey", "SQLiteGet/bare", "RedisGet/one/latchkey", "RedisGet/one/get", "PostgresGet/one/latchkey", "PostgresGet/one/select_1",
	"RedisGet/64/latchkey", "RedisGet/64/goredis", "RedisGet/256/latchkey", "RedisGet/256/goredis",
	"PostgresGet/many/latchkey", "PostgresGet/many/latchkey_coalesced", "PostgresGet/many/pgbench"}
