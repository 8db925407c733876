package transaction_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/transaction"
)

// A program sends a visitor to a provider and finishes the sign-in at the callback.
func Example() {
	keys, err := keyring.Generate(time.Now())
	if err != nil {
		fmt.Println(err)
		return
	}
	store, err := memory.New(memory.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	signIns, err := transaction.New(transaction.Config{Keys: keys, Spender: store})
	if err != nil {
		fmt.Println(err)
		return
	}

	mux := http.NewServeMux()
	mux.HandleFunc("POST /login/acme", func(w http.ResponseWriter, r *http.Request) {
		t, err := signIns.Begin(w, r, transaction.Params{Provider: "acme", ReturnTo: r.FormValue("rd")})
		if err != nil {
			latchkey.WriteProblem(w, r, err)
			return
		}
		query := url.Values{"response_type": {"code"}, "client_id": {"us"}, "state": {t.State}, "nonce": {t.Nonce},
			"code_challenge": {t.Challenge()}, "code_challenge_method": {"S256"}}
		http.Redirect(w, r, "https://acme.example/authorize?"+query.Encode(), http.StatusSeeOther)
	})
	mux.HandleFunc("GET /callback/acme", func(w http.ResponseWriter, r *http.Request) {
		t, err := signIns.Finish(r.Context(), w, r, "acme", r.FormValue("state"))
		if err != nil {
			latchkey.WriteProblem(w, r, err)
			return
		}
		// Exchange the code with t.Verifier, compare the ID token's nonce with
		// t.Nonce, sign in, and go on.
		w.Header().Set("Location", t.ReturnTo)
		w.WriteHeader(http.StatusSeeOther)
	})

	login := httptest.NewRecorder()
	mux.ServeHTTP(login, httptest.NewRequest("POST", "/login/acme?rd=/reports", nil))
	sent, _ := url.Parse(login.Header().Get("Location"))
	callback := httptest.NewRequest("GET", "/callback/acme?code=x&state="+sent.Query().Get("state"), nil)
	callback.AddCookie(login.Result().Cookies()[0])
	for range 2 {
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, callback)
		fmt.Println(answer.Code, answer.Header().Get("Location"))
	}
	// Output:
	// 303 /reports
	// 403
}

func ExampleReturnTo() {
	allowed := []string{"docs.example.com"}
	for _, rd := range []string{"/reports?week=7", "//evil.example", `/\evil.example`, "https://docs.example.com/a", "https://docs.example.com@evil.example/"} {
		fmt.Printf("%q\n", transaction.ReturnTo(rd, allowed))
	}
	// Output:
	// "/reports?week=7"
	// ""
	// ""
	// "https://docs.example.com/a"
	// ""
}
