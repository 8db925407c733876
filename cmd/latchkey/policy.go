package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-go/latchkey"
)

// requirement is one line of the policy: what a standard asks, what is in
// effect, and whether that meets it.
type requirement struct {
	Standard    string `json:"standard"`    // "ASVS 5.0" or "SP 800-63B-4"
	ID          string `json:"id"`          // its number there
	Requirement string `json:"requirement"` // in short
	Effective   string `json:"effective"`   // what is in effect
	Verdict     string `json:"verdict"`     // "meets" or "deviates"
	Note        string `json:"note"`        // why it deviates, or ""
}

const (
	asvs = "ASVS 5.0"
	nist = "SP 800-63B-4"
)

// effective is the policy in effect.
type effective struct {
	Preset            string   `json:"preset"`
	IdleSeconds       int64    `json:"idle_seconds"`
	AbsoluteSeconds   int64    `json:"absolute_seconds"`
	Limit             int      `json:"limit"`
	LimitPolicy       string   `json:"limit_policy"`
	StalenessSeconds  float64  `json:"staleness_seconds"`
	ServeStaleSeconds float64  `json:"serve_stale_seconds"`
	RetentionSeconds  int64    `json:"retention_seconds"`
	Privacy           string   `json:"privacy"`
	Cookie            string   `json:"cookie"` // Set-Cookie, with TOKEN in place of a token
	PublicURL         string   `json:"public_url"`
	AdminKeys         []string `json:"admin_keys"` // names only
}

func (p *program) policyCommand() *cobra.Command {
	s, asJSON := &settings{}, false
	return p.cobra(s, command{
		use: "policy", short: "Print the effective timeouts, limits and cookie rules against OWASP ASVS V7",
		long: `Print the policy that the daemon would have with the same settings: timeouts,
limits and cookie rules, each against the requirement of OWASP ASVS 5.0 (chapters
V7 and V3) or NIST SP 800-63B-4 that it answers. Put it into the documentation
that ASVS 7.1.1 and 7.1.2 ask for. The status is 0 whatever it says.`,
		example:  "  latchkey policy\n  latchkey policy --preset aal3\n  latchkey policy --config latchkey.yaml --json",
		settings: append([]string{"config", "demo", "listen", "admin-key", "staleness", "stateless", "serve-stale", "retention", "tls-cert"}, policyOptions...),
		own:      []option{jsonOption(&asJSON)},
		check: func([]string) []string {
			problems := slices.Concat(s.checkListen("--listen", s.listen), s.checkDemo(), s.checkPublic())
			problems = append(problems, s.checkPolicy()...)
			problems = append(problems, s.checkCache()...)
			return append(problems, s.checkAdmin()...)
		},
		do: func(ctx context.Context, _ []string) error {
			e, err := s.effective(ctx)
			if err != nil {
				return err
			}
			rows := s.requirements(e)
			if asJSON {
				return printJSON(p.out, map[string]any{"policy": e, "requirements": rows})
			}
			return printPolicy(p, e, rows)
		},
	})
}

func printPolicy(p *program, e effective, rows []requirement) error {
	out := [][]string{{"REQUIREMENT", "ASKS FOR", "IN EFFECT", "VERDICT"}}
	deviations := 0
	for _, r := range rows {
		verdict := r.Verdict
		if r.Note != "" {
			verdict += ": " + r.Note
		}
		if r.Verdict == deviates {
			deviations++
		}
		out = append(out, []string{r.Standard + " " + r.ID, r.Requirement, r.Effective, verdict})
	}
	if err := table(p.out, out); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.out, "\ncookie     %s\npublic URL %s\n%d of %d requirements met, %s\n", e.Cookie, e.PublicURL, len(rows)-deviations, len(rows), plural(deviations, "deviation", "deviations"))
	return err
}

// effective gathers what is in effect. The cookie is that of a session issued for
// the purpose, in memory, so that it is what browsers will see.
func (s *settings) effective(ctx context.Context) (effective, error) {
	idle, absolute := s.limits()
	e := effective{Preset: s.preset, IdleSeconds: int64(idle / time.Second), AbsoluteSeconds: int64(absolute / time.Second), Limit: s.limit,
		LimitPolicy: s.limitPolicy, StalenessSeconds: s.staleness.Seconds(), ServeStaleSeconds: s.serveStale.Seconds(),
		RetentionSeconds: int64(s.retention / time.Second), Privacy: s.privacy, PublicURL: s.publicOr("").String(), AdminKeys: []string{}}
	for _, k := range s.admins {
		if !slices.Contains(e.AdminKeys, k.name) {
			e.AdminKeys = append(e.AdminKeys, k.name)
		}
	}
	problems := s.trial(func(m *latchkey.Manager) error {
		issued, err := m.Issue(ctx, latchkey.SignIn{Subject: "policy"})
		if err != nil {
			return err
		}
		e.Cookie = strings.Replace(issued.SetCookie, issued.Token, "TOKEN", 1)
		return nil
	})
	return e, usage(problems...)
}

const (
	meets    = "meets"
	deviates = "deviates"
)

// verdict says whether something is so, with a note when it is not.
func verdict(ok bool, note string) (string, string) {
	if ok {
		return meets, ""
	}
	return deviates, note
}

