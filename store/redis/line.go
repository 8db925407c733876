package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey"
)

// line is a store's one feed connection to a primary. On it come what changes
// publish and the store's own beats, in the order in which the server did them. It
// is kept up until the store is closed.
type line struct {
	n      *node
	beatID string   // of this line's own channel
	tags   []string // in a cluster, those of the primary

	// trouble is why the primary is not to be believed, although it answers; nil when it is.
	trouble atomic.Pointer[error]
	proof   atomic.Pointer[latchkey.Moment] // when the last confirmed beat was sent, by the machine's clock

	mu        sync.Mutex
	up        bool
	err       error // why it is down
	changed   chan struct{}
	followers map[*follower]struct{}
	clock     offset

	hurry chan struct{} // capacity 1: a follower wants beats more often
	done  chan struct{} // closed when run has ended
}

// beatEvery is how often there is a beat when no follower wants more.
const beatEvery = 500 * time.Millisecond

func newLine(n *node, beatID string) *line {
	return &line{n: n, beatID: beatID, changed: make(chan struct{}), followers: make(map[*follower]struct{}),
		hurry: make(chan struct{}, 1), done: make(chan struct{})}
}

// run keeps the line up until ctx ends.
func (l *line) run(ctx context.Context) {
	defer close(l.done)
	pause := 10 * time.Millisecond
	for again := false; ; again = true {
		began := time.Now()
		err := l.session(ctx, again)
		if ctx.Err() != nil {
			err = errClosed
		}
		l.down(err)
		if ctx.Err() != nil {
			return
		}
		l.n.s.hurryLook()
		if time.Since(began) > time.Second {
			pause = 10 * time.Millisecond // it held for a while
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, time.Second)
	}
}

// down ends all followers: what is published meanwhile does not reach them.
func (l *line) down(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.err = false, err
	for f := range l.followers {
		f.end(unavailable(err))
	}
	clear(l.followers)
	close(l.changed)
	l.changed = make(chan struct{})
}

// dismiss ends all followers of a line that stays up.
func (l *line) dismiss(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range l.followers {
		f.end(unavailable(err))
	}
	clear(l.followers)
}

// await waits for the line to be up.
func (l *line) await(ctx context.Context) error {
	for {
		l.mu.Lock()
		up, err, changed := l.up, l.err, l.changed
		l.mu.Unlock()
		switch {
		case up:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if trouble := l.trouble.Load(); trouble != nil {
				return *trouble
			}
			return context.Cause(ctx)
		}
	}
}

// attach adds a follower to a line that is up. It is told of everything from then on.
func (l *line) attach(f *follower) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		return false
	}
	l.followers[f] = struct{}{}
	select {
	case l.hurry <- struct{}{}:
	default:
	}
	return true
}

func (l *line) detach(f *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.followers, f)
}

// doubt is why the primary's answers count as unavailable, nil when they do not.
func (l *line) doubt() error {
	if trouble := l.trouble.Load(); trouble != nil {
		return *trouble
	}
	if l.n.s.cfg.Mode == Standalone {
		return nil
	}
	now, sent := latchkey.SystemClock().Now(), l.proof.Load()
	if sent == nil || max(now.Mono-sent.Mono, now.Wall-sent.Wall, sent.Wall-now.Wall) > int64(l.n.s.cfg.Lease) {
		return errNoBeat
	}
	return nil
}

func (l *line) setTrouble(err error) {
	if err == nil {
		l.trouble.Store(nil)
		return
	}
	l.trouble.Store(&err)
}

