package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/server/edge"
	"github.com/latchkey-go/latchkey/store/memory"
)

// explainFlags are what `explain` is asked: about which request, and by whom.
type explainFlags struct {
	url, method, kind                             string
	tokenFile, session                            string
	subject, provider, roles, assurance, authTime string
	json                                          bool

	question edge.Question
	id       latchkey.ID
	as       latchkey.SignIn
}

func (f *explainFlags) options() []option {
	return []option{
		{name: "url", kind: "URL", into: &f.url, local: true, help: "the address that is asked for (required)"},
		{name: "method", kind: "method", def: "GET", into: &f.method, local: true, help: "the method that it is asked for by"},
		{name: "kind", kind: "kind", def: "navigation", into: &f.kind, allowed: []string{"navigation", "fetch", "websocket"}, local: true, help: "by a person, a script, or as a WebSocket"},
		{name: "token-file", kind: "file", into: &f.tokenFile, local: true, help: "file with the visitor's token; - reads standard input"},
		{name: "session", kind: "ID", into: &f.session, local: true, help: "the visitor's session"},
		{name: "as-subject", kind: "name", into: &f.subject, local: true, help: "a visitor made up for the purpose; no store is opened"},
		{name: "as-provider", kind: "id", def: "local", into: &f.provider, local: true, help: "who vouches for them"},
		{name: "as-roles", kind: "roles", into: &f.roles, local: true, help: "their roles, comma-separated"},
		{name: "as-assurance", kind: "acr", into: &f.assurance, local: true, help: "how strongly they signed in, such as aal2"},
		{name: "as-auth-time", kind: "time", into: &f.authTime, local: true, help: "when they signed in (RFC 3339; default: now)"},
		jsonOption(&f.json),
	}
}

func (p *program) explainCommand() *cobra.Command {
	s, f := &settings{}, &explainFlags{}
	var policy *edge.Policy
	return p.cobra(s, command{
		use: "explain", short: "Say how the edge would decide about a request, and why",
		long: `Say how the edge would decide about a request, and why: which rules do not match
and by what, which one does, and what it asks that the visitor lacks. The visitor is
nobody, unless a token, a session or --as-subject says who it is. Nothing is changed,
and the visit does not count as activity. The status is 0 whatever the decision.`,
		example: `  latchkey explain --config latchkey.yaml --url https://app.example.com/admin/
  latchkey explain --config latchkey.yaml --url https://app.example.com/admin/ --as-subject alice --as-roles staff
  latchkey explain --url https://app.example.com/ --session 01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f --json`,
		settings: append([]string{"config", "store", "feed-url", "keys", "demo", "listen", "tls-cert", "prefix", "trusted-proxies", "protected-hosts"}, policyOptions...),
		own:      f.options(),
		check: func([]string) []string {
			problems := append(f.check(), s.checkPublic()...)
			if f.tokenFile != "" || f.session != "" {
				problems = append(problems, s.checkStore()...)
			}
			if f.tokenFile != "" {
				problems = append(problems, s.checkKeys(false)...)
			}
			problems = append(problems, s.checkEdge()...)
			policy, _ = s.policy(s.publicOrAny()) // what is wrong is said
			return problems
		},
		do: func(ctx context.Context, _ []string) error {
			return f.visit(ctx, p, s, func(visitor latchkey.Session, now time.Time, note string) error {
				return f.print(p, s, policy.Explain(f.question, visitor, now), visitor, note)
			})
		},
	})
}

