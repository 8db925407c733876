package oidc

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/latchkey-go/latchkey"
)

const (
	// expiryMargin is how long an access token must still be good for: it takes time to
	// arrive where it is used.
	expiryMargin = 10 * time.Second
	// leaseTime is for how long one caller may refresh. It is longer than the whole of
	// its work may take, so that it never has to be renewed half-way.
	leaseTime = 30 * time.Second
	// refreshTrip bounds that work: the request to the provider and the writes around it.
	refreshTrip = 20 * time.Second
	// shareTime is how long callers that held an older copy of the session are given what
	// another one's refresh brought.
	shareTime = 5 * time.Second
)

// AccessToken is a token for the provider's APIs. Printing it shows when it expires, and
// nothing else.
type AccessToken struct {
	// Token is a secret. Type is how it is presented, such as "Bearer".
	Token, Type string
	// Expires is when it ends, zero when the provider does not say.
	Expires time.Time
}

// String tells when the token expires.
func (a AccessToken) String() string {
	return "access token until " + a.Expires.UTC().Format(time.RFC3339)
}

// Format writes [AccessToken.String] for every verb and flag.
func (a AccessToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.String()) }

// LogValue is [AccessToken.String], for log/slog.
func (a AccessToken) LogValue() slog.Value { return slog.StringValue(a.String()) }

// AccessToken returns the access token of a session that came from this provider,
// refreshed when it is about to expire. Config.KeepTokens must be set.
//
// Of any number of callers on any number of nodes one refreshes: in this process the
// others wait for it, and on other nodes they see its lease in the session's data, which
// is written by compare-and-swap. So a refresh token that is good for one use is used
// once. It commits the session's changes made so far, and a refresh that has begun is
// finished even when ctx ends: the new refresh token must not be lost.
//
// The session must be one of a request that holds its token, since its data opens with
// that only. Errors: code CodeDenied with reason NoTokens, Expired (there is no refresh
// token) or Rejected (the provider does not accept it any more; the tokens are
// forgotten), and CodeStoreUnavailable when the store or the provider gives no answer.
func (p *Provider) AccessToken(ctx context.Context, s latchkey.Session) (AccessToken, error) {
	t, err := held.Get(s)
	switch {
	case err != nil:
		return AccessToken{}, err
	case !s.Live() || t.Provider != p.cfg.ID || s.Provider() != p.cfg.ID || t.Access == "" && t.Refresh == "":
		return AccessToken{}, refuse(NoTokens)
	case t.good(p.now(), expiryMargin):
		return t.access(), nil
	case t.Refresh == "":
		return AccessToken{}, refuse(Expired)
	}
	f, mine := p.fresh.join(s.ID(), p.clock.Now().Mono)
	if mine {
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTrip)
		defer cancel()
		token, came, err := p.refresh(work, s)
		p.counts.refreshes[came].Add(1)
		p.fresh.finish(s.ID(), f, token, err, p.clock.Now().Mono)
		return token, err
	}
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return AccessToken{}, away(ctx.Err())
	}
}

// good reports whether the access token is good for so much longer.
func (t *tokens) good(now time.Time, margin time.Duration) bool {
	return t.Access != "" && (t.Expires.IsZero() || t.Expires.Sub(now) > margin)
}

func (t *tokens) access() AccessToken { return AccessToken{t.Access, t.Type, t.Expires} }

// refreshes are the refreshes under way in this process, and those just finished.
type refreshes struct {
	mu      sync.Mutex
	flights map[latchkey.ID]*flight
	over    []*flight // finished ones, the oldest first
}

// flight is one refresh. token and err are set when done is closed.
type flight struct {
	id    latchkey.ID
	done  chan struct{}
	token AccessToken
	err   error
	ended int64 // monotonic
}

// join returns the session's refresh to wait for, or a new one that is the caller's.
func (r *refreshes) join(id latchkey.ID, now int64) (f *flight, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.over) > 0 && now-r.over[0].ended >= int64(shareTime) {
		if old := r.over[0]; r.flights[old.id] == old {
			delete(r.flights, old.id)
		}
		r.over[0], r.over = nil, r.over[1:]
	}
	if f := r.flights[id]; f != nil {
		return f, false
	}
	if r.flights == nil {
		r.flights = make(map[latchkey.ID]*flight)
	}
	f = &flight{id: id, done: make(chan struct{})}
	r.flights[id] = f
	return f, true
}

// finish tells what a refresh brought. One that failed is forgotten at once.
func (r *refreshes) finish(id latchkey.ID, f *flight, token AccessToken, err error, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.token, f.err, f.ended = token, err, now
	if err != nil {
		delete(r.flights, id)
	} else {
		r.over = append(r.over, f)
	}
	close(f.done)
}

// turn is what a look at the session's tokens came to.
type turn int

const (
	mine  turn = iota // this caller has the lease
	busy              // another node has it
	fresh             // another node has refreshed already
)

