package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/server/api"
)

func (p *program) sessionCommands() []*cobra.Command {
	return []*cobra.Command{p.sessionIssue(), p.sessionShow(), p.sessionList(), p.sessionRevoke(), p.sessionPurge()}
}

// actor is who the audit trail says it was: the user of the operating system.
func actor() string {
	name := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	return "cli:" + oneLine(name)
}

// withManager opens the store and a Manager over it for f, and closes both. With
// keys the Manager can issue tokens; otherwise it has a key of its own, and f must
// not touch any.
func (p *program) withManager(ctx context.Context, s *settings, keys bool, f func(*latchkey.Manager, latchkey.Store) error) (err error) {
	ring, err := keyring.Generate(time.Now())
	if keys {
		ring, err = keyring.Open(s.keys, keyring.Options{})
	}
	if err != nil {
		return err
	}
	store, err := openExisting(ctx, s)
	if err != nil {
		return err
	}
	defer closeStore(store, &err)
	cfg := s.library()
	cfg.Store, cfg.Keys = store, ring
	if s.stateless { // it holds nothing, as it is never started: rows are asked
		if cfg.Cache, err = nearcache.New(nearcache.Config{Store: store}); err != nil {
			return err
		}
		cfg.Stateless = true
	}
	m, err := latchkey.New(cfg)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := m.Close(ctx); err == nil {
			err = cerr
		}
	}()
	return f(m, store)
}

// issueFlags are what `session issue` is told about the session.
type issueFlags struct {
	subject, provider, email, name, assurance, authTime, sid, ip, userAgent, data string
	role, roles, method, methods                                                  []string
	ttl, idle                                                                     time.Duration
	json                                                                          bool
}

func (f *issueFlags) options() []option {
	return []option{
		{name: "subject", kind: "name", into: &f.subject, local: true, help: "whom the session is for (required)"},
		{name: "provider", kind: "id", def: "api", into: &f.provider, local: true, help: "who vouches for the subject"},
		{name: "email", kind: "address", into: &f.email, local: true, help: "e-mail address"},
		{name: "name", kind: "name", into: &f.name, local: true, help: "name to show"},
		{name: "role", kind: "role", into: &f.role, local: true, help: "a role; may be repeated"},
		{name: "roles", kind: "roles", into: &f.roles, local: true, help: "roles, comma-separated"},
		{name: "method", kind: "amr", into: &f.method, local: true, help: "an authentication method (RFC 8176), such as pwd; may be repeated"},
		{name: "methods", kind: "amrs", into: &f.methods, local: true, help: "authentication methods, comma-separated"},
		{name: "assurance", kind: "acr", into: &f.assurance, local: true, help: "authentication context class, such as aal2"},
		{name: "auth-time", kind: "time", into: &f.authTime, local: true, help: "when the user authenticated (RFC 3339; default: now)"},
		{name: "sid", kind: "id", into: &f.sid, local: true, help: "the provider's own session"},
		{name: "ip", kind: "address", into: &f.ip, local: true, help: "the client's address, kept as far as --privacy allows"},
		{name: "user-agent", kind: "text", into: &f.userAgent, local: true, help: "the client's user agent, kept as far as --privacy allows"},
		{name: "data", kind: "JSON", into: &f.data, local: true, help: "session data, a JSON object"},
		{name: "ttl", kind: "duration", into: &f.ttl, local: true, help: "a shorter absolute limit for this session"},
		{name: "session-idle", kind: "duration", into: &f.idle, local: true, help: "a shorter idle limit for this session"},
		jsonOption(&f.json),
	}
}

// joined is the values of a flag for one and those of its comma-separated sister.
func joined(one, lists []string) []string {
	all := slices.Clone(one)
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			all = append(all, strings.TrimSpace(item))
		}
	}
	return all
}

