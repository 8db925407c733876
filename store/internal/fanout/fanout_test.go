package fanout

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// started follows a hub with batches sent to a channel, and waits for the first.
func started(t *testing.T, h *Hub, interval time.Duration, poll Poll, deliver func(latchkey.Batch)) (ended chan error, stop context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- h.Follow(ctx, interval, poll, func(b latchkey.Batch) {
			if b.Reset {
				close(ready)
				return
			}
			deliver(b)
		})
	}()
	t.Cleanup(cancel)
	<-ready
	return ended, cancel
}

// first is a poll whose first batch resets, and whose others are those of then.
func first(then Poll) Poll {
	begun := false
	return func(position int64) (latchkey.Batch, error) {
		if !begun {
			begun = true
			return latchkey.Batch{Reset: true, Sent: latchkey.Moment{Mono: 1}}, nil
		}
		return then(position)
	}
}

func quiet(int64) (latchkey.Batch, error) { return latchkey.Batch{}, nil }

func id(n byte) latchkey.ID { return latchkey.ID{6: 0x70, 8: 0x80, 15: n} }

// A change returns only when every follower has come back from delivering it.
func TestAwait(t *testing.T) {
	var h Hub
	var got [2][]latchkey.ID
	var ended [2]chan error
	var stop [2]context.CancelFunc
	for i := range got {
		ended[i], stop[i] = started(t, &h, time.Hour, first(quiet), func(b latchkey.Batch) { got[i] = append(got[i], b.IDs...) })
	}
	var want []latchkey.ID
	for n := range byte(20) {
		want = append(want, id(n))
		if err := h.Publish(latchkey.Batch{IDs: []latchkey.ID{id(n)}}, 0).Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if !slices.Equal(got[i], want) {
				t.Fatalf("follower %d has %v, want %v", i, got[i], want)
			}
		}
	}
	for i := range got {
		stop[i]()
		if err := <-ended[i]; !errors.Is(err, context.Canceled) {
			t.Errorf("Follow returned %v", err)
		}
	}
	if claims := h.Publish(latchkey.Batch{All: true}, 0); claims != nil {
		t.Error("a follower that has left is still told")
	}
}

// What piles up while deliver runs is delivered at once, nothing of it lost.
func TestMerged(t *testing.T) {
	var h Hub
	in, release := make(chan struct{}), make(chan struct{})
	var batches []latchkey.Batch
	started(t, &h, time.Hour, first(quiet), func(b latchkey.Batch) {
		batches = append(batches, b)
		if len(batches) == 1 {
			close(in)
			<-release
		}
	})
	h.Publish(latchkey.Batch{IDs: []latchkey.ID{id(1)}}, 0)
	<-in
	h.Publish(latchkey.Batch{IDs: []latchkey.ID{id(2)}}, 0)
	h.Publish(latchkey.Batch{All: true}, 0)
	last := h.Publish(latchkey.Batch{IDs: []latchkey.ID{id(3)}}, 0)
	close(release)
	if err := last.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(batches) != 2 || !batches[1].All || !slices.Equal(batches[1].IDs, []latchkey.ID{id(2), id(3)}) {
		t.Errorf("delivered %+v", batches)
	}
}

// A follower that does not come back is cut off after a second; the change and the
// other followers go on.
func TestSlowIsCutOff(t *testing.T) {
	var h Hub
	release := make(chan struct{})
	slow, _ := started(t, &h, time.Hour, first(quiet), func(latchkey.Batch) { <-release })
	told := 0
	_, _ = started(t, &h, time.Hour, first(quiet), func(latchkey.Batch) { told++ })
	if err := h.Publish(latchkey.Batch{All: true}, 0).Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := <-slow; !errors.Is(err, latchkey.ErrUnavailable) || !errors.Is(err, errSlow) {
		t.Errorf("Follow returned %v, want errSlow as unavailable", err)
	}
	if err := h.Publish(latchkey.Batch{All: true}, 0).Await(t.Context()); err != nil || told != 2 {
		t.Errorf("the other was told %d times, %v; want 2", told, err)
	}
}

