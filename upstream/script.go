package upstream

import (
	"context"
	"encoding/hex"
	"sync/atomic"

	"github.com/redis/rueidis"
)

// script is a Lua script that is called by the SHA-1 of its text, which the server
// tells: a FIPS build has no SHA-1. rueidis has the same with a lock held during a
// trip, which a panic of the library would leave locked.
type script struct {
	text string
	sha1 atomic.Pointer[string]
}

func newScript(text string) *script { return &script{text: text} }

// run is one trip, another before the first, and another when the server has
// forgotten the script.
func (s *script) run(ctx context.Context, c rueidis.Client, keys, args []string) ([]rueidis.RedisMessage, error) {
	sha1 := s.sha1.Load()
	if sha1 == nil {
		text, err := c.Do(ctx, c.B().ScriptLoad().Script(s.text).Build()).ToString()
		if err != nil {
			return nil, err
		}
		if raw, err := hex.DecodeString(text); err != nil || len(raw) != 20 {
			return nil, errGarbage
		}
		s.sha1.Store(&text)
		sha1 = &text
	}
	n := int64(len(keys))
	out, err := c.Do(ctx, c.B().Evalsha().Sha1(*sha1).Numkeys(n).Key(keys...).Arg(args...).Build()).ToArray()
	if reply, replied := rueidis.IsRedisErr(err); replied && reply.IsNoScript() {
		return c.Do(ctx, c.B().Eval().Script(s.text).Numkeys(n).Key(keys...).Arg(args...).Build()).ToArray()
	}
	return out, err
}
