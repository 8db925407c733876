package keyring

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Ring is a set of keys that can be replaced while it is in use. All its methods
// are safe for concurrent use; those that only read take no lock. Make one with
// [Open], [New] or [Generate]; the zero Ring has no keys and refuses everything.
type Ring struct {
	source string // path or "env:NAME"; empty for a ring in memory
	snap   atomic.Pointer[snapshot]
	mu     sync.Mutex // held while the snapshot is replaced
}

// snapshot is the keys at one version. It is never changed once published, so a
// reader that loaded it sees keys and version that belong together.
type snapshot struct {
	version uint64
	keys    []Key // ascending by ID
	secrets [256]*secret
	starts  []start // acceptable keys, latest first
}

// start says from when (microseconds since 1970) an acceptable key is active.
type start struct {
	at int64
	id ID
}

// New returns a ring in memory with the given keys, whose times are cut to
// microseconds. It refuses a set without an acceptable key, ID 0, an ID or
// bytes that occur twice, a key of zeros, and a retired key that still has its
// bytes; the error, an [*Error], lists every fault.
func New(keys ...Key) (*Ring, error) {
	snap, err := newSnapshot(keys, 1)
	if err != nil {
		return nil, err
	}
	r := &Ring{}
	r.snap.Store(snap)
	return r, nil
}

// Generate returns a ring in memory with one random key, active from now.
func Generate(now time.Time) (*Ring, error) {
	k, err := GenerateKey(1, now, nil)
	if err != nil {
		return nil, err
	}
	return New(k)
}

// Set replaces the keys of a ring in memory, under the rules of [New], and
// reports whether anything changed. On an error the old keys stay in force. A
// ring with a source is refused: its keys are changed where it reads them.
func (r *Ring) Set(keys ...Key) (changed bool, err error) {
	if r.source != "" {
		return false, newError(KindReadOnly, r.source, "the keys come from there; change them there and reload")
	}
	snap, err := newSnapshot(keys, 0)
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replace(snap), nil
}

// replace publishes snap as the next version unless it equals the current one.
// The caller holds r.mu.
func (r *Ring) replace(snap *snapshot) (changed bool) {
	old := r.load()
	if slices.EqualFunc(old.keys, snap.keys, Key.same) {
		return false
	}
	snap.version = old.version + 1
	r.snap.Store(snap)
	return true
}

// newSnapshot checks keys and arranges them for reading.
func newSnapshot(keys []Key, version uint64) (*snapshot, error) {
	keys = slices.Clone(keys)
	for i := range keys {
		keys[i] = keys[i].normal()
	}
	if p := checkKeys(keys, func(i int) string { return keys[i].String() }); len(p) > 0 {
		return nil, newError(KindUsage, "", p...)
	}
	return arrange(keys, version), nil
}

// arrange builds a snapshot from keys that have been checked, with times in
// microseconds.
func arrange(keys []Key, version uint64) *snapshot {
	s := &snapshot{version: version}
	for _, k := range keys {
		s.keys = append(s.keys, k)
		if k.acceptable() {
			s.secrets[k.ID] = k.secret
			s.starts = append(s.starts, start{k.ActiveFrom.UnixMicro(), k.ID})
		}
	}
	slices.SortFunc(s.keys, func(a, b Key) int { return int(a.ID) - int(b.ID) })
	slices.SortFunc(s.starts, func(a, b start) int { return b.compare(a) })
	return s
}

// compare orders starts by time, and by ID among equal times.
func (s start) compare(o start) int {
	switch {
	case s.at != o.at && s.at < o.at:
		return -1
	case s.at != o.at:
		return 1
	}
	return int(s.id) - int(o.id)
}

// load returns the current snapshot, an empty one for the zero Ring.
func (r *Ring) load() *snapshot {
	if s := r.snap.Load(); s != nil {
		return s
	}
	return &snapshot{}
}

// Active returns the key to make new MACs with: of the acceptable keys whose
// ActiveFrom is not after now, the one with the latest ActiveFrom (the highest
// ID among equals). When the clock stands before all of them, because it was
// stepped back after the first key was made, it is the one that starts first:
// every process accepts it already, and refusing would stop all sign-ins. ok is
// false only when there is no acceptable key.
func (r *Ring) Active(now time.Time) (id ID, ok bool) { return r.load().active(now) }

func (s *snapshot) active(now time.Time) (ID, bool) {
	at := now.UnixMicro()
	for _, st := range s.starts {
		if st.at <= at {
			return st.id, true
		}
	}
	if n := len(s.starts); n > 0 {
		return s.starts[n-1].id, true
	}
	return 0, false
}

// Accepts reports whether the key id is in the ring and not retired.
func (r *Ring) Accepts(id ID) bool { return r.load().secrets[id] != nil }

// Version returns a number that grows at every change of the keys, and only
// then; it costs two loads. What was verified before it was read may have been
// verified with other keys: whoever stores a verdict with a version must
// read the version first and verify afterwards.
func (r *Ring) Version() uint64 {
	if s := r.snap.Load(); s != nil {
		return s.version
	}
	return 0
}

// Source returns the path or "env:NAME" that the ring was opened from, and ""
// for a ring in memory.
func (r *Ring) Source() string { return r.source }

// Keys lists the keys, ascending by ID, with their states at now.
func (r *Ring) Keys(now time.Time) []Info { return r.load().infos(now) }

func (s *snapshot) infos(now time.Time) []Info {
	list := make([]Info, len(s.keys))
	for i, k := range s.keys {
		list[i] = s.info(k, now)
	}
	return list
}

func (s *snapshot) info(k Key, now time.Time) Info {
	i := Info{ID: k.ID, Created: k.Created, ActiveFrom: k.ActiveFrom, Retired: k.Retired, State: StateAccepted}
	active, _ := s.active(now)
	switch {
	case !k.acceptable():
		i.State = StateRetired
	case k.ID == active:
		i.State = StateActive
	case k.ActiveFrom.UnixMicro() > now.UnixMicro():
		i.State = StateNext
	}
	return i
}

// find returns the key with the given ID, retired ones included.
func (s *snapshot) find(id ID) (Key, bool) {
	for _, k := range s.keys {
		if k.ID == id {
			return k, true
		}
	}
	return Key{}, false
}

// String names the acceptable keys, as in "keyring with keys 1, 2".
func (r *Ring) String() string {
	var ids []string
	for _, k := range r.load().keys {
		if k.acceptable() {
			ids = append(ids, strconv.Itoa(int(k.ID)))
		}
	}
	switch len(ids) {
	case 0:
		return "keyring without keys"
	case 1:
		return "keyring with key " + ids[0]
	}
	return "keyring with keys " + strings.Join(ids, ", ")
}

// GoString is [Ring.String].
func (r *Ring) GoString() string { return r.String() }

// Format writes [Ring.String] for every verb and flag.
func (r *Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// LogValue is [Ring.String], for log/slog.
func (r *Ring) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalJSON returns [Ring.String] as a JSON string.
func (r *Ring) MarshalJSON() ([]byte, error) { return strconv.AppendQuote(nil, r.String()), nil }
