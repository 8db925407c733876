package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/store/sqlite"
)

// finding is what one check of the doctor found.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"` // "ok", "warn" or "fail"
	Detail string `json:"detail"`
	Advice string `json:"advice"` // what to do; "" when nothing is to be done
}

const (
	fine = "ok"
	warn = "warn"
	fail = "fail"
)

// Bounds of what the doctor finds in order.
const (
	oldKey      = 365 * 24 * time.Hour
	certSoon    = 14 * 24 * time.Hour
	clockSlack  = 5 * time.Second
	slowTrip    = 500 * time.Millisecond
	leastSpace  = 64 << 20
	littleSpace = 1 << 30
)

// doctor gathers findings.
type doctor struct {
	s    *settings
	now  time.Time
	list []finding
	away bool // the store gave no answer
}

func (d *doctor) add(check, status, detail, advice string) {
	if status == fine {
		advice = ""
	}
	d.list = append(d.list, finding{check, status, detail, advice})
}

func (p *program) doctorCommand() *cobra.Command {
	s, asJSON := &settings{}, false
	return p.cobra(s, command{
		use: "doctor", short: "Check keys, store, clock and disk, and say what to do",
		long: `Check what the daemon needs: the keyring's mode and age, the store's reach,
schema, durability and a round trip of writing and reading (a session is made,
ended and erased, which leaves events in the audit trail), how long a read takes
and how long after a revocation a second node still grants, the clock, the disk, the
TLS certificate, the upstream, which is asked about a token that nobody has, and the
identity providers, which are asked for their configuration and keys. The status is 4 when the store is absent or gives no answer, and
1 when another check fails.`,
		example:  "  latchkey doctor\n  latchkey doctor --config /etc/latchkey.yaml --json",
		settings: append([]string{"config", "store", "feed-url", "keys", "admin-key", "demo", "staleness", "tls-cert", "tls-key"}, s.upstream.names()...), own: []option{jsonOption(&asJSON)},
		check: func([]string) []string {
			return slices.Concat(s.checkStore(), s.checkAdmin(), s.checkUpstream(), s.checkProviders())
		},
		do: func(ctx context.Context, _ []string) error {
			d := &doctor{s: s, now: time.Now()}
			d.keys()
			d.store(ctx)
			d.disk()
			d.files()
			d.certificate()
			d.upstream(ctx)
			d.providers(ctx)
			return d.print(p, asJSON)
		},
	})
}

// print tells the findings; a failed check fails the command.
func (d *doctor) print(p *program, asJSON bool) error {
	failures := 0
	var rows [][]string
	for _, f := range d.list {
		if f.Status == fail {
			failures++
		}
		rows = append(rows, []string{f.Status, f.Check, f.Detail})
		if f.Advice != "" {
			rows = append(rows, []string{"", "", "→ " + f.Advice})
		}
	}
	if asJSON {
		if err := printJSON(p.out, map[string]any{"checks": d.list}); err != nil {
			return err
		}
	} else if err := table(p.out, rows); err != nil {
		return err
	}
	switch {
	case failures == 0:
		return nil
	case d.away:
		return &failure{status: exitUnavailable, problems: []string{plural(failures, "check", "checks") + " failed"}}
	}
	return failed("", "%s failed", plural(failures, "check", "checks"))
}

// keys checks the keyring: it opens only when its mode is right.
func (d *doctor) keys() {
	ring, err := keyring.Open(d.s.keys, keyring.Options{})
	if err != nil {
		d.add("keys", fail, strings.TrimPrefix(strings.Join(explain(err).problems, "; "), "keyring "), "the daemon does not start without a keyring that only its owner reads")
		return
	}
	for _, k := range ring.Keys(d.now) {
		if k.State != keyring.StateActive {
			continue
		}
		detail := fmt.Sprintf("%s: %s, key %d active, made %s", d.s.keys, ring, k.ID, when(k.Created, d.now))
		switch age := d.now.Sub(k.Created); {
		case age > oldKey:
			d.add("keys", warn, detail, "the key is old: `latchkey key rotate` adds its successor, and nobody is signed out")
		case k.ActiveFrom.After(d.now):
			d.add("keys", warn, detail, "the key is used before its time, because no other is there: check the clock")
		default:
			d.add("keys", fine, detail, "")
		}
	}
}

