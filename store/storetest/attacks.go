package storetest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
)

var attacks = map[string]func(*testing.T, func(edit) *site){
	"Resurrection":     attackResurrection,
	"LostUpdates":      attackLostUpdates,
	"Increments":       attackIncrements,
	"LogoutInFlight":   attackLogoutInFlight,
	"NotMyPatch":       attackNotMyPatch,
	"OldToken":         attackOldToken,
	"RefusedAtOnce":    attackRefusedAtOnce,
	"IdleButSeen":      attackIdleButSeen,
	"FeedCut":          attackFeedCut,
	"TwoCookies":       attackTwoCookies,
	"RemovedKey":       attackRemovedKey,
	"OtherDeployment":  attackOtherDeployment,
	"NearCacheAnswers": attackCacheAnswers,
}

// set changes a value of the session in a handler, and answers.
func set(name, value string) func(http.ResponseWriter, *http.Request, latchkey.Session) {
	return func(w http.ResponseWriter, r *http.Request, session latchkey.Session) {
		if err := latchkey.NewKey[string](name).Set(session, value); err != nil {
			latchkey.WriteProblem(w, r, err)
			return
		}
		w.WriteHeader(http.StatusOK)
	}
}

// A loads, B revokes, A saves: the session stays ended and nothing is written.
func attackResurrection(t *testing.T, start func(edit) *site) {
	s := start(nil)
	other := s.node()
	ways := map[string]func(latchkey.Issued){
		"ByID": func(i latchkey.Issued) { s.revoke(latchkey.Revocation{ID: i.Record.ID}) },
		"OtherNode": func(i latchkey.Issued) {
			if _, err := other.m.Revoke(t.Context(), latchkey.Revocation{Provider: ann.Provider, Subject: ann.Subject, By: "admin:ada"}); err != nil {
				t.Errorf("Revoke: %v", err)
			}
		},
		"Everything": func(latchkey.Issued) { s.revoke(latchkey.Revocation{All: true}) },
		"Expiry":     func(latchkey.Issued) { s.clock.Advance(lifetime) },
	}
	for name, end := range ways {
		i := s.issue(latchkey.SignIn{})
		s.wantLive(name, i.Token, true)
		before := s.row(i.Record.ID)
		w := s.visit(i.Token, func(w http.ResponseWriter, r *http.Request, session latchkey.Session) {
			if !session.Live() {
				t.Errorf("%s: no session to begin with", name)
			}
			end(i)
			set("k", "written after the end")(w, r, session)
		})
		wantProblem(t, w, latchkey.CodeInvalidSession)
		after := s.row(i.Record.ID)
		if after.StateAt(s.now()) == latchkey.Live || after.Version != before.Version || len(after.Data) != 0 {
			t.Errorf("%s: session is %s at version %d with %d bytes of data", name, after.StateAt(s.now()), after.Version, len(after.Data))
		}
		s.wantLive(name, i.Token, false)
		other.wantLive(name, i.Token, false)
	}
}

// 200 requests write different values of one session on two nodes, and none is lost.
func attackLostUpdates(t *testing.T, start func(edit) *site) {
	s := start(nil)
	nodes := []*site{s, s.node()}
	i := s.issue(latchkey.SignIn{})
	const writers = 200
	answers := [writers]*httptest.ResponseRecorder{}
	parallel(writers, func(n int) {
		answers[n] = nodes[n%2].visit(i.Token, set(fmt.Sprintf("key-%d", n), fmt.Sprint(n)))
	})
	values := s.data(i.Token)
	for n, w := range answers {
		if w.Code != http.StatusOK {
			t.Errorf("writer %d was answered %d: %s", n, w.Code, w.Body)
		}
		if got := string(values[fmt.Sprintf("key-%d", n)]); got != fmt.Sprintf("%q", fmt.Sprint(n)) {
			t.Errorf("value of writer %d is %s", n, got)
		}
	}
	if len(values) != writers {
		t.Errorf("%d values, want %d", len(values), writers)
	}
	if p := s.m.Stats().Conflicts + nodes[1].m.Stats().Conflicts; p > writers {
		t.Errorf("%d writers met %d conflicts: they do not share their swaps", writers, p)
	}
}