// refresh gets new tokens, or those that another node has got meanwhile, and says what
// came of it: an access token that is good for a little while yet may be returned
// although the refresh failed.
func (p *Provider) refresh(ctx context.Context, s latchkey.Session) (AccessToken, outcome, error) {
	m, err := p.meta.get(ctx)
	if err != nil {
		return AccessToken{}, outcomeFailed, err
	}
	by := rand.Text()
	for pause := 200 * time.Millisecond; ; pause *= 2 {
		t, whose, err := p.takeLease(ctx, s, by)
		switch {
		case err != nil:
			return AccessToken{}, outcomeOf(err), err
		case whose == fresh:
			return t.access(), outcomeElsewhere, nil
		case whose == mine:
			return p.exchange(ctx, s, m, t)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return AccessToken{}, outcomeFailed, away(&Away{Step: "token", Detail: "another node is refreshing, and does not finish"})
		}
	}
}

// takeLease writes into the session that this caller refreshes, unless another does or
// has done. The function runs again on what is stored whenever another write came first,
// so what it found last is what was stored.
func (p *Provider) takeLease(ctx context.Context, s latchkey.Session, by string) (t tokens, whose turn, err error) {
	err = p.change(ctx, s, func(stored tokens) tokens {
		now := p.now()
		switch {
		case stored.Refresh == "", stored.good(now, expiryMargin):
			whose = fresh
		case stored.Lease.By != by && stored.Lease.Until.After(now):
			whose = busy
		default:
			whose, stored.Lease = mine, lease{by, now.Add(leaseTime).UTC()}
		}
		t = stored
		return stored
	})
	if err == nil && whose == fresh && t.Access == "" {
		err = refuse(Rejected) // the other node's refresh was refused
	}
	return t, whose, err
}

// change changes the tokens in the session and saves that.
func (p *Provider) change(ctx context.Context, s latchkey.Session, f func(tokens) tokens) error {
	if err := held.Update(s, func(t tokens) (tokens, error) { return f(t), nil }); err != nil {
		return err
	}
	return s.Commit(ctx)
}

// exchange uses the refresh token (RFC 6749, 6) and keeps what comes back.
func (p *Provider) exchange(ctx context.Context, s latchkey.Session, m *metadata, used tokens) (AccessToken, outcome, error) {
	trip, cancel := context.WithTimeout(gooidc.ClientContext(ctx, p.client), tokenTrip)
	defer cancel()
	answer, err := p.oauth(m, Request{}).TokenSource(trip, &oauth2.Token{RefreshToken: used.Refresh}).Token()
	if err != nil {
		if err = tokenFailure(err); ReasonOf(err) == Malformed { // no refusal, either: a gateway's page, perhaps
			err = away(&Away{Step: "token", Detail: "there is no token in the answer"})
		}
	}
	if p.asked(stepToken, err); err != nil {
		return p.notRefreshed(ctx, s, used, err)
	}
	rawID, _ := answer.Extra("id_token").(string)
	if rawID != "" {
		if err := p.checkRefreshed(trip, rawID, s.Subject()); err != nil {
			return p.notRefreshed(ctx, s, used, err)
		}
	}
	next := p.keep(rawID, answer)
	if next.Refresh == "" {
		next.Refresh = used.Refresh
	}
	if rawID == "" {
		next.ID = used.ID
	}
	// Where the lease ran out although it is longer than all this may take, another node
	// may have refreshed: what is stored is then newer.
	kept := next
	store := func(stored tokens) tokens {
		if kept = next; stored.Refresh != used.Refresh {
			kept = stored
		}
		return kept
	}
	err = p.change(ctx, s, store)
	for pause := 50 * time.Millisecond; latchkey.CodeOf(err) == latchkey.CodeStoreUnavailable && ctx.Err() == nil; pause *= 2 {
		select {
		case <-time.After(pause):
			err = s.Commit(ctx) // the change is recorded still
		case <-ctx.Done():
		}
	}
	if err != nil {
		return AccessToken{}, outcomeFailed, err
	}
	return kept.access(), outcomeOK, nil
}

// notRefreshed gives the lease back. Tokens that the provider does not accept are
// forgotten, and ones that are good for a little while yet are used until then.
func (p *Provider) notRefreshed(ctx context.Context, s latchkey.Session, used tokens, cause error) (AccessToken, outcome, error) {
	rejected := ReasonOf(cause) != ""
	err := p.change(ctx, s, func(stored tokens) tokens {
		if stored.Refresh == used.Refresh {
			stored.Lease = lease{}
			if rejected {
				stored.Access, stored.Type, stored.Refresh, stored.Expires = "", "", "", time.Time{}
			}
		}
		return stored
	})
	if err != nil {
		return AccessToken{}, outcomeOf(cause), err
	}
	if !rejected && used.good(p.now(), 0) {
		return used.access(), outcomeFailed, nil
	}
	return AccessToken{}, outcomeOf(cause), cause
}

// checkRefreshed judges an ID token that came with a refresh (OpenID Connect Core,
// 12.2): it must be about the same user.
func (p *Provider) checkRefreshed(ctx context.Context, raw, subject string) error {
	claims, err := p.parse(ctx, raw, idToken)
	if err != nil {
		return err
	}
	if _, _, why := p.lifetime(claims); why != "" {
		return refuse(why)
	}
	if claims.text("sub") != subject {
		return refuse(WrongSubject)
	}
	return nil
}
