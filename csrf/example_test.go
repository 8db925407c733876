package csrf_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/latchkey-go/latchkey/csrf"
)

func Example() {
	protection, err := csrf.New(csrf.Config{CookieName: "__Host-session"})
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := protection.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))

	for _, site := range []string{"same-origin", "cross-site"} {
		r := httptest.NewRequest("POST", "https://app.example.com/transfer", nil)
		r.Header.Set("Cookie", "__Host-session=lk_…")
		r.Header.Set("Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(site, w.Code)
	}
	// Output:
	// same-origin 204
	// cross-site 403
}