// 50 requests add one each by Update, and the sum is exact.
func attackIncrements(t *testing.T, start func(edit) *site) {
	s := start(nil)
	nodes := []*site{s, s.node()}
	i := s.issue(latchkey.SignIn{})
	counter := latchkey.NewKey[int]("counter")
	const writers = 50
	parallel(writers, func(n int) {
		w := nodes[n%2].visit(i.Token, func(_ http.ResponseWriter, _ *http.Request, session latchkey.Session) {
			if err := counter.Update(session, func(n int) (int, error) { return n + 1, nil }); err != nil {
				t.Errorf("Update: %v", err)
			}
		})
		if w.Code != http.StatusOK {
			t.Errorf("answered %d: %s", w.Code, w.Body)
		}
	})
	if got := string(s.data(i.Token)["counter"]); got != fmt.Sprint(writers) {
		t.Errorf("counter is %s, want %d", got, writers)
	}
	for _, n := range nodes {
		n.visit(i.Token, func(_ http.ResponseWriter, _ *http.Request, session latchkey.Session) {
			if got, err := counter.Get(session); err != nil || got != writers {
				t.Errorf("a handler reads %d, %v; want %d", got, err, writers)
			}
		})
	}
}

// A patch that was lost is not taken for done because another writer's raised the
// version meanwhile.
func attackNotMyPatch(t *testing.T, start func(edit) *site) {
	s := start(nil)
	i := s.issue(latchkey.SignIn{})
	s.faulty.Fail(Only(MethodPatch, func(op Op) (bool, error) {
		if err := s.patch(i.Record.ID, func(r *latchkey.Record) { r.Name = "other" }); err != nil {
			t.Errorf("the other writer: %v", err)
		}
		return false, ErrLost
	}))
	w := s.visit(i.Token, set("k", "mine"))
	s.faulty.Fail(nil)
	wantProblem(t, w, latchkey.CodeStoreUnavailable)
	if _, found := s.data(i.Token)["k"]; found {
		t.Error("a patch that was not persisted is there")
	}
	s.visit(i.Token, func(_ http.ResponseWriter, _ *http.Request, session latchkey.Session) {
		if session.Name() != "other" || session.Version() != 2 {
			t.Errorf("a handler sees %q at version %d, want the other writer's change", session.Name(), session.Version())
		}
	})
}

// A logout while another request of the session is in flight holds.
func attackLogoutInFlight(t *testing.T, start func(edit) *site) {
	s := start(nil)
	i := s.issue(latchkey.SignIn{})
	w := s.visit(i.Token, func(w http.ResponseWriter, r *http.Request, session latchkey.Session) {
		logout := s.visit(i.Token, func(_ http.ResponseWriter, r *http.Request, session latchkey.Session) {
			if err := session.End(r.Context()); err != nil {
				t.Errorf("End: %v", err)
			}
			if session.Live() {
				t.Error("the session is live after its end")
			}
		})
		if _, deleted := given(t, logout); !deleted {
			t.Error("the logout keeps the cookie")
		}
		set("k", "late")(w, r, session)
	})
	wantProblem(t, w, latchkey.CodeInvalidSession)
	s.wantLive("after logout", i.Token, false)
	if rec := s.row(i.Record.ID); rec.RevokedReason != "logout" || rec.RevokedBy != "user" || len(rec.Data) != 0 {
		t.Errorf("ended by %q for %q with %d bytes of data", rec.RevokedBy, rec.RevokedReason, len(rec.Data))
	}
	if n := s.countEvents(audit.Revoke); s.reader() != nil && n != 1 {
		t.Errorf("%d events of the logout, want 1", n)
	}
}

// A token that was replaced is refused at once, and is no theft.
func attackOldToken(t *testing.T, start func(edit) *site) {
	s := start(nil)
	other := s.node()
	old := s.issue(latchkey.SignIn{Data: map[string]jsonText{"k": jsonText(`"v"`)}})
	other.wantLive("before", old.Token, true)
	w := s.visit(old.Token, func(_ http.ResponseWriter, r *http.Request, session latchkey.Session) {
		if _, err := session.Renew(r.Context(), latchkey.Renewal{Roles: []string{"admin"}}); err != nil {
			t.Errorf("Renew: %v", err)
		}
		if !session.HasRole("admin") || session.ID() != old.Record.ID {
			t.Error("the handler does not see its own renewal")
		}
	})
	renewed, _ := given(t, w)
	s.wantLive("after renewal", old.Token, false)
	other.wantLive("after renewal, other node", old.Token, false)
	s.wantLive("renewed", renewed, true)
	other.wantLive("renewed, other node", renewed, true)
	if got := string(s.data(renewed)["k"]); got != `"v"` {
		t.Errorf("data after renewal is %s", got)
	}

	w = s.visit(renewed, func(_ http.ResponseWriter, r *http.Request, session latchkey.Session) {
		in := latchkey.SignIn{Provider: bob.Provider, Subject: bob.Subject, KeepData: true}
		if err := session.SignIn(r.Context(), in); err != nil {
			t.Errorf("SignIn: %v", err)
		}
		if session.Subject() != bob.Subject || session.ID() == old.Record.ID {
			t.Error("the handler does not see its own sign-in")
		}
	})
	fresh, _ := given(t, w)
	for _, node := range []*site{s, other} {
		node.wantLive("after sign-in", renewed, false)
		node.wantLive("before renewal", old.Token, false)
		node.wantLive("signed in", fresh, true)
	}
	if rec := s.row(old.Record.ID); rec.RevokedReason != "replaced" {
		t.Errorf("predecessor ended for %q, want replaced", rec.RevokedReason)
	}
	if got := string(s.data(fresh)["k"]); got != `"v"` {
		t.Errorf("data after sign-in is %s", got)
	}
}

