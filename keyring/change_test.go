package keyring

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var testTime = time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)

func at(d time.Duration) time.Time { return testTime.Add(d) }

func clockAt(now time.Time) func() time.Time { return func() time.Time { return now } }

// newFile makes a keyring with key 1, active from testTime.
func newFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "latchkey.keys")
	if _, err := Create(path, Options{Clock: clockAt(testTime)}); err != nil {
		t.Fatal(err)
	}
	return path
}

func states(infos []Info) string {
	var s []string
	for _, i := range infos {
		s = append(s, strconv.Itoa(int(i.ID))+":"+string(i.State))
	}
	return strings.Join(s, " ")
}

// wantError fails unless err is of the kind and says what is wanted, on one line.
func wantError(t *testing.T, err error, kind Kind, says ...string) {
	t.Helper()
	if !IsKind(err, kind) {
		t.Fatalf("error %v, want one of kind %s", err, kind)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
	if strings.ContainsAny(err.Error(), "\n\r") {
		t.Errorf("error %q is more than one line", err)
	}
}

// TestLifeOfAKey follows two rotations and a retirement through a running ring.
func TestLifeOfAKey(t *testing.T) {
	path := newFile(t)
	r, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(now time.Time, active ID, want string) {
		t.Helper()
		if _, err := r.Reload(); err != nil {
			t.Fatal(err)
		}
		if id, ok := r.Active(now); id != active || !ok {
			t.Errorf("at %s the active key is %d, %v; want %d", now, id, ok, active)
		}
		if got := states(r.Keys(now)); got != want {
			t.Errorf("at %s the keys are %q, want %q", now, got, want)
		}
	}
	expect(at(0), 1, "1:active")
	mac, _ := r.MAC(1, PurposeToken, []byte("m"))

	info, err := Rotate(path, at(time.Hour), DefaultActivationDelay)
	if err != nil || info.ID != 2 || info.State != StateNext ||
		!info.Created.Equal(at(time.Hour)) || !info.ActiveFrom.Equal(at(time.Hour+10*time.Minute)) {
		t.Fatalf("Rotate = %+v, %v", info, err)
	}
	expect(at(time.Hour), 1, "1:active 2:next")
	if !r.Accepts(2) {
		t.Error("the next key is not accepted at once")
	}
	expect(at(time.Hour+10*time.Minute-time.Microsecond), 1, "1:active 2:next")
	expect(at(time.Hour+10*time.Minute), 2, "1:accepted 2:active")

	_, err = Retire(path, 1, at(25*time.Hour), 24*time.Hour)
	wantError(t, err, KindRefused, "key 1", "from 2026-01-03T04:14:06Z")
	allowed := at(25*time.Hour + 10*time.Minute)
	_, err = Retire(path, 1, allowed.Add(-time.Microsecond), 24*time.Hour)
	wantError(t, err, KindRefused)
	if !r.VerifyMAC(1, PurposeToken, []byte("m"), mac[:]) {
		t.Error("an accepted key is refused")
	}
	info, err = Retire(path, 1, allowed, 24*time.Hour)
	if err != nil || info.State != StateRetired || !info.Retired.Equal(allowed) {
		t.Fatalf("Retire = %+v, %v", info, err)
	}
	expect(allowed, 2, "1:retired 2:active")
	if r.Accepts(1) || r.VerifyMAC(1, PurposeToken, []byte("m"), mac[:]) {
		t.Error("a retired key is accepted")
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), "\n1 2026-01-02T03:04:05.678901Z 2026-01-02T03:04:05.678901Z 2026-01-03T04:14:05.678901Z -\n") {
		t.Errorf("the file is %q, %v", text, err)
	}
	// The ID of a retired key is passed over.
	if info, err = Rotate(path, allowed, 0); err != nil || info.ID != 3 || info.State != StateActive {
		t.Errorf("Rotate = %+v, %v", info, err)
	}
}

func TestRetireRefusals(t *testing.T) {
	path := newFile(t)
	for _, r := range []struct{ now, delay time.Duration }{{time.Minute, 0}, {time.Minute, 90 * time.Second}, {time.Hour, time.Hour}} { // keys 2, 3, 4
		if _, err := Rotate(path, at(r.now), r.delay); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := os.ReadFile(path)
	now := at(2 * time.Minute)
	for _, c := range []struct {
		name    string
		id      ID
		longest time.Duration
		kind    Kind
		says    string
	}{
		{"active", 2, time.Hour, KindRefused, "key 2 is the active key"},
		{"next_too_soon", 3, time.Hour, KindRefused, "key 3 becomes active at 2026-01-02T03:06:36Z, too soon"},
		{"next_clock_set_back", 4, time.Hour, KindRefused, "key 4 was made at 2026-01-02T04:04:06Z, after the present time"},
		{"unknown", 9, time.Hour, KindRefused, "there is no key 9"},
		{"zero_id", 0, time.Hour, KindRefused, "there is no key 0"},
		{"too_early", 1, time.Hour, KindRefused, "can be retired from 2026-01-02T04:05:06Z (the longest absolute limit, 1h0m0s"},
		{"no_limit", 1, 0, KindUsage, "must be positive"},
		{"negative_limit", 1, -time.Hour, KindUsage, "must be positive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Retire(path, c.id, now, c.longest)
			wantError(t, err, c.kind, c.says)
		})
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("a refused change changed the file")
	}
	if _, err := Retire(path, 1, at(time.Minute+time.Hour), time.Hour); err != nil {
		t.Fatal(err)
	}
	_, err := Retire(path, 1, at(3*time.Hour), time.Hour)
	wantError(t, err, KindRefused, "key 1 is retired already, since 2026-01-02T04:05:06Z")
}

