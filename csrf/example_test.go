package csrf_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/csrf"
	"github.com/latchkey-go/latchkey/keyring"
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

// A page puts the token of its visitor's session into its form. It is asked for only
// where a browser sends neither Sec-Fetch-Site nor Origin.
func ExampleProtection_Token() {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	keys, err := keyring.Generate(now) // a real program shares that of its sessions
	if err != nil {
		fmt.Println(err)
		return
	}
	protection, err := csrf.New(csrf.Config{
		CookieName: "__Host-session",
		Keys:       keys,
		// Inside latchkey.Manager.Middleware this is not needed.
		SessionID: func(*http.Request) string { return "01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f" },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := protection.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			fmt.Fprintf(w, "sent %s", r.FormValue("amount"))
			return
		}
		token, err := protection.Token(r)
		if err != nil {
			latchkey.WriteProblem(w, r, err)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprintf(w, `<form method="post"><input type="hidden" name="%s" value="%s"><input name="amount"></form>`, csrf.FieldName, token)
	}))

	page := httptest.NewRecorder()
	handler.ServeHTTP(page, httptest.NewRequest("GET", "https://app.example.com/transfer", nil))
	_, rest, _ := strings.Cut(page.Body.String(), `value="`)
	token, _, _ := strings.Cut(rest, `"`)

	for _, form := range []string{"csrf_token=" + token + "&amount=10", "amount=10"} {
		r := httptest.NewRequest("POST", "https://app.example.com/transfer", strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Cookie", "__Host-session=lk_…")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code == http.StatusOK {
			fmt.Println(w.Code, w.Body)
			continue
		}
		fmt.Println(w.Code)
	}
	fmt.Printf("%+v\n", protection.Counts())
	// Output:
	// 200 sent 10
	// 403
	// {CrossOrigin:0 MissingHeader:0 BadToken:1 Unmarked:0 PassedByToken:1}
}

// An API for scripts of its own site asks for a header that no other site's page can
// add without a CORS preflight.
func ExampleConfig_requiredHeader() {
	protection, err := csrf.New(csrf.Config{CookieName: "__Host-session", RequiredHeader: "X-CSRF"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, value := range []string{"1", ""} {
		r := httptest.NewRequest("DELETE", "https://api.example.com/orders/7", nil)
		r.Header.Set("Cookie", "__Host-session=lk_…")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if value != "" {
			r.Header.Set("X-CSRF", value)
		}
		fmt.Println(csrf.ReasonOf(protection.Check(r)))
	}
	// Output:
	// none
	// missing_header
}

// Report-only mode tells what would be refused, and lets it through.
func ExampleConfig_reportOnly() {
	protection, err := csrf.New(csrf.Config{
		CookieName:            "__Host-session",
		DangerouslyReportOnly: true,
		OnReport: func(r *http.Request, reason csrf.Reason) {
			fmt.Println("would refuse", r.Method, "as", reason)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := httptest.NewRequest("POST", "https://app.example.com/transfer", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	fmt.Println(protection.Check(r), protection.Counts().CrossOrigin)
	// Output:
	// would refuse POST as cross_origin
	// <nil> 1
}