// After Revoke returns no lookup that starts later is granted, on either node.
func attackRefusedAtOnce(t *testing.T, start func(edit) *site) {
	s := start(nil)
	other := s.node()
	for name, r := range map[string]func(latchkey.Issued) latchkey.Revocation{
		"ByID":       func(i latchkey.Issued) latchkey.Revocation { return latchkey.Revocation{ID: i.Record.ID} },
		"ByIdentity": func(latchkey.Issued) latchkey.Revocation { return identity(ann) },
		"AnyProvider": func(latchkey.Issued) latchkey.Revocation {
			return latchkey.Revocation{Subject: ann.Subject, AnyProvider: true}
		},
		"BySID": func(latchkey.Issued) latchkey.Revocation {
			return latchkey.Revocation{Provider: ann.Provider, SID: "s"}
		},
		"All": func(latchkey.Issued) latchkey.Revocation { return latchkey.Revocation{All: true} },
	} {
		i := s.issue(latchkey.SignIn{Provider: ann.Provider, Subject: ann.Subject, SID: "s"})
		for _, node := range []*site{s, other} { // each holds it in its cache
			node.wantLive(name, i.Token, true)
			node.wantLive(name, i.Token, true)
		}
		revocation := r(i)
		revocation.By, revocation.Reason = "admin:ada", "test"
		if n, err := s.m.Revoke(t.Context(), revocation); err != nil || n != 1 {
			t.Errorf("%s: Revoke ended %d, %v; want 1", name, n, err)
		}
		s.wantLive(name, i.Token, false)
		other.wantLive(name+" on another node", i.Token, false)
	}
}

// With the feed cut the node that revokes refuses at once, whether it got an
// answer or not, and every other one when its lease is over.
func attackFeedCut(t *testing.T, start func(edit) *site) {
	for name, r := range map[string]func(latchkey.Issued) latchkey.Revocation{
		"ByID":       func(i latchkey.Issued) latchkey.Revocation { return latchkey.Revocation{ID: i.Record.ID} },
		"ByIdentity": func(latchkey.Issued) latchkey.Revocation { return identity(ann) },
		"BySID": func(latchkey.Issued) latchkey.Revocation {
			return latchkey.Revocation{Provider: ann.Provider, SID: "s"}
		},
		"All": func(latchkey.Issued) latchkey.Revocation { return latchkey.Revocation{All: true} },
	} {
		for _, decide := range []Decide{nil, Only(MethodRevoke, PersistedLost)} {
			s := start(nil)
			other := s.node()
			i := s.issue(latchkey.SignIn{Provider: ann.Provider, Subject: ann.Subject, SID: "s"})
			bystander := s.issue(latchkey.SignIn{Subject: "bystander"})
			s.wantLive(name, i.Token, true)
			other.wantLive(name, i.Token, true)
			s.faulty.CutFeed(true)
			s.faulty.Fail(decide)
			revocation := r(i)
			revocation.By, revocation.Reason = "admin:ada", "test"
			_, err := s.m.Revoke(t.Context(), revocation)
			if (err != nil) != (decide != nil) {
				t.Errorf("%s: Revoke answered %v", name, err)
			}
			s.faulty.Fail(nil)
			s.wantLive(name+" with the feed cut", i.Token, false)
			s.clock.Advance(nearcache.DefaultStaleness + time.Nanosecond)
			other.wantLive(name+" on another node past its lease", i.Token, false)
			if revocation.All {
				continue
			}
			other.wantLive(name+": a bystander without a lease", bystander.Token, true)
			s.faulty.CutFeed(false)
			s.lease()
			other.lease()
			other.wantLive(name+" with the feed mended", i.Token, false)
			other.wantLive(name+": a bystander with the feed mended", bystander.Token, true)
		}
	}
}