// check returns what is wrong with the flags of the command.
func (f *explainFlags) check() (problems []string) {
	kind, err := edge.ParseKind(f.kind)
	if err == nil {
		f.question, err = edge.NewQuestion(f.method, f.url, kind)
	}
	switch {
	case f.url == "":
		problems = append(problems, "--url: is missing")
	case err != nil:
		problems = append(problems, fmt.Sprintf("--url: %s %v", shown(f.url), err))
	}
	who := 0
	for _, given := range []string{f.tokenFile, f.session, f.subject} {
		if given != "" {
			who++
		}
	}
	if who > 1 {
		problems = append(problems, "--token-file, --session and --as-subject each say who visits; give one")
	}
	if f.subject == "" && (f.roles != "" || f.assurance != "" || f.authTime != "") {
		problems = append(problems, "--as-subject: is missing; the other flags that begin with --as- describe it")
	}
	if f.session != "" {
		if f.id, err = sessionID(f.session); err != nil {
			problems = append(problems, "--session: "+err.Error())
		}
	}
	f.as = latchkey.SignIn{Provider: f.provider, Subject: f.subject, Assurance: f.assurance, By: actor()}
	if f.roles != "" {
		f.as.Roles = joined(nil, []string{f.roles})
	}
	if f.authTime != "" {
		if f.as.AuthTime, err = time.Parse(time.RFC3339Nano, f.authTime); err != nil {
			problems = append(problems, "--as-auth-time: "+shown(f.authTime)+" is not a time such as 2026-01-02T15:04:05Z")
		}
	}
	return problems
}

// maxToken bounds the file of a token.
const maxToken = 4096

// visit finds the visitor's session and calls then with it, and with a note on it.
func (f *explainFlags) visit(ctx context.Context, p *program, s *settings, then func(latchkey.Session, time.Time, string) error) error {
	switch {
	case f.tokenFile != "":
		token, err := f.token(p)
		if err != nil {
			return failed("", "--token-file: %v", err)
		}
		return p.withManager(ctx, s, true, func(m *latchkey.Manager, _ latchkey.Store) error {
			visitor, err := m.Lookup(ctx, latchkey.Lookup{Token: token, Passive: true, AskStore: true})
			switch {
			case errors.Is(err, latchkey.ErrInvalidSession):
				return then(latchkey.Session{}, m.Now(), "the token is nobody's, or its session has ended")
			case err != nil:
				return err
			}
			return then(visitor, m.Now(), "")
		})
	case f.session != "":
		var info latchkey.Info
		err := p.withManager(ctx, s, false, func(m *latchkey.Manager, _ latchkey.Store) (err error) {
			info, err = m.Get(ctx, f.id)
			return err
		})
		if err != nil {
			return err
		}
		if info.State != latchkey.Live {
			return then(latchkey.Session{}, time.Now(), "the session has ended: it is "+string(info.State))
		}
		f.as = latchkey.SignIn{Provider: info.Provider, Subject: info.Subject, Roles: info.Roles, Assurance: info.Assurance, AuthTime: info.AuthTime}
	}
	return f.madeUp(ctx, then)
}

// token reads the token from its file.
func (f *explainFlags) token(p *program) (string, error) {
	if f.tokenFile == "-" {
		text, err := io.ReadAll(io.LimitReader(p.in, maxToken))
		return strings.TrimSpace(string(text)), err
	}
	text, err := readSmall(f.tokenFile, maxToken)
	return strings.TrimSpace(text), err
}

// madeUp makes the visitor's session in memory; nobody's when there is no subject.
func (f *explainFlags) madeUp(ctx context.Context, then func(latchkey.Session, time.Time, string) error) (err error) {
	if f.as.Subject == "" {
		return then(latchkey.Session{}, time.Now(), "nobody is signed in")
	}
	ring, err := keyring.Generate(time.Now())
	if err != nil {
		return err
	}
	store, err := memory.New(memory.Config{})
	if err != nil {
		return err
	}
	defer closeStore(store, &err)
	m, err := latchkey.New(latchkey.Config{Store: store, Keys: ring, Preset: latchkey.AAL1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close(ctx)) }()
	issued, err := m.Issue(ctx, f.as)
	if err != nil {
		return err
	}
	visitor, err := m.Lookup(ctx, latchkey.Lookup{Token: issued.Token, Passive: true})
	if err != nil {
		return err
	}
	return then(visitor, m.Now(), "")
}

