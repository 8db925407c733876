package login_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/internal/htmlcheck"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
)

// FuzzForm: whatever is posted, the answer is a redirect within the host or a page
// that is sound, never a failure of the server; and only a redirect signs in.
func FuzzForm(f *testing.F) {
	const form = "application/x-www-form-urlencoded"
	for _, body := range []string{"", "name=ada", "name=ada&rd=%2Fa", "name=%00", "name=%ff&rd=//x", "name=a&name=b", "name=a;rd=b", "rd=/a", "%", "name=%zz", "name=\xff",
		"name=%3Cscript%3E&rd=%2F%22", "&&&", "=", "name=%E2%80%AE", strings.Repeat("name=x&", 3000)} {
		f.Add(form, body)
	}
	f.Add("text/plain", "name=ada")
	f.Add("application/x-www-form-urlencoded; charset=\xff", "name=ada")
	site := pagetest.New(f, pagetest.Options{})
	signedIn := 0
	f.Fuzz(func(t *testing.T, contentType, body string) {
		r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(body))
		r.Header["Content-Type"] = []string{contentType}
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		w := httptest.NewRecorder()
		site.Handler.ServeHTTP(w, r)
		cookie := w.Header().Get("Set-Cookie")
		switch {
		case w.Code == http.StatusSeeOther:
			location := w.Header().Get("Location")
			if cookie == "" || !strings.HasPrefix(location, "/") || strings.HasPrefix(location, "//") {
				t.Errorf("to %q with cookie %q", location, cookie)
			}
			signedIn++
		case w.Code < 400 || w.Code >= 500 || cookie != "":
			t.Errorf("status %d, cookie %q", w.Code, cookie)
		default:
			if err := htmlcheck.Check(w.Body.String(), htmlcheck.Sound); err != nil {
				t.Errorf("%v\n%s", err, w.Body)
			}
		}
		if signedIn == 1000 { // long runs must not fill the memory
			signedIn = 0
			if _, err := site.Manager.Revoke(t.Context(), latchkey.Revocation{All: true, By: "system", Reason: "test"}); err != nil {
				t.Fatal(err)
			}
			if _, err := site.Manager.Purge(t.Context(), latchkey.Purge{EndedBefore: time.Now().Add(time.Hour)}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