// store checks that the store can be reached and works.
func (d *doctor) store(ctx context.Context) {
	store, err := openExisting(ctx, d.s)
	if err != nil {
		f := explain(err)
		d.away = f.status == exitUnavailable
		d.add("store", fail, strings.Join(f.problems, "; "), f.hint)
		return
	}
	defer func() {
		if err := store.Close(); err != nil {
			d.add("store", fail, "closing: "+explain(err).problems[0], "")
		}
	}()
	d.add("store", fine, redact(d.s.store)+" can be opened", "")
	d.schema(store)
	if err := d.roundTrip(ctx, store); err != nil {
		d.away = explain(err).status == exitUnavailable
		d.add("round trip", fail, strings.Join(explain(err).problems, "; "), "the store cannot be written or does not give back what was written")
		return
	}
	if err := d.propagation(ctx, store); err != nil {
		d.away = explain(err).status == exitUnavailable
		d.add("revocation", fail, strings.Join(explain(err).problems, "; "), "a second node could not be measured")
	}
}

// schema checks the tables, and that acknowledged changes survive a loss of power.
func (d *doctor) schema(store latchkey.Store) {
	if version, needs, known, ok := schemaOf(store); ok {
		detail := fmt.Sprintf("version %d, usable by programs that know %d or later; this one knows %d", version, needs, known)
		if version > known {
			d.add("schema", warn, detail, "a newer program has migrated the store; finish the update of this one")
		} else {
			d.add("schema", fine, detail, "")
		}
	}
	detail, warnings := durability(store)
	for _, w := range warnings {
		d.add("durability", warn, w, detail)
	}
	if len(warnings) == 0 && detail != "" {
		d.add("durability", fine, detail, "")
	}
	if db, ok := store.(*sqlite.Store); ok {
		if ahead := db.Ahead(); ahead > clockSlack {
			d.add("clock", warn, fmt.Sprintf("the newest entry was made %s in the future: a clock has been set back", ahead.Round(time.Second)), "keep the clock by NTP; limits are judged by it")
		}
	}
}

// roundTrip makes a session, reads, ends and erases it, and compares clocks on the way.
func (d *doctor) roundTrip(ctx context.Context, store latchkey.Store) error {
	ring, err := keyring.Generate(d.now)
	if err != nil {
		return err
	}
	m, err := latchkey.New(latchkey.Config{Store: store, Keys: ring})
	if err != nil {
		return err
	}
	defer m.Close(ctx)
	who, by := latchkey.Identity{Provider: "latchkey-doctor", Subject: "check"}, actor()
	began := time.Now()
	issued, err := m.Issue(ctx, latchkey.SignIn{Provider: who.Provider, Subject: who.Subject, Lifetime: time.Minute, Idle: time.Minute, By: by})
	if err != nil {
		return err
	}
	clock := issued.Record.CreatedAt.Sub(began)
	got, err := store.Get(ctx, issued.Record.ID)
	if err != nil {
		return err
	}
	if got.SecretHash != issued.Record.SecretHash || got.Subject != who.Subject {
		return errors.New("the session read is not the one written")
	}
	if _, err := m.Revoke(ctx, latchkey.Revocation{ID: issued.Record.ID, By: by, Reason: "doctor"}); err != nil {
		return err
	}
	if _, err := m.Lookup(ctx, latchkey.Lookup{Token: issued.Token, AskStore: true}); latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
		return errors.New("an ended session was not refused")
	}
	event := audit.Event{Time: m.Now(), Action: audit.Purge, Actor: by, Outcome: audit.Done, Reason: "doctor"}
	if _, err := m.Purge(ctx, latchkey.Purge{Erase: who, Event: event}); err != nil {
		return err
	}
	took := time.Since(began)
	status, advice := fine, ""
	if took > slowTrip {
		status, advice = warn, "four durable writes took long: look at the disk and at what else uses it"
	}
	d.add("round trip", status, fmt.Sprintf("written, read, ended and erased in %s", took.Round(100*time.Microsecond)), advice)
	d.clock(m, clock)
	return nil
}

