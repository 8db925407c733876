package sessionmanager_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/compat/apicrud"
	"github.com/latchkey-go/latchkey/compat/apicrud/sessionmanager"
	"github.com/latchkey-go/latchkey/compat/itsdangerous"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

type object = map[string]any

// What Python makes Go reads, changes and ends.
func TestPythonMakes(t *testing.T) {
	p, m, client := startPython(t), open(t, redis.Addr, nil), connect(t, redis.Addr)
	var made object
	p.do(&made, "create", "u-py", []string{"admin", "user"}, object{"ttl": 7200, "method": "local", "name": "Zoë \U0001F600 <&>", "n": 9007199254740993})
	token := made["jti"].(string)
	ref := sessionmanager.Ref{UID: "u-py", Token: token}
	key := apicrud.Key("u-py", token)
	var theirs string
	if p.do(&theirs, "key", "u-py", token); theirs != key {
		t.Fatalf("key %q, and Python's is %q", key, theirs)
	}
	s, err := m.Get(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	name, _ := s.Extra.Text("name")
	if strings.Join(s.Roles, " ") != "admin user" || s.Exp != made["exp"] || s.Issuer != issuer || s.Token != token || s.UID != "u-py" || name != made["name"] || !s.HasRole("admin") {
		t.Errorf("%+v", s)
	}
	if at, ok := s.Expires(); !ok || time.Until(at) > 2*time.Hour || time.Until(at) < 2*time.Hour-time.Minute {
		t.Errorf("it expires %v", at)
	}
	// What is sealed again is what was there, byte for byte but for the IV.
	value := textOf(t, client, key)
	before, _ := newCipher(t, aesSecret).Decrypt(value)
	again, err := pyjson.Marshal(pyjson.Default, s.Object())
	if err != nil || string(again) != before {
		t.Errorf("%s becomes %s, %v", before, again, err)
	}

	// An update keeps the time to live, which the original would set to its default.
	if s, err = m.Update(t.Context(), ref, "note", []any{"ü", json.Number("1.50"), nil, true}); err != nil {
		t.Fatal(err)
	}
	if ttl := ttlOf(t, client, key); ttl < 2*time.Hour-time.Minute {
		t.Errorf("the update left %v", ttl)
	}
	var read object
	p.do(&read, "get", "u-py", token)
	want := object{"auth": "admin:user", "exp": made["exp"], "iss": issuer, "jti": token, "sub": "u-py", "method": "local",
		"name": made["name"], "n": made["n"], "note": []any{"ü", 1.5, nil, true}}
	if !reflect.DeepEqual(read, want) {
		t.Errorf("Python reads %v\nwant %v", read, want)
	}
	if _, err = m.Update(t.Context(), ref, "auth", "user"); err != nil {
		t.Fatal(err)
	}
	var auth string
	if p.do(&auth, "get", "u-py", token, "auth"); auth != "user" {
		t.Errorf("Python reads the roles %q", auth)
	}

	// Go ends it; Python finds nothing.
	if err := m.Delete(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	read = nil
	if p.do(&read, "get", "u-py", token); read != nil {
		t.Errorf("Python reads %v after the end", read)
	}

	// With a key ID in the key.
	p.do(&made, "create", "u-py", []string{"user"}, object{"key_id": "k-1", "nonce": "abcdefgh"})
	if s, err := m.Get(t.Context(), sessionmanager.Ref{UID: "u-py", Token: "abcdefgh", KeyID: "k-1"}); err != nil || s.UID != "u-py" {
		t.Error(s, err)
	}
	_, err = m.Get(t.Context(), sessionmanager.Ref{UID: "u-py", Token: "abcdefgh"})
	wantCode(t, err, latchkey.CodeInvalidSession)
}

// What Go makes Python reads, changes and ends.
func TestGoMakes(t *testing.T) {
	p, m, client := startPython(t), open(t, redis.Addr, nil), connect(t, redis.Addr)
	s, err := m.Create(t.Context(), sessionmanager.NewSession{UID: "u-go", Roles: []string{"user", "person"}, TTL: 90 * time.Second,
		Extra: pyjson.Object{{Name: "name", Value: "Zoë \U0001F600"}, {Name: "acc", Value: json.Number("12")}}})
	if err != nil {
		t.Fatal(err)
	}
	key := apicrud.Key("u-go", s.Token)
	if ttl := ttlOf(t, client, key); ttl > 90*time.Second || ttl < 60*time.Second {
		t.Errorf("it lives %v", ttl)
	}
	var read object
	p.do(&read, "get", "u-go", s.Token)
	if !reflect.DeepEqual(read, object{"auth": "user:person", "exp": s.Exp, "iss": issuer, "jti": s.Token, "sub": "u-go", "name": "Zoë \U0001F600", "acc": 12.0}) {
		t.Errorf("Python reads %v", read)
	}
	var text string
	if p.do(&text, "decrypt", textOf(t, client, key)); text != `{"auth": "user:person", "exp": "`+s.Exp+`", "iss": "`+issuer+`", "jti": "`+s.Token+`", "sub": "u-go", "name": "Zo\u00eb \ud83d\ude00", "acc": 12}` {
		t.Errorf("the text is %s", text)
	}
	// The original refuses the key that is taken, and so does this one.
	var none any = "some"
	if p.do(&none, "create", "u-go", []string{"user"}, object{"nonce": s.Token}); none != nil {
		t.Errorf("Python made %v over it", none)
	}
	_, err = m.Create(t.Context(), sessionmanager.NewSession{UID: "u-go", Token: "xxxxx" + s.Token[len(s.Token)-3:]})
	wantCode(t, err, latchkey.CodeConflict)

	// Python changes it, and by its formula sets the time to live to its default.
	p.do(&none, "update", "u-go", s.Token, "acc", "13")
	if got, err := m.Get(t.Context(), sessionmanager.Ref{UID: "u-go", Token: s.Token}); err != nil {
		t.Error(err)
	} else if acc, _ := got.Extra.Text("acc"); acc != "13" || got.Exp != s.Exp {
		t.Errorf("%+v", got)
	}
	if ttl := ttlOf(t, client, key); ttl < 19*time.Minute {
		t.Errorf("Python left %v", ttl)
	}
	// Python ends it.
	var n int
	if p.do(&n, "delete", "u-go", s.Token); n != 1 {
		t.Errorf("Python deleted %d", n)
	}
	_, err = m.Get(t.Context(), sessionmanager.Ref{UID: "u-go", Token: s.Token})
	wantCode(t, err, latchkey.CodeInvalidSession)
	_, err = m.Update(t.Context(), sessionmanager.Ref{UID: "u-go", Token: s.Token}, "acc", "14")
	wantCode(t, err, latchkey.CodeInvalidSession)
	if textOf(t, client, key) != "" {
		t.Error("an update revived it")
	}

	// Python's tokens are of one kind with Go's.
	var id string
	p.do(&id, "gen_id", 8, "")
	if mine, _ := apicrud.NewID(bytes.NewReader(make([]byte, 64)), time.Now(), 8, ""); mine[:2] != id[:2] || len(id) != 8 {
		t.Errorf("%q and %q", mine, id)
	}
}

// The Flask application signs in, and what it hands out opens the session in Go.
func TestFlaskSignsIn(t *testing.T) {
	p, m := startPython(t), open(t, redis.Addr, nil)
	j, err := apicrud.NewJWT(jwtSecret)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(p.url+"/auth", "application/json", strings.NewReader(`{"username":"u-flask","roles":["admin"]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		JWT      string `json:"jwt_token"`
		Username string
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != 201 {
		t.Fatal(res.StatusCode, err)
	}
	claims, err := j.Verify(answer.JWT)
	if err != nil {
		t.Fatal(err)
	}
	sub, _ := claims.Text("sub")
	jti, _ := claims.Text("jti")
	s, err := m.Get(t.Context(), sessionmanager.Ref{UID: sub, Token: jti})
	if method, _ := s.Extra.Text("method"); err != nil || !s.HasRole("admin") || sub != answer.Username || method != "local" {
		t.Error(s, err)
	}
	// The cookie that spares the second factor is the jti of a session of its own.
	bypass := 0
	for _, c := range res.Cookies() {
		if c.Name == "__Secure-totp" {
			bypass++
			if s, err := m.Get(t.Context(), sessionmanager.Ref{UID: sub, Token: c.Value}); err != nil || !s.HasRole("mfabypass") || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode {
				t.Error(s, err, c)
			}
		}
	}
	if bypass != 1 {
		t.Errorf("%d cookies", bypass)
	}
	checkFlaskCookie(t, p, res)

	// Go is told of the logout there.
	req, _ := http.NewRequestWithContext(t.Context(), "GET", p.url+"/logout", nil)
	req.SetBasicAuth(sub, jti)
	if res, err := http.DefaultClient.Do(req); err != nil || res.Body.Close() != nil {
		t.Fatal(err)
	}
	_, err = m.Get(t.Context(), sessionmanager.Ref{UID: sub, Token: jti})
	wantCode(t, err, latchkey.CodeInvalidSession)
}

// checkFlaskCookie reads the cookie that Flask keeps OAuth's state in, and has Flask
// read one that was signed here.
func checkFlaskCookie(t *testing.T, p *python, res *http.Response) {
	t.Helper()
	signer, err := itsdangerous.NewTimed(itsdangerous.Config{Secrets: []string{jwtSecret}, Salt: "cookie-session", Signer: itsdangerous.Signer{KeyDerivation: itsdangerous.HMAC}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range res.Cookies() {
		if c.Name == "session" {
			v, _, err := signer.Loads(c.Value, time.Hour)
			o, _ := v.(pyjson.Object)
			if state, _ := o.Text("state"); err != nil || state != "u-flask" {
				t.Error(v, err)
			}
		}
	}
	token, err := signer.Dumps(pyjson.Object{{Name: "state", Value: "from Go"}})
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), "GET", p.url+"/state", nil)
	req.AddCookie(&http.Cookie{Name: "session", Value: token})
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); strings.TrimSpace(string(body)) != `"from Go"` {
		t.Errorf("Flask reads %s", body)
	}
}

// The tokens of confirmation mails, in both directions.
func TestConfirmations(t *testing.T) {
	p := startPython(t)
	settings := apicrud.Settings{TokenSecret: jwtSecret, TokenSalt: "YI31A26j6f4&0#X*8&7QBNF", TokenTimeout: 12 * time.Hour}
	c, err := apicrud.NewConfirmations(settings, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	var token, text string
	p.do(&token, "confirm", "c-1:tel:+1:555:n0nce", settings.TokenSalt)
	if got, err := c.Read(token); err != nil || got != (apicrud.Confirmation{ContactID: "c-1", Info: "tel:+1:555", Nonce: "n0nce"}) {
		t.Error(got, err)
	}
	if token, err = c.Sign(apicrud.Confirmation{ContactID: "c-2", Info: "zoë@example.com", Nonce: "1"}); err != nil {
		t.Fatal(err)
	}
	if p.do(&text, "confirmed", token, settings.TokenSalt); text != "c-2:zoë@example.com:1" {
		t.Errorf("Python reads %q", text)
	}
}

// Go signs in: the Flask application and PyJWT take its token, and a Go handler takes
// the credentials as the application's clients send them.
func TestGoSignsIn(t *testing.T) {
	p, m := startPython(t), open(t, redis.Addr, nil)
	j, err := apicrud.NewJWT(jwtSecret)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Create(t.Context(), sessionmanager.NewSession{UID: "u-web", Roles: []string{"user"}})
	if err != nil {
		t.Fatal(err)
	}
	token, err := j.Sign(s.Object())
	if err != nil {
		t.Fatal(err)
	}
	var claims object
	p.do(&claims, "jwt", token)
	if claims["sub"] != "u-web" || claims["jti"] != s.Token || claims["auth"] != "user" {
		t.Errorf("PyJWT reads %v", claims)
	}
	mine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, err := m.Authenticate(r); err != nil {
			latchkey.WriteProblem(w, r, err)
		} else {
			_, _ = io.WriteString(w, s.UID)
		}
	}))
	defer mine.Close()
	for _, c := range []struct {
		uid, token string
		status     int
	}{{"u-web", s.Token, 200}, {"u-web", "x" + s.Token[1:], 401}, {"u-other", s.Token, 401}, {"u-web", s.Token[len(s.Token)-3:], 401}, {"", "", 401}} {
		for _, url := range []string{p.url + "/session", mine.URL} {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
			req.SetBasicAuth(c.uid, c.token)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != c.status {
				t.Errorf("%s and %d characters: %d at %s, want %d", c.uid, len(c.token), res.StatusCode, url, c.status)
			}
		}
	}
}
