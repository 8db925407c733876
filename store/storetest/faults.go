package storetest

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// fault is a way in which a write fails.
type fault struct {
	name string
	// persisted tells whether the write took effect; in doubt whether the store then
	// cannot be asked either.
	persisted, doubt bool
}

var (
	notPersisted  = fault{"NotPersisted", false, false}
	persistedLost = fault{"PersistedLost", true, false}
	// With the store away after the write, nobody can tell what became of it.
	persistedAway = fault{"PersistedAway", true, true}
	lostAway      = fault{"NotPersistedAway", false, true}
)

// settled reports whether the Manager can find out that the write took effect.
func (f fault) settled() bool { return f.persisted && !f.doubt }

// fail makes the next calls of a method fail, and in doubt all that follow.
func (s *site) fail(m Method, f fault) {
	var away atomic.Bool
	s.faulty.Fail(func(op Op) (bool, error) {
		switch {
		case op.Method == m:
			away.Store(f.doubt)
			return f.persisted, ErrLost
		case away.Load():
			return false, ErrLost
		}
		return true, nil
	})
}

// faults is a table of the Manager's write paths by the ways in which each fails:
// what is the user told, what becomes of the cookie, of the row and of the trail?
var faults = func() map[string]func(*testing.T, func(edit) *site) {
	table := make(map[string]func(*testing.T, func(edit) *site))
	for name, path := range map[string]func(*site, fault){
		"SignIn": faultSignIn, "Anonymous": faultAnonymous, "Commit": faultCommit, "Renew": faultRenew,
		"Rotate": faultRotate, "Grace": faultGrace, "End": faultEnd, "Touch": faultTouch,
		"RevokeOne":      revoking(func(i latchkey.Issued) latchkey.Revocation { return latchkey.Revocation{ID: i.Record.ID} }, audit.Revoke),
		"RevokeIdentity": revoking(func(latchkey.Issued) latchkey.Revocation { return identity(ann) }, audit.RevokeIdentity),
		"RevokeSID": revoking(func(latchkey.Issued) latchkey.Revocation {
			return latchkey.Revocation{Provider: ann.Provider, SID: "s"}
		}, audit.RevokeSID),
		"RevokeAll":    revoking(func(latchkey.Issued) latchkey.Revocation { return latchkey.Revocation{All: true} }, audit.RevokeAll),
		"RevokeOthers": faultRevokeOthers,
	} {
		table["Fault"+name] = func(t *testing.T, start func(edit) *site) {
			for _, f := range []fault{notPersisted, persistedLost, persistedAway, lostAway} {
				t.Run(f.name, func(t *testing.T) {
					s := start(rotating)
					s.t = t
					path(s, f)
				})
			}
		}
	}
	return table
}()

// recorded checks how many events of an action there are.
func (s *site) recorded(action audit.Action, want int) {
	s.t.Helper()
	if s.reader() == nil {
		return
	}
	if n := s.countEvents(action); n != want {
		s.t.Errorf("%d events %s, want %d", n, action, want)
	}
}

// one is 1 if the write took effect.
func (f fault) one() int {
	if f.persisted {
		return 1
	}
	return 0
}

// A sign-in whose answer was lost is found again by its ID. Otherwise the visitor
// keeps what they had, as far as the store does.
func faultSignIn(s *site, f fault) {
	before := s.issue(latchkey.SignIn{Subject: "visitor"})
	s.fail(MethodCreate, f)
	w := s.visit(before.Token, func(w http.ResponseWriter, r *http.Request, session latchkey.Session) {
		if err := session.SignIn(r.Context(), latchkey.SignIn{Provider: ann.Provider, Subject: ann.Subject}); err != nil {
			latchkey.WriteProblem(w, r, err)
		}
	})
	s.faulty.Fail(nil)
	token, _ := given(s.t, w)
	if f.settled() {
		if w.Code != http.StatusOK || token == "" {
			s.t.Fatalf("answered %d: %s", w.Code, w.Body)
		}
		s.wantLive("new session", token, true)
	} else {
		wantProblem(s.t, w, latchkey.CodeStoreUnavailable)
	}
	s.wantLive("predecessor", before.Token, !f.persisted)
	if n := len(s.all(latchkey.ListQuery{Provider: ann.Provider, Subject: ann.Subject})); n != f.one() {
		s.t.Errorf("%d sessions of the identity, want %d", n, f.one())
	}
	s.recorded(audit.Create, 1+f.one())
	s.recorded(audit.Revoke, f.one())
}