// interval is how often there is a beat: twice in the shortest interval of a follower.
func (l *line) interval() time.Duration {
	every := beatEvery
	if l.n.s.cfg.Mode != Standalone {
		every = min(every, l.n.s.cfg.Lease/4)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range l.followers {
		every = min(every, f.interval/2)
	}
	return max(every, time.Millisecond)
}

// session is one connection's life.
func (l *line) session(ctx context.Context, again bool) error {
	s := l.n.s
	if again {
		if err := l.n.renew(); err != nil {
			return err
		}
	}
	c, err := s.cfg.dialRaw(ctx, l.n.addr, s.cfg.Username, s.cfg.Password, s.cfg.DB)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if err := s.subscribe(l, c); err != nil {
		return err
	}
	p := &pulse{l: l, c: c}
	// The first beat proves that the subscription stands and that this is a primary.
	if err := p.beat(); err != nil {
		return err
	}
	var beats sync.WaitGroup
	beats.Go(func() { p.keepBeating(ctx) })
	defer beats.Wait()
	defer cancel()
	for {
		if c.r.Buffered() == 0 {
			if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
				return err
			}
		}
		v, err := readValue(c.r, 0)
		if err == nil {
			err = p.take(&v)
		}
		if err != nil {
			return err
		}
	}
}

// subscribe asks for what the store publishes, and for the line's own beats.
func (s *Store) subscribe(l *line, c *rawConn) error {
	if s.cfg.Mode == Cluster {
		return s.subscribeAll(l, c)
	}
	if err := c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	// The feed last: what is published is not to come between the answers.
	for _, channel := range []string{l.beatChannel(), s.cfg.Prefix + "feed:" + s.name} {
		if err := c.send("SUBSCRIBE", channel); err != nil {
			return err
		}
		if err := subscribed(c, "subscribe", 1); err != nil {
			return err
		}
	}
	return nil
}

func (l *line) beatChannel() string { return l.n.s.common(l.tag()) + "beat:" + l.beatID }

// tag is one that the primary has, in a cluster.
func (l *line) tag() string {
	if len(l.tags) > 0 {
		return l.tags[0]
	}
	return ""
}

// pulse is the beats of one session. Answers come in the order of the beats, and so
// do their echoes.
type pulse struct {
	l *line
	c *rawConn

	mu    sync.Mutex
	beats []*beat // under way, oldest first
	last  uint64
}

type beat struct {
	number          uint64
	sent            latchkey.Moment // by the store's clock, which is a follower's
	machine         latchkey.Moment // by the machine's
	echoed, ran     bool
	waited          bool
	acknowledgments int64
}

// manyBeats is how many beats may be under way: a server that is slower is not asked
// more often.
const manyBeats = 4

// beat sends a beat: a script by the way that changes take, which publishes it.
func (p *pulse) beat() error {
	s := p.l.n.s
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.beats) >= manyBeats {
		return nil
	}
	p.last++
	b := &beat{number: p.last, sent: s.cfg.Clock.Now(), machine: latchkey.SystemClock().Now()}
	p.beats = append(p.beats, b)
	command, note := "PUBLISH", ""
	if s.cfg.Mode == Cluster {
		command = "SPUBLISH"
	}
	if s.confirm > 0 {
		note = "60000"
	}
	channel := p.l.beatChannel()
	out := appendCommand(nil, "EVAL", beatText, "2", channel, s.generationKey(p.l.tag()), channel, strconv.FormatUint(b.number, 10), command, note)
	if s.confirm > 0 {
		millis := max(1, p.l.n.s.cfg.Lease.Milliseconds()/2)
		out = appendCommand(out, "WAIT", strconv.Itoa(s.confirm), strconv.FormatInt(millis, 10))
	}
	_ = p.c.SetWriteDeadline(time.Now().Add(p.c.timeout))
	_, err := p.c.Write(out)
	return err
}

var beatText = bare(luaBeat)

func (p *pulse) keepBeating(ctx context.Context) {
	for {
		timer := time.NewTimer(p.l.interval())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-p.l.hurry:
			timer.Stop()
		case <-timer.C:
		}
		if p.beat() != nil {
			_ = p.c.Close() // the reader ends the session
			return
		}
	}
}

