package redis

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// A row is a string: a head of fixed size, which scripts read and change in place,
// the stem (provider and subject, which never change), the packed record without
// them, and once the session is revoked who did that and why.
const (
	rowFormat = 1
	headSize  = 119
	refSize   = 25 // a tag of three characters and a digest of 22
	idSize    = 36
)

// Places in the head. Numbers are big-endian, times are Unix microseconds, 0 for none.
const (
	atFlags      = 1
	atLastSeen   = 2
	atIdle       = 10
	atExpires    = 18
	atCreated    = 26
	atVersion    = 34
	atGeneration = 42
	atRevoked    = 50
	atStemSize   = 58
	atPackedSize = 62
	atIdentity   = 66
	atSubjectTag = 91
	atSID        = 94
)

const flagStateless = 1

// nobody is the reference that stands in the head where there is none.
const nobody = "                         "

// Kinds of digests. They keep a subject from looking like a SID.
const (
	kindSubject  = 's'
	kindIdentity = 'i'
	kindSID      = 'd'
)

var errForeign = errors.New("a key of the store holds something else; remove it, or use another prefix")

// digest hashes one or two names into 128 bits, which nobody makes collide. The
// first one's length comes before it, so that no two pairs read the same.
func digest(kind byte, provider, name string) (sum [sha256.Size]byte) {
	var space [256]byte
	b := append(space[:0], kind)
	b = binary.AppendUvarint(b, uint64(len(provider)))
	b = append(b, provider...)
	b = append(b, name...)
	return sha256.Sum256(b)
}

func tagText(placement uint16) string { return fmt.Sprintf("%03x", placement&0xfff) }

// refOf is a digest as keys have it, behind a tag.
func refOf(tag string, sum [sha256.Size]byte) string {
	return tag + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// tagOf is a tag out of a digest's bits that the reference does not show.
func tagOf(sum [sha256.Size]byte) string { return tagText(binary.BigEndian.Uint16(sum[30:])) }

// identityRef names an identity; its tag is that of its sessions' IDs.
func (s *Store) identityRef(who latchkey.Identity) string {
	if who.Subject == "" {
		return ""
	}
	return refOf(tagText(s.placementOf(who)), digest(kindIdentity, who.Provider, who.Subject))
}

func subjectRef(subject string) string {
	if subject == "" {
		return ""
	}
	sum := digest(kindSubject, "", subject)
	return refOf(tagOf(sum), sum)
}

func sidRef(provider, sid string) string {
	if sid == "" {
		return ""
	}
	sum := digest(kindSID, provider, sid)
	return refOf(tagOf(sum), sum)
}

// placementOf is where the sessions of an identity are placed: as a Manager draws
// their IDs.
func (s *Store) placementOf(who latchkey.Identity) uint16 {
	if s.cfg.test != nil && s.cfg.test.placement != nil {
		return s.cfg.test.placement(who)
	}
	mac := hmac.New(sha256.New, s.placement[:])
	_, _ = io.WriteString(mac, who.Provider)
	mac.Write([]byte{0})
	_, _ = io.WriteString(mac, who.Subject)
	sum := mac.Sum(nil)
	return uint16(sum[0])<<4 | uint16(sum[1])>>4
}

// rowKey is where a session's row is.
func (s *Store) rowKey(id latchkey.ID) string {
	text := id.String() // its 16th to 18th character are the placement
	return s.cfg.Prefix + "{" + text[15:18] + "}s:" + text
}

// Times as rows have them.

func microOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// stem packs an identity.
func stem(provider, subject string) string {
	b := make([]byte, 0, 8+len(provider)+len(subject))
	b = binary.BigEndian.AppendUint32(b, uint32(len(provider)))
	b = append(b, provider...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(subject)))
	b = append(b, subject...)
	return string(b)
}

// packed is the part of a record that follows the stem.
func packed(r *latchkey.Record) []byte {
	rest := *r
	rest.Provider, rest.Subject, rest.CreatedAt = "", "", time.Time{}
	return latchkey.AppendRecord(nil, &rest)
}

// idleOf is the idle limit in microseconds, 0 for none.
func idleOf(r *latchkey.Record) int64 { return max(r.Idle, 0).Microseconds() }