// A session that was seen here, which the store does not know yet, may be idle by
// the store's clock when it is revoked. It is over nevertheless.
func attackIdleButSeen(t *testing.T, start func(edit) *site) {
	for name, r := range map[string]func(latchkey.Issued) latchkey.Revocation{
		"ByID":       func(i latchkey.Issued) latchkey.Revocation { return latchkey.Revocation{ID: i.Record.ID} },
		"ByIdentity": func(latchkey.Issued) latchkey.Revocation { return identity(ann) },
		"All":        func(latchkey.Issued) latchkey.Revocation { return latchkey.Revocation{All: true} },
	} {
		s := start(nil)
		s.faulty.Fail(Only(MethodTouch, NotPersisted))
		i := s.issue(latchkey.SignIn{})
		s.clock.Advance(idle - time.Second)
		s.wantLive(name, i.Token, true)
		s.clock.Advance(2 * time.Second)
		if st := s.state(i.Record.ID); st != latchkey.Idle {
			t.Errorf("%s: the row is %s, want idle: this test tests nothing", name, st)
		}
		s.wantLive(name+" seen meanwhile", i.Token, true)
		revocation := r(i)
		revocation.By, revocation.Reason = "admin:ada", "test"
		if _, err := s.m.Revoke(t.Context(), revocation); err != nil {
			t.Errorf("%s: Revoke: %v", name, err)
		}
		s.wantLive(name+" revoked", i.Token, false)
		s.faulty.Fail(nil)
		if err := s.m.FlushTouches(t.Context()); err != nil {
			t.Errorf("FlushTouches: %v", err)
		}
		s.wantLive(name+" revoked, touches written", i.Token, false)
	}
}

// Two cookies of the name, even equal ones, are no session.
func attackTwoCookies(t *testing.T, start func(edit) *site) {
	s := start(nil)
	mine, planted := s.issue(latchkey.SignIn{}).Token, s.issue(latchkey.SignIn{Subject: "mallory"}).Token
	twoLines := request(mine)
	twoLines.Header.Add("Cookie", cookieName+"="+mine)
	for name, r := range map[string]*http.Request{"Equal": request(mine, mine), "Different": request(mine, planted),
		"Swapped": request(planted, mine), "WithEmpty": request(mine, ""), "TwoLines": twoLines} {
		w := httptest.NewRecorder()
		s.m.Middleware(s.m.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Errorf("%s: the request was let through", name)
		}))).ServeHTTP(w, r)
		wantProblem(t, w, latchkey.CodeInvalidSession)
		if session, err := s.m.Read(httptest.NewRecorder(), r); err != nil || session.Live() {
			t.Errorf("%s: Read is live: %v, %v", name, session.Live(), err)
		}
	}
	s.wantLive("alone", mine, true)
}

// A token under a key that was removed is refused, in the near cache too.
func attackRemovedKey(t *testing.T, start func(edit) *site) {
	s := start(nil)
	i := s.issue(latchkey.SignIn{})
	s.wantLive("before", i.Token, true)
	next, err := keyring.GenerateKey(2, s.clock.Time(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.keys.Set(next); err != nil {
		t.Fatal(err)
	}
	s.wantLive("after its key was removed", i.Token, false)
	if rec := s.row(i.Record.ID); !rec.RevokedAt.IsZero() {
		t.Error("the session was ended")
	}
}

// A token of one deployment is nothing to another, not even over the same rows.
func attackOtherDeployment(t *testing.T, start func(edit) *site) {
	s := start(nil)
	i := s.issue(latchkey.SignIn{})
	other := newSite(s.env, s.cached, nil)
	counted := other.count()
	other.wantLive("of another keyring", i.Token, false)
	if n := counted.gets.Load(); n != 0 {
		t.Errorf("a token that is not genuine cost %d trips", n)
	}
	for _, at := range []int{3, 10, 40, 90} {
		forged := []byte(i.Token)
		forged[at] ^= 1
		s.wantLive(fmt.Sprintf("changed at %d", at), string(forged), false)
	}
	s.wantLive("unchanged", i.Token, true)
}

// With a near cache the store is asked once, and without one each time.
func attackCacheAnswers(t *testing.T, start func(edit) *site) {
	s := start(nil)
	i := s.issue(latchkey.SignIn{})
	s.live(i.Token)
	counted := s.count()
	for range 100 {
		s.live(i.Token)
	}
	if n := counted.gets.Load(); s.cached && n > 1 || !s.cached && n != 100 {
		t.Errorf("100 checks made %d reads of the store", n)
	}
}