// take handles what came: a message, or the answer to a beat.
func (p *pulse) take(v *value) error {
	if v.kind == '>' {
		return p.push(v)
	}
	received := p.l.n.s.cfg.Clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.beats {
		switch {
		case !b.ran:
			if err := v.err(); err != nil {
				if strings.HasPrefix(err.Error(), "READONLY") {
					p.l.setTrouble(errReplica)
				}
				return fmt.Errorf("a beat failed: %w", err)
			}
			if len(v.list) != 2 {
				return errProtocol
			}
			seconds, ok := v.list[0].number()
			micros, ok2 := v.list[1].number()
			if !ok || !ok2 {
				return errProtocol
			}
			b.ran = true
			p.l.sampleClock(b.sent, received, seconds*1_000_000+micros)
			return p.settle()
		case p.l.n.s.confirm > 0 && !b.waited:
			n, ok := v.number()
			if !ok {
				return errProtocol
			}
			b.waited, b.acknowledgments = true, n
			return p.settle()
		}
	}
	return errProtocol // an answer to nothing
}

// settle takes beats that are done with, oldest first. The caller holds p.mu.
func (p *pulse) settle() error {
	confirm := int64(p.l.n.s.confirm)
	for len(p.beats) > 0 {
		b := p.beats[0]
		if !b.echoed || !b.ran || confirm > 0 && !b.waited {
			return nil
		}
		p.beats = p.beats[1:]
		if b.acknowledgments < confirm {
			p.l.setTrouble(errUnconfirmed)
			continue
		}
		p.l.prove(b)
	}
	return nil
}

// push handles a message.
func (p *pulse) push(v *value) error {
	if len(v.list) != 3 {
		return errProtocol
	}
	kind, channel, payload := v.list[0].text, v.list[1].text, v.list[2].text
	switch {
	case kind != "message" && kind != "smessage":
		return fmt.Errorf("the subscription ended: %s", kind)
	case channel != p.l.beatChannel():
		m, ok := parseMessage(payload)
		if !ok {
			return errForeign
		}
		p.l.tell(m)
		return nil
	}
	n, err := strconv.ParseUint(payload, 10, 64)
	if err != nil {
		return errForeign
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.beats {
		if b.number == n {
			b.echoed = true
		}
	}
	return p.settle()
}

// prove notes that everything the server did before a beat was sent has come.
func (l *line) prove(b *beat) {
	l.setTrouble(nil)
	l.proof.Store(&b.machine)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		l.up, l.err = true, nil
		close(l.changed)
		l.changed = make(chan struct{})
	}
	for f := range l.followers {
		f.prove(l, b.sent)
	}
}

// tell hands a message to all followers.
func (l *line) tell(m message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range l.followers {
		f.add(&m, l.n.s.origin)
	}
}

func (l *line) sampleClock(sent, received latchkey.Moment, server int64) {
	l.mu.Lock()
	l.clock.sample(sent, received, server)
	l.mu.Unlock()
	l.n.s.setOffset()
}

// message is what a change publishes.
type message struct {
	origin string // the store that made the change
	number uint64 // of the change, by that store
	more   bool   // another message of the change follows
	all    bool   // every session may have ended
	ids    []latchkey.ID
}

// parseMessage reads ORIGIN:NUMBER:KIND:IDS.
func parseMessage(text string) (m message, ok bool) {
	parts := strings.SplitN(text, ":", 4)
	if len(parts) != 4 || len(parts[3])%idSize != 0 {
		return m, false
	}
	n, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return m, false
	}
	m = message{origin: parts[0], number: n}
	switch parts[2] {
	case "a":
		m.all = true
	case "m":
		m.more = true
	case "i":
	default:
		return m, false
	}
	if m.ids, err = parseIDs(parts[3]); err != nil {
		return m, false
	}
	return m, true
}

// parseIDs reads IDs that stand one behind the other.
func parseIDs(text string) ([]latchkey.ID, error) {
	if text == "" {
		return nil, nil
	}
	if len(text)%idSize != 0 {
		return nil, errAnswer
	}
	ids := make([]latchkey.ID, 0, len(text)/idSize)
	for ; text != ""; text = text[idSize:] {
		id, err := latchkey.ParseID(text[:idSize])
		if err != nil {
			return nil, errAnswer
		}
		ids = append(ids, id)
	}
	return ids, nil
}
