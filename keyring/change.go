package keyring

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// DefaultActivationDelay is how long after its making a rotated-in key becomes
// active: many times [DefaultReloadInterval], so that every process knows it.
const DefaultActivationDelay = 10 * time.Minute

// MaxActivationDelay bounds the delay of [Rotate]: a key that waits for longer
// is a slip of the pen, and holds up every key after it.
const MaxActivationDelay = 30 * 24 * time.Hour

// undoMargin is how long before its start a key can no longer be taken back: a
// process that has not read the source again since would begin to use it.
const undoMargin = 2 * DefaultReloadInterval

// Create makes the keyring file source with one random key, ID 1, active at
// once, and describes the key. The file has the mode 0600 and appears whole, on
// stable storage, or not at all; of several processes that make it at once one
// succeeds. An existing file is [KindExists] and untouched. CreateIfMissing has no
// meaning here.
func Create(source string, opts Options) (Info, error) {
	if err := changeable(source); err != nil {
		return Info{}, err
	}
	now := opts.now()
	k, err := GenerateKey(1, now, opts.Random)
	if err != nil {
		return Info{}, err
	}
	snap, text, err := compose(source, []Key{k})
	if err != nil {
		return Info{}, err
	}
	if err := createFile(source, text); err != nil {
		return Info{}, err
	}
	return snap.info(snap.keys[0], now), nil
}

// Rotate adds a random key to the keyring file source and describes it. The key
// is accepted at once and active from now+delay, or from just after the key that
// starts last when that is later, so that the newest key always becomes the
// active one. Delays are 0 to [MaxActivationDelay], else [KindUsage].
// Between running processes the delay must exceed their reload
// interval; [DefaultActivationDelay] does, 0 suits a single process. The new ID is
// one more than the highest, and after 255 the lowest that is not acceptable.
// Several calls at once, in several processes too, each add their key.
func Rotate(source string, now time.Time, delay time.Duration) (Info, error) {
	if delay < 0 {
		return Info{}, newError(KindUsage, "", "the activation delay is negative; give 0 or more")
	}
	if delay > MaxActivationDelay {
		return Info{}, newError(KindUsage, "", "the activation delay is above the most, 30 days")
	}
	return change(source, now, func(snap *snapshot) ([]Key, ID, error) {
		id, ok := nextID(snap)
		if !ok {
			return nil, 0, newError(KindRefused, source, "all 255 key ids are acceptable; retire a key first: a superseded one, or one that was never active")
		}
		k, err := GenerateKey(id, normalTime(now), nil)
		if err != nil {
			return nil, 0, err
		}
		k.ActiveFrom = normalTime(now.Add(delay))
		for _, other := range snap.keys {
			if after := other.ActiveFrom.Add(time.Microsecond); other.acceptable() && k.ActiveFrom.Before(after) {
				k.ActiveFrom = after
			}
		}
		keys := slices.DeleteFunc(slices.Clone(snap.keys), func(o Key) bool { return o.ID == id })
		return append(keys, k), id, nil
	})
}

// nextID returns the ID for a new key.
func nextID(snap *snapshot) (ID, bool) {
	if last := snap.keys[len(snap.keys)-1].ID; last < 255 {
		return last + 1, true
	}
	for id := 1; id <= 255; id++ {
		if snap.secrets[id] == nil {
			return ID(id), true
		}
	}
	return 0, false
}

// Retire makes the keyring file source refuse the key id from now on, erases its
// bytes there, and describes it. That ends every session whose token still
// bears the key, so it is refused (with [KindRefused]; the message says from when
// it is allowed) while the key is active, and until longest has passed since its
// successor became active: longest is the longest absolute limit of a session in
// use, and must be positive. A key that was never active bears no token and is
// retired at once, which undoes a rotation, but for the last minute before its
// start, when a process may use it before it has read the source again.
func Retire(source string, id ID, now time.Time, longest time.Duration) (Info, error) {
	if longest <= 0 {
		return Info{}, newError(KindUsage, "", "the longest absolute limit must be positive")
	}
	return change(source, now, func(snap *snapshot) ([]Key, ID, error) {
		name := "key " + strconv.Itoa(int(id))
		k, ok := snap.find(id)
		if !ok {
			return nil, 0, newError(KindRefused, source, "there is no "+name+"; `latchkey key list` shows the keys")
		}
		switch snap.info(k, now).State {
		case StateRetired:
			return nil, 0, newError(KindRefused, source, name+" is retired already, since "+instant(k.Retired))
		case StateActive:
			return nil, 0, newError(KindRefused, source, name+" is the active key; add its successor with `latchkey key rotate` first")
		case StateNext:
			if err := takeBack(source, name, k, now); err != nil {
				return nil, 0, err
			}
		default:
			if from := snap.superseded(k).Add(longest); now.Before(from) {
				return nil, 0, newError(KindRefused, source, fmt.Sprintf(
					"%s may still be borne by live sessions; it can be retired from %s (the longest absolute limit, %s, after it was superseded)",
					name, instant(from), longest))
			}
		}
		keys := slices.Clone(snap.keys)
		i := slices.IndexFunc(keys, func(o Key) bool { return o.ID == id })
		keys[i].Retired, keys[i].secret = normalTime(now), nil
		return keys, id, nil
	})
}

