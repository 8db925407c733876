// Package servers starts private servers for tests: Redis, PostgreSQL, PgBouncer, MariaDB,
// and a TCP proxy that can be cut, stalled or slowed down. Every server listens on a free port
// of 127.0.0.1 only, keeps its files in a temporary folder of its own (in memory, where
// there is room), and is killed when the test ends or the test program dies.
//
//	func TestStore(t *testing.T) {
//		redis := servers.StartRedis(t, "--appendonly", "yes")
//		…
//		redis.Kill(t)    // SIGKILL, as when the machine loses power under the program
//		redis.Restart(t) // the same port, the same files
//	}
//
// A package whose tests and examples share servers starts them in TestMain:
//
//	var redis *servers.Server
//
//	func TestMain(m *testing.M) {
//		os.Exit(servers.Main(m, func(t servers.TB) { redis = servers.StartRedis(t) }))
//	}
//
// Binaries are looked for on the PATH and where Debian puts them; scripts/setup
// installs them. A missing one fails the test when CI=true and skips it, by name,
// otherwise.
//
// PostgreSQL refuses to run as root: tests of root start it as the user postgres.
package servers