// A caller that gives up learns that nothing is known, and why it gave up.
func TestAwaitBrokenOff(t *testing.T) {
	var h Hub
	release := make(chan struct{})
	defer close(release)
	started(t, &h, time.Hour, first(quiet), func(latchkey.Batch) { <-release })
	why := errors.New("had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	err := h.Publish(latchkey.Batch{All: true}, 0).Await(ctx)
	if latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable || !errors.Is(err, why) {
		t.Errorf("error is %v", err)
	}
}

// What was published before a poll began is delivered with it at the latest, and
// the poll is told up to where own changes need not be repeated.
func TestPoll(t *testing.T) {
	var h Hub
	polled, answer := make(chan int64), make(chan latchkey.Batch)
	got, over := make(chan latchkey.Batch, 100), make(chan struct{})
	ended, _ := started(t, &h, time.Millisecond, first(func(position int64) (latchkey.Batch, error) {
		select {
		case polled <- position:
			return <-answer, nil
		case <-over:
			return latchkey.Batch{}, nil
		}
	}), func(b latchkey.Batch) { got <- b })
	if at := <-polled; at != 0 {
		t.Errorf("position %d before anything was published", at)
	}
	h.Publish(latchkey.Batch{IDs: []latchkey.ID{id(1)}}, 7)
	h.Publish(latchkey.Batch{IDs: []latchkey.ID{id(2)}}, 0) // not known to be in effect
	answer <- latchkey.Batch{IDs: []latchkey.ID{id(3)}, Sent: latchkey.Moment{Mono: 9}}
	if b := <-got; !slices.Equal(b.IDs, []latchkey.ID{id(1), id(2), id(3)}) || b.Sent.Mono != 9 || b.Reset {
		t.Errorf("delivered %+v", b)
	}
	if at := <-polled; at != 7 {
		t.Errorf("position %d, want 7", at)
	}
	answer <- latchkey.Batch{} // no proof: nothing to deliver
	<-polled
	answer <- latchkey.Batch{Sent: latchkey.Moment{Mono: 10}}
	if b := <-got; b.Sent.Mono != 10 {
		t.Errorf("a poll without a proof delivered %+v", b)
	}
	close(over)
	h.End(errStopped)
	if err := <-ended; !errors.Is(err, errStopped) {
		t.Errorf("Follow returned %v", err)
	}
}

// A poll that fails ends Follow, the first one too, and releases who waits for it.
func TestPollFails(t *testing.T) {
	var h Hub
	failed := errors.New("failed")
	if err := h.Follow(t.Context(), time.Hour, func(int64) (latchkey.Batch, error) { return latchkey.Batch{}, failed },
		func(latchkey.Batch) { t.Error("delivered") }); !errors.Is(err, failed) {
		t.Errorf("Follow returned %v", err)
	}
	fail := make(chan struct{})
	ended, _ := started(t, &h, time.Millisecond, first(func(int64) (latchkey.Batch, error) {
		<-fail
		return latchkey.Batch{}, failed
	}), func(latchkey.Batch) {})
	claims := make(chan Claims, 1)
	go func() {
		defer close(fail)
		claims <- h.Publish(latchkey.Batch{All: true}, 0)
	}()
	if err := (<-claims).Await(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, failed) {
		t.Errorf("Follow returned %v", err)
	}
}

func TestEnd(t *testing.T) {
	var h Hub
	ended, _ := started(t, &h, time.Hour, first(quiet), func(latchkey.Batch) {})
	why := errors.New("closed")
	h.End(why)
	h.End(errors.New("again"))
	if err := <-ended; !errors.Is(err, why) {
		t.Errorf("Follow returned %v", err)
	}
	if err := h.Follow(t.Context(), time.Hour, quiet, func(latchkey.Batch) { t.Error("delivered") }); !errors.Is(err, why) {
		t.Errorf("Follow of a closed hub returned %v", err)
	}
}

func TestFollowRefuses(t *testing.T) {
	var h Hub
	never := func(latchkey.Batch) { t.Error("delivered") }
	for _, interval := range []time.Duration{0, -1} {
		if err := h.Follow(t.Context(), interval, quiet, never); !errors.Is(err, latchkey.ErrInvalidRequest) {
			t.Errorf("interval %v: %v", interval, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Follow(ctx, time.Hour, quiet, never); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}
