package login_test

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/server/internal/pagetest"
)

// confirm visits the provider's sign-out and says yes, and returns where it leads.
func (v *visitor) confirm(address string) string {
	v.t.Helper()
	res, err := v.idp.Get(address)
	if err != nil {
		v.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		v.t.Fatal(err)
	}
	secret := regexp.MustCompile(`name="xsrf" value="([^"]+)"`).FindStringSubmatch(string(body))
	if secret == nil {
		v.t.Fatalf("status %d, no form: %s", res.StatusCode, body)
	}
	res, err = v.idp.PostForm(v.rig.op.Issuer+"/session/end/confirm", url.Values{"xsrf": {secret[1]}, "logout": {"yes"}})
	if err != nil {
		v.t.Fatal(err)
	}
	res.Body.Close()
	return res.Header.Get("Location")
}

// TestLogoutAtBoth: signing out here ends the session here, and then leads to the
// provider, which ends its own and sends the browser back.
func TestLogoutAtBoth(t *testing.T) {
	r := newRig(t, rigOptions{page: pagetest.Options{Whole: true, Prefix: "/auth"}})
	v := r.visitor(t)
	wantRedirect(t, v.signIn("ada", ""), "/auth/account")
	a := v.Post("/logout", nil)
	target := a.Header.Get("Location")
	u, err := url.Parse(target)
	if err != nil || a.Status != http.StatusSeeOther || !strings.HasPrefix(target, r.op.Issuer+"/") {
		t.Fatalf("status %d to %q", a.Status, target)
	}
	if q := u.Query(); strings.Count(q.Get("id_token_hint"), ".") != 2 || q.Get("client_id") != "app" || q.Get("post_logout_redirect_uri") != r.URL+"/auth/login" {
		t.Errorf("sent with %v", q)
	}
	if v.Cookie() != "" || v.Session().Live() {
		t.Error("the session here lives on")
	}
	if back := v.confirm(target); back != r.URL+"/auth/login" {
		t.Errorf("the provider sends people to %q", back)
	}
	// A script gets no redirect to follow.
	wantRedirect(t, v.signIn("ada", ""), "/auth/account")
	if a := v.Do(http.MethodPost, "/logout", nil, http.Header{"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Site": {"same-origin"}}); a.Status != http.StatusNoContent || a.Header.Get("Location") != "" {
		t.Errorf("status %d to %q", a.Status, a.Header.Get("Location"))
	}
}