// signIn is the session that the flags describe, with everything wrong with them
// that the library does not see, or has other words for. idle and absolute are
// the limits configured.
func (f *issueFlags) signIn(set map[string]bool, idle, absolute time.Duration) (in latchkey.SignIn, problems []string) {
	in = latchkey.SignIn{Provider: f.provider, Subject: f.subject, Email: f.email, Name: f.name, Roles: joined(f.role, f.roles), Methods: joined(f.method, f.methods),
		Assurance: f.assurance, SID: f.sid, IP: f.ip, UserAgent: f.userAgent, Lifetime: f.ttl, Idle: f.idle, By: actor()}
	for _, l := range []struct {
		name, most string
		d, limit   time.Duration
	}{{"ttl", "absolute", f.ttl, absolute}, {"session-idle", "idle", f.idle, idle}} {
		switch {
		case set[l.name] && l.d < time.Second:
			problems = append(problems, "--"+l.name+": must be 1s or more")
		case l.d > l.limit:
			problems = append(problems, fmt.Sprintf("--%s: %s is above the %s limit of %s", l.name, formatDuration(l.d), l.most, formatDuration(l.limit)))
		}
	}
	if f.provider == "" {
		problems = append(problems, "--provider: is empty")
	}
	if f.authTime != "" {
		t, err := time.Parse(time.RFC3339Nano, f.authTime)
		if err != nil {
			problems = append(problems, "--auth-time: "+shown(f.authTime)+" is not a time such as 2026-01-02T15:04:05Z")
		}
		in.AuthTime = t
	}
	if f.data != "" {
		// The value is not repeated: session data is nobody's business.
		if err := json.Unmarshal([]byte(f.data), &in.Data); err != nil || in.Data == nil {
			problems = append(problems, `--data: is not a JSON object such as {"cart":3}`)
		}
	}
	return in, problems
}

func (p *program) sessionIssue() *cobra.Command {
	s, f := &settings{}, &issueFlags{}
	var in latchkey.SignIn
	return p.cobra(s, command{
		use: "issue", short: "Make a session and print its token",
		long: `Make a session and print its token, which is not kept anywhere and cannot be
printed again. Without --json, standard output holds the token alone.`,
		example: `  latchkey session issue --subject alice
  latchkey session issue --subject alice --provider corp --role admin --ttl 15m --json`,
		settings: append([]string{"config", "store", "keys", "demo", "listen"}, policyOptions...), own: f.options(),
		check: func([]string) (problems []string) {
			idle, absolute := s.limits()
			in, problems = f.signIn(s.given, idle, absolute)
			problems = append(problems, s.checkStore()...)
			problems = append(problems, s.checkDemo()...)
			problems = append(problems, s.checkPublic()...)
			bad := s.trial(func(m *latchkey.Manager) error {
				_, err := m.Issue(context.Background(), in)
				return err
			})
			return append(append(problems, besides(problems, bad)...), s.checkKeys(false)...)
		},
		do: func(ctx context.Context, _ []string) error {
			return p.withManager(ctx, s, true, func(m *latchkey.Manager, _ latchkey.Store) error {
				issued, err := m.Issue(ctx, in)
				if err != nil {
					return err
				}
				info := issued.Record.Info(m.Now())
				if f.json {
					return printJSON(p.out, api.Issued{Session: api.SessionOf(info), Token: issued.Token, SetCookie: issued.SetCookie})
				}
				message(p.err, "session %s for %s, until %s", info.ID, identity(info.Provider, info.Subject), when(info.ExpiresAt, m.Now()))
				message(p.err, "this is the token's only appearance; keep it secret")
				_, err = fmt.Fprintln(p.out, issued.Token)
				return err
			})
		},
	})
}

// parseID returns what is wrong with a positional session ID.
func parseID(args []string, into *latchkey.ID) []string {
	if len(args) == 0 {
		return nil
	}
	id, err := sessionID(args[0])
	if err != nil {
		return []string{"ID: " + err.Error()}
	}
	*into = id
	return nil
}

// sessionID reads the ID of the session that a command is about. A UUID of another
// version is written well and is no session's: it becomes an ID that none has, and the
// answer is that to any unknown session.
func sessionID(text string) (latchkey.ID, error) {
	id, err := latchkey.ParseID(text)
	if err != nil && len(text) == 36 {
		if _, other := latchkey.ParseID(text[:14] + "7" + text[15:19] + "8" + text[20:]); other == nil {
			return latchkey.ID{6: 0x70, 8: 0x80, 15: 1}, nil
		}
	}
	return id, err
}

