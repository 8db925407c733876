//go:build unix

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/servers"
)

// Two daemons on one server are one: either answers for what the other made, and
// refuses what it ended; the server's end is an outage and its return the end of that.
func TestFleet(t *testing.T) {
	for name, launch := range map[string]func() *servers.Server{
		"redis": func() *servers.Server {
			return servers.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
		},
		"postgres": func() *servers.Server { return servers.StartPostgres(t) },
		"mysql":    func() *servers.Server { return servers.StartMariaDB(t) },
	} {
		for _, extra := range []string{"", "--stateless"} {
			t.Run(name+extra, func(t *testing.T) {
				server := launch()
				fleet(t, server, extra)
			})
		}
	}
}

func fleet(t *testing.T, server *servers.Server, extra string) {
	dir := t.TempDir()
	cli(t, dir, 0, "key", "generate")
	cli(t, dir, 0, "migrate", "--store", server.URL)
	args := []string{"--store", server.URL, "--public-url", "https://auth.example.com"}
	if extra != "" {
		args = append(args, extra)
	}
	one, two := start(t, dir, args...), start(t, dir, args...)
	token, id := one.issue("ann")
	if two.me(token) != 200 || one.me(token) != 200 {
		t.Fatal("a session of the one is none of the other")
	}
	if out := cli(t, dir, 0, "session", "list", "--store", server.URL); !strings.Contains(out, id) {
		t.Errorf("not in the list:\n%s", out)
	}
	if resp, body := two.call("DELETE", "/v1/sessions/"+id, "", "Authorization", "Bearer "+adminSecret); resp.StatusCode != 204 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if two.me(token) != 401 {
		t.Error("ended here, and granted here")
	}
	one.refusedSoon(token)
	kept, _ := two.issue("bob")
	if out := cli(t, dir, 0, "doctor", "--store", server.URL); !strings.Contains(out, "revocation") {
		t.Errorf("doctor:\n%s", out)
	}

	server.Kill(t)
	for began := time.Now(); one.me(kept) != 503; time.Sleep(10 * time.Millisecond) {
		if status := one.me(kept); status == 401 || time.Since(began) > patience {
			t.Fatalf("an outage is told as %d", status)
		}
	}
	server.Restart(t)
	for _, p := range []*process{one, two} {
		for began := time.Now(); p.me(kept) != 200; time.Sleep(10 * time.Millisecond) {
			if status := p.me(kept); status == 401 || time.Since(began) > patience {
				t.Fatalf("after the outage: %d\n%s", status, p.all())
			}
		}
	}
	if strings.Contains(one.all()+two.all(), servers.Password) {
		t.Error("the password is in the log")
	}
}
