package redis

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// In a cluster a script reaches one slot. What follows puts together what belongs to
// several of them, in such an order that whatever breaks off in between leaves entries
// that lead nowhere, and no session that a revocation does not find.

// announce enters a session where its subject and its provider's session lead to it,
// before the session is there, and looks for revocations that have overtaken it.
func (s *Store) announce(ctx context.Context, r *latchkey.Record, began int64) error {
	identity, subject, sid := s.identityRef(r.Identity()), subjectRef(r.Subject), sidRef(r.Provider, r.SID)
	var entries []args
	if subject != "" {
		entries = append(entries, args{"subject", subject, identity})
	}
	if sid != "" {
		entries = append(entries, args{"sid", sid, r.ID.String()})
	}
	return each(ctx, entries, func(ctx context.Context, e args) error {
		f, err := s.do(ctx, call{sc: &s.scripts.announce, tag: e[1][:3], among: append(e, decimal(microOf(r.ExpiresAt)), decimal(began))})
		if err != nil {
			return err
		}
		if f.text(0) == "denied" {
			return errOvertaken()
		}
		return f.ok()
	})
}

// createAcross creates a session, and then ends a predecessor that is in another slot.
func (s *Store) createAcross(ctx context.Context, c *latchkey.Create) (latchkey.Created, error) {
	r := &c.Record
	if r.Subject != "" && r.ID.Placement() != s.placementOf(r.Identity()) {
		return latchkey.Created{}, s.misplaced(ctx, r.ID)
	}
	began := microOf(c.Began)
	if err := s.announce(ctx, r, began); err != nil {
		return latchkey.Created{}, err
	}
	elsewhere := !c.Replaces.IsZero() && c.Replaces.Placement() != r.ID.Placement()
	if elsewhere && c.ReplacesVersion != 0 {
		// Looked at once more when it is ended; nearly always this look is enough.
		if err := s.unchanged(ctx, c.Replaces, c.ReplacesVersion); err != nil {
			return latchkey.Created{}, cmp.Or(s.overtaken(ctx, r, began), err)
		}
	}
	own := *c
	if elsewhere {
		own.Replaces, own.ReplacesVersion = latchkey.ID{}, 0
	}
	created, err := s.create(ctx, &own)
	if err != nil || !elsewhere {
		return created, err
	}
	e := &c.Event
	expected := ""
	if c.ReplacesVersion != 0 {
		expected = version8(c.ReplacesVersion)
	}
	f, err := s.do(ctx, call{sc: &s.scripts.revoke, tag: tagText(c.Replaces.Placement()), told: 3, keys: []string{s.rowKey(c.Replaces)}, among: args{
		"id", c.Replaces.String(), "", packEnd(e.Actor, reasonReplaced), "", "0", stem(e.Provider, e.Subject), e.IP, c.Replaces.String(),
		eventRest(audit.Revoke, e.Actor, audit.Done, reasonReplaced), subjectTag(e.Subject), expected, ""}})
	if err != nil {
		return latchkey.Created{}, err
	}
	switch f.text(0) {
	case "ok":
		created.Replaced = f.int(1) == 1
		return created, f.err()
	case "gone":
		return created, nil
	case "changed":
		// The session was made in vain, and nobody has its token.
		if _, err := s.do(ctx, call{sc: &s.scripts.purge, tag: tagText(r.ID.Placement()), told: 3, among: args{"one", r.ID.String(),
			eventRest(audit.Revoke, "system", audit.Done, "conflict")}}); err != nil {
			return latchkey.Created{}, err
		}
		return latchkey.Created{}, errReplaced()
	}
	return latchkey.Created{}, unavailable(errAnswer)
}

// unchanged refuses a live predecessor of another version than expected.
func (s *Store) unchanged(ctx context.Context, id latchkey.ID, version uint64) error {
	old, err := s.Get(ctx, id)
	switch {
	case latchkey.CodeOf(err) == latchkey.CodeNoSuchSession:
		return nil
	case err != nil:
		return err
	}
	now := timeOf(s.StoreTime(s.cfg.Clock.Now()))
	if old.Version != version && old.StateAt(now) == latchkey.Live {
		return errReplaced()
	}
	return nil
}

