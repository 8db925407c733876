package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// importing is an import over a store in memory.
type importing struct {
	*importer
	t     *testing.T
	store *memory.Store
}

// newImporting makes an import that writes to out; change may alter settings and store.
func newImporting(t *testing.T, out io.Writer, flags importFlags, change func(*settings, *latchkey.Config)) *importing {
	t.Helper()
	s := &settings{}
	src := sources{env: env()}
	if _, problems := src.load(s.options()); len(problems) > 0 {
		t.Fatal(problems)
	}
	ring, err := keyring.Generate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	store, err := memory.New(memory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := latchkey.Config{Store: store, Keys: ring}
	if change != nil {
		change(s, &cfg)
	}
	m, err := latchkey.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	checker, err := newChecker(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Close(context.Background()), checker.Close(context.Background()), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return &importing{&importer{m: m, checker: checker, flags: &flags, began: m.Now(), actor: "cli:tester/import", out: newResults(out)}, t, store}
}

// live are the live sessions.
func (im *importing) live() []latchkey.Info {
	im.t.Helper()
	var all []latchkey.Info
	q := latchkey.ListQuery{AnyProvider: true, Limit: latchkey.MaxListLimit}
	for {
		infos, next, err := im.m.List(im.t.Context(), q)
		if err != nil {
			im.t.Fatal(err)
		}
		if all = append(all, infos...); next.IsZero() {
			return all
		}
		q.After = next
	}
}

// parsedResult is a result of any kind.
type parsedResult struct {
	Line   int
	ID     string
	Token  string
	Cookie string `json:"set_cookie"`
	Exists bool
	OK     bool
	Error  latchkey.Code
	Detail string
	Errors []latchkey.FieldError
}

func parseResults(t *testing.T, text string) (list []parsedResult) {
	t.Helper()
	for line := range strings.Lines(text) {
		var r parsedResult
		dec := json.NewDecoder(strings.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&r); err != nil {
			t.Fatalf("%v: %.200s", err, line)
		}
		list = append(list, r)
	}
	return list
}

// Whatever stands in a line, it gets one answer, in its place, that repeats nothing of it;
// and the good lines around it are imported.
func TestImportAttack(t *testing.T) {
	long := func(n int) string {
		return `{"subject":"long","user_agent":"` + strings.Repeat("x", n-len(`{"subject":"long","user_agent":""}`)) + `"}`
	}
	cases := []struct {
		name, line string
		want       latchkey.Code // "" for a session
		field      string
	}{
		{"good", `{"subject":"good-1"}`, "", ""},
		{"ten_megabytes", `{"subject":"` + strings.Repeat("secret", 10<<20/6) + `"}`, latchkey.CodeBodyTooLarge, ""},
		{"a_byte_too_long", long(importLine + 1), latchkey.CodeBodyTooLarge, ""},
		{"as_long_as_allowed", long(importLine), "", ""},
		{"empty", ``, latchkey.CodeMalformed, ""},
		{"blanks", " \t ", latchkey.CodeMalformed, ""},
		{"nul", "{\"subject\":\"a\x00b\"}", latchkey.CodeMalformed, ""},
		{"nul_alone", "\x00", latchkey.CodeMalformed, ""},
		{"escaped_nul", `{"subject":"a\u0000b"}`, latchkey.CodeInvalidRequest, "subject"},
		{"bad_utf8", "{\"subject\":\"a\xff\"}", latchkey.CodeMalformed, ""},
		{"half_surrogate", `{"subject":"\ud800"}`, latchkey.CodeMalformed, ""},
		{"byte_order_mark", "\ufeff" + `{"subject":"a"}`, latchkey.CodeMalformed, ""},
		{"member_twice", `{"subject":"a","subject":"b"}`, latchkey.CodeMalformed, ""},
		{"member_twice_below", `{"subject":"a","data":{"x":{"y":1,"y":2}}}`, latchkey.CodeMalformed, ""},
		{"unknown_member", `{"subject":"a","nick":"b"}`, latchkey.CodeInvalidRequest, "nick"},
		{"other_case", `{"Subject":"a"}`, latchkey.CodeInvalidRequest, "Subject"},
		{"control", `{"subject":"a","name":"x\u001b[2J"}`, latchkey.CodeInvalidRequest, "name"},
		{"control_in_data", `{"subject":"a","data":{"x":"\u0007"}}`, latchkey.CodeInvalidRequest, "data"},
		{"control_c1", `{"subject":"a","email":"\u0085"}`, latchkey.CodeInvalidRequest, "email"},
		{"comma_in_role", `{"subject":"a","roles":["x,y"]}`, latchkey.CodeInvalidRequest, "roles"},
		{"empty_role", `{"subject":"a","roles":[""]}`, latchkey.CodeInvalidRequest, "roles"},
		{"roles_as_text", `{"subject":"a","roles":"x"}`, latchkey.CodeInvalidRequest, "roles"},
		{"negative_ttl", `{"subject":"a","ttl_seconds":-5}`, latchkey.CodeInvalidRequest, "ttl_seconds"},
		{"zero_ttl", `{"subject":"a","ttl_seconds":0}`, latchkey.CodeInvalidRequest, "ttl_seconds"},
		{"ttl_above_limit", `{"subject":"a","ttl_seconds":86401}`, latchkey.CodeInvalidRequest, "ttl_seconds"},
		{"ttl_beyond_integers", `{"subject":"a","ttl_seconds":1e300}`, latchkey.CodeInvalidRequest, "ttl_seconds"},
		{"ttl_overflow", `{"subject":"a","ttl_seconds":9223372036854775807}`, latchkey.CodeInvalidRequest, "ttl_seconds"},
		{"future", `{"subject":"a","auth_time":"2999-01-01T00:00:00Z"}`, latchkey.CodeInvalidRequest, "auth_time"},
		{"no_subject", `{"provider":"p"}`, latchkey.CodeInvalidRequest, "subject"},
		{"long_subject", `{"subject":"` + strings.Repeat("x", 256) + `"}`, latchkey.CodeInvalidRequest, "subject"},
		{"no_address", `{"subject":"a","ip":"localhost"}`, latchkey.CodeInvalidRequest, "ip"},
		{"reserved_data", `{"subject":"a","data":{"latchkey.refresh":1}}`, latchkey.CodeInvalidRequest, "data"},
		{"much_data", `{"subject":"a","data":{"x":"` + strings.Repeat("y", 70_000) + `"}}`, latchkey.CodeDataTooLarge, ""},
		{"array", `["subject"]`, latchkey.CodeInvalidRequest, ""},
		{"two_values", `{"subject":"a"} {"subject":"b"}`, latchkey.CodeMalformed, ""},
		{"deep", strings.Repeat("[", 500_000), latchkey.CodeMalformed, ""},
		{"deep_data", `{"subject":"a","data":{"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}}`, latchkey.CodeMalformed, ""},
		{"token_as_name", `{"subject":"a","lk_secretsecret":1}`, latchkey.CodeInvalidRequest, "(name withheld)"},
		{"sid", `{"subject":"a","sid":"1"}`, "", ""},
		{"sid_again", `{"sid":"1","subject":"a"}`, latchkey.CodeConflict, "sid"},
		{"sid_of_another", `{"subject":"b","sid":"1"}`, "", ""},
		{"sid_of_other_provider", `{"subject":"a","sid":"1","provider":"q"}`, "", ""},
		{"nulls", `{"subject":"c","sid":null,"roles":null,"data":null,"ttl_seconds":null}`, "", ""},
		{"carriage_return", "{\"subject\":\"d\"}\r", "", ""},
		{"without_end", `{"subject":"last"}`, "", ""},
	}
	var in, out bytes.Buffer
	for i, c := range cases {
		if in.WriteString(c.line); i < len(cases)-1 {
			in.WriteByte('\n')
		}
	}
	input := in.String()
	im := newImporting(t, &out, importFlags{}, nil)
	if err := im.run(t.Context(), &in); err != nil {
		t.Fatal(err)
	}
	results := parseResults(t, out.String())
	if len(results) != len(cases) {
		t.Fatalf("%d results of %d lines", len(results), len(cases))
	}
	good := 0
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := results[i]
			if r.Line != i+1 || r.Error != c.want || (r.Token == "") != (c.want != "") {
				t.Errorf("line %d: %+v, want %q", i+1, r, c.want)
			}
			if c.want != "" && r.Detail == "" {
				t.Error("nothing says why")
			}
			if c.field != "" && !slices.ContainsFunc(r.Errors, func(f latchkey.FieldError) bool { return f.Field == c.field }) {
				t.Errorf("%+v does not name %s", r.Errors, c.field)
			}
			if c.want != "" {
				return
			}
			good++
			if s, err := im.m.Lookup(t.Context(), latchkey.Lookup{Token: r.Token}); err != nil || s.ID().String() != r.ID {
				t.Error(s.ID(), err)
			}
		})
	}
	// A dry run finds the same wrong, and makes nothing.
	var dry bytes.Buffer
	only := newImporting(t, &dry, importFlags{dryRun: true}, nil)
	if err := only.run(t.Context(), strings.NewReader(input)); err != nil {
		t.Fatal(err)
	}
	for i, r := range parseResults(t, dry.String()) {
		if r.Line != i+1 || r.Error != results[i].Error || r.OK != (r.Error == "") || r.Token != "" || !slices.Equal(r.Errors, results[i].Errors) {
			t.Errorf("line %d, dry: %+v, and then %+v", i+1, r, results[i])
		}
	}
	if n := len(only.live()); n > 0 {
		t.Errorf("a dry run made %d sessions", n)
	}
	if strings.Contains(out.String()+dry.String(), "secretsecret") {
		t.Error("a refusal repeats the line")
	}
	if n := len(im.live()); n != good {
		t.Errorf("%d sessions of %d good lines", n, good)
	}
}

