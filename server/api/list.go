package api

import (
	"context"

	"github.com/latchkey-go/latchkey"
)

const limitDetail = "must be a whole number from 1 to 500"

// maxScan bounds the pages of the store that one request goes through to find
// sessions of a provider, for which stores have no index.
const maxScan = 20

func (a *API) list(ctx context.Context, c *Call, _ *None) (*SessionPage, error) {
	q := latchkey.ListQuery{Subject: c.Query["subject"], Provider: c.Query["provider"]}
	q.AnyProvider = q.Provider == ""
	var p problems
	switch c.Query["state"] {
	case "", "live":
		q.State = latchkey.OnlyLive
	case "ended":
		q.State = latchkey.OnlyEnded
	case "all":
		q.State = latchkey.AnyState
	default:
		p.add("state", "must be live, ended or all")
	}
	var ok bool
	if q.Limit, ok = parseLimit(c.Query["limit"], latchkey.MaxListLimit); !ok {
		p.add("limit", limitDetail)
	}
	if text := c.Query["cursor"]; text != "" {
		if q.After, ok = parseSessionCursor(text); !ok {
			p.add("cursor", cursorDetail)
		}
	}
	if err := p.error(); err != nil {
		return nil, err
	}
	if q.Subject == "" && q.Provider != "" {
		return a.listProvider(ctx, q)
	}
	infos, next, err := a.cfg.Manager.List(ctx, q)
	if err != nil {
		return nil, err
	}
	return &SessionPage{Sessions: sessionsOf(infos), NextCursor: sessionCursor(next)}, nil
}

// listProvider lists the sessions of a provider by going through everybody's. A
// page may come out short, with a cursor that continues.
func (a *API) listProvider(ctx context.Context, q latchkey.ListQuery) (*SessionPage, error) {
	want, provider := q.PageSize(), q.Provider
	q.Provider, q.AnyProvider, q.Limit = "", true, latchkey.MaxListLimit
	out := &SessionPage{Sessions: []Session{}}
	for range maxScan {
		infos, next, err := a.cfg.Manager.List(ctx, q)
		if err != nil {
			return nil, err
		}
		for i, info := range infos {
			if info.Provider != provider {
				continue
			}
			out.Sessions = append(out.Sessions, SessionOf(info))
			if len(out.Sessions) == want && (i < len(infos)-1 || !next.IsZero()) {
				out.NextCursor = sessionCursor(latchkey.Cursor{CreatedAt: info.CreatedAt, ID: info.ID})
				return out, nil
			}
		}
		if q.After = next; next.IsZero() {
			return out, nil
		}
	}
	out.NextCursor = sessionCursor(q.After)
	return out, nil
}
