package respguard

import (
	"bytes"
	"strings"
)

// odd is a command whose answer is not one value.
type odd struct {
	index int64 // among the commands sent
	subs  bool  // SUBSCRIBE and the like; else UNSUBSCRIBE and the like
	names int   // channels or patterns
}

// command notes a command that was written. The library puts a PING behind each
// UNSUBSCRIBE, because that has as many pushes for an answer as there were
// subscriptions, and a PING has a PONG.
func (g *guarded) command(v value) bool {
	if v.kind != '*' || len(v.text) < len("SUBSCRIBE") || len(v.text) > len("PUNSUBSCRIBE") {
		return true
	}
	o := odd{index: g.out.values - 1, names: int(min(v.items-1, 1<<20))}
	switch strings.ToUpper(string(v.text)) {
	case "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE":
		o.subs = true
	case "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE":
	default:
		return true
	}
	g.mu.Lock()
	g.odd = append(g.odd, o)
	g.mu.Unlock()
	g.waiting.Add(1)
	if o.subs {
		g.subscribed.Store(true)
	}
	return true
}

// next takes the command that the next answer belongs to off the list if it is on it.
func (g *guarded) next() (o odd, listed bool) {
	if g.waiting.Load() == 0 {
		return o, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if o = g.odd[0]; o.index != g.answered {
		return o, false
	}
	g.odd = g.odd[1:]
	g.waiting.Add(-1)
	return o, true
}

// answer judges a whole value by what the library would do with it there: it panics on
// a confirmation or a PONG where none is due, and on any other where one is.
func (g *guarded) answer(v value) bool {
	if v.kind == '>' {
		return g.push(v)
	}
	if g.answered >= g.sent.Load() {
		return false
	}
	if g.pong {
		g.pong = false
		g.answered++
		return closes(v)
	}
	o, listed := g.next()
	g.answered++
	switch {
	case !listed:
		return true
	case o.subs: // confirmed by a push, or refused
		return v.kind == '-' && string(v.text) != "QUEUED"
	case v.kind == '+' && string(v.text) == "PONG": // done, and of the PING behind it
		g.answered++
		return g.answered <= g.sent.Load()
	}
	// Refused. The library takes some refusals for the PING's and would then be one
	// answer behind.
	g.pong = true
	return v.kind == '-' && !v.cut && !closes(v)
}

// closes reports what the library takes for the answer to its PING.
func closes(v value) bool {
	switch v.kind {
	case '+':
		return string(v.text) == "PONG"
	case '-':
		return bytes.HasPrefix(v.text, []byte("LOADING")) || bytes.HasPrefix(v.text, []byte("BUSY")) || bytes.Contains(v.text, []byte("'ping'"))
	}
	return false
}

func (g *guarded) push(v value) bool {
	if !g.subscribed.Load() || len(v.text) == 0 { // the library takes more types for a name than are noted
		return false
	}
	switch string(v.text) {
	case "subscribe", "psubscribe", "ssubscribe":
		if v.items < 2 {
			return true // not looked at
		}
		if g.more > 0 {
			g.more--
			return true
		}
		o, listed := g.next()
		if !listed || !o.subs || g.answered >= g.sent.Load() {
			return false
		}
		g.answered++
		g.more = o.names - 1
	case "unsubscribe", "punsubscribe", "sunsubscribe": // may come at any time
		if v.items >= 2 && g.more > 0 {
			g.more--
		}
	}
	return true
}
