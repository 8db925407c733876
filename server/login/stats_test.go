package login_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/server/internal/pagetest"
	"github.com/latchkey-go/latchkey/server/login"
	"github.com/latchkey-go/latchkey/server/login/oidc"
)

// metrics reads /metrics, without the labels' order mattering.
func (r *rig) metrics(t *testing.T) string {
	t.Helper()
	res, err := http.Get(r.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b strings.Builder
	if err := res.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestMetrics: what happens is counted, under labels that nobody outside can make up, and
// docs/login.md has a row for each.
func TestMetrics(t *testing.T) {
	r := newRig(t, rigOptions{page: pagetest.Options{Whole: true}, oidc: func(c *oidc.Config) { c.KeepTokens = true },
		login: func(cfg *login.Config) { cfg.Limits = login.Limits{Callbacks: 6, BadLogouts: 2} }})
	if got := r.metrics(t); !strings.Contains(got, `latchkey_sign_ins_completed_total{provider="op"} 0`) || strings.Contains(got, "latchkey_sign_ins_refused_total") {
		t.Errorf("at the start: %s", got)
	}
	v := r.visitor(t)
	wantRedirect(t, v.signIn("ada", ""), "/account")
	path := v.atProvider(v.begin(nil), "ada")
	wantRedirect(t, v.arrive(path), "/account")
	want(t, v.arrive(path), http.StatusForbidden)                                                                    // again
	want(t, v.arrive(v.atProvider(v.begin(url.Values{"prompt": {"login"}}), "")), http.StatusForbidden)              // cancelled
	want(t, v.arrive("/callback/op?error=made_up_by_somebody&state="+strings.Repeat("A", 43)), http.StatusForbidden) // without iss
	want(t, v.arrive("/callback/op"), http.StatusBadRequest)
	want(t, v.arrive("/callback/op"), http.StatusTooManyRequests)
	token := logoutToken(t, r.op.SignKey(), r.op.Issuer, map[string]any{"sub": "ada"})
	for _, send := range []string{token, token, "made.up", logoutToken(t, r.op.SignKey(), r.op.Issuer, map[string]any{"sub": "nobody"})} {
		r.sendLogout(t, "op", send)
	}
	got := r.metrics(t)
	for _, line := range []string{
		`latchkey_sign_ins_begun_total{provider="op"} 3`, `latchkey_sign_ins_completed_total{provider="op"} 2`,
		`latchkey_sign_ins_refused_total{provider="op",reason="attempt_missing"} 1`, `latchkey_sign_ins_refused_total{provider="op",reason="provider_access_denied"} 1`,
		`latchkey_sign_ins_refused_total{provider="op",reason="wrong_issuer"} 1`, `latchkey_sign_ins_refused_total{provider="op",reason="no_answer"} 1`,
		`latchkey_sign_ins_limited_total{limit="callbacks"} 1`, `latchkey_sign_ins_limited_total{limit="logouts"} 1`, `latchkey_sign_ins_limited_total{limit="passwords"} 0`,
		`latchkey_backchannel_logouts_total{outcome="ended",provider="op",reason=""} 1`, `latchkey_backchannel_logouts_total{outcome="replayed",provider="op",reason=""} 1`,
		`latchkey_backchannel_logouts_total{outcome="refused",provider="op",reason="malformed"} 1`, `latchkey_backchannel_logouts_total{outcome="unavailable",provider="op",reason=""} 0`,
		`latchkey_provider_requests_total{outcome="ok",provider="op",step="keys"} 1`, `latchkey_provider_requests_total{outcome="ok",provider="op",step="token"} 2`,
		`latchkey_provider_requests_total{outcome="failed",provider="op",step="discovery"} 0`, `latchkey_provider_refreshes_total{outcome="ok",provider="op"} 0`,
	} {
		if !strings.Contains(got, line+"\n") && !strings.Contains(got, line+"\r\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(got, "made_up") || strings.Contains(got, `"ada`) {
		t.Error("a label holds what somebody sent")
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "login.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range regexp.MustCompile(`# TYPE (latchkey_(?:sign_ins|backchannel|provider)\w*) (\w+)`).FindAllStringSubmatch(got, -1) {
		if found++; !regexp.MustCompile("(?m)^\\| `" + m[1] + "` \\| " + m[2] + " \\|").Match(text) {
			t.Errorf("docs/login.md has no row for the %s %s", m[2], m[1])
		}
	}
	if found != 7 {
		t.Errorf("%d metrics", found)
	}
}