func faultAnonymous(s *site, f fault) {
	s.fail(MethodCreate, f)
	w := s.visit("", set("k", "v"))
	s.faulty.Fail(nil)
	token, _ := given(s.t, w)
	if f.settled() {
		if w.Code != http.StatusOK || token == "" {
			s.t.Fatalf("answered %d: %s", w.Code, w.Body)
		}
		if got := string(s.data(token)["k"]); got != `"v"` {
			s.t.Errorf("value is %s", got)
		}
	} else {
		wantProblem(s.t, w, latchkey.CodeStoreUnavailable)
	}
	if n := len(s.all(latchkey.ListQuery{})); n != f.one() {
		s.t.Errorf("%d sessions, want %d", n, f.one())
	}
	s.recorded(audit.Create, f.one())
}

// A commit is applied once or not at all, and the user is told which, if anybody knows.
func faultCommit(s *site, f fault) {
	counter := latchkey.NewKey[int]("counter")
	i := s.issue(latchkey.SignIn{Data: map[string]jsonText{"counter": jsonText("5")}})
	s.live(i.Token)
	s.fail(MethodPatch, f)
	w := s.visit(i.Token, func(w http.ResponseWriter, r *http.Request, session latchkey.Session) {
		if err := counter.Update(session, func(n int) (int, error) { return n + 1, nil }); err != nil {
			s.t.Errorf("Update: %v", err)
		}
		_, _ = w.Write([]byte("counted"))
	})
	s.faulty.Fail(nil)
	if f.settled() {
		if w.Code != http.StatusOK || w.Body.String() != "counted" {
			s.t.Errorf("answered %d: %s", w.Code, w.Body)
		}
		wantNoCookie(s.t, w)
	} else {
		wantProblem(s.t, w, latchkey.CodeStoreUnavailable)
	}
	want := "5"
	if f.persisted {
		want = "6"
	}
	if got := string(s.data(i.Token)["counter"]); got != want {
		s.t.Errorf("counter is %s, want %s", got, want)
	}
	s.visit(i.Token, func(_ http.ResponseWriter, _ *http.Request, session latchkey.Session) {
		if n, err := counter.Get(session); err != nil || n != 5+f.one() {
			s.t.Errorf("a handler reads %d, %v; want %s", n, err, want)
		}
	})
	if v := s.row(i.Record.ID).Version; v != uint64(1+f.one()) {
		s.t.Errorf("version %d, want %d", v, 1+f.one())
	}
	s.recorded(audit.Create, 1)
}

func faultRenew(s *site, f fault) {
	i := s.issue(latchkey.SignIn{Data: map[string]jsonText{"k": jsonText(`"v"`)}})
	s.live(i.Token)
	s.fail(MethodPatch, f)
	w := s.visit(i.Token, func(w http.ResponseWriter, r *http.Request, session latchkey.Session) {
		if _, err := session.Renew(r.Context(), latchkey.Renewal{Roles: []string{"admin"}}); err != nil {
			latchkey.WriteProblem(w, r, err)
		}
	})
	s.faulty.Fail(nil)
	token, _ := given(s.t, w)
	if f.settled() {
		if w.Code != http.StatusOK || token == "" {
			s.t.Fatalf("answered %d: %s", w.Code, w.Body)
		}
		s.wantLive("renewed", token, true)
		if got := string(s.data(token)["k"]); got != `"v"` {
			s.t.Errorf("value is %s", got)
		}
	} else {
		wantProblem(s.t, w, latchkey.CodeStoreUnavailable)
	}
	s.wantLive("old token", i.Token, !f.persisted)
	s.wantState(i.Record.ID, latchkey.Live)
	if got := len(s.row(i.Record.ID).Roles); got != f.one() {
		s.t.Errorf("%d roles, want %d", got, f.one())
	}
	s.recorded(audit.Renew, f.one())
	s.recorded(audit.Theft, 0)
}

