package storetest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

type jsonText = json.RawMessage

var limits = map[string]func(*testing.T, func(edit) *site){
	"Idle":          limitIdle,
	"Absolute":      limitAbsolute,
	"ClockStepped":  limitClockStepped,
	"Passive":       limitPassive,
	"Touches":       limitTouches,
	"Eviction":      limitEviction,
	"RefusedSignIn": limitRefusedSignIn,
	"Outage":        limitOutage,
	"AskStore":      limitAskStore,
}

func limitIdle(t *testing.T, start func(edit) *site) {
	s := start(nil)
	i := s.issue(latchkey.SignIn{})
	short := s.issue(latchkey.SignIn{Subject: "short", Idle: time.Minute})
	s.live(short.Token)
	s.clock.Advance(time.Minute - time.Microsecond)
	s.lease()
	passive := func(token string) error {
		_, err := s.m.Lookup(t.Context(), latchkey.Lookup{Token: token, Passive: true})
		return err
	}
	wantCode(t, passive(short.Token), "")
	s.clock.Advance(time.Microsecond)
	wantCode(t, passive(short.Token), latchkey.CodeInvalidSession)
	// Whoever is seen stays.
	for range 5 {
		s.clock.Advance(idle - 2*time.Minute)
		s.wantLive("seen in time", i.Token, true)
		if err := s.m.FlushTouches(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.clock.Advance(idle)
	s.lease() // so that the near cache is not silent for want of one
	s.wantLive("unseen for the idle limit", i.Token, false)
	s.wantState(i.Record.ID, latchkey.Idle)
}

// Activity never moves the absolute limit; authenticating again does.
func limitAbsolute(t *testing.T, start func(edit) *site) {
	s := start(nil)
	i := s.issue(latchkey.SignIn{})
	again := s.issue(latchkey.SignIn{Subject: "again"})
	for range 47 {
		s.clock.Advance(lifetime / 48)
		if !s.live(i.Token) || !s.live(again.Token) {
			t.Fatal("ended although it was seen")
		}
		if err := s.m.FlushTouches(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w := s.visit(again.Token, func(_ http.ResponseWriter, r *http.Request, session latchkey.Session) {
		if _, err := session.Renew(r.Context(), latchkey.Renewal{AuthTime: s.now()}); err != nil {
			t.Errorf("Renew: %v", err)
		}
	})
	renewed, _ := given(t, w)
	s.clock.Advance(lifetime/48 - time.Microsecond)
	s.lease()
	s.wantLive("a microsecond before", i.Token, true)
	s.clock.Advance(time.Microsecond)
	s.wantLive("at its limit", i.Token, false)
	s.wantState(i.Record.ID, latchkey.Expired)
	s.wantLive("authenticated again", renewed, true)
}

// A clock that is set forth or back ends nothing and prolongs nothing.
func limitClockStepped(t *testing.T, start func(edit) *site) {
	s := start(nil)
	if _, ok := s.store.(latchkey.Timekeeper); !ok {
		t.Skip("the store goes by the node's wall clock")
	}
	other := s.node()
	for _, step := range []time.Duration{48 * time.Hour, -400 * 24 * time.Hour, 400 * 24 * time.Hour} {
		i := s.issue(latchkey.SignIn{})
		s.clock.StepWall(step)
		s.wantLive("clock stepped", i.Token, true)
		other.wantLive("clock stepped, other node", i.Token, true)
		s.clock.Advance(idle / 2)
		s.wantLive("clock stepped, half an hour on", i.Token, true)
		if err := s.m.FlushTouches(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.clock.Advance(idle)
		s.wantLive("unseen for the idle limit", i.Token, false)
		other.wantLive("unseen for the idle limit, other node", i.Token, false)
		s.clock.StepWall(-step)
		s.wantLive("clock stepped back", i.Token, false)
	}
}

// Passive requests are answered and are no activity.
func limitPassive(t *testing.T, start func(edit) *site) {
	s := start(func(c *latchkey.Config) {
		c.Passive = func(r *http.Request) bool { return r.Header.Get("X-Latchkey-Passive") == "1" }
	})
	i := s.issue(latchkey.SignIn{})
	poll := func() bool {
		live := false
		r := request(i.Token)
		r.Header.Set("X-Latchkey-Passive", "1")
		s.serve(r, func(_ http.ResponseWriter, _ *http.Request, session latchkey.Session) { live = session.Live() })
		return live
	}
	seen := s.row(i.Record.ID).LastSeenAt
	for range 59 {
		s.clock.Advance(time.Minute)
		if !poll() {
			t.Fatal("a passive request of a live session was refused")
		}
	}
	if err := s.m.FlushTouches(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wantSeen(i.Record.ID, seen)
	s.clock.Advance(time.Minute)
	if poll() {
		t.Error("polling kept the session alive")
	}
}

// 1,000 reads write nothing while they run: the store's Touch is blocked
// meanwhile, so that a request which wrote would never end. Then one batch has
// each session once.
func limitTouches(t *testing.T, start func(edit) *site) {
	s := start(nil)
	i := s.issue(latchkey.SignIn{})
	s.live(i.Token)
	release, counted := make(chan struct{}), &tally{}
	s.faulty.Fail(func(op Op) (bool, error) {
		switch op.Method {
		case MethodTouch:
			<-release
			counted.touches.Add(int64(len(op.Touches)))
		case MethodCreate, MethodPatch, MethodRevoke, MethodPurge:
			counted.patches.Add(1)
		}
		return true, nil
	})
	s.clock.Advance(time.Minute) // the touch interval of an hour's idle limit
	for range 1000 {
		if !s.live(i.Token) {
			t.Fatal("the session is refused")
		}
	}
	if n := counted.writes(); n != 0 {
		t.Errorf("1,000 reads made %d writes", n)
	}
	s.wantSeen(i.Record.ID, i.Record.LastSeenAt)
	close(release)
	if err := s.m.FlushTouches(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wantSeen(i.Record.ID, s.now())
	if n := counted.touches.Load(); n < 1 || n > 2 { // the Manager's own batch may have been under way
		t.Errorf("1,000 reads touched the session %d times, want once", n)
	}
	// Within the touch interval nothing more is written.
	before := counted.touches.Load()
	s.clock.Advance(time.Minute - time.Microsecond)
	s.wantLive("within the interval", i.Token, true)
	if err := s.m.FlushTouches(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := counted.touches.Load() - before; n != 0 {
		t.Errorf("touched %d times within one interval", n)
	}
}

// Over the limit the oldest session ends at once, everywhere.
func limitEviction(t *testing.T, start func(edit) *site) {
	s := start(func(c *latchkey.Config) { c.Limit = 2 })
	other := s.node()
	var issued []latchkey.Issued
	for n := range 3 {
		issued = append(issued, s.issue(latchkey.SignIn{}))
		s.clock.Advance(time.Microsecond) // the leases hold
		for _, node := range []*site{s, other} {
			node.wantLive("newest", issued[n].Token, true)
		}
	}
	for n, i := range issued {
		s.wantLive("of three", i.Token, n > 0)
		other.wantLive("of three, other node", i.Token, n > 0)
	}
	// A re-login replaces one's own session and evicts nobody.
	w := s.visit(issued[2].Token, func(_ http.ResponseWriter, r *http.Request, session latchkey.Session) {
		if err := session.SignIn(r.Context(), latchkey.SignIn{Provider: ann.Provider, Subject: ann.Subject}); err != nil {
			t.Errorf("SignIn: %v", err)
		}
	})
	again, _ := given(t, w)
	s.wantLive("the other one", issued[1].Token, true)
	s.wantLive("replaced", issued[2].Token, false)
	s.wantLive("signed in again", again, true)
}

// A sign-in that is refused leaves the visitor with what they had.
func limitRefusedSignIn(t *testing.T, start func(edit) *site) {
	s := start(func(c *latchkey.Config) { c.Limit, c.LimitPolicy = 1, latchkey.RefuseNew })
	theirs := s.issue(latchkey.SignIn{})
	mine := s.issue(latchkey.SignIn{Subject: "visitor"})
	began := s.now()
	s.clock.Advance(time.Second)
	s.revoke(identity(latchkey.Identity{Provider: ann.Provider, Subject: "left"}))
	for name, test := range map[string]struct {
		in   latchkey.SignIn
		want latchkey.Code
	}{
		"Limit":     {latchkey.SignIn{Provider: ann.Provider, Subject: ann.Subject}, latchkey.CodeLimitReached},
		"Overtaken": {latchkey.SignIn{Provider: ann.Provider, Subject: "left", Began: began}, latchkey.CodeDenied},
		"Wrong":     {latchkey.SignIn{Provider: ann.Provider, Subject: "a\x00b"}, latchkey.CodeInvalidRequest},
	} {
		w := s.visit(mine.Token, func(w http.ResponseWriter, r *http.Request, session latchkey.Session) {
			err := session.SignIn(r.Context(), test.in)
			wantCode(t, err, test.want)
			if session.ID() != mine.Record.ID {
				t.Errorf("%s: the handler's session changed", name)
			}
			if err != nil {
				latchkey.WriteProblem(w, r, err)
			}
		})
		wantProblem(t, w, test.want)
		s.wantLive(name+": the visitor's own", mine.Token, true)
		s.wantLive(name+": the other's", theirs.Token, true)
	}
}

// An outage is no logout: 503, and the cookie stays as it is.
func limitOutage(t *testing.T, start func(edit) *site) {
	s := start(nil)
	i := s.issue(latchkey.SignIn{})
	if s.cached {
		s.cache.Clear()
	}
	s.faulty.Fail(NotPersisted)
	w := s.visit(i.Token, func(http.ResponseWriter, *http.Request, latchkey.Session) {
		t.Error("the handler ran without knowing whether there is a session")
	})
	wantProblem(t, w, latchkey.CodeStoreUnavailable)
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	rec := httptest.NewRecorder()
	if _, err := s.m.Read(rec, request(i.Token)); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Errorf("Read answered %v", err)
	}
	wantNoCookie(t, rec)
	_, err := s.m.Lookup(t.Context(), latchkey.Lookup{Token: i.Token})
	wantCode(t, err, latchkey.CodeStoreUnavailable)
	_, err = s.m.Issue(t.Context(), latchkey.SignIn{Subject: "x"})
	wantCode(t, err, latchkey.CodeStoreUnavailable)
	_, _, err = s.m.List(t.Context(), latchkey.ListQuery{})
	wantCode(t, err, latchkey.CodeStoreUnavailable)
	_, err = s.m.Purge(t.Context(), latchkey.Purge{Erase: ann})
	wantCode(t, err, latchkey.CodeStoreUnavailable)
	// Visitors without a session, or with nonsense for one, are not affected.
	for _, token := range []string{"", "nonsense", i.Token[:80] + "AAAAAAAAAAA"} {
		if w := s.visit(token, nil); w.Code != http.StatusOK {
			t.Errorf("a visitor without a session was answered %d", w.Code)
		}
	}
	s.faulty.Fail(nil)
	s.wantLive("after the outage", i.Token, true)
}

// A caller who wants to know now asks the store, whatever the near cache holds.
func limitAskStore(t *testing.T, start func(edit) *site) {
	s := start(nil)
	i := s.issue(latchkey.SignIn{})
	s.live(i.Token)
	counted := s.count()
	for range 3 {
		if _, err := s.m.Lookup(t.Context(), latchkey.Lookup{Token: i.Token, AskStore: true}); err != nil {
			t.Errorf("Lookup: %v", err)
		}
	}
	if n := counted.gets.Load(); n != 3 {
		t.Errorf("3 lookups that ask the store made %d reads", n)
	}
}
