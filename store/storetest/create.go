package storetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// fullRecord has every field set, and awkward text in those that hold text.
func fullRecord(e *env) latchkey.Create {
	c := e.draft(latchkey.Identity{Provider: "https://idp.example/ü?a=b&c='--", Subject: "Ünï\u2028cødé 🗝 \"quoted\" \\ %00 " + strings.Repeat("x", 200)})
	now := e.now()
	r := &c.Record
	r.Email, r.Name = "o'hara+"+strings.Repeat("é", 100)+"@example.com", strings.Repeat("名", 170)
	r.Roles, r.Methods = []string{"admin", "бухгалтер", "a b", "'; drop table x"}, []string{"pwd", "otp"}
	r.Assurance, r.SID = "aal2", "sid/"+strings.Repeat("s", 250)
	r.AuthTime, r.RotatedAt = now.Add(-time.Minute), now.Add(-time.Second)
	r.PatchID = [16]byte{1, 2, 3}
	r.IP, r.UserAgent = "2001:db8::", "Firefox on Linux"
	r.Wrap, r.Data = []byte{0, 1, 2, 0xff}, []byte(strings.Repeat("\x00\xff\x80'", 20_000))
	r.PreviousHash, r.PreviousWrap = [32]byte{9, 8, 7}, []byte{0, 0, 1}
	r.RotateNonce, r.RotateKey, r.GraceEnd = [16]byte{5, 4}, 200, now.Add(10*time.Second)
	return c
}

func testCreate(t *testing.T, h Harness) {
	group(t, h, map[string]func(*env){
		"RoundTrip":       createRoundTrip,
		"EmptyFields":     createEmptyFields,
		"Copies":          createCopies,
		"ExistingID":      createExistingID,
		"Anonymous":       createAnonymous,
		"OwnVersion":      createOwnVersion,
		"ReplacesLive":    createReplaces,
		"ReplacesNothing": createReplacesNothing,
		"ReplacesEnded":   createReplacesEnded,
		"ReplacesUnseen":  createReplacesUnseen,
		"ReplacesVersion": createReplacesVersion,
		"ReplacesRace":    createReplacesRace,
	})
}

func createRoundTrip(e *env) {
	c := fullRecord(e)
	created, err := e.store.Create(e.t.Context(), c)
	if err != nil {
		e.t.Fatal(err)
	}
	if created.Replaced || len(created.Evicted) > 0 {
		e.t.Errorf("created %+v, nothing was there to end", created)
	}
	want := c.Record
	want.Generation, want.Version = created.Generation, 1
	sameRecord(e.t, e.get(c.Record.ID), &want)
	for _, rec := range e.all(latchkey.ListQuery{Provider: want.Provider, Subject: want.Subject}) {
		sameRecord(e.t, rec, &want)
	}
}

func createEmptyFields(e *env) {
	c := e.draft(latchkey.Identity{})
	c.Record.Roles, c.Record.Methods, c.Record.Name = []string{}, []string{}, ""
	c.Record.AuthTime, c.Record.RotatedAt = time.Time{}, time.Time{}
	c.Record.Idle = 0
	rec := e.create(c)
	want := c.Record
	want.Version, want.Generation = 1, rec.Generation
	sameRecord(e.t, rec, &want)
	if !rec.AuthTime.IsZero() || !rec.RevokedAt.IsZero() || !rec.GraceEnd.IsZero() {
		e.t.Error("a time that was not set came back as one")
	}
}

// What goes in and comes out is the caller's own.
func createCopies(e *env) {
	c := fullRecord(e)
	role, data := c.Record.Roles[0], c.Record.Data[1]
	id := e.create(c).ID
	c.Record.Roles[0], c.Record.Data[1] = "changed", 1
	got := e.get(id)
	got.Roles[0], got.Data[1], got.Subject = "changed", 1, "changed"
	if again := e.get(id); again.Roles[0] != role || again.Data[1] != data || again.Subject != c.Record.Subject {
		e.t.Error("a record shares memory with its caller's")
	}
	listed := e.all(latchkey.ListQuery{})
	listed[0].Roles[0] = "changed"
	if e.get(id).Roles[0] != role {
		e.t.Error("a listed record shares memory with the store's")
	}
}