// TestRetireCountsFromFirstSuccessor: the wait of a key is not shortened or
// lengthened by what its successors' successors do, retired ones included.
func TestRetireCountsFromFirstSuccessor(t *testing.T) {
	path := newFile(t)
	for i := range 3 { // keys 2, 3, 4, active after 1, 2, 3 hours
		if _, err := Rotate(path, at(time.Duration(i+1)*time.Hour), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Retire(path, 2, at(12*time.Hour), 10*time.Hour); err != nil { // superseded after 2 hours
		t.Fatal(err)
	}
	_, err := Retire(path, 1, at(21*time.Hour-1), 20*time.Hour)
	wantError(t, err, KindRefused)
	if _, err := Retire(path, 1, at(21*time.Hour), 20*time.Hour); err != nil {
		t.Error(err)
	}
}

// TestRetireUndoesRotation: a key that was never active is retired at once, and
// then counts as no successor of the one before.
func TestRetireUndoesRotation(t *testing.T) {
	path := newFile(t)
	if _, err := Rotate(path, at(0), MaxActivationDelay); err != nil {
		t.Fatal(err)
	}
	info, err := Retire(path, 2, at(time.Hour), 24*time.Hour)
	if err != nil || info.State != StateRetired {
		t.Fatalf("Retire = %+v, %v", info, err)
	}
	info, err = Rotate(path, at(2*time.Hour), time.Hour)
	if err != nil || info.ID != 3 || !info.ActiveFrom.Equal(at(3*time.Hour)) {
		t.Fatalf("Rotate = %+v, %v; the retired key must not hold it up", info, err)
	}
	r, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := states(r.Keys(at(4 * time.Hour))); got != "1:accepted 2:retired 3:active" {
		t.Errorf("the keys are %q", got)
	}

	// Nor did it supersede key 1, which was in use until key 3 started.
	path = newFile(t)
	for _, step := range []func() (Info, error){
		func() (Info, error) { return Rotate(path, at(0), time.Hour) },
		func() (Info, error) { return Retire(path, 2, at(time.Minute), 24*time.Hour) },
		func() (Info, error) { return Rotate(path, at(2*time.Hour), 0) },
	} {
		if _, err := step(); err != nil {
			t.Fatal(err)
		}
	}
	_, err = Retire(path, 1, at(26*time.Hour-1), 24*time.Hour)
	wantError(t, err, KindRefused, "may still be borne")
	if _, err = Retire(path, 1, at(26*time.Hour), 24*time.Hour); err != nil {
		t.Error(err)
	}
}

// TestRotateNewestWins: whatever the delays and however the clock was stepped,
// the key made last is the one that is active in the end.
func TestRotateNewestWins(t *testing.T) {
	path := newFile(t)
	for _, c := range []struct{ now, delay, from time.Duration }{
		{time.Hour, time.Hour, 2 * time.Hour},
		{time.Hour, 0, 2*time.Hour + time.Microsecond},              // sooner than the one before
		{-time.Hour, time.Minute, 2*time.Hour + 2*time.Microsecond}, // clock stepped back
	} {
		info, err := Rotate(path, at(c.now), c.delay)
		if err != nil || !info.ActiveFrom.Equal(at(c.from)) {
			t.Errorf("Rotate = %+v, %v; want active from %s", info, err, at(c.from))
		}
	}
	_, err := Rotate(path, at(0), -1)
	wantError(t, err, KindUsage, "negative")
	_, err = Rotate(path, at(0), MaxActivationDelay+1)
	wantError(t, err, KindUsage, "30 days")
	_, err = Rotate(path, time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC), 0)
	wantError(t, err, KindUsage, "clock")
}

// TestRotateIDs: after 255 come the lowest that are not acceptable, and none
// when all are.
func TestRotateIDs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	var keys []Key
	for id := 1; id <= 253; id++ {
		k, err := GenerateKey(ID(id), normalTime(at(time.Duration(id)*time.Hour)), nil)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	if err := createFile(path, format(keys)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []ID{254, 255} {
		if info, err := Rotate(path, at(500*time.Hour), 0); err != nil || info.ID != want {
			t.Fatalf("Rotate = %+v, %v; want key %d", info, err, want)
		}
	}
	now := at(1000 * time.Hour)
	_, err := Rotate(path, now, 0)
	wantError(t, err, KindRefused, "retire a key first")
	for _, id := range []ID{9, 4} {
		if _, err := Retire(path, id, now, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []ID{4, 9} {
		info, err := Rotate(path, now, 0)
		if err != nil || info.ID != want || info.State == StateRetired {
			t.Fatalf("Rotate = %+v, %v; want key %d", info, err, want)
		}
	}
	r, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if id, _ := r.Active(now.Add(time.Hour)); id != 9 || len(r.Keys(now)) != 255 {
		t.Errorf("key %d of %d is active, want the newest, 9", id, len(r.Keys(now)))
	}
}

// TestRotateFullWayOut: when all IDs are taken by keys that were rotated in by
// mistake, those that were never active make room at once.
func TestRotateFullWayOut(t *testing.T) {
	path := newFile(t)
	for range 254 {
		if _, err := Rotate(path, at(0), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Rotate(path, at(0), time.Hour)
	wantError(t, err, KindRefused, "never active")
	if _, err := Retire(path, 77, at(time.Minute), 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if info, err := Rotate(path, at(time.Minute), time.Hour); err != nil || info.ID != 77 {
		t.Errorf("Rotate = %+v, %v; want key 77", info, err)
	}
}

// helper runs a function of this test program in a process of its own; TestMain
// dispatches.
func helper(t *testing.T, mode, path string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "KEYRING_TEST_HELPER="+mode, "KEYRING_TEST_PATH="+path)
	c.Stderr = os.Stderr
	return c
}

func TestMain(m *testing.M) {
	path := os.Getenv("KEYRING_TEST_PATH")
	var err error
	switch os.Getenv("KEYRING_TEST_HELPER") {
	case "":
		os.Exit(m.Run())
	case "open":
		// Started processes wait here, so that they go on together.
		if _, err = io.Copy(os.Stdout, os.Stdin); err != nil {
			break
		}
		var r *Ring
		if r, err = Open(path, Options{CreateIfMissing: true}); err == nil {
			mac, _ := r.MAC(1, PurposeToken, nil)
			_, err = os.Stdout.Write(mac[:])
		}
	case "rotate":
		for i := 0; i < 10 && err == nil; i++ {
			_, err = Rotate(path, time.Now(), 0)
		}
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

// TestConcurrentCreation: processes that make the same keyring at once all end
// up with the same key.
func TestConcurrentCreation(t *testing.T) {
	for range 3 {
		path := filepath.Join(t.TempDir(), "keys")
		var processes [4]*exec.Cmd
		var gates [len(processes)]io.WriteCloser
		var macs [len(processes)]bytes.Buffer
		for i := range processes {
			c := helper(t, "open", path)
			c.Stdout = &macs[i]
			gate, err := c.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			processes[i], gates[i] = c, gate
		}
		for _, gate := range gates {
			gate.Close()
		}
		for _, c := range processes {
			if err := c.Wait(); err != nil {
				t.Error(err)
			}
		}
		for i := range macs {
			if macs[i].Len() != 16 || macs[i].String() != macs[0].String() {
				t.Fatalf("the processes read different keys: %x and %x", macs[i].Bytes(), macs[0].Bytes())
			}
		}
		noLeftovers(t, path)
	}
}

// TestOneCreation: of callers that make the same keyring at once one succeeds.
func TestOneCreation(t *testing.T) {
	for range 10 {
		path := filepath.Join(t.TempDir(), "keys")
		var made atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				switch _, err := Create(path, Options{}); {
				case err == nil:
					made.Add(1)
				case !IsKind(err, KindExists):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if made.Load() != 1 {
			t.Fatalf("%d callers made the keyring", made.Load())
		}
		noLeftovers(t, path)
	}
}

// TestConcurrentRotation: of rotations at once, by processes and by goroutines,
// none is lost.
func TestConcurrentRotation(t *testing.T) {
	path := newFile(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := helper(t, "rotate", path).Run(); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for range 10 {
				if _, err := Rotate(path, time.Now(), 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// Readers meanwhile see a whole keyring each time.
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			if _, err := Open(path, Options{}); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	wg.Wait()
	close(stop)
	reader.Wait()
	r, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.Keys(testTime)); n != 41 {
		t.Errorf("%d keys after 40 rotations, want 41", n)
	}
	noLeftovers(t, path)
}

// noLeftovers fails if anything lies beside the keyring.
func noLeftovers(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}