func (p *program) sessionShow() *cobra.Command {
	s, asJSON := &settings{}, false
	var id latchkey.ID
	return p.cobra(s, command{
		use: "show ID", short: "Show a session, an ended one too", args: []string{"ID"},
		example:  "  latchkey session show 01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f",
		settings: storeOptions, own: []option{jsonOption(&asJSON)},
		check: func(args []string) []string { return append(parseID(args, &id), s.checkStore()...) },
		do: func(ctx context.Context, _ []string) error {
			return p.withManager(ctx, s, false, func(m *latchkey.Manager, _ latchkey.Store) error {
				info, err := m.Get(ctx, id)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(p.out, api.OneSession{Session: api.SessionOf(info)})
				}
				return printSession(p, info, m.Now())
			})
		},
	})
}

func printSession(p *program, i latchkey.Info, now time.Time) error {
	rows := [][]string{
		{"id", i.ID.String()}, {"identity", identity(i.Provider, i.Subject)}, {"state", string(i.State)},
		{"name", dash(i.Name)}, {"email", dash(i.Email)}, {"roles", dash(strings.Join(i.Roles, ", "))},
		{"methods", dash(strings.Join(i.Methods, ", "))}, {"assurance", dash(i.Assurance)}, {"authenticated", when(i.AuthTime, now)},
		{"provider's sid", dash(i.SID)}, {"created", when(i.CreatedAt, now)}, {"last seen", when(i.LastSeenAt, now)},
		{"idle limit", when(i.IdleExpiresAt, now)}, {"absolute limit", when(i.ExpiresAt, now)},
		{"ip", dash(i.IP)}, {"user agent", dash(i.UserAgent)}, {"version", strconv.FormatUint(i.Version, 10)},
	}
	if !i.RevokedAt.IsZero() {
		rows = append(rows, []string{"revoked", when(i.RevokedAt, now)}, []string{"revoked by", dash(i.RevokedBy)}, []string{"reason", dash(i.RevokedReason)})
	}
	return table(p.out, rows)
}

// identity is provider and subject in one word; anonymous sessions have neither.
func identity(provider, subject string) string {
	if subject == "" {
		return "anonymous"
	}
	return provider + "/" + subject
}

func (p *program) sessionList() *cobra.Command {
	s := &settings{}
	var subject, provider, state, cursor string
	var limit int
	var asJSON bool
	var q latchkey.ListQuery
	states := map[string]latchkey.StateFilter{"live": latchkey.OnlyLive, "ended": latchkey.OnlyEnded, "all": latchkey.AnyState}
	return p.cobra(s, command{
		use: "list", short: "List sessions, newest first",
		long: `List sessions, newest first, a page at a time. With --subject alone the subject is
looked for under every provider. With --provider alone, for which stores have no
index, every session is looked at.`,
		example: `  latchkey session list
  latchkey session list --subject alice --state all --json`,
		settings: storeOptions,
		own: []option{
			{name: "subject", kind: "name", into: &subject, local: true, help: "sessions of this subject"},
			{name: "provider", kind: "id", into: &provider, local: true, help: "sessions under this provider"},
			{name: "state", kind: "state", def: "live", into: &state, allowed: []string{"live", "ended", "all"}, local: true, help: "live, ended or all"},
			{name: "limit", kind: "number", def: "50", into: &limit, local: true, help: "sessions on a page, 1 to 500"},
			{name: "cursor", kind: "cursor", into: &cursor, local: true, help: "continue behind a previous page"},
			jsonOption(&asJSON),
		},
		check: func([]string) (problems []string) {
			q = latchkey.ListQuery{Subject: subject, Provider: provider, AnyProvider: provider == "", State: states[state], Limit: limit}
			problems = append(problems, checkPage(limit, latchkey.MaxListLimit)...)
			if cursor != "" {
				var err error
				if q.After, err = decodeCursor(cursor); err != nil {
					problems = append(problems, "--cursor: "+err.Error())
				}
			}
			return append(problems, s.checkStore()...)
		},
		do: func(ctx context.Context, _ []string) error {
			return p.withManager(ctx, s, false, func(m *latchkey.Manager, _ latchkey.Store) error {
				infos, next, err := listSessions(ctx, m, q)
				if err != nil {
					return err
				}
				return p.printSessions(infos, next, m.Now(), asJSON)
			})
		},
	})
}