// A rotation that fails is nobody's concern: the request is served, and a later one
// gets the successor.
func faultRotate(s *site, f fault) {
	i := s.issue(latchkey.SignIn{Data: map[string]jsonText{"k": jsonText(`"v"`)}})
	s.clock.Advance(rotateEvery)
	s.fail(MethodPatch, f)
	w := s.visit(i.Token, func(_ http.ResponseWriter, _ *http.Request, session latchkey.Session) {
		if got, err := latchkey.NewKey[string]("k").Get(session); err != nil || got != "v" || !session.Live() {
			s.t.Errorf("the handler reads %q, %v, live is %v", got, err, session.Live())
		}
	})
	s.faulty.Fail(nil)
	if w.Code != http.StatusOK {
		s.t.Errorf("answered %d: %s", w.Code, w.Body)
	}
	token, deleted := given(s.t, w)
	if (token != "") != f.settled() || deleted {
		s.t.Errorf("a successor was handed out: %v, want %v; cookie deleted: %v", token != "", f.settled(), deleted)
	}
	s.recorded(audit.Rotate, f.one())
	next, _ := given(s.t, s.visit(i.Token, nil))
	if next == "" || token != "" && next != token {
		s.t.Error("a later request is not handed the one successor")
	}
	s.wantLive("successor", next, true)
	s.recorded(audit.Rotate, 1)
	s.recorded(audit.Theft, 0)
}

// A grace that could not be begun is begun by the next request.
func faultGrace(s *site, f fault) {
	i := s.issue(latchkey.SignIn{})
	next := s.rotateNow(i.Token)
	s.fail(MethodPatch, f)
	w := s.visit(next, func(_ http.ResponseWriter, _ *http.Request, session latchkey.Session) {
		if !session.Live() {
			s.t.Error("the successor was refused")
		}
	})
	s.faulty.Fail(nil)
	if w.Code != http.StatusOK {
		s.t.Errorf("answered %d: %s", w.Code, w.Body)
	}
	wantNoCookie(s.t, w)
	if begun := !s.row(i.Record.ID).GraceEnd.IsZero(); begun != f.persisted {
		s.t.Errorf("grace begun is %v, want %v", begun, f.persisted)
	}
	s.wantLive("successor", next, true)
	if s.row(i.Record.ID).GraceEnd.IsZero() {
		s.t.Error("the next request did not begin the grace")
	}
	s.clock.Advance(rotateGrace)
	s.wantLive("old token after its grace", i.Token, false)
	s.wantLive("successor after the grace", next, true)
}

// A logout without an answer is no logout, as far as the user is told: the cookie
// stays. If it was one, the session is over nevertheless.
func faultEnd(s *site, f fault) {
	i := s.issue(latchkey.SignIn{})
	s.live(i.Token)
	s.fail(MethodRevoke, f)
	w := s.visit(i.Token, func(w http.ResponseWriter, r *http.Request, session latchkey.Session) {
		if err := session.End(r.Context()); err != nil {
			latchkey.WriteProblem(w, r, err)
		}
	})
	s.faulty.Fail(nil)
	wantProblem(s.t, w, latchkey.CodeStoreUnavailable)
	s.wantLive("after a logout without an answer", i.Token, !f.persisted)
	s.recorded(audit.Revoke, f.one())

	w = s.visit(i.Token, func(_ http.ResponseWriter, r *http.Request, session latchkey.Session) {
		if err := session.End(r.Context()); err != nil {
			s.t.Errorf("End: %v", err)
		}
	})
	if _, deleted := given(s.t, w); !deleted {
		s.t.Error("the logout that was answered keeps the cookie")
	}
	s.wantLive("after the logout", i.Token, false)
	s.recorded(audit.Revoke, 1)
}

