package oidc

import (
	"context"
	"sync/atomic"
)

// step is what a provider is asked for. The names are those of [Away.Step].
type step uint8

const (
	stepDiscovery step = iota
	stepKeys
	stepToken
	stepUserInfo
	numSteps
)

// outcome is what came of something that a provider was asked.
type outcome uint8

const (
	outcomeOK        outcome = iota
	outcomeRefused           // it answered, and said no
	outcomeFailed            // it gave no usable answer
	outcomeElsewhere         // of a refresh: another node had done it
	numOutcomes
)

var (
	stepNames    = [numSteps]string{"discovery", "keys", "token", "userinfo"}
	outcomeNames = [numOutcomes]string{"ok", "refused", "failed", "elsewhere"}
)

// counters are the totals of a provider since New.
type counters struct {
	requests  [numSteps][outcomeElsewhere]atomic.Uint64
	refreshes [numOutcomes]atomic.Uint64
}

// Count is how often something had an outcome.
type Count struct {
	// Step is what the provider was asked for: "discovery", "keys", "token" or
	// "userinfo"; "" for refreshes.
	Step string
	// Outcome is "ok", "refused" (the provider said no), "failed" (there was no usable
	// answer), or of refreshes "elsewhere" (another node had done it).
	Outcome string
	N       uint64
}

// Stats are totals since New.
type Stats struct {
	// Requests are what the provider was asked, each try of its own.
	Requests []Count
	// Refreshes are the access tokens that were due, each counted once however many
	// callers waited for it.
	Refreshes []Count
}

// Stats returns the totals since New in a fixed order, those that are 0 too.
func (p *Provider) Stats() (s Stats) {
	for i := range p.counts.requests {
		for j := range p.counts.requests[i] {
			s.Requests = append(s.Requests, Count{stepNames[i], outcomeNames[j], p.counts.requests[i][j].Load()})
		}
	}
	for i := range p.counts.refreshes {
		s.Refreshes = append(s.Refreshes, Count{"", outcomeNames[i], p.counts.refreshes[i].Load()})
	}
	return s
}

// outcomeOf tells a provider that said no from one that gave no answer.
func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return outcomeOK
	case ReasonOf(err) != "":
		return outcomeRefused
	}
	return outcomeFailed
}

// asked counts a request to the provider.
func (p *Provider) asked(s step, err error) { p.counts.requests[s][outcomeOf(err)].Add(1) }

// counted counts each call of a fetch.
func counted[T any](p *Provider, s step, fetch func(context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) {
		v, err := fetch(ctx)
		p.asked(s, err)
		return v, err
	}
}
