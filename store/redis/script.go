package redis

import (
	"context"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/rueidis"
)

// The texts of the scripts. Those that change something stand behind base and write.
var (
	//go:embed lua/base.lua
	luaBase string
	//go:embed lua/write.lua
	luaWrite string
	//go:embed lua/create.lua
	luaCreate string
	//go:embed lua/patch.lua
	luaPatch string
	//go:embed lua/touch.lua
	luaTouch string
	//go:embed lua/revoke.lua
	luaRevoke string
	//go:embed lua/list.lua
	luaList string
	//go:embed lua/purge.lua
	luaPurge string
	//go:embed lua/record.lua
	luaRecord string
	//go:embed lua/trail.lua
	luaTrail string
	//go:embed lua/tally.lua
	luaTally string
	//go:embed lua/changed.lua
	luaChanged string
	//go:embed lua/raised.lua
	luaRaised string
	//go:embed lua/announce.lua
	luaAnnounce string
	//go:embed lua/drain.lua
	luaDrain string
	//go:embed lua/spend.lua
	luaSpend string
	//go:embed lua/init.lua
	luaInit string
	//go:embed lua/beat.lua
	luaBeat string
)

// script is a Lua script that is called by the SHA-1 of its text, which the server
// tells: a FIPS build has no SHA-1.
type script struct {
	text string
	sha1 atomic.Pointer[string]
}

// scripts are those of one store: its prefix and name are part of their texts.
type scripts struct {
	create, patch, touch, revoke, list, purge, record, trail, tally, changed, raised, announce, drain, spend script
}

func newScripts(cfg *Config, name string) *scripts {
	constants := fmt.Sprintf("local P, S, R, CL = '%s', '%s', %d, %t\n", cfg.Prefix, name, cfg.Retention.Milliseconds(), cfg.Mode == Cluster)
	read, write := constants+luaBase, constants+luaBase+luaWrite
	s := new(scripts)
	for _, one := range []struct {
		s    *script
		text string
	}{
		{&s.create, write + luaCreate}, {&s.patch, write + luaPatch}, {&s.touch, read + luaTouch}, {&s.revoke, write + luaRevoke},
		{&s.list, read + luaList}, {&s.purge, write + luaPurge}, {&s.record, write + luaRecord}, {&s.trail, read + luaTrail},
		{&s.tally, read + luaTally}, {&s.changed, read + luaChanged}, {&s.spend, read + luaSpend},
		{&s.raised, read + luaRaised}, {&s.announce, write + luaAnnounce}, {&s.drain, write + luaDrain},
	} {
		one.s.text = bare(one.text)
	}
	return s
}

// bare leaves out comments and indentation, which the server would hash with each EVAL.
func bare(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "--")
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// load tells the script's hash, and has the server know it.
func (sc *script) load(ctx context.Context, c rueidis.Client) (string, error) {
	if sha1 := sc.sha1.Load(); sha1 != nil {
		return *sha1, nil
	}
	text, err := c.Do(ctx, c.B().ScriptLoad().Script(sc.text).Build()).ToString()
	if err != nil {
		return "", err
	}
	if raw, err := hex.DecodeString(text); err != nil || len(raw) != 20 {
		return "", errAnswer
	}
	sc.sha1.Store(&text)
	return text, nil
}

// run runs a script with its change confirmed by a number of replicas, 0 for none: one
// trip, another before the very first, and another when the server does not know the
// script. The answer is texts, the first of which says how it went.
func (sc *script) run(ctx context.Context, c rueidis.Client, confirm int, keys, args []string) ([]string, error) {
	sha1, err := sc.load(ctx, c)
	if err != nil {
		return nil, err
	}
	n := int64(len(keys))
	answer, err := sc.once(ctx, c, confirm, c.B().Evalsha().Sha1(sha1).Numkeys(n).Key(keys...).Arg(args...).Build())
	if reply, replied := rueidis.IsRedisErr(err); replied && reply.IsNoScript() {
		answer, err = sc.once(ctx, c, confirm, c.B().Eval().Script(sc.text).Numkeys(n).Key(keys...).Arg(args...).Build())
	}
	return answer, err
}

func (sc *script) once(ctx context.Context, c rueidis.Client, confirm int, cmd rueidis.Completed) ([]string, error) {
	if confirm == 0 {
		return texts(c.Do(ctx, cmd))
	}
	// WAIT holds up its connection, so the library gives both one to themselves.
	both := c.DoMulti(ctx, cmd, c.B().Wait().Numreplicas(int64(confirm)).Timeout(waitMillis(ctx)).Build())
	answer, err := texts(both[0])
	if err != nil {
		return nil, err
	}
	if n, err := both[1].AsInt64(); err != nil {
		return nil, err
	} else if n < int64(confirm) && answer[0] == "ok" {
		return nil, errUnconfirmed
	}
	return answer, nil
}

// texts reads an answer that is a list of strings.
func texts(r rueidis.RedisResult) ([]string, error) {
	list, err := r.ToArray()
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errAnswer
	}
	out := make([]string, len(list))
	for i := range list {
		if out[i], err = list[i].ToString(); err != nil {
			return nil, fmt.Errorf("%w: %w", errAnswer, err)
		}
	}
	return out, nil
}

// fields reads an answer of a known shape, and refuses any other.
type fields struct {
	list []string
	bad  bool
}

func (f *fields) text(i int) string {
	if i >= len(f.list) {
		f.bad = true
		return ""
	}
	return f.list[i]
}

func (f *fields) int(i int) int64 {
	n, err := strconv.ParseInt(f.text(i), 10, 64)
	f.bad = f.bad || err != nil
	return n
}

func (f *fields) flag(i int) bool {
	t := f.text(i)
	f.bad = f.bad || t != "0" && t != "1"
	return t == "1"
}