func createExistingID(e *env) {
	first := e.add(ann)
	c := e.draft(bob)
	c.Record.ID = first.ID
	predecessor := e.add(bob)
	c.Replaces = predecessor.ID
	_, err := e.store.Create(e.t.Context(), c)
	wantCode(e.t, err, latchkey.CodeConflict)
	sameRecord(e.t, e.get(first.ID), first)
	e.wantState(predecessor.ID, latchkey.Live)

	e.revoke(latchkey.Revocation{ID: first.ID})
	c.Record.ID, c.Replaces = first.ID, latchkey.ID{}
	_, err = e.store.Create(e.t.Context(), c)
	wantCode(e.t, err, latchkey.CodeConflict)
	e.wantState(first.ID, latchkey.Revoked)
}

// Anonymous sessions have no limit and are nobody's.
func createAnonymous(e *env) {
	for range 3 {
		c := e.draft(latchkey.Identity{})
		c.Limit, c.Policy = 1, latchkey.RefuseNew
		e.create(c)
	}
	if n := len(e.all(latchkey.ListQuery{})); n != 3 {
		e.t.Errorf("%d anonymous sessions listed, want 3", n)
	}
}

func createOwnVersion(e *env) {
	c := e.draft(ann)
	c.Record.Version, c.Record.Generation = 77, 99
	rec := e.create(c)
	if rec.Version != 1 {
		e.t.Errorf("version %d, want 1", rec.Version)
	}
	other := e.add(ann)
	if rec.Generation != other.Generation {
		e.t.Errorf("generation %d was taken from the caller, want %d", rec.Generation, other.Generation)
	}
	e.wantState(rec.ID, latchkey.Live)
}

func createReplaces(e *env) {
	old := e.add(latchkey.Identity{})
	e.clock.Advance(time.Minute)
	c := e.draft(ann)
	c.Replaces = old.ID
	created, err := e.store.Create(e.t.Context(), c)
	if err != nil || !created.Replaced {
		e.t.Fatalf("created %+v, %v; want the predecessor replaced", created, err)
	}
	rec := e.get(old.ID)
	if rec.StateAt(e.now()) != latchkey.Revoked || rec.RevokedReason != "replaced" || rec.RevokedBy != "user" || !rec.RevokedAt.Equal(e.now()) {
		e.t.Errorf("predecessor revoked at %v by %q for %q, want now by user for replaced", rec.RevokedAt, rec.RevokedBy, rec.RevokedReason)
	}
	if e.reader() == nil {
		return
	}
	events := e.events(audit.Query{Session: old.ID.String()})
	if len(events) != 2 {
		e.t.Fatalf("%d events of the predecessor, want its creation and its end: %v", len(events), events)
	}
	end := events[0]
	if end.Action != audit.Revoke || end.Actor != "user" || end.Subject != ann.Subject || end.Provider != ann.Provider ||
		!end.Time.Equal(c.Event.Time) || end.Reason != "replaced" {
		e.t.Errorf("event of the predecessor's end: %v", end)
	}
}

func createReplacesNothing(e *env) {
	c := e.draft(ann)
	c.Replaces = newID(ann)
	created, err := e.store.Create(e.t.Context(), c)
	if err != nil || created.Replaced {
		e.t.Errorf("created %+v, %v; want it made and nothing replaced", created, err)
	}
}

func createReplacesEnded(e *env) {
	old := e.add(ann)
	e.revoke(latchkey.Revocation{ID: old.ID, By: "admin:first", Reason: "first"})
	before := e.get(old.ID)
	e.clock.Advance(time.Second)
	c := e.draft(ann)
	c.Replaces = old.ID
	created, err := e.store.Create(e.t.Context(), c)
	if err != nil || created.Replaced {
		e.t.Errorf("created %+v, %v; want it made and nothing replaced", created, err)
	}
	sameRecord(e.t, e.get(old.ID), before)
}

