package login

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/login/oidc"
	"github.com/latchkey-go/latchkey/transaction"
)

// Outcome is what came of something that was counted. The set is closed.
type Outcome string

// The outcomes.
const (
	// Of sign-ins. One that is begun and neither completed nor refused was given up.
	Begun     Outcome = "begun"
	Completed Outcome = "completed"
	Refused   Outcome = "refused" // of sign-ins and logouts

	// Of back-channel logouts that were not refused.
	Ended       Outcome = "ended"       // live sessions ended
	NoSession   Outcome = "none"        // there were none
	Replay      Outcome = "replayed"    // the token did its work before
	Unavailable Outcome = "unavailable" // the store or the provider gave no answer
)

// Count is how often something had an outcome. All texts are from closed sets.
type Count struct {
	// Provider is the id of a provider, or LocalProvider or DemoProvider.
	Provider string
	Outcome  Outcome
	// Reason is why, for Refused: one of package oidc's, "attempt_" with one of package
	// transaction's, "provider_" with an error code of OpenID Connect, or another word.
	Reason string
	N      uint64
}

// Stats are totals since New.
type Stats struct {
	// SignIns have Begun and Completed for every way to sign in, and Refused for each
	// reason that has come up. Refusals are counted and logged, and not in the audit
	// trail: that would let anybody fill the store.
	SignIns []Count
	// Logouts are back-channel logouts; Refused has its reason.
	Logouts []Count
	// Limited is how many requests met each limit: "passwords", "sign_ins", "callbacks"
	// and "logouts".
	Limited map[string]uint64
	// Providers are what was asked of each provider, by its id.
	Providers map[string]oidc.Stats
}

// tally counts. Its keys come from closed sets, so that it stays small: sign-ins are
// rare, and a lock does for them.
type tally struct {
	mu      sync.Mutex
	signIns map[Count]uint64 // N is 0 in keys
	logouts map[Count]uint64
	limited [numLimits]uint64
}

func (t *tally) signIn(provider string, o Outcome, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.signIns[Count{Provider: provider, Outcome: o, Reason: reason}]++
}

func (t *tally) logout(provider string, o Outcome, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.logouts[Count{Provider: provider, Outcome: o, Reason: reason}]++
}

func (t *tally) limit(what limit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limited[what]++
}

// newTally has what is there from the start: a counter that appears with its first
// event shows no increase.
func (l *Login) newTally() *tally {
	t := &tally{signIns: make(map[Count]uint64), logouts: make(map[Count]uint64)}
	var ways []string
	for _, p := range l.providers {
		ways = append(ways, p.ID())
		for _, o := range []Outcome{Ended, NoSession, Replay, Unavailable} {
			t.logouts[Count{Provider: p.ID(), Outcome: o}] = 0
		}
	}
	if l.users != nil {
		ways = append(ways, LocalProvider)
	}
	if l.demo {
		ways = append(ways, DemoProvider)
	}
	for _, way := range ways {
		t.signIns[Count{Provider: way, Outcome: Begun}] = 0
		t.signIns[Count{Provider: way, Outcome: Completed}] = 0
	}
	return t
}

// Stats returns the totals since New, in order.
func (l *Login) Stats() Stats {
	s := Stats{Limited: make(map[string]uint64), Providers: make(map[string]oidc.Stats)}
	l.tally.mu.Lock()
	s.SignIns, s.Logouts = sorted(l.tally.signIns), sorted(l.tally.logouts)
	for what, n := range l.tally.limited {
		s.Limited[limit(what).String()] = n
	}
	l.tally.mu.Unlock()
	for _, p := range l.providers {
		s.Providers[p.ID()] = p.Stats()
	}
	return s
}

func sorted(m map[Count]uint64) (list []Count) {
	for c, n := range m {
		c.N = n
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// reasonOf is the one word for why a sign-in was refused.
func reasonOf(err error) string {
	var no *refused
	if errors.As(err, &no) {
		return "provider_" + no.Error()
	}
	if reason := oidc.ReasonOf(err); reason != "" {
		return string(reason)
	}
	if why := transaction.ReasonOf(err); why != 0 {
		return "attempt_" + why.String()
	}
	if oidc.IsAway(err) {
		return "provider_away"
	}
	switch latchkey.CodeOf(err) {
	case latchkey.CodeStoreUnavailable:
		return "store_away"
	case latchkey.CodeLimitReached:
		return "limit_reached"
	case latchkey.CodeMalformed:
		return "no_answer" // a callback that is none
	case latchkey.CodeRateLimited:
		return "busy" // too many passwords are being compared
	case latchkey.CodeInvalidRequest, latchkey.CodeDataTooLarge:
		return "unfit" // more of a user than a session can hold
	case latchkey.CodeDenied:
		return "signed_out" // by a logout that came meanwhile
	}
	return "internal"
}