// listSessions returns a page. Stores select by subject; a provider alone is
// picked out of the whole list here.
func listSessions(ctx context.Context, m *latchkey.Manager, q latchkey.ListQuery) (found []latchkey.Info, next latchkey.Cursor, err error) {
	provider, page := q.Provider, q.Limit
	if provider == "" || q.Subject != "" {
		return m.List(ctx, q)
	}
	q.Provider, q.AnyProvider, q.Limit = "", true, latchkey.MaxListLimit
	for {
		infos, after, err := m.List(ctx, q)
		if err != nil {
			return nil, latchkey.Cursor{}, err
		}
		for _, i := range infos {
			if i.Provider != provider {
				continue
			}
			if len(found) == page {
				last := found[page-1]
				return found, latchkey.Cursor{CreatedAt: last.CreatedAt, ID: last.ID}, nil
			}
			found = append(found, i)
		}
		if after.IsZero() {
			return found, after, nil
		}
		q.After = after
	}
}

func checkPage(limit, most int) []string {
	if limit < 1 || limit > most {
		return []string{fmt.Sprintf("--limit: %d is not between 1 and %d", limit, most)}
	}
	return nil
}

func (p *program) printSessions(infos []latchkey.Info, next latchkey.Cursor, now time.Time, asJSON bool) error {
	if asJSON {
		return printJSON(p.out, pageOf(infos, next))
	}
	if len(infos) == 0 {
		message(p.err, "no sessions")
		return nil
	}
	rows := [][]string{{"ID", "IDENTITY", "STATE", "CREATED", "LAST SEEN", "EXPIRES", "FROM"}}
	for _, i := range infos {
		ends := i.ExpiresAt
		if i.IdleExpiresAt.Before(ends) {
			ends = i.IdleExpiresAt
		}
		if !i.RevokedAt.IsZero() {
			ends = i.RevokedAt
		}
		rows = append(rows, []string{i.ID.String(), identity(i.Provider, i.Subject), string(i.State), when(i.CreatedAt, now),
			when(i.LastSeenAt, now), when(ends, now), dash(strings.TrimSpace(i.UserAgent + " " + i.IP))})
	}
	if err := table(p.out, rows); err != nil {
		return err
	}
	if !next.IsZero() {
		message(p.err, "there are more: --cursor %s", encodeCursor(next))
	}
	return nil
}

func (p *program) sessionRevoke() *cobra.Command {
	s := &settings{}
	var subject, provider, except, sid, reason string
	var all, asJSON bool
	var r latchkey.Revocation
	return p.cobra(s, command{
		use: "revoke [ID]", short: "End sessions: one, an identity's, a provider session's or all",
		long: `End sessions. Exactly one of these says which:
  ID                                     one session
  --subject S [--provider P] [--except ID]   an identity's; without --provider, the subject's under every provider
  --provider P --sid X                   those of a provider's own session
  --all                                  every session there is
Running daemons refuse them within their --staleness. Ending what has ended is no
error.`,
		example: `  latchkey session revoke 01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  latchkey session revoke --subject alice --reason "laptop stolen"
  latchkey session revoke --all`,
		args: []string{"[ID]"}, settings: storeOptions,
		own: []option{
			{name: "subject", kind: "name", into: &subject, local: true, help: "end the sessions of this subject"},
			{name: "provider", kind: "id", into: &provider, local: true, help: "with --subject or --sid: under this provider"},
			{name: "except", kind: "ID", into: &except, local: true, help: "with --subject: leave this session alone"},
			{name: "sid", kind: "id", into: &sid, local: true, help: "end the sessions of this session at the provider"},
			{name: "all", kind: "bool", def: "false", into: &all, local: true, help: "end every session"},
			{name: "reason", kind: "text", def: "revoked by operator", into: &reason, local: true, help: "why, for the audit trail"},
			jsonOption(&asJSON),
		},
		check: func(args []string) []string {
			var problems []string
			r, problems = revocation(args, subject, provider, except, sid, all, s.given)
			r.By, r.Reason = actor(), reason
			if len(reason) > 255 || oneLine(reason) != reason {
				problems = append(problems, "--reason: is longer than 255 bytes or has control characters")
			}
			return append(problems, s.checkStore()...)
		},
		do: func(ctx context.Context, _ []string) error {
			return p.withManager(ctx, s, false, func(m *latchkey.Manager, _ latchkey.Store) error {
				n, err := m.Revoke(ctx, r)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(p.out, api.Revoked{Revoked: n})
				}
				if n == 0 {
					message(p.err, "no session was live")
					return nil
				}
				message(p.err, "revoked %s", plural(n, "session", "sessions"))
				return nil
			})
		},
	})
}