// overtaken says whether the sign-in is refused anyway, which comes first.
func (s *Store) overtaken(ctx context.Context, r *latchkey.Record, began int64) error {
	ref := s.identityRef(r.Identity())
	if ref == "" {
		return nil
	}
	f, err := s.do(ctx, call{sc: &s.scripts.announce, tag: ref[:3], weak: true, among: args{"look", ref, "", "0", decimal(began)}})
	if err == nil && f.text(0) == "denied" {
		err = errOvertaken()
	}
	return err
}

// misplaced is the answer to an ID that no Manager draws for the identity.
func (s *Store) misplaced(ctx context.Context, id latchkey.ID) error {
	_, err := s.Get(ctx, id)
	switch latchkey.CodeOf(err) {
	case latchkey.CodeNoSuchSession:
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: create",
			Fields: []latchkey.FieldError{{Field: "ID", Detail: "is not placed by the identity, as the store's placement key says"}}}
	case "":
		return errExists()
	}
	return err
}

// touchAcross sends each server its touches.
func (s *Store) touchAcross(ctx context.Context, touches []latchkey.Touch) error {
	byTag := make(map[string][]latchkey.Touch)
	for _, t := range touches {
		tag := tagText(t.ID.Placement())
		byTag[tag] = append(byTag[tag], t)
	}
	var parts [][]latchkey.Touch
	for _, list := range byTag {
		for part := range slices.Chunk(list, touchesPerScript) {
			parts = append(parts, part)
		}
	}
	return each(ctx, parts, func(ctx context.Context, part []latchkey.Touch) error {
		return s.touch(ctx, tagText(part[0].ID.Placement()), part)
	})
}

// revokeAcross ends the sessions of several slots.
func (s *Store) revokeAcross(ctx context.Context, r *latchkey.Revocation) (latchkey.RevokeResult, error) {
	if r.All {
		return s.revokeAll(ctx, r)
	}
	kind, ref, except, mark, tag := s.selected(r)
	// From here on no sign-in that began before gets past this entry.
	f, err := s.do(ctx, call{sc: &s.scripts.announce, tag: tag, among: args{"end", ref}})
	if err != nil {
		return latchkey.RevokeResult{}, err
	}
	identities, sessions := f.text(1), f.text(2)
	if err := f.ok(); err != nil {
		return latchkey.RevokeResult{}, err
	}
	// What an entry leads to: an identity with all its sessions, or sessions by their IDs.
	var parts []args // tag, kind, whom, IDs
	if kind == "subject" {
		for ; len(identities) >= refSize; identities = identities[refSize:] {
			who := identities[:refSize]
			parts = append(parts, args{who[:3], "who", who, ""})
		}
	} else {
		parts = s.partsOf(ref, sessions)
	}
	end := packEnd(r.By, r.Reason)
	results := make(chan *fields, len(parts))
	err = each(ctx, parts, func(ctx context.Context, part args) error {
		f, err := s.do(ctx, call{sc: &s.scripts.revoke, tag: part[0], told: 3, among: args{
			part[1], part[2], except, end, mark, "0", "", "", "", "", "", part[3], "1"}})
		if err != nil {
			return err
		}
		results <- f
		return nil
	})
	if err != nil {
		return latchkey.RevokeResult{}, err
	}
	close(results)
	result, err := gather(results)
	if err != nil {
		return latchkey.RevokeResult{}, err
	}
	return result, s.recordAt(ctx, tag, &r.Event, result.Count)
}

// partsOf are sessions by their tags.
func (s *Store) partsOf(ref, sessions string) (parts []args) {
	byTag := make(map[string]*strings.Builder)
	for ; len(sessions) >= idSize; sessions = sessions[idSize:] {
		tag := sessions[15:18]
		if byTag[tag] == nil {
			byTag[tag] = new(strings.Builder)
		}
		byTag[tag].WriteString(sessions[:idSize])
	}
	for tag, ids := range byTag {
		parts = append(parts, args{tag, "ids", ref, ids.String()})
	}
	return parts
}

func gather(results <-chan *fields) (all latchkey.RevokeResult, err error) {
	for f := range results {
		all.Count += int(f.int(1))
		ids, err := parseIDs(f.text(2))
		if err != nil || f.text(0) != "ok" || f.bad {
			return latchkey.RevokeResult{}, unavailable(errAnswer)
		}
		all.IDs = append(all.IDs, ids...)
	}
	return all, nil
}

