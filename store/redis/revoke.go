package redis

import (
	"context"
	"strconv"

	"github.com/latchkey-go/latchkey"
)

// Revoke implements latchkey.Store. A session that is idle or expired is marked as
// revoked without being counted. A revocation of everything takes effect at once,
// however many sessions there are; with more than 10,000 they are counted
// afterwards, and until then the event's count is 0.
func (s *Store) Revoke(ctx context.Context, r latchkey.Revocation) (latchkey.RevokeResult, error) {
	var result latchkey.RevokeResult
	if err := r.Check(); err != nil {
		return result, err
	}
	if err := s.open(ctx); err != nil {
		return result, err
	}
	bounded, cancel := s.bound(ctx)
	defer cancel()
	if s.cfg.Mode == Cluster && (r.All || r.SID != "" || r.AnyProvider) {
		return s.revokeAcross(ctx, &r)
	}
	kind, whom, except, mark, tag := s.selected(&r)
	var keys []string
	if kind == "id" {
		keys = []string{s.rowKey(r.ID)}
	}
	e := &r.Event
	names := ""
	if kind != "id" || e.Subject != "" {
		names = stem(e.Provider, e.Subject)
	}
	f, err := s.do(bounded, call{sc: &s.scripts.revoke, tag: tag, told: 3, keys: keys, among: args{
		kind, whom, except, packEnd(r.By, r.Reason), mark,
		strconv.Itoa(e.Count), names, e.IP, e.Session, restOf(e), subjectTag(e.Subject), "", ""}})
	if err != nil {
		return result, err
	}
	switch f.text(0) {
	case "ok":
	case "gone":
		return result, noSuchSession()
	default:
		return result, unavailable(errAnswer)
	}
	result.Count = int(f.int(1))
	if result.IDs, err = parseIDs(f.text(2)); err != nil {
		return latchkey.RevokeResult{}, unavailable(err)
	}
	if kind == "all" && result.Count < 0 {
		if result.Count, err = s.countEnded(ctx, f); err != nil {
			return latchkey.RevokeResult{}, err
		}
	}
	return result, f.err()
}

// selected is what a revocation selects, as the script has it.
func (s *Store) selected(r *latchkey.Revocation) (kind, whom, except, mark, tag string) {
	switch {
	case !r.ID.IsZero():
		return "id", r.ID.String(), s.identityRef(r.Only), "", tagText(r.ID.Placement())
	case r.All:
		return "all", "", "", "", ""
	case r.SID != "":
		ref := sidRef(r.Provider, r.SID)
		return "sid", ref, "", ref[3:], ref[:3]
	}
	if !r.Except.IsZero() {
		except = r.Except.String()
	}
	if r.AnyProvider {
		ref := subjectRef(r.Subject)
		return "subject", ref, except, ref[3:], ref[:3]
	}
	ref := s.identityRef(latchkey.Identity{Provider: r.Provider, Subject: r.Subject})
	return "who", ref, except, ref[3:], ref[:3]
}

// countEnded counts what a revocation of everything has ended. Rows of that
// generation do not change any more.
func (s *Store) countEnded(ctx context.Context, f *fields) (int, error) {
	seq, at, generation := f.text(4), f.text(5), f.text(6)
	if f.bad {
		return 0, unavailable(errAnswer)
	}
	total := int64(0)
	err := s.tally(ctx, "", generation, at, func(live, _, _ int64, _ string) { total += live })
	if err != nil {
		return 0, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	f, err = s.do(ctx, call{sc: &s.scripts.record, among: args{"count", seq, decimal(total)}})
	if err != nil {
		return 0, err
	}
	return int(total), f.ok()
}