// explained is the JSON of an explanation.
type explained struct {
	Method   string          `json:"method"`
	URL      string          `json:"url"`
	Kind     string          `json:"kind"`
	Verdict  string          `json:"verdict"`
	Reason   string          `json:"reason"`
	Detail   string          `json:"detail"`
	Rule     *int            `json:"rule"` // from 1; null for none
	Rules    []explainedRule `json:"rules"`
	Location string          `json:"location"`
	Audience string          `json:"audience"`
	Passive  bool            `json:"passive"`
	Visitor  string          `json:"visitor"`
}

type explainedRule struct {
	Rule    int    `json:"rule"`
	At      string `json:"at"`
	Matches bool   `json:"matches"`
	Misses  string `json:"misses"` // hosts, methods or paths
}

func (f *explainFlags) print(p *program, s *settings, x edge.Explanation, visitor latchkey.Session, note string) error {
	q := x.Question
	out := explained{Method: q.Method, URL: q.Scheme + "://" + q.Host + q.Target, Kind: q.Kind.String(), Verdict: x.Verdict.String(), Reason: string(x.Reason), Detail: reasonText(x),
		Rules: []explainedRule{}, Location: x.Location, Audience: x.Audience, Passive: x.Passive, Visitor: note}
	if visitor.SignedIn() {
		out.Visitor = identity(visitor.Provider(), visitor.Subject())
	}
	if x.Rule != edge.NoRule {
		number := x.Rule + 1
		out.Rule = &number
	}
	for i, misses := range x.Rules {
		out.Rules = append(out.Rules, explainedRule{Rule: i + 1, At: s.rules.lines[i], Matches: misses == "", Misses: misses})
	}
	if f.json {
		return printJSON(p.out, out)
	}
	rows := [][]string{{"request", out.Method + " " + out.URL + " (" + out.Kind + ")"}, {"visitor", out.Visitor}, {"verdict", out.Verdict + ": " + out.Detail}}
	for _, r := range out.Rules {
		text := "matches"
		if !r.Matches {
			text = "is for other " + r.Misses
		}
		rows = append(rows, []string{fmt.Sprintf("rule %d", r.Rule), text + " (" + r.At + ")"})
	}
	if x.Passive {
		rows = append(rows, []string{"activity", "does not count"})
	}
	if out.Location != "" {
		rows = append(rows, []string{"sent to", out.Location})
	}
	return table(p.out, rows)
}

// reasonText is a reason in a sentence.
func reasonText(x edge.Explanation) string {
	texts := map[edge.Reason]string{
		edge.ReasonPublic:    "the rule asks for nothing",
		edge.ReasonSatisfied: "the session is all that the rule asks for",
		edge.ReasonNoSession: "there is no session with an identity",
		edge.ReasonRole:      "the session has none of the rule's roles",
		edge.ReasonProvider:  "the session came from a provider that is not the rule's",
		edge.ReasonNotFresh:  "the authentication is older than the rule allows",
		edge.ReasonAssurance: "the authentication is weaker than the rule asks for",
		edge.ReasonRule:      "the rule denies everybody",
		edge.ReasonHost:      "the host is not spelled as browsers spell it",
		edge.ReasonUnlisted:  "the host is not in --protected-hosts",
		edge.ReasonMethod:    "the method is not in capitals, or is CONNECT where another rule is for GET",
		edge.ReasonPath:      "services can read the path in several ways, and rules for the host look at paths",
	}
	text := texts[x.Reason]
	if x.Rule == edge.NoRule && x.Reason == edge.ReasonSatisfied {
		text = "no rule matches, so a session will do"
	}
	if x.Rule == edge.NoRule && x.Reason == edge.ReasonNoSession {
		text = "no rule matches, so a session is needed"
	}
	return text
}