// A predecessor that is idle or expired by this clock is marked and published all
// the same, and was not live.
func createReplacesUnseen(e *env) {
	expired, unseen := e.addShort(ann, "").ID, e.add(ann).ID
	e.clock.Advance(idle)
	var f *follower
	if e.feed() != nil {
		f = e.follow()
	}
	for _, id := range []latchkey.ID{expired, unseen} {
		c := e.draft(ann)
		c.Replaces = id
		created, err := e.store.Create(e.t.Context(), c)
		if err != nil || created.Replaced {
			e.t.Errorf("created %+v, %v; want it made and nothing live replaced", created, err)
		}
		e.wantRevoked(id, "user", "replaced", e.now())
		if f != nil && !f.told(id) {
			e.t.Error("the end of the predecessor was not published when Create returned")
		}
	}
}

// A live predecessor must have the version whose data was carried over. One that
// has ended, or is unknown, may have any.
func createReplacesVersion(e *env) {
	old := e.add(ann)
	other := e.create(e.limited(ann, 0, latchkey.EvictOldest))
	if err := e.patch(old.ID, nil); err != nil {
		e.t.Fatal(err)
	}
	before, events := e.get(old.ID), len(e.events(audit.Query{}))
	for _, version := range []uint64{old.Version, before.Version + 1} {
		c := e.limited(ann, 1, latchkey.EvictOldest) // which would end the other one
		c.Replaces, c.ReplacesVersion = old.ID, version
		_, err := e.store.Create(e.t.Context(), c)
		wantCode(e.t, err, latchkey.CodeConflict)
		if _, err := e.store.Get(e.t.Context(), c.Record.ID); latchkey.CodeOf(err) != latchkey.CodeNoSuchSession {
			e.t.Errorf("the session was made: %v", err)
		}
	}
	sameRecord(e.t, e.get(old.ID), before)
	sameRecord(e.t, e.get(other.ID), other)
	if n := len(e.events(audit.Query{})); n != events {
		e.t.Errorf("refused sign-ins left %d events", n-events)
	}
	replace := func(id latchkey.ID, version uint64, live bool) {
		e.t.Helper()
		c := e.draft(ann)
		c.Replaces, c.ReplacesVersion = id, version
		created, err := e.store.Create(e.t.Context(), c)
		if err != nil || created.Replaced != live {
			e.t.Errorf("version %d: %+v, %v; want it made, live predecessor %v", version, created, err, live)
		}
	}
	replace(old.ID, before.Version, true)
	replace(old.ID, before.Version+1, false) // revoked by now
	replace(newID(ann), 7, false)
	replace(other.ID, 0, true) // whatever version it has
	unseen := e.add(ann).ID
	e.clock.Advance(idle)
	replace(unseen, 7, false)
	e.wantState(unseen, latchkey.Revoked)
}

// Of a change of the predecessor and a sign-in that carries its data over, one
// comes first: either the change is refused, or the sign-in is.
func createReplacesRace(e *env) {
	for range 20 {
		old := e.add(ann)
		next := *old
		next.PatchID[0]++
		c := e.draft(ann)
		c.Replaces, c.ReplacesVersion = old.ID, old.Version
		var errs [2]error
		parallel(2, func(i int) {
			if i == 0 {
				errs[i] = e.store.Patch(e.t.Context(), latchkey.Patch{Record: next})
			} else {
				_, errs[i] = e.store.Create(e.t.Context(), c)
			}
		})
		switch {
		case errs[0] == nil:
			wantCode(e.t, errs[1], latchkey.CodeConflict)
			e.wantState(old.ID, latchkey.Live)
		default:
			wantCode(e.t, errs[0], latchkey.CodeInvalidSession)
			wantCode(e.t, errs[1], "")
			e.wantState(old.ID, latchkey.Revoked)
		}
	}
}

func testLimits(t *testing.T, h Harness) {
	group(t, h, map[string]func(*env){
		"EvictsOldest":        limitEvicts,
		"Refuses":             limitRefuses,
		"CountsLiveOnly":      limitCountsLive,
		"LoweredLimit":        limitLowered,
		"ReplacedBeforeCount": limitReplaced,
		"RefusalEndsNothing":  limitRefusalEndsNothing,
		"OtherIdentities":     limitOthers,
		"RaceEvict1":          func(e *env) { limitRace(e, 1, latchkey.EvictOldest) },
		"RaceEvict5":          func(e *env) { limitRace(e, 5, latchkey.EvictOldest) },
		"RaceRefuse1":         func(e *env) { limitRace(e, 1, latchkey.RefuseNew) },
		"RaceRefuse5":         func(e *env) { limitRace(e, 5, latchkey.RefuseNew) },
		"RaceReplacing":       limitRaceReplacing,
	})
}