// packRow makes the row of a new session. Its generation is the server's to fill in.
func packRow(r *latchkey.Record, identity, subject, sid string) string {
	head := make([]byte, headSize, headSize+512)
	names, rest := stem(r.Provider, r.Subject), packed(r)
	head[0] = rowFormat
	if r.Stateless {
		head[atFlags] = flagStateless
	}
	put := func(at int, v int64) { binary.BigEndian.PutUint64(head[at:], uint64(v)) }
	put(atLastSeen, microOf(r.LastSeenAt))
	put(atIdle, idleOf(r))
	put(atExpires, microOf(r.ExpiresAt))
	put(atCreated, microOf(r.CreatedAt))
	put(atVersion, 1)
	binary.BigEndian.PutUint32(head[atStemSize:], uint32(len(names)))
	binary.BigEndian.PutUint32(head[atPackedSize:], uint32(len(rest)))
	copy(head[atIdentity:], orNobody(identity))
	copy(head[atSubjectTag:], orNobody(subject)[:3])
	copy(head[atSID:], orNobody(sid))
	head = append(head, names...)
	return string(append(head, rest...))
}

func orNobody(ref string) string {
	if ref == "" {
		return nobody
	}
	return ref
}

// unpackRow is the reverse, with what scripts have written into the row since. It
// keeps nothing of b.
func unpackRow(b []byte, r *latchkey.Record) error {
	if len(b) < headSize || b[0] != rowFormat {
		return errForeign
	}
	at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[i:])) }
	size := func(i int) uint64 { return uint64(binary.BigEndian.Uint32(b[i:])) }
	names, rest := size(atStemSize), size(atPackedSize)
	if headSize+names+rest > uint64(len(b)) {
		return errForeign
	}
	if err := latchkey.DecodeRecord(b[headSize+names:headSize+names+rest], r); err != nil {
		return fmt.Errorf("%w: %w", errForeign, err)
	}
	var ok bool
	if r.Provider, r.Subject, _, ok = unpackStem(string(b[headSize : headSize+names])); !ok {
		return errForeign
	}
	r.LastSeenAt, r.ExpiresAt, r.CreatedAt = timeOf(at(atLastSeen)), timeOf(at(atExpires)), timeOf(at(atCreated))
	r.Version, r.Generation = uint64(at(atVersion)), uint64(at(atGeneration))
	r.Stateless = b[atFlags]&flagStateless != 0
	r.RevokedAt, r.RevokedBy, r.RevokedReason = timeOf(at(atRevoked)), "", ""
	if r.RevokedAt.IsZero() {
		return nil
	}
	if r.RevokedBy, r.RevokedReason, ok = unpackEnd(string(b[headSize+names+rest:])); !ok {
		return errForeign
	}
	return nil
}

// unpackStem reads a stem and returns what follows it.
func unpackStem(text string) (provider, subject, rest string, ok bool) {
	if provider, text, ok = cutText(text); !ok {
		return "", "", "", false
	}
	subject, text, ok = cutText(text)
	return provider, subject, text, ok
}

// packEnd packs who ended a session, and why.
func packEnd(by, reason string) string { return stem(by, reason) }

func unpackEnd(text string) (by, reason string, ok bool) {
	by, reason, _, ok = unpackStem(text)
	return by, reason, ok
}

// cutText takes a string with its length before it.
func cutText(text string) (head, rest string, ok bool) {
	if len(text) < 4 {
		return "", "", false
	}
	n := uint64(text[0])<<24 | uint64(text[1])<<16 | uint64(text[2])<<8 | uint64(text[3])
	if text = text[4:]; n > uint64(len(text)) {
		return "", "", false
	}
	return text[:n], text[n:], true
}

// An event is a head of format, time, count and the length of the identity with the
// address; then those, the session, and the rest, which scripts do not look into.
const (
	eventFormat = 1
	eventHead   = 21
)

// eventRest packs what scripts do not look into.
func eventRest(action audit.Action, actor string, outcome audit.Outcome, reason string) string {
	var b []byte
	for _, text := range [...]string{string(action), actor, string(outcome), reason} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	return string(b)
}

func restOf(e *audit.Event) string { return eventRest(e.Action, e.Actor, e.Outcome, e.Reason) }

// unpackEvent reads an event.
func unpackEvent(text string, e *audit.Event) error {
	if len(text) < eventHead || text[0] != eventFormat {
		return errForeign
	}
	head := []byte(text[:eventHead])
	e.Time = timeOf(int64(binary.BigEndian.Uint64(head[1:])))
	e.Count = int(int64(binary.BigEndian.Uint64(head[9:])))
	size := uint64(binary.BigEndian.Uint32(head[17:]))
	if text = text[eventHead:]; size > uint64(len(text)) {
		return errForeign
	}
	var ok bool
	if e.Provider, e.Subject, e.IP, ok = unpackStem(text[:size]); !ok {
		return errForeign
	}
	var texts [5]string
	text = text[size:]
	for i := range texts {
		if texts[i], text, ok = cutText(text); !ok {
			return errForeign
		}
	}
	if text != "" {
		return errForeign
	}
	e.Session, e.Action, e.Actor, e.Outcome, e.Reason = texts[0], audit.Action(texts[1]), texts[2], audit.Outcome(texts[3]), texts[4]
	return nil
}
