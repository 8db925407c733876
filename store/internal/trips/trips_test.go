package trips

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers each key with itself, and odd ones with an error of their own.
func echo(_ context.Context, _ int, wants []*Want[int, string]) {
	for _, w := range wants {
		if w.Value = fmt.Sprint(w.Key); w.Key%2 == 1 {
			w.Err = errors.New(w.Value)
		}
	}
}

// waiting waits until n callers do.
func waiting[K, V, L any](l *Lanes[K, V, L], n int) {
	for l.Waiting() != n {
		runtime.Gosched()
	}
}

// Those who wait go together, at most so many at a time, and each gets its answer.
func TestShared(t *testing.T) {
	var sizes []int
	l := New(10, []int{7}, func(ctx context.Context, line int, wants []*Want[int, string]) {
		if line != 7 {
			t.Error("line", line)
		}
		sizes = append(sizes, len(wants))
		echo(ctx, line, wants)
	})
	line, ok := l.Enter()
	if _, second := l.Enter(); !ok || second {
		t.Fatal("there is not one lane")
	}
	var callers sync.WaitGroup
	for i := range 25 {
		callers.Go(func() {
			v, err := l.Do(context.Background(), i)
			if want := fmt.Sprint(i); v != want || (err != nil) != (i%2 == 1) || err != nil && err.Error() != want {
				t.Errorf("%d: %q, %v", i, v, err)
			}
		})
	}
	waiting(l, 25)
	l.Leave(line)
	callers.Wait()
	if v, err := l.Do(t.Context(), 40); v != "40" || err != nil {
		t.Errorf("alone: %q, %v", v, err)
	}
	if want := []int{10, 10, 5, 1}; !slices.Equal(sizes, want) {
		t.Errorf("trips of %v callers, want %v", sizes, want)
	}
}

// A trip carries nobody who came after it was sent.
func TestSentLater(t *testing.T) {
	var clock atomic.Int64
	l := New(1000, []int{1, 2}, func(_ context.Context, _ int, wants []*Want[int64, int64]) {
		sent := clock.Add(1)
		runtime.Gosched()
		for _, w := range wants {
			w.Value = sent
		}
	})
	var callers sync.WaitGroup
	for range 32 {
		callers.Go(func() {
			for range 200 {
				came := clock.Add(1)
				if sent, err := l.Do(context.Background(), came); err != nil || sent < came {
					t.Errorf("who came at %d went with a trip sent at %d (%v)", came, sent, err)
				}
			}
		})
	}
	callers.Wait()
}

// Who gives up while it waits leaves; who has others waiting for its trip makes it,
// and its context's end is not theirs.
func TestGivingUp(t *testing.T) {
	asked := make(chan []*Want[int, string])
	answer := make(chan struct{})
	l := New(10, []int{1}, func(ctx context.Context, line int, wants []*Want[int, string]) {
		asked <- wants
		<-answer
		if len(wants) > 1 && ctx.Err() != nil {
			t.Error("a shared trip ends with one caller's context")
		}
		echo(ctx, line, wants)
	})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	done := make(chan error)
	do := func(ctx context.Context, key int) { go func() { _, err := l.Do(ctx, key); done <- err }() }
	do(context.Background(), 2)
	<-asked
	early, leaveEarly := context.WithCancel(t.Context())
	do(early, 4) // gives up in the queue
	waiting(l, 1)
	leaveEarly()
	if err := <-done; !errors.Is(err, ErrLeft) {
		t.Error("one that gave up in the queue: ", err)
	}
	do(ctx, 6) // is to go
	waiting(l, 1)
	do(ctx, 8) // is taken along, and gives up
	waiting(l, 2)
	do(context.Background(), 10)
	waiting(l, 3)
	answer <- struct{}{}
	if err := <-done; err != nil {
		t.Error("the first: ", err)
	}
	if wants := <-asked; len(wants) != 3 || wants[0].Key != 6 {
		t.Errorf("a trip of %d", len(wants))
	}
	leave()
	if err := <-done; !errors.Is(err, ErrLeft) {
		t.Error("one that gave up on its way: ", err)
	}
	answer <- struct{}{}
	for range 2 {
		if err := <-done; err != nil {
			t.Error("one that went: ", err)
		}
	}
	if line, ok := l.Enter(); !ok || line != 1 {
		t.Error("the lane was not given back")
	}
}

// Who waited alone goes under its own context: nobody else would miss the answer.
func TestAlone(t *testing.T) {
	l := New(10, []int{1}, func(ctx context.Context, _ int, wants []*Want[int, string]) {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the deadline is lost")
		}
		<-ctx.Done() // a server that says nothing
		wants[0].Err = context.Cause(ctx)
	})
	line, _ := l.Enter()
	ctx, leave := context.WithTimeout(t.Context(), time.Hour)
	defer leave()
	done := make(chan error)
	go func() { _, err := l.Do(ctx, 2); done <- err }()
	waiting(l, 1)
	l.Leave(line)
	leave()
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

// A trip that ends by a panic keeps neither its lane nor those who were taken along,
// and is no answer to them.
func TestBroken(t *testing.T) {
	l := New(10, []int{1}, func(_ context.Context, _ int, wants []*Want[int, string]) {
		if wants[0].Key == 2 {
			panic("a defect")
		}
		wants[0].Value = "well"
	})
	line, _ := l.Enter()
	broken := make(chan any)
	go func() {
		defer func() { broken <- recover() }()
		_, _ = l.Do(context.Background(), 2)
	}()
	waiting(l, 1)
	done := make(chan error)
	go func() { _, err := l.Do(context.Background(), 4); done <- err }()
	waiting(l, 2)
	l.Leave(line)
	if err := <-done; !errors.Is(err, ErrBroken) {
		t.Error("one that was taken along: ", err)
	}
	if <-broken == nil {
		t.Error("the panic is lost")
	}
	if v, err := l.Do(t.Context(), 6); v != "well" || err != nil {
		t.Errorf("the lane: %q, %v", v, err)
	}
}

// Close lets trips under way end, and sends everybody else away.
func TestClose(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	l := New(10, []int{1, 2}, func(ctx context.Context, line int, wants []*Want[int, string]) {
		close(asked)
		<-answer
		echo(ctx, line, wants)
	})
	done := make(chan error, 2)
	go func() { _, err := l.Do(context.Background(), 2); done <- err }()
	<-asked
	if _, ok := l.Enter(); !ok {
		t.Fatal("the second lane is taken")
	}
	go func() { _, err := l.Do(context.Background(), 4); done <- err }()
	waiting(l, 1)
	var dropped []int
	closed := make(chan struct{})
	go func() { defer close(closed); l.Close(func(line int) { dropped = append(dropped, line) }) }()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Error("one that waited: ", err)
	}
	select {
	case <-closed:
		t.Error("closed before the trips had ended")
	default:
	}
	close(answer)
	l.Leave(1)
	if err := <-done; err != nil {
		t.Error("one under way: ", err)
	}
	<-closed
	slices.Sort(dropped)
	if !slices.Equal(dropped, []int{1, 2}) {
		t.Errorf("dropped %v", dropped)
	}
	if _, err := l.Do(t.Context(), 6); !errors.Is(err, ErrClosed) {
		t.Error("one after it: ", err)
	}
}
