package storetest

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// Rotation in mid-session as the suite configures it.
const (
	rotateEvery = 10 * time.Minute
	rotateGrace = 10 * time.Second
)

func rotating(c *latchkey.Config) { c.RotateEvery, c.RotateGrace = rotateEvery, rotateGrace }

var rotations = map[string]func(*testing.T, func(edit) *site){
	"RotateOneSuccessor": rotateOneSuccessor,
	"RotateGrace":        rotateGraceBegins,
	"RotateTheft":        rotateTheft,
	"RotateKeepsData":    rotateKeepsData,
	"RotatePassive":      rotatePassive,
	"RotateSettles":      rotateSettles,
}

// rotateNow lets a rotation fall due and returns the successor that a request gets.
func (s *site) rotateNow(token string) string {
	s.t.Helper()
	s.clock.Advance(rotateEvery)
	next, _ := given(s.t, s.visit(token, nil))
	if next == "" || next == token {
		s.t.Fatal("no successor was handed out")
	}
	return next
}

// 50 requests with the old token on two nodes get one successor.
func rotateOneSuccessor(t *testing.T, start func(edit) *site) {
	s := start(rotating)
	nodes := []*site{s, s.node()}
	i := s.issue(latchkey.SignIn{})
	for _, n := range nodes {
		n.wantLive("before it is due", i.Token, true)
	}
	wantNoCookie(t, s.visit(i.Token, nil))
	s.clock.Advance(rotateEvery)
	answers := [50]*httptest.ResponseRecorder{}
	parallel(len(answers), func(n int) {
		answers[n] = nodes[n%2].visit(i.Token, func(_ http.ResponseWriter, _ *http.Request, session latchkey.Session) {
			if !session.Live() {
				t.Error("a request was refused while its token rotated")
			}
		})
	})
	successors := make(map[string]int)
	for _, w := range answers {
		token, deleted := given(t, w)
		if deleted || w.Code != http.StatusOK {
			t.Errorf("answered %d, cookie deleted: %v", w.Code, deleted)
		}
		if token != "" {
			successors[token]++
		}
	}
	if len(successors) != 1 {
		t.Errorf("%d different successors, want one", len(successors))
	}
	if n := s.countEvents(audit.Rotate); s.reader() != nil && n != 1 {
		t.Errorf("%d rotations were recorded, want 1", n)
	}
	for token := range successors {
		for _, n := range nodes {
			n.wantLive("successor", token, true)
		}
	}
}

// The grace begins when the successor first comes, not when it is drawn: proxies
// drop Set-Cookie on many answers. After it the old token is refused, and the
// session lives.
func rotateGraceBegins(t *testing.T, start func(edit) *site) {
	s := start(rotating)
	other := s.node()
	old := s.issue(latchkey.SignIn{}).Token
	next := s.rotateNow(old)
	s.clock.Advance(3 * time.Minute)
	for _, n := range []*site{s, other} {
		if again, _ := given(t, n.visit(old, nil)); again != next {
			t.Error("the old token was not answered with the one successor")
		}
	}
	s.wantLive("successor", next, true)
	s.clock.Advance(rotateGrace - time.Microsecond)
	for _, n := range []*site{s, other} {
		n.wantLive("old token within its grace", old, true)
	}
	s.clock.Advance(time.Microsecond)
	for _, n := range []*site{s, other} {
		n.wantLive("old token after its grace", old, false)
		n.wantLive("successor after the grace", next, true)
	}
	if n := s.countEvents(audit.Theft); n != 0 {
		t.Error("a token after its grace was taken for stolen")
	}
}