// Under --strict nothing behind the first line that is refused is imported, whatever
// it is refused for.
func TestImportStrict(t *testing.T) {
	for name, bad := range map[string]string{"no_json": `{"subject"`, "unknown_member": `{"subject":"x","y":1}`, "limits": `{"subject":"x","ttl_seconds":90000}`} {
		t.Run(name, func(t *testing.T) {
			var in, out bytes.Buffer
			for i := range 300 {
				if i == 150 {
					in.WriteString(bad + "\n")
				}
				fmt.Fprintf(&in, `{"subject":"user-%d"}`+"\n", i)
			}
			im := newImporting(t, &out, importFlags{strict: true}, nil)
			err := im.run(t.Context(), &in)
			if err == nil || explain(err).status != exitFailed || im.summary(err).Stopped != "strict" || !strings.Contains(err.Error(), "line 151 was refused") {
				t.Errorf("error %v", err)
			}
			if results := parseResults(t, out.String()); len(results) != 151 || results[150].Error == "" || len(im.live()) != 150 {
				t.Errorf("%d results, %d sessions", len(results), len(im.live()))
			}
		})
	}
}

// What a terminal shows meanwhile.
func TestImportProgress(t *testing.T) {
	im := newImporting(t, io.Discard, importFlags{}, nil)
	if got := im.progress(); got != "importing 0 lines" {
		t.Errorf("%q", got)
	}
	input := `{"subject":"a"}` + "\n" + `{}` + "\n"
	im.size = int64(2 * len(input))
	if err := im.run(t.Context(), strings.NewReader(input)); err != nil {
		t.Fatal(err)
	}
	if got := im.progress(); got != "importing [###############...............] 2 lines, 1 refused" {
		t.Errorf("%q", got)
	}
}