// clock compares the store's clock with this machine's.
func (d *doctor) clock(m *latchkey.Manager, difference time.Duration) {
	if max(difference, -difference) > clockSlack {
		d.add("clock", warn, fmt.Sprintf("the store's clock and this machine's are %s apart", difference.Round(time.Millisecond)), "keep both by NTP; limits are judged by the store's")
		return
	}
	d.add("clock", fine, "agrees with the store: "+exact(m.Now()), "")
}

// disk checks the room where the database is.
func (d *doctor) disk() {
	scheme, path := d.s.storeScheme()
	if scheme != "sqlite" {
		return
	}
	free, ok := freeSpace(filepath.Dir(path))
	if !ok {
		return
	}
	detail := fmt.Sprintf("%d MiB are free beside the database", free>>20)
	switch {
	case free < leastSpace:
		d.add("disk", fail, detail, "make room, or move the database: a full disk refuses every sign-in")
	case free < littleSpace:
		d.add("disk", warn, detail, "make room; a shorter --retention needs less")
	default:
		d.add("disk", fine, detail, "")
	}
}

// files checks who can read the files that hold secrets.
func (d *doctor) files() {
	path, isFile := strings.CutPrefix(d.s.adminKey, "file:")
	switch {
	case isFile && othersCanRead(path):
		d.add("admin key", warn, path+" can be read by other users", "chmod 600 "+path)
	case isFile:
		d.add("admin key", fine, path+" can be read by its owner only", "")
	case d.s.adminKey != "" && d.s.configFile != "" && othersCanRead(d.s.configFile):
		d.add("admin key", warn, d.s.configFile+" can be read by other users", "keep the admin key in a file of its own: --admin-key file:PATH")
	case d.s.adminKey == "":
		d.add("admin key", fine, "none: the admin routes are off", "")
	}
	if scheme, path := d.s.storeScheme(); scheme == "sqlite" && othersCanRead(path) {
		d.add("database file", warn, path+" can be read by other users", "it holds names, addresses and the audit trail, though nothing that signs in; chmod 600 "+path)
	}
}

// certificate checks that the TLS certificate goes with its key and has time left.
func (d *doctor) certificate() {
	if d.s.tlsCert == "" && d.s.tlsKey == "" {
		return
	}
	if problems := d.s.checkTLS(); len(problems) > 0 {
		d.add("certificate", fail, strings.Join(problems, "; "), "the daemon does not start with it")
		return
	}
	pair, err := tls.LoadX509KeyPair(d.s.tlsCert, d.s.tlsKey)
	if err != nil || pair.Leaf == nil {
		return // it was readable a moment ago
	}
	detail := fmt.Sprintf("%s ends %s", d.s.tlsCert, when(pair.Leaf.NotAfter, d.now))
	switch left := pair.Leaf.NotAfter.Sub(d.now); {
	case left <= 0:
		d.add("certificate", fail, detail, "renew it, then send the daemon SIGHUP")
	case left < certSoon:
		d.add("certificate", warn, detail, "renew it soon, then send the daemon SIGHUP")
	default:
		d.add("certificate", fine, detail, "")
	}
}

// othersCanRead reports whether a file's mode lets other users read it.
func othersCanRead(path string) bool {
	info, err := os.Stat(path)
	return err == nil && hasModes() && info.Mode().Perm()&0o044 != 0
}

// hasModes reports whether files have modes here that say who can read them.
func hasModes() bool { return runtime.GOOS != "windows" && runtime.GOOS != "plan9" }