// The token of two generations ago means that two parties hold one: the session
// ends, for everybody.
func rotateTheft(t *testing.T, start func(edit) *site) {
	s := start(rotating)
	other := s.node()
	i := s.issue(latchkey.SignIn{})
	second := s.rotateNow(i.Token)
	s.wantLive("second", second, true)
	third := s.rotateNow(second)
	s.wantLive("third", third, true)
	other.wantLive("third on another node", third, true)

	w := s.visit(i.Token, func(_ http.ResponseWriter, _ *http.Request, session latchkey.Session) {
		if session.Live() {
			t.Error("a token of two generations ago was granted")
		}
	})
	wantNoCookie(t, w)
	for name, token := range map[string]string{"first": i.Token, "second": second, "third": third} {
		s.wantLive(name+" after the theft", token, false)
		other.wantLive(name+" after the theft, other node", token, false)
	}
	if rec := s.row(i.Record.ID); rec.RevokedReason != "theft" || rec.RevokedBy != "system" {
		t.Errorf("ended by %q for %q, want theft by system", rec.RevokedBy, rec.RevokedReason)
	}
	if s.reader() == nil {
		return
	}
	if ev := s.events(audit.Query{Session: i.Record.ID.String()})[0]; ev.Action != audit.Theft || ev.Reason != "theft" || ev.Subject != ann.Subject {
		t.Errorf("event is %v", ev)
	}
}

// Under both tokens of a rotation the session's data opens and can be written.
func rotateKeepsData(t *testing.T, start func(edit) *site) {
	s := start(rotating)
	old := s.issue(latchkey.SignIn{Data: map[string]jsonText{"k": jsonText(`"v"`)}}).Token
	s.clock.Advance(rotateEvery)
	w := s.visit(old, set("during", "x"))
	next, _ := given(t, w)
	if w.Code != http.StatusOK || next == "" {
		t.Fatalf("answered %d", w.Code)
	}
	if w := s.visit(old, set("with-old", "y")); w.Code != http.StatusOK {
		t.Errorf("a write with the old token was answered %d: %s", w.Code, w.Body)
	}
	if w := s.visit(next, set("with-new", "z")); w.Code != http.StatusOK {
		t.Errorf("a write with the successor was answered %d: %s", w.Code, w.Body)
	}
	for name, want := range map[string]string{"k": `"v"`, "during": `"x"`, "with-old": `"y"`, "with-new": `"z"`} {
		if got := string(s.data(next)[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
		if got := string(s.data(old)[name]); got != want {
			t.Errorf("%s is %s under the old token, want %s", name, got, want)
		}
	}
}

// A passive request rotates nothing, and has the session nevertheless.
func rotatePassive(t *testing.T, start func(edit) *site) {
	s := start(func(c *latchkey.Config) {
		rotating(c)
		c.Passive = func(r *http.Request) bool { return r.URL.Path == "/poll" }
	})
	i := s.issue(latchkey.SignIn{})
	s.clock.Advance(rotateEvery)
	r := request(i.Token)
	r.URL.Path = "/poll"
	w := s.serve(r, func(_ http.ResponseWriter, _ *http.Request, session latchkey.Session) {
		if !session.Live() {
			t.Error("refused")
		}
	})
	wantNoCookie(t, w)
	if v := s.row(i.Record.ID).Version; v != 1 {
		t.Errorf("a passive request changed the row: version %d", v)
	}
	if next, _ := given(t, s.visit(i.Token, nil)); next == "" {
		t.Error("the next request was not handed a successor")
	}
}

// When a rotation is over the row is written no more, and the near cache answers again.
func rotateSettles(t *testing.T, start func(edit) *site) {
	s := start(rotating)
	i := s.issue(latchkey.SignIn{})
	next := s.rotateNow(i.Token)
	s.lease() // which the clock's turning took
	for range 3 {
		s.wantLive("successor", next, true)
	}
	counted := s.count()
	for range 100 {
		wantNoCookie(t, s.visit(next, nil))
	}
	if n := counted.writes(); n != 0 {
		t.Errorf("100 reads after a rotation made %d writes", n)
	}
	if n := counted.gets.Load(); s.cached && n > 0 {
		t.Errorf("100 reads after a rotation made %d reads of the store", n)
	}
	if v := s.row(i.Record.ID).Version; v != 3 {
		t.Errorf("version %d after one rotation and its grace, want 3", v)
	}
}
