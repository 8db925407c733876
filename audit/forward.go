package audit

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"
)

// Forwarding feeds a sink from a store's committed trail.
type Forwarding struct {
	// From is the trail to read. Required.
	From Reader
	// To receives the events. Required.
	To Sink
	// After is the Seq of the last event the sink is known to have; 0 starts at the oldest kept.
	After uint64
	// Saved, when set, is told the Seq up to which the sink has accepted, so that a
	// restart can continue there. An error stops the forwarding.
	Saved func(seq uint64) error
	// Poll ticks once for each look at the trail. Required: the owner's ticker, or a test's channel.
	Poll <-chan time.Time
	// OnError, when set, hears of a failed read or write; the batch is tried again at the next tick.
	OnError func(error)
}

// Forward copies events until ctx ends, and then returns ctx's error. It runs in
// the caller's goroutine. Whatever the sink does, revocations never wait for it.
func Forward(ctx context.Context, f Forwarding) error {
	for {
		n, err := forwardOnce(ctx, &f)
		if err != nil && ctx.Err() == nil && f.OnError != nil {
			f.OnError(err)
		}
		if n == MaxLimit && err == nil {
			continue // more is waiting
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.Poll:
		}
	}
}

func forwardOnce(ctx context.Context, f *Forwarding) (int, error) {
	page, err := f.From.Audit(ctx, Query{Ascending: true, After: f.After, Limit: MaxLimit})
	if err != nil || len(page.Events) == 0 {
		return 0, err
	}
	if err := f.To.Write(ctx, page.Events); err != nil {
		return 0, err
	}
	last := page.Events[len(page.Events)-1].Seq
	if f.Saved != nil {
		if err := f.Saved(last); err != nil {
			return 0, err
		}
	}
	f.After = last
	return len(page.Events), nil
}

// JSONSink writes each event as one line of JSON, with the member names of the
// HTTP API. It is safe for concurrent use; its zero value is not usable, see [NewJSONSink].
type JSONSink struct {
	mu sync.Mutex
	w  io.Writer
}

// NewJSONSink returns a sink that writes to w.
func NewJSONSink(w io.Writer) *JSONSink { return &JSONSink{w: w} }

// Write implements Sink. The lines of a batch go out in a single call of the writer.
func (s *JSONSink) Write(_ context.Context, events []Event) error {
	var out []byte
	for _, e := range events {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		out = append(append(out, line...), '\n')
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.w.Write(out)
	return err
}

// timeFormat is RFC 3339 in UTC with six fraction digits, as everywhere in the API.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// MarshalJSON gives the form that the HTTP API, the command line and JSONSink print.
func (e Event) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Seq      uint64  `json:"seq"`
		Time     string  `json:"time"`
		Action   Action  `json:"action"`
		Actor    string  `json:"actor"`
		Session  string  `json:"session"`
		Provider string  `json:"provider"`
		Subject  string  `json:"subject"`
		IP       string  `json:"ip"`
		Outcome  Outcome `json:"outcome"`
		Reason   string  `json:"reason"`
		Count    int     `json:"count"`
	}{e.Seq, e.Time.UTC().Format(timeFormat), e.Action, e.Actor, e.Session, e.Provider, e.Subject, e.IP, e.Outcome, e.Reason, e.Count})
}