// limited is a Create of a session of who under a limit.
func (e *env) limited(who latchkey.Identity, limit int, policy latchkey.LimitPolicy) latchkey.Create {
	c := e.draft(who)
	c.Limit, c.Policy = limit, policy
	return c
}

func limitEvicts(e *env) {
	var ids []latchkey.ID
	for range 3 {
		ids = append(ids, e.add(ann).ID)
		e.clock.Advance(time.Second)
	}
	created, err := e.store.Create(e.t.Context(), e.limited(ann, 3, latchkey.EvictOldest))
	if err != nil {
		e.t.Fatal(err)
	}
	if !slices.Equal(created.Evicted, ids[:1]) {
		e.t.Errorf("evicted %v, want the oldest %v", created.Evicted, ids[:1])
	}
	rec := e.get(ids[0])
	if rec.StateAt(e.now()) != latchkey.Revoked || rec.RevokedReason == "" || rec.RevokedBy != "user" || !rec.RevokedAt.Equal(e.now()) {
		e.t.Errorf("evicted at %v by %q for %q, want now by user with a reason", rec.RevokedAt, rec.RevokedBy, rec.RevokedReason)
	}
	e.wantState(ids[1], latchkey.Live)
	if e.reader() == nil {
		return
	}
	if ev := e.events(audit.Query{Session: ids[0].String()})[0]; ev.Action != audit.Evict || ev.Actor != "user" || ev.Subject != ann.Subject || !ev.Time.Equal(e.now()) {
		e.t.Errorf("event of the eviction: %v", ev)
	}
}

func limitRefuses(e *env) {
	e.add(ann)
	e.add(ann)
	c := e.limited(ann, 2, latchkey.RefuseNew)
	_, err := e.store.Create(e.t.Context(), c)
	wantCode(e.t, err, latchkey.CodeLimitReached)
	_, err = e.store.Get(e.t.Context(), c.Record.ID)
	wantCode(e.t, err, latchkey.CodeNoSuchSession)
	if n := len(e.all(latchkey.ListQuery{Provider: ann.Provider, Subject: ann.Subject})); n != 2 {
		e.t.Errorf("%d live sessions, want 2", n)
	}
	if _, err := e.store.Create(e.t.Context(), e.limited(ann, 3, latchkey.RefuseNew)); err != nil {
		e.t.Errorf("below the limit: %v", err)
	}
}

// What is revoked, idle, expired or of a lower generation does not count.
func limitCountsLive(e *env) {
	e.revoke(latchkey.Revocation{ID: e.add(ann).ID})
	e.add(ann) // of the generation that is ended here
	e.revoke(latchkey.Revocation{All: true})
	short := e.draft(ann)
	short.Record.ExpiresAt = e.now().Add(time.Minute)
	e.create(short)
	e.add(ann) // idle in an hour
	e.clock.Advance(idle)
	live := e.add(ann)
	c := e.limited(ann, 2, latchkey.RefuseNew)
	created, err := e.store.Create(e.t.Context(), c)
	if err != nil || len(created.Evicted) != 0 {
		e.t.Fatalf("second of two: %v, evicted %v", err, created.Evicted)
	}
	_, err = e.store.Create(e.t.Context(), e.limited(ann, 2, latchkey.RefuseNew))
	wantCode(e.t, err, latchkey.CodeLimitReached)
	created, err = e.store.Create(e.t.Context(), e.limited(ann, 1, latchkey.EvictOldest))
	if err != nil {
		e.t.Fatal(err)
	}
	sameIDs(e.t, created.Evicted, []latchkey.ID{live.ID, c.Record.ID})
}

func limitLowered(e *env) {
	var ids []latchkey.ID
	for range 6 {
		ids = append(ids, e.add(ann).ID)
		e.clock.Advance(time.Microsecond)
	}
	created, err := e.store.Create(e.t.Context(), e.limited(ann, 3, latchkey.EvictOldest))
	if err != nil {
		e.t.Fatal(err)
	}
	sameIDs(e.t, created.Evicted, ids[:4])
}

