package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// facts are what a server tells of itself.
type facts struct {
	version  string
	mode     string // standalone, cluster or sentinel
	role     string // master or slave
	policy   string // what is evicted when the memory is full
	bound    bool   // there is a bound to the memory
	append   bool   // changes go to an append-only file
	fsync    string // how often that is brought to the disk; "" where it is not told
	snapshot bool
}

// oldest is the version that has all commands that the store uses.
const oldestMajor = 7

// ask reads the facts by INFO; how often the disk is asked to confirm is told by
// CONFIG only, which many services refuse.
func askFacts(ctx context.Context, c rueidis.Client) (f facts, err error) {
	defer caught(&err)
	text, err := c.Do(ctx, c.B().Info().Section("server", "replication", "memory", "persistence", "cluster").Build()).ToString()
	if err != nil {
		return f, err
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "redis_version":
			f.version = value
		case "redis_mode", "server_mode":
			f.mode = value
		case "role":
			f.role = value
		case "maxmemory_policy":
			f.policy = value
		case "maxmemory":
			f.bound = value != "0"
		case "aof_enabled":
			f.append = value == "1"
		}
	}
	if config, err := c.Do(ctx, c.B().ConfigGet().Parameter("appendfsync", "save").Build()).AsStrMap(); err == nil {
		f.fsync, f.snapshot = config["appendfsync"], config["save"] != ""
	}
	return f, nil
}

// check refuses a server that the store cannot use.
func (f *facts) check(cfg *Config) error {
	major, _, _ := strings.Cut(f.version, ".")
	n, err := strconv.Atoi(major)
	switch {
	case err != nil:
		return errors.New("what answers there does not tell a version as Redis does")
	case n < oldestMajor:
		return fmt.Errorf("the server is Redis %s; %d.0 or Valkey 7.2 is needed", f.version, oldestMajor)
	case f.mode == "sentinel":
		return errors.New("a sentinel answers there; write redis+sentinel://host:port/NAME, or give the address of the server")
	case f.mode == "cluster" && cfg.Mode != Cluster:
		return errors.New("the server is one of a cluster; write redis+cluster://")
	case f.mode != "cluster" && cfg.Mode == Cluster:
		return errors.New("the server is not one of a cluster; write redis://")
	case f.role != "master":
		return errReplica
	case f.policy != "noeviction" && f.policy != "" && !cfg.DangerouslyAllowEviction:
		return fmt.Errorf("the server evicts keys when its memory is full (maxmemory-policy %s), sessions' indexes among them; set noeviction, or write allow-eviction=1 and read docs/redis.md", f.policy)
	}
	return nil
}

// warnings tell what is not durable, a line for each.
func (f *facts) warnings(where string) (lines []string) {
	add := func(format string, args ...any) {
		lines = append(lines, "redis store "+where+": "+fmt.Sprintf(format, args...))
	}
	switch {
	case !f.append && !f.snapshot:
		add("the server keeps nothing on disk: when it restarts, all sessions and revocations are lost (appendonly yes)")
	case !f.append:
		add("the server saves snapshots only: when it restarts, sessions and revocations since the last one are lost (appendonly yes)")
	case f.fsync != "" && f.fsync != "always":
		add("the server's append-only file reaches the disk about every second: up to two seconds of acknowledged changes are lost with the machine (appendfsync always)")
	}
	if f.policy != "noeviction" && f.policy != "" {
		add("the server may evict keys (maxmemory-policy %s): a revocation can miss sessions whose index is gone", f.policy)
	}
	return lines
}
