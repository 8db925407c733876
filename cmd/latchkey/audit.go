package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

func (p *program) auditCommand() *cobra.Command {
	s := &settings{}
	var subject, provider, session, cursor string
	var limit int
	var asJSON bool
	var q audit.Query
	return p.cobra(s, command{
		use: "audit", short: "Print the audit trail, newest first",
		long:     "Print what happened to sessions, newest first, a page at a time. The trail outlives the sessions by --retention.",
		example:  "  latchkey audit\n  latchkey audit --subject alice --json\n  latchkey audit --session 01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f",
		settings: storeOptions,
		own: []option{
			{name: "subject", kind: "name", into: &subject, local: true, help: "events about this subject"},
			{name: "provider", kind: "id", into: &provider, local: true, help: "with --subject: under this provider"},
			{name: "session", kind: "ID", into: &session, local: true, help: "events about this session"},
			{name: "limit", kind: "number", def: "50", into: &limit, local: true, help: "events on a page, 1 to 500"},
			{name: "cursor", kind: "cursor", into: &cursor, local: true, help: "continue behind a previous page"},
			jsonOption(&asJSON),
		},
		check: func([]string) []string {
			q = audit.Query{Subject: subject, Provider: provider, Session: session, Limit: limit}
			problems := checkPage(limit, audit.MaxLimit)
			if provider != "" && subject == "" {
				problems = append(problems, "--provider: goes with --subject")
			}
			if session != "" {
				if _, err := latchkey.ParseID(session); err != nil {
					problems = append(problems, "--session: "+err.Error())
				}
			}
			if cursor != "" {
				var err error
				if q.After, err = decodeSeq(cursor); err != nil {
					problems = append(problems, "--cursor: "+err.Error())
				}
			}
			return append(problems, s.checkStore()...)
		},
		do: func(ctx context.Context, _ []string) error {
			return p.withManager(ctx, s, false, func(m *latchkey.Manager, store latchkey.Store) error {
				reader, ok := store.(audit.Reader)
				if !ok {
					return failed("", "this store keeps no audit trail")
				}
				page, err := reader.Audit(ctx, q)
				if err != nil {
					return err
				}
				return p.printEvents(page, m, asJSON)
			})
		},
	})
}

func (p *program) printEvents(page audit.Page, m *latchkey.Manager, asJSON bool) error {
	next := encodeSeq(page.Next)
	if asJSON {
		events := page.Events
		if events == nil {
			events = []audit.Event{}
		}
		return printJSON(p.out, map[string]any{"events": events, "next_cursor": orNull(next)})
	}
	if len(page.Events) == 0 {
		message(p.err, "no events")
		return nil
	}
	rows := [][]string{{"TIME", "ACTION", "OUTCOME", "ACTOR", "SESSION", "IDENTITY", "FROM", "REASON"}}
	for _, e := range page.Events {
		what := dash(e.Session)
		if e.Count > 0 {
			what = plural(e.Count, "session", "sessions")
		}
		who := "-"
		if e.Subject != "" {
			who = identity(e.Provider, e.Subject)
		}
		rows = append(rows, []string{when(e.Time, m.Now()), string(e.Action), string(e.Outcome), dash(e.Actor), what, who, dash(e.IP), dash(e.Reason)})
	}
	if err := table(p.out, rows); err != nil {
		return err
	}
	if next != "" {
		message(p.err, "there are more: --cursor %s", next)
	}
	return nil
}
