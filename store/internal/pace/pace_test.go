package pace

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestSize(t *testing.T) {
	p := New(1000, 1)
	if n := p.Begin(); n != least {
		t.Fatalf("the first batch has %d rows", n)
	}
	for _, step := range []struct {
		name string
		rows int // of the batch, when not as many as it may have
		took time.Duration
		want int
	}{
		{"quick", 0, time.Millisecond, 126},
		{"quick again", 0, time.Millisecond, 158},
		{"quick, with less to do", 157, time.Millisecond, 158},
		{"as it should be", 0, aim, 158},
		{"a little slow", 0, 2 * aim, 158},
		{"slow", 0, 2*aim + 1, 100},
		{"slow again", 0, time.Hour, 100},
	} {
		rows := p.size
		if step.rows != 0 {
			rows = step.rows
		}
		if p.size = p.next(rows, step.took); p.size != step.want {
			t.Errorf("%s: then %d rows, want %d", step.name, p.size, step.want)
		}
	}
	for range 100 {
		p.size = p.next(p.size, 0)
	}
	if p.size != 1000 {
		t.Errorf("quick batches grew to %d rows, want 1000", p.size)
	}
	if few := New(3, 1); few.Begin() != 3 || few.next(3, 0) != 3 || few.next(3, time.Hour) != 3 {
		t.Error("a bound below the least size was not kept to")
	}
}

func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(1000, 2)
		for _, step := range []struct{ took, rest time.Duration }{{0, 0}, {30 * time.Millisecond, 60 * time.Millisecond}, {time.Hour, longest}} {
			p.Begin()
			time.Sleep(step.took)
			began := time.Now()
			if p.Rest(t.Context(), 1); time.Since(began) != step.rest {
				t.Errorf("after %v it rested for %v, want %v", step.took, time.Since(began), step.rest)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		p.Begin()
		time.Sleep(time.Hour)
		time.AfterFunc(time.Millisecond, cancel)
		began := time.Now()
		if p.Rest(ctx, 1); time.Since(began) != time.Millisecond {
			t.Errorf("it went on for %v when it was broken off", time.Since(began))
		}
	})
}
