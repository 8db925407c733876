//go:build unix

package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/latchkey-go/latchkey/internal/browsertest"
	"github.com/latchkey-go/latchkey/internal/optest"
)

const journeySecret = "client-secret-for-tests-0123456789abcdef"

// journey is everything that stands between a person and a service: a browser, nginx, the
// daemon as people run it, and an identity provider.
type journey struct {
	*browsertest.Profile
	t      *testing.T
	daemon *process
	op     *optest.Provider
	addr   string // of nginx
	dir    string
}

const journeyConfig = `
public-url: https://auth.example.com
trusted-proxies: 127.0.0.1
protected-hosts: [app.example.com, wiki.example.com]
login-limit: 1000
providers:
  - id: corp
    name: The Corporation
    issuer: %s
    client_id: app
    client_secret: %s
    claims: {roles: [groups]}
rules:
  - paths: [/public/*]
    require: public
  - paths: [/fresh/*]
    fresh: 1h
  - paths: [/strong/*]
    fresh: 1h
    assurance: urn:test:otp
`

// newJourney starts all of it. hosts are the callbacks' hosts, with the prefix.
func newJourney(t *testing.T, settings string, callbacks []string, pairs ...string) *journey {
	t.Helper()
	browsertest.Find(t)
	j := &journey{t: t, dir: t.TempDir()}
	address := freeAddress(t)
	client := optest.Client{ID: "app", Secret: journeySecret, BackChannel: "http://" + address + "/backchannel-logout/corp", BackChannelSID: true,
		PostLogoutURIs: []string{"https://auth.example.com/login"}}
	for _, at := range callbacks {
		client.RedirectURIs = append(client.RedirectURIs, at+"/callback/corp")
	}
	j.op = optest.Start(t, optest.Config{Clients: []optest.Client{client}})
	config := fmt.Sprintf(journeyConfig, j.op.Issuer, journeySecret) + settings
	if err := os.WriteFile(filepath.Join(j.dir, "latchkey.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cli(t, j.dir, 0, "key", "generate")
	j.daemon = start(t, j.dir, "--config", "latchkey.yaml", "--listen", address)
	services := newService(t)
	services.keys = func() string { return j.daemon.url + "/jwks.json" }
	j.addr = startFront(t, address, services.URL, pairs...)
	j.Profile = j.browser()
	return j
}

func (j *journey) browser() *browsertest.Profile {
	return browsertest.OpenBehind(j.t, "https://app.example.com", ".example.com", j.addr)
}

// at fails the test unless the browser is at exactly this address.
func (j *journey) at(want string) {
	j.t.Helper()
	if got := j.Location(); got != want {
		j.t.Fatalf("the browser is at %s, want %s", got, want)
	}
}

// atSignIn fails the test unless the browser is at the sign-in page, asked for what
// query says, and shows nobody's identity.
func (j *journey) atSignIn(page string, query url.Values) {
	j.t.Helper()
	if len(query) > 0 {
		page += "?" + query.Encode()
	}
	u, err := url.Parse(j.Location())
	if err != nil {
		j.t.Fatal(err)
	}
	u.RawQuery = u.Query().Encode()
	if u.String() != page {
		j.t.Fatalf("the browser is at %s, want %s", u, page)
	}
	j.WantText("h1", "Sign in")
	if text := browsertest.See(j.Profile, chromedp.Text(chromedp.CSS("body"))); strings.Contains(text, "ada") {
		j.t.Fatalf("the sign-in page shows who was there: %s", text)
	}
}

// signIn goes from the sign-in page to the provider and signs in there, with what the
// form's other fields are to hold. A provider that knows the person asks nothing.
func (j *journey) signIn(fields ...string) {
	j.t.Helper()
	j.Click("main form[action$='/login/corp'] button")
	if !strings.HasPrefix(j.Location(), j.op.Issuer+"/") {
		j.t.Fatalf("the browser is at %s, want the provider", j.Location())
	}
	j.Fill("input[name=login]", "ada")
	for i := 0; i < len(fields); i += 2 {
		j.Fill("input[name="+fields[i]+"]", fields[i+1])
	}
	j.Click("button:not([name])")
}

// shows fails the test unless the service's page says all of this.
func (j *journey) shows(lines ...string) {
	j.t.Helper()
	got := browsertest.See(j.Profile, chromedp.Text(chromedp.CSS("pre")))
	for _, line := range lines {
		if !strings.Contains(got+"\n", line+"\n") {
			j.t.Errorf("the service says\n%s\nwithout %q", got, line)
		}
	}
	if strings.Contains(got, "SESSION COOKIE") {
		j.t.Error("the session cookie reached the service")
	}
}

var ada = []string{"subject ada", "provider corp", "email ada@example.com", "roles everybody"}

const justNow = "assertion of corp/ada, class urn:test:password, authenticated 0s ago"

// TestJourneyPerHost: the sign-in page is on the protected host, and the session is ended
// by the command line.
func TestJourneyPerHost(t *testing.T) {
	const login = "https://app.example.com/_latchkey/login"
	j := newJourney(t, "prefix: /_latchkey\n", []string{"https://app.example.com/_latchkey"},
		"    location = /_latchkey_auth {", nginxPage(t, 1)+"\n    location = /_latchkey_auth {")
	const page = "/reports/2026?q=a%20b&x=%2Fy&x=%C3%BC"
	j.Visit(page)
	j.atSignIn(login, url.Values{"rd": {page}})
	j.signIn()
	j.at("https://app.example.com" + page)
	j.shows(append(ada, "page "+page, justNow)...)
	j.Click("a") // a further click asks nobody
	j.shows(ada...)

	t.Run("step-up", j.stepUp(login))

	// Ended by an administrator: out on the next click, as soon as word of it has come
	// to this process, within its staleness.
	j.Visit("/reports")
	j.shows(ada...)
	cli(t, j.dir, 0, "session", "revoke", "--subject", "ada", "--provider", "corp")
	for began := time.Now(); strings.HasPrefix(j.Location(), "https://app.example.com/reports"); j.Click("a") {
		if time.Since(began) > patience {
			t.Fatal("an ended session is still granted")
		}
	}
	j.atSignIn(login, url.Values{"rd": {"/reports?again"}})
	j.Visit("/public/x")
	j.shows("subject ", "assertion none")
	_ = j.Problems()
	j.daemon.stop()
	for _, secret := range []string{"lk_", "eyJ", journeySecret} {
		if strings.Contains(j.daemon.all(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// stepUp: rules that ask for a recent sign-in and for a stronger one, of somebody who
// is signed in since long ago.
func (j *journey) stepUp(login string) func(*testing.T) {
	return func(t *testing.T) {
		outer := j.t
		j.t = t
		defer func() { j.t = outer }()
		// A sign-in of two hours ago is good for most pages.
		j.Visit("/_latchkey/login?prompt=login&rd=/plain")
		j.signIn("ts", strconv.FormatInt(time.Now().Add(-2*time.Hour).Unix(), 10))
		j.at("https://app.example.com/plain")
		j.shows("assertion of corp/ada, class urn:test:password, authenticated 2h0m0s ago")

		// Scripts are told what is missing, and not redirected.
		const ask = `fetch(%q).then(r => r.status + " " + r.redirected + " " + r.headers.get("WWW-Authenticate"))`
		if got := j.Script(fmt.Sprintf(ask, "/fresh/x")); got != `401 false Bearer error="insufficient_user_authentication", max_age="3600"` {
			t.Errorf("a script gets %s", got)
		}
		if got := j.Script(fmt.Sprintf(ask, "/strong/x")); got != `401 false Bearer error="insufficient_user_authentication", max_age="3600", acr_values="urn:test:otp"` {
			t.Errorf("a script gets %s", got)
		}

		// A page that asks for a recent one: the provider answers with an old one all the
		// same, which is a page and no further redirect.
		j.Visit("/fresh/x?y=z")
		fresh := url.Values{"rd": {"/fresh/x?y=z"}, "prompt": {"login"}, "max_age": {"3600"}}
		j.atSignIn(login, fresh)
		j.signIn("ts", strconv.FormatInt(time.Now().Add(-2*time.Hour).Unix(), 10))
		j.WantText("main", "went by an earlier sign-in of yours")
		j.Click("main a.button") // nothing that was asked for is lost
		j.atSignIn(login, fresh)
		j.signIn()
		j.at("https://app.example.com/fresh/x?y=z")
		j.shows(append(ada, justNow)...)

		// And one that asks for a stronger one.
		j.Visit("/strong/x")
		strong := url.Values{"rd": {"/strong/x"}, "prompt": {"login"}, "max_age": {"3600"}, "acr_values": {"urn:test:otp"}}
		j.atSignIn(login, strong)
		j.signIn()
		j.WantText("main", "less strongly than is asked for")
		j.Visit("/fresh/x") // what was good before still is
		j.shows(justNow)
		j.Visit("/strong/x")
		j.signIn("acr", "urn:test:otp")
		j.at("https://app.example.com/strong/x")
		j.shows("assertion of corp/ada, class urn:test:otp, authenticated 0s ago")
		j.Visit("/fresh/x")
		j.shows("page /fresh/x")
		_ = j.Problems() // the refusals are on purpose
	}
}

// TestJourneyShared: one sign-in for two hosts, and the session is ended by the provider.
func TestJourneyShared(t *testing.T) {
	const login = "https://auth.example.com/login"
	j := newJourney(t, "cookie-domain: example.com\n", []string{"https://auth.example.com"}, "server_name app.example.com;", "server_name app.example.com wiki.example.com;")
	j.Visit("/reports?q=1")
	j.atSignIn(login, url.Values{"rd": {"https://app.example.com/reports?q=1"}})
	j.signIn()
	j.at("https://app.example.com/reports?q=1")
	j.shows(append(ada, justNow, "page /reports?q=1")...)
	j.Visit("https://wiki.example.com/start?x=%2F") // no question, and an assertion of its own
	j.at("https://wiki.example.com/start?x=%2F")
	j.shows(append(ada, justNow)...)

	// In another window: signed out at the provider, which tells the daemon.
	other := j.Window(t)
	other.Visit(j.op.Issuer + "/session/end")
	other.Click("button[name=logout][value=yes]")
	j.Click("a") // the next click
	j.atSignIn(login, url.Values{"rd": {"https://wiki.example.com/start?again"}})
	j.Visit("/reports")
	j.atSignIn(login, url.Values{"rd": {"https://app.example.com/reports"}})

	// Signed in again, at the second host; ended on the account page of another browser.
	j.Visit("https://wiki.example.com/start")
	j.signIn()
	j.at("https://wiki.example.com/start")
	mine := j.Profile
	j.Profile = j.browser()
	j.Visit("https://auth.example.com/account")
	j.signIn()
	j.at("https://auth.example.com/account")
	j.Click("form[action$=revoke-others] button")
	j.Profile = mine
	j.Click("a")
	j.atSignIn(login, url.Values{"rd": {"https://wiki.example.com/start?again"}})
	_ = j.Problems()
	j.daemon.stop()
}