// revocation selects what to end, and says what is wrong with the selectors.
func revocation(args []string, subject, provider, except, sid string, all bool, set map[string]bool) (r latchkey.Revocation, problems []string) {
	selectors := 0
	for _, chosen := range []bool{len(args) > 0, set["subject"], set["sid"], all} {
		if chosen {
			selectors++
		}
	}
	if selectors != 1 {
		problems = append(problems, "give exactly one of ID, --subject, --sid with --provider, and --all")
	}
	problems = append(problems, parseID(args, &r.ID)...)
	for _, name := range []string{"subject", "provider", "except", "sid"} {
		if v := map[string]string{"subject": subject, "provider": provider, "except": except, "sid": sid}[name]; set[name] && v == "" {
			problems = append(problems, "--"+name+": is empty")
		}
	}
	if set["provider"] && !set["subject"] && !set["sid"] {
		problems = append(problems, "--provider: goes with --subject or --sid; to end all sessions of a provider there is no selector")
	}
	if set["sid"] && !set["provider"] {
		problems = append(problems, "--sid: needs --provider")
	}
	if except != "" {
		id, err := latchkey.ParseID(except)
		if err != nil {
			problems = append(problems, "--except: "+err.Error())
		}
		if !set["subject"] {
			problems = append(problems, "--except: goes with --subject")
		}
		r.Except = id
	}
	r.Subject, r.Provider, r.SID, r.All = subject, provider, sid, all
	r.AnyProvider = subject != "" && provider == ""
	return r, problems
}

func (p *program) sessionPurge() *cobra.Command {
	s := &settings{}
	var subject, provider string
	var asJSON bool
	return p.cobra(s, command{
		use: "purge", short: "Remove what ended before the retention, or everything of one identity",
		long: `Remove sessions that ended longer ago than --retention, and audit events older
than it; a running daemon does so by itself. With --subject and --provider, remove
every session of that identity, live ones too, and its name from the audit trail
(erasure on request).`,
		example: `  latchkey session purge
  latchkey session purge --retention 30d
  latchkey session purge --subject alice --provider corp`,
		settings: append([]string{"retention"}, storeOptions...),
		own: []option{
			{name: "subject", kind: "name", into: &subject, local: true, help: "erase this identity; needs --provider"},
			{name: "provider", kind: "id", into: &provider, local: true, help: "the identity's provider"},
			jsonOption(&asJSON),
		},
		check: func([]string) (problems []string) {
			if (s.given["subject"] || s.given["provider"]) && (subject == "" || provider == "") {
				problems = append(problems, "--subject and --provider: an identity is both, and neither is empty")
			}
			if s.retention < time.Hour {
				problems = append(problems, fmt.Sprintf("--retention: %s is below the least of 1h", formatDuration(s.retention)))
			}
			return append(problems, s.checkStore()...)
		},
		do: func(ctx context.Context, _ []string) error {
			return p.withManager(ctx, s, false, func(m *latchkey.Manager, store latchkey.Store) error {
				purge := latchkey.Purge{EndedBefore: m.Now().Add(-s.retention)}
				reason := "retention"
				if subject != "" {
					purge = latchkey.Purge{Erase: latchkey.Identity{Provider: provider, Subject: subject}}
					reason = "erasure"
				}
				purge.Event = audit.Event{Time: m.Now(), Action: audit.Purge, Actor: actor(), Outcome: audit.Done, Reason: reason}
				stop := p.progress(ctx, store, "purging")
				n, err := m.Purge(ctx, purge)
				stop()
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(p.out, map[string]any{"purged": n})
				}
				message(p.err, "removed %s", plural(n, "session", "sessions"))
				return nil
			})
		},
	})
}
