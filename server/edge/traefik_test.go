package edge_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/latchkey-go/latchkey/server/edge"
)

// startTraefik runs a Traefik with the configuration of its page. pairs are further
// changes to that.
func startTraefik(t *testing.T, pairs ...string) *front {
	bin := built(t, "traefik")
	f := newFront(t)
	dir := t.TempDir()
	cert, key := f.certificate(dir)
	f.addr = "127.0.0.1:" + freePort(t)
	entry, routes := fence(t, "traefik.md", "yaml", 0), fence(t, "traefik.md", "yaml", 1)
	const mark = "\n---\n"
	both := replaced(t, entry+mark+routes, append(pairs,
		"address: :443", "address: "+f.addr,
		"http://127.0.0.1:8420", f.b.web.URL,
		"http://127.0.0.1:3000", f.echo.URL,
		"- __Secure-session", "- __Host-session")...)
	var parts [2]map[string]any
	for n, text := range strings.Split(both, mark) {
		must(t, yaml.Unmarshal([]byte(text), &parts[n]))
	}
	parts[1]["tls"] = map[string]any{"certificates": []any{map[string]string{"certFile": cert, "keyFile": key}}}
	parts[0]["providers"] = map[string]any{"file": map[string]string{"filename": filepath.Join(dir, "dynamic.yaml")}}
	parts[0]["global"] = map[string]bool{"checkNewVersion": false, "sendAnonymousUsage": false}
	for n, name := range []string{"static.yaml", "dynamic.yaml"} {
		text, err := yaml.Marshal(parts[n])
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	f.run(bin, "--configFile="+filepath.Join(dir, "static.yaml"))
	return f
}

// TestTraefik runs the real one; TestTraefikContract asks as it does.
func TestTraefik(t *testing.T) {
	for name, trust := range map[string]string{"untrusted": "false", "trusted": "true"} {
		t.Run(name, func(t *testing.T) {
			f := startTraefik(t, "trustForwardHeader: false", "trustForwardHeader: "+trust)
			everyProxy(t, f)
			t.Run("renewed-cookie", func(t *testing.T) { f.in(t).renewedCookie(true) })
			t.Run("absent", func(t *testing.T) { f.in(t).absentHeaders("") })
		})
	}
	for name, trust := range map[string]string{"streams": "false", "streams-trusted": "true"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startTraefik(t, "trustForwardHeader: false", "trustForwardHeader: "+trust, "          - Cookie\n", "")
			f.liven()
			everyStream(t, f)
		})
	}
	// What older versions are given instead of the entry point's option.
	t.Run("aliases-middleware", func(t *testing.T) {
		f := startTraefik(t, "      aliasHeadersStrategy: delete\n", "      aliasHeadersStrategy: keep\n",
			"  middlewares:\n", "  middlewares:\n"+fence(t, "traefik.md", "yaml", 3),
			"middlewares: [latchkey]", "middlewares: [latchkey-aliases, latchkey]")
		i := f.alice()
		lines := []string{sessionCookie + i.Token}
		for _, name := range edge.Aliases() {
			lines = append(lines, name+": root")
		}
		if s := f.want("aliases", f.get("/page", lines...), 200, true); identityOf(s) != f.describe(i) {
			t.Errorf("the service sees %q", identityOf(s))
		}
	})
	t.Run("bounded-events", func(t *testing.T) {
		t.Parallel()
		f := startTraefik(t, "    address: :443\n", "    address: :443\n"+strings.Replace(after(fence(t, "traefik.md", "yaml", 2), "websecure:\n"), "10m", "1s", 1))
		f.liven()
		f.bounded(false, true)
	})
}

// after is what follows on a mark.
func after(text, mark string) string {
	_, rest, _ := strings.Cut(text, mark)
	return rest
}
