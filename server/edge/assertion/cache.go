package assertion

import (
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
)

// about is what a token depends on.
type about struct {
	session  latchkey.ID
	version  uint64
	audience string
	key      keyring.ID
}

// entry is a token that has been signed.
type entry struct {
	token    string
	renew    int64       // Unix seconds: from here on somebody signs a new one
	expires  int64       // Unix seconds
	renewing atomic.Bool // somebody does; others go on with this one
}

// shards spreads callers over locks; a power of two.
const shards = 32

// cache keeps the tokens used last. It holds at most so many, in two generations:
// when the young one is full it becomes the old one, and what has not been used since
// goes with the one before.
type cache struct {
	shards [shards]shard
	most   int // in a generation of a shard

	mu    sync.Mutex
	texts map[string]string // the audiences; see text
}

// mostTexts bounds cache.texts.
const mostTexts = 1024

// text returns a copy of an audience, which may be part of a request. There is one
// copy of each, as far as there are not too many, so that comparing keys reads memory
// that has just been read.
func (c *cache) text(audience string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if own, ok := c.texts[audience]; ok {
		return own
	}
	own := strings.Clone(audience)
	if len(c.texts) < mostTexts {
		c.texts[own] = own
	}
	return own
}

type shard struct {
	mu         sync.RWMutex
	young, old map[about]*entry
}

func newCache(entries int) *cache {
	return &cache{most: max(entries/shards/2, 1), texts: make(map[string]string)}
}

func (c *cache) of(a *about) *shard {
	// The last bytes of an ID are random.
	return &c.shards[binary.BigEndian.Uint64(a.session[8:])%shards]
}

func (c *cache) get(a *about) *entry {
	s := c.of(a)
	s.mu.RLock()
	e := s.young[*a]
	if e != nil {
		s.mu.RUnlock()
		return e
	}
	e = s.old[*a]
	s.mu.RUnlock()
	if e != nil {
		c.put(a, e)
	}
	return e
}

func (c *cache) put(a *about, e *entry) {
	s := c.of(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.young) >= c.most && s.young[*a] == nil {
		s.young, s.old = nil, s.young
	}
	if s.young == nil {
		s.young = make(map[about]*entry)
	}
	s.young[*a] = e
}

// len is how many tokens are kept.
func (c *cache) len() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		n += len(s.young) + len(s.old)
		s.mu.RUnlock()
	}
	return n
}