// requirements judges the policy in effect.
func (s *settings) requirements(e effective) []requirement {
	var rows []requirement
	fixed := func(id, text, effect string) {
		rows = append(rows, requirement{asvs, id, text, effect, meets, ""})
	}
	limits := s.timeouts()
	rows = append(rows, limits[:2]...)
	verified := "by this daemon or the library, against the store"
	if s.stateless {
		verified = "by this daemon or the library, by what is sealed in them and the list of changed sessions"
	}
	fixed("7.2.1", "tokens are verified by a trusted backend", verified)
	fixed("7.2.2", "tokens are made for each session", "a token for each session; no static secrets")
	fixed("7.2.3", "tokens are unique, random, 128 bits or more", "256 random bits; the public ID is no part of them")
	fixed("7.2.4", "a new token at each (re-)authentication", "sign-in and renewal draw a new one; the old one ends at once")
	rows = append(rows, limits[2:]...)
	v, note := verdict(s.serveStale == 0, "with the store away an ended session may be honoured for "+formatDuration(s.serveStale))
	bound := "refused within " + formatDuration(s.staleness) + " on every node, at once on this one"
	if s.staleness == 0 {
		bound = "refused at once: the store is asked each time"
	}
	rows = append(rows, requirement{asvs, "7.4.1", "an ended session is of no further use", bound, v, note})
	fixed("7.4.2", "all sessions of a closed account end", "session revoke --subject; DELETE /v1/sessions?subject=")
	fixed("7.4.3", "ending other sessions is offered after a change of factor", "POST /v1/me/revoke-others")
	fixed("7.4.4", "logout is at hand on every page", "POST /logout, for the application's pages to show")
	admins := "session revoke; the admin routes are off"
	if len(e.AdminKeys) > 0 {
		admins = "session revoke; admin routes for " + strings.Join(e.AdminKeys, ", ")
	}
	fixed("7.4.5", "administrators can end sessions of one user or of all", admins)
	return append(rows, cookieRules(e.Cookie, s.stateless)...)
}

// timeouts judges the limits, against the level that --preset names: V7.1, two rows, and V7.3.
func (s *settings) timeouts() []requirement {
	level := strings.ToUpper(s.preset)
	wantIdle, wantAbsolute, _ := latchkey.Preset(s.preset).Limits()
	idle, absolute := s.limits()
	idleOK, absoluteOK := idle <= wantIdle || s.preset == "aal1", absolute <= wantAbsolute
	about := fmt.Sprintf("idle %s, absolute %s", formatDuration(idle), formatDuration(absolute))
	v, note := verdict(idleOK && absoluteOK, "longer than "+level+" has it: justify it in your documentation")
	rows := []requirement{{asvs, "7.1.1", "timeouts are documented, deviations from NIST justified", about, v, note}}

	limit := "any number of sessions per identity"
	if s.limit > 0 {
		limit = fmt.Sprintf("%s per identity, then %s", plural(s.limit, "session", "sessions"), map[string]string{"evict": "the oldest ends", "refuse": "sign-in is refused"}[s.limitPolicy])
	}
	rows = append(rows, requirement{asvs, "7.1.2", "how many sessions at once, and what happens then, is documented", limit, meets, ""})

	v, note = verdict(idleOK, fmt.Sprintf("%s asks for %s or less (section 2)", level, formatDuration(wantIdle)))
	asks := "an inactivity timeout"
	if s.preset != "aal1" {
		asks += ", " + level + ": " + formatDuration(wantIdle) + " or less"
	}
	rows = append(rows, requirement{asvs, "7.3.1", asks, "idle " + formatDuration(idle), v, note})
	v, note = verdict(absoluteOK, fmt.Sprintf("%s asks for %s or less (section 2)", level, formatDuration(wantAbsolute)))
	return append(rows, requirement{asvs, "7.3.2", fmt.Sprintf("an absolute lifetime, %s: %s or less", level, formatDuration(wantAbsolute)), "absolute " + formatDuration(absolute), v, note})
}

// cookieRules judges a Set-Cookie line.
func cookieRules(line string, stateless bool) []requirement {
	name, rest, _ := strings.Cut(line, "=")
	attributes := strings.Split(rest, "; ")[1:]
	has := func(a string) bool { return slices.Contains(attributes, a) }
	starts := func(start string) bool {
		return slices.ContainsFunc(attributes, func(a string) bool { return strings.HasPrefix(a, start) })
	}
	host := strings.HasPrefix(name, "__Host-")
	var rows []requirement
	add := func(standard, id, text, effect string, ok bool, why string) {
		v, note := verdict(ok, why)
		rows = append(rows, requirement{standard, id, text, effect, v, note})
	}
	secure := "not Secure"
	if has("Secure") {
		secure = "Secure"
	}
	add(asvs, "3.3.1", "Secure, with a __Host- or __Secure- name", secure+", named "+name, has("Secure") && (host || strings.HasPrefix(name, "__Secure-")), "for plain HTTP on loopback, or the name has no prefix")
	sameSite := attributes[slices.IndexFunc(attributes, func(a string) bool { return strings.HasPrefix(a, "SameSite=") })]
	add(asvs, "3.3.2", "SameSite according to purpose", sameSite, true, "")
	add(asvs, "3.3.3", "__Host- unless shared between hosts", name, host || starts("Domain="), "the name has no __Host- prefix")
	add(asvs, "3.3.4", "HttpOnly", "HttpOnly", has("HttpOnly"), "scripts can read it")
	size := fmt.Sprintf("%d bytes", len(name)+latchkey.TokenLength)
	if stateless {
		size = "as long as the identity in it; a longer one is refused at sign-in"
	}
	add(asvs, "3.3.5", "name and value of 4096 bytes or less", size, len(name)+latchkey.TokenLength <= 4096, "too long")
	kept := "forgotten when the browser closes"
	if starts("Max-Age=") {
		kept = "kept when the browser closes"
	}
	add(nist, "5.1", "session secrets should not persist across restarts", kept, !starts("Max-Age="), "--persist=false leaves Max-Age out")
	return rows
}
