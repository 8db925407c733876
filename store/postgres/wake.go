package postgres

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/latchkey-go/latchkey"
)

// news are changes of this node that other nodes have not been woken for.
type news struct {
	mu   sync.Mutex
	list []item
	ids  int           // in all of them
	ring chan struct{} // capacity 1: list is not empty
}

// item is one change.
type item struct {
	token int64
	latchkey.Batch
}

// Bounds of what a notification tells. A payload is less than 8,000 bytes, and
// three bytes take four; whoever is told less than all reads the log.
const (
	mostPayload = 5800
	mostNews    = 2000 // IDs that wait
)

// wakeOthers has other nodes told of a change.
func (s *Store) wakeOthers(i item) {
	n := &s.news
	n.mu.Lock()
	if n.ids += len(i.IDs); n.ids <= mostNews {
		n.list = append(n.list, i)
	}
	n.mu.Unlock()
	select {
	case n.ring <- struct{}{}:
	default: // one is due that comes after this change
	}
}

// payloads empties the news. One that says no more than whose it is has the others
// read the log.
func (s *Store) payloads() []string {
	n := &s.news
	n.mu.Lock()
	list, all := n.list, n.ids <= mostNews
	n.list, n.ids = nil, 0
	n.mu.Unlock()
	from := strconv.FormatInt(s.origin, 36)
	var texts []string
	var b []byte
	flush := func() {
		if len(b) > 0 {
			texts = append(texts, from+"."+base64.RawURLEncoding.EncodeToString(b))
			b = b[:0]
		}
	}
	for _, i := range list {
		size := 2*binary.MaxVarintLen64 + 1 + len(i.IDs)*16
		if size > mostPayload {
			all = false
			continue
		}
		if len(b)+size > mostPayload {
			flush()
		}
		b = binary.AppendUvarint(b, uint64(i.token))
		every := byte(0)
		if i.All {
			every = 1
		}
		b = binary.AppendUvarint(append(b, every), uint64(len(i.IDs)))
		for _, id := range i.IDs {
			b = append(b, id[:]...)
		}
	}
	flush()
	if !all {
		texts = append(texts, from)
	}
	return texts
}

// readPayload is the reverse of payloads. It reports false where the log is to be
// read instead.
func readPayload(text string) (origin int64, list []item, ok bool) {
	from, packed, told := strings.Cut(text, ".")
	origin, err := strconv.ParseInt(from, 36, 64)
	if err != nil || !told {
		return origin, nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(packed)
	if err != nil {
		return origin, nil, false
	}
	for len(b) > 0 {
		token, n := binary.Uvarint(b)
		if n <= 0 || n == len(b) || b[n] > 1 {
			return origin, nil, false
		}
		i := item{token: int64(token), Batch: latchkey.Batch{All: b[n] == 1}}
		b = b[n+1:]
		count, n := binary.Uvarint(b)
		if n <= 0 || count > uint64(len(b)-n)/16 {
			return origin, nil, false
		}
		for b = b[n:]; count > 0; count-- {
			i.IDs = append(i.IDs, latchkey.ID(b[:16]))
			b = b[16:]
		}
		list = append(list, i)
	}
	return origin, list, true
}

// herald is the goroutine that notifies other nodes, until Close. It does so in
// transactions of its own, after the changes: those that notify commit one after
// the other, each waiting for the disk, and so would all changes. What is lost with
// a node that dies in between, others find at their next poll.
func (s *Store) herald() {
	for {
		select {
		case <-s.news.ring:
			s.notify()
		case <-s.ctx.Done():
			select {
			case <-s.news.ring: // of a program that revokes and ends
				s.notify()
			default:
			}
			return
		}
	}
}

// notifyTimeout bounds how long other nodes are tried to be woken. Close waits for it.
const notifyTimeout = 2 * time.Second

func (s *Store) notify() {
	ctx, cancel := context.WithTimeout(context.Background(), min(notifyTimeout, s.t.Timeout))
	defer cancel()
	c, err := s.aside.Acquire(ctx)
	if err != nil {
		return
	}
	defer c.Release()
	p := newParams(2).text(channel(s.t.schema)).texts(s.payloads())
	_, _ = s.runOn(ctx, c.Conn().PgConn(), stNotify, p, nil)
}

// Pauses of the listener after its connection broke, and how often it finds out
// whether a silent one still is one.
const (
	minPause  = 50 * time.Millisecond
	maxPause  = 2 * time.Second
	pingEvery = 5 * time.Second
)

// listenOn is the goroutine that is woken by notifications, until Close.
func (s *Store) listenOn() {
	config := s.t.feed
	if config == nil {
		config = s.t.main.ConnConfig
	}
	for pause := minPause; s.ctx.Err() == nil; {
		began := time.Now()
		_ = s.hear(&config.Config)
		s.hears.Store(false)
		if time.Since(began) > 10*maxPause {
			pause = minPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, maxPause)
	}
}

// hear listens on one connection for as long as it holds. Anybody who may connect to
// the database may notify, too: what is heard is told, and never keeps what the
// log says from being told.
func (s *Store) hear(config *pgconn.Config) error {
	var heard []string
	config = config.Copy()
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { heard = append(heard, n.Payload) }
	ctx, cancel := context.WithTimeout(s.ctx, s.t.Timeout)
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err == nil {
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = conn.Close(ctx)
		}()
		err = script(ctx, conn, `LISTEN "`+channel(s.t.schema)+`"`)
	}
	cancel()
	if err != nil {
		return err
	}
	var at cursor
	if _, err := s.poll(s.ctx, &at); err != nil {
		return err
	}
	s.hears.Store(true)
	for {
		ctx, cancel := context.WithTimeout(s.ctx, pingEvery)
		err := conn.WaitForNotification(ctx)
		cancel()
		switch {
		case err == nil:
		case s.ctx.Err() != nil || !pgconn.Timeout(err):
			return err
		default: // nothing came
			ctx, cancel := context.WithTimeout(s.ctx, s.t.Timeout)
			err := script(ctx, conn, "SELECT 1")
			cancel()
			if err != nil {
				return err
			}
		}
		read := false
		for _, text := range heard {
			read = s.listened(text) || read
		}
		heard = heard[:0]
		if read {
			if _, err := s.poll(s.ctx, &at); errors.Is(err, errClosed) {
				return err
			}
		}
	}
}

// listened tells followers what another node says, and reports whether the log is
// to be read for more.
func (s *Store) listened(text string) (read bool) {
	origin, list, ok := readPayload(text)
	if origin == s.origin {
		return false
	}
	for _, i := range list {
		s.tell(change{origin, i.token}, i.Batch, true)
	}
	return !ok
}