// Results are in the order of their lines, and an identity's sessions are made in that
// order, so that a limit leaves the last ones.
func TestImportOrder(t *testing.T) {
	const people, each, limit = 50, 20, 3
	var in, out bytes.Buffer
	for i := range people * each {
		fmt.Fprintf(&in, `{"subject":"user-%d","sid":"%d"}`+"\n", i%people, i/people)
	}
	im := newImporting(t, &out, importFlags{}, func(_ *settings, cfg *latchkey.Config) { cfg.Limit = limit })
	if err := im.run(t.Context(), &in); err != nil {
		t.Fatal(err)
	}
	for i, r := range parseResults(t, out.String()) {
		if r.Line != i+1 || r.Token == "" {
			t.Fatalf("result %d: %+v", i+1, r)
		}
	}
	left := im.live()
	if len(left) != people*limit {
		t.Errorf("%d are left, want %d", len(left), people*limit)
	}
	for _, s := range left {
		if s.SID != "17" && s.SID != "18" && s.SID != "19" {
			t.Errorf("%s of %s is left", s.SID, s.Subject)
		}
	}
}

// However many sessions an identity has, they are not listed for each line; and what has
// ended since they were is not taken for live.
func TestImportManyOfOne(t *testing.T) {
	const before, lines = latchkey.MaxListLimit + 1, 300
	var lists atomic.Int64
	var in, out bytes.Buffer
	im := newImporting(t, &out, importFlags{}, func(_ *settings, cfg *latchkey.Config) {
		faulty := storetest.NewFaulty(cfg.Store)
		faulty.Fail(storetest.Only(storetest.MethodList, func(storetest.Op) (bool, error) {
			lists.Add(1)
			return true, nil
		}))
		cfg.Store, cfg.Limit = faulty, before+lines-2
	})
	for i := range before {
		if _, err := im.m.Issue(t.Context(), latchkey.SignIn{Provider: "api", Subject: "service", SID: fmt.Sprint("old-", i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range lines {
		fmt.Fprintf(&in, `{"subject":"service","sid":"new-%d"}`+"\n", i)
	}
	// The limit has ended the first two by then.
	in.WriteString(`{"subject":"service","sid":"old-1"}` + "\n" + `{"subject":"service","sid":"old-9"}` + "\n")
	if err := im.run(t.Context(), &in); err != nil {
		t.Fatal(err)
	}
	results := parseResults(t, out.String())
	if len(results) != lines+2 || results[lines].Token == "" || !results[lines+1].Exists {
		t.Errorf("%d results, the last %+v", len(results), results[len(results)-2:])
	}
	if n := lists.Load(); n > 2 {
		t.Errorf("the sessions were listed %d times", n)
	}
}

// Many sessions are on their way to the store at a time.
func TestImportIsConcurrent(t *testing.T) {
	const want = 16
	var mu sync.Mutex
	waiting, all := 0, make(chan struct{})
	var in, out bytes.Buffer
	for i := range 200 {
		fmt.Fprintf(&in, `{"subject":"user-%d"}`+"\n", i)
	}
	im := newImporting(t, &out, importFlags{}, func(_ *settings, cfg *latchkey.Config) {
		faulty := storetest.NewFaulty(cfg.Store)
		faulty.Fail(storetest.Only(storetest.MethodCreate, func(storetest.Op) (bool, error) {
			mu.Lock()
			if waiting++; waiting == want {
				close(all)
			}
			mu.Unlock()
			select {
			case <-all:
				return true, nil
			case <-time.After(patience):
				return false, errors.New("the others do not come")
			}
		}))
		cfg.Store = faulty
	})
	if err := im.run(t.Context(), &in); err != nil {
		t.Fatal(err)
	}
	if n := im.counts.imported.Load(); n != 200 {
		t.Errorf("%d imported", n)
	}
}

// A store that goes away ends the import; what was made until then is told.
func TestImportStoreAway(t *testing.T) {
	var in, out bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&in, `{"subject":"user-%d"}`+"\n", i)
	}
	var mu sync.Mutex
	creates := 0
	im := newImporting(t, &out, importFlags{}, func(_ *settings, cfg *latchkey.Config) {
		faulty := storetest.NewFaulty(cfg.Store)
		faulty.Fail(storetest.Only(storetest.MethodCreate, func(storetest.Op) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			if creates++; creates > 300 {
				return false, errors.New("gone")
			}
			return true, nil
		}))
		cfg.Store = faulty
	})
	err := im.run(t.Context(), &in)
	if err == nil || explain(err).status != exitUnavailable || im.summary(err).Stopped != "store_unavailable" {
		t.Errorf("error %v", err)
	}
	told, failed := 0, 0
	for _, r := range parseResults(t, out.String()) {
		switch {
		case r.Token != "":
			told++
		case r.Error == latchkey.CodeStoreUnavailable:
			failed++
		default:
			t.Errorf("%+v", r)
		}
	}
	if told != 300 || len(im.live()) != 300 || failed == 0 || failed > importers {
		t.Errorf("%d told, %d live, %d failed", told, len(im.live()), failed)
	}
}

// Who is thrown out while an import runs is not let in again by it.
func TestImportDuringRevocation(t *testing.T) {
	var out bytes.Buffer
	im := newImporting(t, &out, importFlags{}, nil)
	in, lines := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- im.run(t.Context(), in) }()
	write := func(text string) {
		t.Helper()
		if _, err := io.WriteString(lines, text+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"subject":"alice"}`)
	if _, err := im.m.Revoke(t.Context(), latchkey.Revocation{Provider: "api", Subject: "bob", By: "test"}); err != nil {
		t.Fatal(err)
	}
	write(`{"subject":"bob"}`)
	write(`{"subject":"carol"}`)
	if err := lines.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	results := parseResults(t, out.String())
	if len(results) != 3 || results[1].Error != latchkey.CodeDenied || results[0].Token == "" || results[2].Token == "" {
		t.Errorf("%+v", results)
	}
}

// A stop completes what was read, in full, and nothing more.
func TestImportInterrupted(t *testing.T) {
	var out bytes.Buffer
	im := newImporting(t, &out, importFlags{}, nil)
	in, lines := io.Pipe()
	defer lines.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- im.run(ctx, in) }()
	for i := range 500 {
		if _, err := fmt.Fprintf(lines, `{"subject":"user-%d"}`+"\n", i); err != nil {
			t.Fatal(err)
		}
	}
	for im.counts.lines.Load() < 500 { // the last one is read
		time.Sleep(time.Millisecond)
	}
	cancel()
	err := <-done
	if err == nil || im.summary(err).Stopped != "interrupted" || explain(err).status != exitFailed || !strings.Contains(err.Error(), "interrupted after 500 lines") {
		t.Errorf("error %v", err)
	}
	if n := len(parseResults(t, out.String())); n != 500 || len(im.live()) != 500 {
		t.Errorf("%d results, %d sessions", n, len(im.live()))
	}
}

// The trail has an event for each session, by the importer's name.
func TestImportAudit(t *testing.T) {
	var out bytes.Buffer
	im := newImporting(t, &out, importFlags{}, nil)
	if err := im.run(t.Context(), strings.NewReader(`{"subject":"a"}`+"\n"+`{"subject":"b"}`+"\n")); err != nil {
		t.Fatal(err)
	}
	page, err := im.store.Audit(t.Context(), audit.Query{})
	if err != nil || len(page.Events) != 2 {
		t.Fatal(page, err)
	}
	for _, e := range page.Events {
		if e.Action != audit.Create || e.Actor != "cli:tester/import" {
			t.Errorf("%+v", e)
		}
	}
}

// Whatever the input, there is a result for each line, and it parses.
func FuzzImport(f *testing.F) {
	f.Add(`{"subject":"a"}` + "\n" + `{"subject":"a","sid":"1"}` + "\n" + `{"subject":"a","sid":"1"}`)
	f.Add("\n\n{}\x00\n[1]")
	f.Fuzz(func(t *testing.T, text string) {
		var out bytes.Buffer
		im := newImporting(t, &out, importFlags{}, nil)
		if err := im.run(t.Context(), strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		lines := strings.Count(text, "\n")
		if text != "" && !strings.HasSuffix(text, "\n") {
			lines++
		}
		for i, r := range parseResults(t, out.String()) {
			if r.Line != i+1 || r.Token == "" && r.Error == "" {
				t.Errorf("%+v", r)
			}
		}
		if n := int(im.counts.imported.Load() + im.counts.failed.Load()); n != lines {
			t.Errorf("%d results of %d lines", n, lines)
		}
	})
}