// revokeAll raises the generation of every tag. Until all are raised some sessions are
// still live, and when it breaks off it is to be asked for again.
func (s *Store) revokeAll(ctx context.Context, r *latchkey.Revocation) (latchkey.RevokeResult, error) {
	present, err := s.target(ctx, 0)
	if err != nil {
		return latchkey.RevokeResult{}, err
	}
	// As in revoke.lua: a number that no generation ever had.
	target, err := s.target(ctx, max(1, s.StoreTime(s.cfg.Clock.Now())-present))
	if err != nil {
		return latchkey.RevokeResult{}, err
	}
	end := packEnd(r.By, r.Reason)
	counts := make(chan int64, tags)
	err = eachTag(ctx, func(ctx context.Context, tag string) error {
		f, err := s.do(ctx, call{sc: &s.scripts.revoke, tag: tag, told: 3, among: args{
			"all", "", "", end, "", "0", "", "", "", "", "", decimal(target), "1"}})
		if err != nil {
			return err
		}
		n, at, generation := f.int(1), f.text(5), f.text(6)
		if f.text(0) != "ok" || f.bad {
			return unavailable(errAnswer)
		}
		if n < 0 {
			n = 0
			err = s.tally(ctx, tag, generation, at, func(live, _, _ int64, _ string) { n += live })
		}
		counts <- n
		return err
	})
	if err != nil {
		return latchkey.RevokeResult{}, err
	}
	close(counts)
	total := int64(0)
	for n := range counts {
		total += n
	}
	return latchkey.RevokeResult{Count: int(total)}, s.recordAt(ctx, "000", &r.Event, int(total))
}

// countAcross counts the sessions of all tags.
func (s *Store) countAcross(ctx context.Context) (latchkey.Counts, error) {
	results := make(chan latchkey.Counts, tags)
	list, err := s.tagsWith(ctx, "all")
	if err != nil {
		return latchkey.Counts{}, err
	}
	err = each(ctx, list, func(ctx context.Context, tag string) error {
		var c latchkey.Counts
		seen := make(map[string]struct{}) // an identity is under one tag
		err := s.tally(ctx, tag, "", "", func(live, anonymous, ended int64, identities string) {
			c.Live += int(live)
			c.Anonymous += int(anonymous)
			c.Ended += int(ended)
			for ; len(identities) >= refSize; identities = identities[refSize:] {
				seen[identities[:refSize]] = struct{}{}
			}
		})
		c.Identities = len(seen)
		results <- c
		return err
	})
	if err != nil {
		return latchkey.Counts{}, err
	}
	close(results)
	var all latchkey.Counts
	for c := range results {
		all.Live += c.Live
		all.Identities += c.Identities
		all.Anonymous += c.Anonymous
		all.Ended += c.Ended
	}
	return all, nil
}

// entry is a place in a list: of a session by its creation, or by its ID alone.
type entry struct {
	created int64
	id      latchkey.ID
	tag     string
}

// merge reads the first n entries of many lists that are each in order, by reading a
// few of each, and more of those whose last one comes before the nth.
func merge(ctx context.Context, list []string, n int, compare func(a, b entry) int, fetch func(ctx context.Context, tag string, k int) ([]entry, error)) ([]entry, error) {
	type part struct {
		tag     string
		entries []entry
		whole   bool
	}
	parts := make([]*part, len(list))
	for i, tag := range list {
		parts[i] = &part{tag: tag}
	}
	due := parts
	for k := min(n, max(4, 4*n/len(list))); ; k = min(n, 4*k) {
		err := each(ctx, due, func(ctx context.Context, p *part) (err error) {
			p.entries, err = fetch(ctx, p.tag, k)
			p.whole = len(p.entries) < k || k == n
			return err
		})
		if err != nil {
			return nil, err
		}
		var all []entry
		for _, p := range parts {
			all = append(all, p.entries...)
		}
		slices.SortFunc(all, compare)
		all = all[:min(n, len(all))]
		due = nil
		for _, p := range parts {
			if !p.whole && (len(all) < n || compare(p.entries[len(p.entries)-1], all[n-1]) < 0) {
				due = append(due, p)
			}
		}
		if len(due) == 0 {
			return all, nil
		}
	}
}

