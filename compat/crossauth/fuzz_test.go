package crossauth_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/crossauth"
	"github.com/latchkey-go/latchkey/compat/engine"
	"github.com/latchkey-go/latchkey/compat/internal/databasetest"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

func FuzzKeyRow(f *testing.F) {
	f.Add(`{"id":1,"value":"s:x","userid":5,"created":"2026-01-02 03:04:05.678901","expires":null,"lastactive":null,"data":"","note":1.5}`)
	f.Add(`{"VALUE":"s:x","UserId":"u","created":1767323045,"expires":"2026-01-02T03:04:05+02:00","data":null}`)
	f.Add(`{"value":null,"userid":[],"created":"0001-01-01 00:00:00","expires":5,"lastactive":"x","data":{}}`)
	table, err := crossauth.NewKeyTable(crossauth.KeyTableConfig{DB: new(engine.DB), Location: time.FixedZone("", -5*3600)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		row, err := engine.ParseRow(text)
		if err != nil {
			return
		}
		key, err := table.DecodeRow(&row)
		if err != nil && (code(err) != crossauth.DataFormat || key.Value != "") {
			t.Fatal(key, err)
		}
		if err != nil {
			return
		}
		v, ok := row.Get("expires")
		if !ok || v.Kind() != engine.Null && key.Expires.IsZero() {
			t.Fatal("an expiry is lost")
		}
		if v, _ := row.Get("userid"); (v.Kind() == engine.Null) != key.UserID.Anonymous() || key.Value == "" || key.Created.IsZero() {
			t.Fatalf("%+v", key)
		}
	})
}

func FuzzData(f *testing.F) {
	f.Add(`{"a":{"b":[1,{"c":null}]},"a.b":1}`, "a.b", "x")
	f.Add("", "a", "")
	f.Add(`[]`, "", "\x00")
	f.Fuzz(func(t *testing.T, data, name, v string) {
		set, changed, err := crossauth.ApplyData(data, []crossauth.DataEntry{{Name: name, Value: v}})
		if err != nil {
			if c := code(err); c != crossauth.DataFormat && c != crossauth.BadRequest || changed {
				t.Fatal(err)
			}
			return
		}
		o, err := crossauth.DecodeData(set)
		if err != nil || !changed || len(o) == 0 {
			t.Fatalf("%q: %v", set, err)
		}
		text, err := crossauth.EncodeData(o)
		if err != nil || text != set {
			t.Fatalf("%q is written as %q: %v", set, text, err)
		}
		unset, changed, err := crossauth.ApplyData(set, []crossauth.DataEntry{{Name: name, Delete: true}})
		if err != nil || !changed {
			t.Fatalf("%q: what was set is not there: %v", set, err)
		}
		if again, changed, err := crossauth.ApplyData(unset, []crossauth.DataEntry{{Name: name, Delete: true}}); err != nil || changed || again != unset {
			t.Fatal(again, err)
		}
		if _, err := pyjson.ParseObject([]byte(unset)); err != nil {
			t.Fatal(err)
		}
	})
}

// No request without the pair reaches the handler, whatever it is made of, and none
// makes the adapter fail.
func FuzzAdapter(f *testing.F) {
	sessions := newSessions(f, &crossauth.MemoryKeys{}, databasetest.NewClock(), nil)
	s := newSite(f, sessions, nil)
	unknown, err := s.csrf.NewToken()
	if err != nil {
		f.Fatal(err)
	}
	cookie := s.csrf.CookieValue(unknown)
	f.Add("POST", "CSRFTOKEN=x.y; SESSIONID=a.b", "a.b", "application/x-www-form-urlencoded", []byte("csrfToken=a.b&csrf_token=c"))
	f.Add("PUT", "CSRFTOKEN="+cookie, "", "application/json", []byte(`{"csrfToken":"EBESExQVFhcYGRobHB0eHw.EBAQEBAQEBAQEBAQEBAQEA"}`))
	f.Add("POST", "CSRFTOKEN="+cookie, "", `multipart/form-data; boundary="x"`, []byte("--x\r\nContent-Disposition: form-data; name=\"csrfToken\"\r\n\r\na.b\r\n--x--"))
	f.Add("GET", "SESSIONID=; SESSIONID=", "\x00", ";", []byte(nil))
	f.Fuzz(func(t *testing.T, method, cookies, header, media string, body []byte) {
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Method = method
		r.Header["Cookie"], r.Header["Content-Type"] = []string{cookies}, []string{media}
		if header != "" {
			r.Header[http.CanonicalHeaderKey(s.csrf.HeaderName())] = []string{header}
		}
		reached := false
		s.handler = func(_ http.ResponseWriter, r *http.Request) {
			reached = true
			if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("the body has become %q: %v", got, err)
			}
			if crossauth.FromContext(r.Context()).SessionID != "" {
				t.Fatal("a session out of nothing")
			}
		}
		res := s.send(r)
		// Nobody can guess the mask that goes with the seeds' cookie.
		if safe := method == "GET" || method == "HEAD" || method == "OPTIONS"; reached != safe || reached != (res.StatusCode == 200) || !reached && res.StatusCode != 401 {
			t.Fatal(method, res.StatusCode, reached)
		}
	})
}

func FuzzAPIKey(f *testing.F) {
	keys, err := crossauth.NewAPIKeys(crossauth.APIKeyConfig{Storage: &crossauth.MemoryKeys{}, Secret: longSecret, Now: databasetest.NewClock().Now})
	if err != nil {
		f.Fatal(err)
	}
	signer, _ := crossauth.NewSigner(longSecret)
	f.Add("eyJ2IjogIngifQ==")
	f.Add("e30=")
	f.Add("!")
	f.Fuzz(func(t *testing.T, text string) {
		for _, header := range []string{text, "ApiKey " + text, "ApiKey " + signer.SignSecureToken(text)} {
			if key, err := keys.Validate(t.Context(), header); code(err) != crossauth.InvalidKey || key.Value != "" {
				t.Fatal(key, err)
			}
		}
	})
}
