package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/memory"
)

// faulty is a sink that fails now and then, before or after it took the batch.
type faulty struct {
	got    []audit.Event
	answer []error // for the next writes
	took   []bool  // whether they took effect
}

func (f *faulty) Write(_ context.Context, events []audit.Event) error {
	var err error
	took := true
	if len(f.answer) > 0 {
		err, took = f.answer[0], f.took[0]
		f.answer, f.took = f.answer[1:], f.took[1:]
	}
	if took {
		f.got = append(f.got, events...)
	}
	return err
}

func fill(t *testing.T, n int) *memory.Store {
	t.Helper()
	store, err := memory.New(memory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	for i := range n {
		id := latchkey.ID{6: 0x70, 8: 0x80, 14: byte(i >> 8), 15: byte(i)}
		now := time.Now()
		rec := latchkey.Record{ID: id, Provider: "p", Subject: fmt.Sprint("u", i), CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour)}
		_, err := store.Create(context.Background(), latchkey.Create{Record: rec, Event: audit.Event{Time: now, Action: audit.Create,
			Actor: "user", Session: id.String(), Provider: "p", Subject: rec.Subject, Outcome: audit.Done}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return store
}

// Every committed event reaches the sink, in order, at least once, whatever fails
// on the way.
func TestForwardAtLeastOnce(t *testing.T) {
	const n = 1203 // more than two pages
	store := fill(t, n)
	boom := errors.New("boom")
	sink := &faulty{answer: []error{boom, boom, nil, boom}, took: []bool{false, true, true, false}}
	ticks := make(chan time.Time)
	ctx, cancel := context.WithCancel(context.Background())
	var saved uint64
	var heard int
	done := make(chan error, 1)
	go func() {
		done <- audit.Forward(ctx, audit.Forwarding{From: store, To: sink, Poll: ticks,
			Saved: func(seq uint64) error { saved = seq; return nil }, OnError: func(error) { heard++ }})
	}()
	for range 6 { // three failures wait for a tick, and the end for more
		ticks <- time.Now()
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	last, unique := uint64(0), 0
	for _, e := range sink.got {
		if e.Seq > last {
			last = e.Seq
			unique++
		}
	}
	if unique != n || saved != last || heard != 3 {
		t.Errorf("%d of %d events, saved %d of %d, %d errors heard", unique, n, saved, last, heard)
	}
}

func TestForwardContinues(t *testing.T) {
	store := fill(t, 10)
	page, err := store.Audit(context.Background(), audit.Query{Ascending: true, Limit: 4})
	if err != nil || len(page.Events) != 4 {
		t.Fatal(page, err)
	}
	sink := &faulty{}
	ctx, cancel := context.WithCancel(context.Background())
	ticks := make(chan time.Time)
	done := make(chan error, 1)
	go func() {
		done <- audit.Forward(ctx, audit.Forwarding{From: store, To: sink, After: page.Events[3].Seq, Poll: ticks})
	}()
	ticks <- time.Now()
	cancel()
	<-done
	if len(sink.got) != 6 || sink.got[0].Seq <= page.Events[3].Seq {
		t.Errorf("%d events", len(sink.got))
	}
}

func TestJSONSink(t *testing.T) {
	var out bytes.Buffer
	sink := audit.NewJSONSink(&out)
	e := audit.Event{Seq: 1, Time: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC), Action: audit.Revoke, Actor: "admin:ops", Subject: "a\nb", Outcome: audit.Done}
	if err := sink.Write(context.Background(), []audit.Event{e, e}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"time":"2026-01-02T03:04:05.000000Z"`) {
		t.Errorf("%q", lines)
	}
}

func ExampleForward() {
	store, err := memory.New(memory.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	_, err = store.Revoke(ctx, latchkey.Revocation{All: true, By: "admin:ops", Reason: "incident",
		Event: audit.Event{Time: when, Action: audit.RevokeAll, Actor: "admin:ops", Outcome: audit.Done, Reason: "incident"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	sink := sinkFunc(func(events []audit.Event) error {
		for _, e := range events {
			fmt.Fprintln(os.Stdout, e.Action, e.Actor, e.Reason)
		}
		cancel() // enough for an example
		return nil
	})
	_ = audit.Forward(ctx, audit.Forwarding{From: store, To: sink, Poll: time.NewTicker(time.Second).C})
	// Output: session.revoke_all admin:ops incident
}

type sinkFunc func([]audit.Event) error

func (f sinkFunc) Write(_ context.Context, events []audit.Event) error { return f(events) }