// A re-login at limit 1 is not refused by, and does not evict, one's own session.
func limitReplaced(e *env) {
	for _, policy := range []latchkey.LimitPolicy{latchkey.RefuseNew, latchkey.EvictOldest} {
		old := e.create(e.limited(ann, 1, latchkey.EvictOldest))
		c := e.limited(ann, 1, policy)
		c.Replaces = old.ID
		created, err := e.store.Create(e.t.Context(), c)
		if err != nil || !created.Replaced || len(created.Evicted) != 0 {
			e.t.Errorf("policy %d: %+v, %v; want the predecessor replaced and nothing evicted", policy, created, err)
		}
		if rec := e.get(old.ID); rec.RevokedReason != "replaced" {
			e.t.Errorf("policy %d: predecessor ended for %q", policy, rec.RevokedReason)
		}
	}
}

func limitRefusalEndsNothing(e *env) {
	e.add(ann)
	old := e.add(bob)
	before := len(e.events(audit.Query{}))
	c := e.limited(ann, 1, latchkey.RefuseNew)
	c.Replaces = old.ID
	_, err := e.store.Create(e.t.Context(), c)
	wantCode(e.t, err, latchkey.CodeLimitReached)
	e.wantState(old.ID, latchkey.Live)
	if after := len(e.events(audit.Query{})); after != before {
		e.t.Errorf("a refused sign-in left %d events", after-before)
	}
}

func limitOthers(e *env) {
	e.add(twin)
	e.add(bob)
	created, err := e.store.Create(e.t.Context(), e.limited(ann, 1, latchkey.RefuseNew))
	if err != nil || len(created.Evicted) > 0 {
		e.t.Errorf("others' sessions counted: %+v, %v", created, err)
	}
}

const racers = 64

// limitRace signs one identity in many times at once.
func limitRace(e *env, limit int, policy latchkey.LimitPolicy) {
	drafts := make([]latchkey.Create, racers)
	for i := range drafts {
		drafts[i] = e.limited(ann, limit, policy)
	}
	errs, created := make([]error, racers), make([]latchkey.Created, racers)
	parallel(racers, func(i int) { created[i], errs[i] = e.store.Create(e.t.Context(), drafts[i]) })
	made, evicted := 0, make(map[latchkey.ID]int)
	for i, err := range errs {
		if err == nil {
			made++
		} else {
			wantCode(e.t, err, latchkey.CodeLimitReached)
		}
		for _, id := range created[i].Evicted {
			evicted[id]++
		}
	}
	live := len(e.all(latchkey.ListQuery{Provider: ann.Provider, Subject: ann.Subject}))
	if live != limit {
		e.t.Errorf("%d live sessions, want %d", live, limit)
	}
	if policy == latchkey.RefuseNew && (made != limit || len(evicted) > 0) {
		e.t.Errorf("%d made and %d evicted, want %d and none", made, len(evicted), limit)
	}
	if policy == latchkey.EvictOldest && (made != racers || len(evicted) != racers-limit) {
		e.t.Errorf("%d made and %d evicted, want %d and %d", made, len(evicted), racers, racers-limit)
	}
	for id, n := range evicted {
		if n != 1 {
			e.t.Errorf("session %v was evicted %d times", id, n)
		}
	}
}

// Many re-logins from one predecessor at limit 1: one session is left.
func limitRaceReplacing(e *env) {
	old := e.add(ann)
	replaced := make([]bool, racers)
	parallel(racers, func(i int) {
		c := e.limited(ann, 1, latchkey.EvictOldest)
		c.Replaces = old.ID
		created, err := e.store.Create(e.t.Context(), c)
		wantCode(e.t, err, "")
		replaced[i] = created.Replaced
	})
	n := 0
	for _, r := range replaced {
		if r {
			n++
		}
	}
	if live := len(e.all(latchkey.ListQuery{Provider: ann.Provider, Subject: ann.Subject})); live != 1 || n != 1 {
		e.t.Errorf("%d live sessions and %d replacements, want 1 and 1", live, n)
	}
}