// listAcross lists sessions of a subject, or of everybody: first where they are, then
// the rows.
func (s *Store) listAcross(ctx context.Context, q *latchkey.ListQuery) (latchkey.ListPage, error) {
	var page latchkey.ListPage
	kind := "all"
	list, err := s.tagsWith(ctx, kind)
	if err != nil {
		return page, err
	}
	if q.Subject != "" {
		ref := subjectRef(q.Subject)
		f, err := s.do(ctx, call{sc: &s.scripts.announce, tag: ref[:3], weak: true, among: args{"of", ref}})
		if err == nil {
			err = f.ok()
		}
		if err != nil {
			return page, err
		}
		list, kind = nil, "who"
		for identities := f.text(1); len(identities) >= refSize; identities = identities[refSize:] {
			list = append(list, identities[:refSize])
		}
	}
	if len(list) == 0 {
		return page, nil
	}
	size := q.PageSize()
	newestFirst := func(a, b entry) int {
		return cmp.Or(cmp.Compare(b.created, a.created), slices.Compare(b.id[:], a.id[:]))
	}
	found, err := merge(ctx, list, size+1, newestFirst, func(ctx context.Context, ref string, k int) ([]entry, error) {
		return s.places(ctx, q, kind, ref, k)
	})
	if err != nil {
		return page, err
	}
	rows := make([]*latchkey.Record, len(found))
	at := make([]int, len(found))
	for i := range at {
		at[i] = i
	}
	err = each(ctx, at, func(ctx context.Context, i int) error {
		rec, err := s.Get(ctx, found[i].id)
		if latchkey.CodeOf(err) == latchkey.CodeNoSuchSession {
			return nil // removed in between
		}
		rows[i] = rec
		return err
	})
	if err != nil {
		return page, err
	}
	page.Records = slices.DeleteFunc(rows, func(r *latchkey.Record) bool { return r == nil })
	if len(found) > size {
		last := found[size-1]
		page.Next = latchkey.Cursor{CreatedAt: timeOf(last.created), ID: last.id}
		page.Records = page.Records[:min(size, len(page.Records))]
	}
	return page, nil
}

// places finds the newest k sessions behind the query's cursor, of a tag or an identity.
func (s *Store) places(ctx context.Context, q *latchkey.ListQuery, kind, ref string, k int) (found []entry, err error) {
	created, id, whose := "", "", ref
	if kind == "all" {
		whose = ""
	}
	if !q.After.IsZero() {
		created, id = decimal(microOf(q.After.CreatedAt)), q.After.ID.String()
	}
	for {
		f, err := s.do(ctx, call{sc: &s.scripts.list, tag: ref[:3], weak: true, among: args{
			stateName(q.State), strconv.Itoa(k - len(found)), created, id, kind, whose, strconv.Itoa(scanBound), "1"}})
		if err != nil {
			return nil, err
		}
		created, id = f.text(2), f.text(3)
		if f.text(0) != "ok" || f.bad || len(f.list)%2 != 0 {
			return nil, unavailable(errAnswer)
		}
		for rest := f.list[4:]; len(rest) > 0; rest = rest[2:] {
			at, err := strconv.ParseInt(rest[1], 10, 64)
			if err != nil {
				return nil, unavailable(errAnswer)
			}
			e := entry{created: at, tag: ref}
			if e.id, err = latchkey.ParseID(rest[0]); err != nil {
				return nil, unavailable(errForeign)
			}
			found = append(found, e)
		}
		if id == "" || len(found) == k {
			return found, nil
		}
	}
}

// changedAcross merges the lists of all tags. The generation is read first.
func (s *Store) changedAcross(ctx context.Context, after latchkey.ID, limit int) (latchkey.ChangedPage, error) {
	generation, err := s.target(ctx, 0)
	if err != nil {
		return latchkey.ChangedPage{}, err
	}
	page := latchkey.ChangedPage{Generation: uint64(generation)}
	list, err := s.tagsWith(ctx, "changed")
	if err != nil || len(list) == 0 {
		return page, err
	}
	ascending := func(a, b entry) int { return slices.Compare(a.id[:], b.id[:]) }
	found, err := merge(ctx, list, limit, ascending, func(ctx context.Context, tag string, k int) (list []entry, err error) {
		part := latchkey.ChangedPage{Next: after}
		for more := true; more; more = len(list) < k && !part.Next.IsZero() { // of a page some may have passed
			if part, err = s.changed(ctx, tag, part.Next, k-len(list)); err != nil {
				return nil, err
			}
			for _, id := range part.IDs {
				list = append(list, entry{id: id, tag: tag})
			}
		}
		return list, nil
	})
	if err != nil {
		return latchkey.ChangedPage{}, err
	}
	for _, e := range found {
		page.IDs = append(page.IDs, e.id)
	}
	if len(found) == limit {
		page.Next = page.IDs[limit-1]
	}
	return page, nil
}