// takeBack returns why a key whose start is to come cannot be retired at once.
func takeBack(source, name string, k Key, now time.Time) error {
	switch {
	case now.Before(k.Created):
		// The clock has been set back, so the key may have been active before.
		return newError(KindRefused, source, name+" was made at "+instant(k.Created)+", after the present time; check the clock")
	case k.ActiveFrom.Sub(now) < undoMargin:
		return newError(KindRefused, source, name+" becomes active at "+instant(k.ActiveFrom)+
			", too soon for every process to hear of a retirement; add its successor with `latchkey key rotate` instead")
	}
	return nil
}

// superseded returns when k, which has been active, stopped being so: at the
// start of the key that started next after it, be that one retired by now. A key
// that was retired before its start has superseded nothing.
func (s *snapshot) superseded(k Key) (at time.Time) {
	mine := start{k.ActiveFrom.UnixMicro(), k.ID}
	for _, o := range s.keys {
		later := start{o.ActiveFrom.UnixMicro(), o.ID}.compare(mine) > 0
		started := o.acceptable() || o.ActiveFrom.Before(o.Retired)
		if later && started && (at.IsZero() || o.ActiveFrom.Before(at)) {
			at = o.ActiveFrom
		}
	}
	return at
}

// instant formats a time for messages: to the second, rounded up so that the
// command succeeds when repeated at the time that was shown.
func instant(t time.Time) string {
	return t.Add(time.Second - 1).Truncate(time.Second).UTC().Format(time.RFC3339)
}

// change replaces the keys in a file by what edit makes of them, and describes
// the key that edit names.
func change(source string, now time.Time, edit func(*snapshot) ([]Key, ID, error)) (info Info, err error) {
	if err := changeable(source); err != nil {
		return Info{}, err
	}
	// A rename onto a symbolic link would replace the link.
	path, err := filepath.EvalSymlinks(source)
	if err != nil {
		if _, _, rerr := readFile(source, source); rerr != nil {
			return Info{}, rerr // says better what is wrong
		}
		return Info{}, ioError(source, "follow it", err)
	}
	unlock, err := lockFolder(source, filepath.Dir(path))
	if err != nil {
		return Info{}, err
	}
	defer unlock()

	text, old, err := readFile(path, source)
	if err != nil {
		return Info{}, err
	}
	snap, err := parseSnapshot(source, text)
	if err != nil {
		return Info{}, err
	}
	keys, id, err := edit(snap)
	if err != nil {
		return Info{}, err
	}
	if snap, text, err = compose(source, keys); err != nil {
		return Info{}, err
	}
	if err := replaceFile(path, text, old); err != nil {
		return Info{}, err
	}
	k, _ := snap.find(id)
	return snap.info(k, now), nil
}

// compose formats keys and reads the text back: no file is written that would
// not be understood, whatever the clock said.
func compose(source string, keys []Key) (*snapshot, string, error) {
	snap, err := newSnapshot(keys, 0)
	if err != nil {
		return nil, "", err
	}
	text := format(snap.keys)
	if again, problems := parse(text); len(problems) > 0 || !slices.EqualFunc(again, snap.keys, Key.same) {
		return nil, "", newError(KindUsage, source, "the keyring cannot be written; check that the clock stands between 1970 and 9999")
	}
	return snap, text, nil
}

// changeable refuses sources that only others can change.
func changeable(source string) error {
	_, isEnv, err := splitSource(source)
	if err == nil && isEnv {
		err = newError(KindReadOnly, source, "an environment variable cannot be changed from here; change a keyring file and give the variable its text")
	}
	return err
}

func modeText(m fs.FileMode) string { return fmt.Sprintf("%04o", uint32(m)) }