// revoking is the path of an administrator's revocation. An error means maybe, and
// this node's cache must not grant what may have ended.
func revoking(r func(latchkey.Issued) latchkey.Revocation, action audit.Action) func(*site, fault) {
	return func(s *site, f fault) {
		i := s.issue(latchkey.SignIn{Provider: ann.Provider, Subject: ann.Subject, SID: "s"})
		s.live(i.Token)
		revocation := r(i)
		revocation.By, revocation.Reason = "admin:ada", "first"
		s.fail(MethodRevoke, f)
		n, err := s.m.Revoke(s.t.Context(), revocation)
		s.faulty.Fail(nil)
		wantCode(s.t, err, latchkey.CodeStoreUnavailable)
		if n != 0 {
			s.t.Errorf("counted %d without an answer", n)
		}
		s.wantLive("after a revocation without an answer", i.Token, !f.persisted)
		s.recorded(action, f.one())

		revocation.Reason = "again"
		if n, err := s.m.Revoke(s.t.Context(), revocation); err != nil || n != 1-f.one() {
			s.t.Errorf("tried again: ended %d, %v; want %d", n, err, 1-f.one())
		}
		s.wantLive("after the revocation", i.Token, false)
		want := "again"
		if f.persisted {
			want = "first"
		}
		if rec := s.row(i.Record.ID); rec.RevokedReason != want {
			s.t.Errorf("ended for %q, want %q", rec.RevokedReason, want)
		}
	}
}

func faultRevokeOthers(s *site, f fault) {
	mine, theirs := s.issue(latchkey.SignIn{}), s.issue(latchkey.SignIn{})
	s.live(theirs.Token)
	s.fail(MethodRevoke, f)
	w := s.visit(mine.Token, func(w http.ResponseWriter, r *http.Request, session latchkey.Session) {
		n, err := session.RevokeOthers(r.Context())
		if n != 0 {
			s.t.Errorf("counted %d without an answer", n)
		}
		if err != nil {
			latchkey.WriteProblem(w, r, err)
		}
	})
	s.faulty.Fail(nil)
	wantProblem(s.t, w, latchkey.CodeStoreUnavailable)
	s.wantLive("the other one", theirs.Token, !f.persisted)
	s.wantLive("one's own", mine.Token, true)
	s.recorded(audit.RevokeIdentity, f.one())
}

// Activity that could not be written is kept for the next time, and nobody is told.
func faultTouch(s *site, f fault) {
	i := s.issue(latchkey.SignIn{})
	s.clock.Advance(5 * time.Minute)
	s.fail(MethodTouch, f)
	if w := s.visit(i.Token, nil); w.Code != http.StatusOK {
		s.t.Errorf("answered %d", w.Code)
	}
	seen := s.now()
	wantCode(s.t, s.m.FlushTouches(s.t.Context()), latchkey.CodeStoreUnavailable)
	if f.doubt { // whatever is asked in the meantime
		_, _ = s.m.Read(httptest.NewRecorder(), request(i.Token))
	}
	if written := s.row(i.Record.ID).LastSeenAt.Equal(seen); written != f.persisted {
		s.t.Errorf("activity written is %v, want %v", written, f.persisted)
	}
	s.faulty.Fail(nil)
	s.clock.Advance(time.Minute)
	if err := s.m.FlushTouches(s.t.Context()); err != nil {
		s.t.Errorf("FlushTouches: %v", err)
	}
	s.wantSeen(i.Record.ID, seen)
	if v := s.row(i.Record.ID).Version; v != 1 {
		s.t.Errorf("version %d", v)
	}
}
