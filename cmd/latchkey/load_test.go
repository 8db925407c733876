package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// env makes an environment of pairs.
func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

// knownKeys lists what a configuration file may hold.
func knownKeys() []string {
	var known []string
	for _, o := range (&settings{}).options()[1:] {
		known = append(known, o.name)
	}
	return known
}

func TestPrecedence(t *testing.T) {
	file := map[string]given{"idle": {values: []string{"10m"}, origin: "f:1: idle"}}
	for _, c := range []struct {
		name string
		src  sources
		want time.Duration
	}{
		{"default", sources{env: env()}, 0},
		{"file", sources{env: env(), file: file}, 10 * time.Minute},
		{"empty_variable", sources{env: env("LATCHKEY_IDLE", ""), file: file}, 10 * time.Minute},
		{"variable", sources{env: env("LATCHKEY_IDLE", "20m"), file: file}, 20 * time.Minute},
		{"flag", sources{flags: map[string][]string{"idle": {"30m"}}, env: env("LATCHKEY_IDLE", "20m"), file: file}, 30 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &settings{}
			set, problems := c.src.load(s.options())
			if len(problems) > 0 || s.idle != c.want || set["idle"] != (c.want != 0) {
				t.Errorf("idle = %v, set %v, %v; want %v", s.idle, set["idle"], problems, c.want)
			}
		})
	}
}

// Every setting has a flag, a variable and a key, and its default is good.
func TestEverySetting(t *testing.T) {
	s := &settings{}
	src := sources{env: env()}
	if _, problems := src.load(s.options()); len(problems) > 0 {
		t.Fatalf("defaults: %v", problems)
	}
	if s.listen != "127.0.0.1:8420" || s.store != "sqlite:latchkey.db" || s.keys != "latchkey.keys" || s.staleness != time.Second ||
		s.retention != 90*24*time.Hour || !s.persist || s.privacy != "truncated" || s.preset != "aal2" || s.limitPolicy != "evict" || s.limit != 0 {
		t.Errorf("defaults are %+v", *s)
	}
	if idle, absolute := s.limits(); idle != time.Hour || absolute != 24*time.Hour {
		t.Errorf("limits are %v, %v", idle, absolute)
	}
	for _, name := range []string{"listen", "store", "keys", "admin-key", "demo", "public-url", "idle", "absolute", "preset", "limit", "limit-policy",
		"staleness", "serve-stale", "privacy", "retention", "cookie-name", "cookie-domain", "persist", "insecure-cookie", "prefix", "trusted-proxies",
		"metrics-listen", "tls-cert", "tls-key", "log-level"} {
		if !slices.Contains(knownKeys(), name) {
			t.Errorf("there is no %s", name)
		}
	}
	if got := variableOf("trusted-proxies"); got != "LATCHKEY_TRUSTED_PROXIES" {
		t.Errorf("the variable is %s", got)
	}
}

func TestParseConfig(t *testing.T) {
	values, problems := parseConfig("c.yaml", `# a comment
listen: 127.0.0.1:9000
idle: 30m
persist: false
limit: 3
trusted-proxies:
  - 10.0.0.0/8
  - fd00::/8
cookie-name: "quoted: name"
`, knownKeys())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for key, want := range map[string]string{"listen": "127.0.0.1:9000", "idle": "30m", "persist": "false", "limit": "3",
		"trusted-proxies": "10.0.0.0/8,fd00::/8", "cookie-name": "quoted: name"} {
		if got := values[key]; len(got.values) != 1 || got.values[0] != want || !strings.Contains(got.origin, ": "+key) {
			t.Errorf("%s = %q, want %q", key, got.values, want)
		}
	}
	for text, want := range map[string]string{
		"idel: 30m":                     `c.yaml:1: unknown key "idel"; did you mean idle?`,
		"idle: 1h\nidle: 2h":            "c.yaml:2: idle: is given twice",
		"idle:":                         "c.yaml:1: idle: has no value",
		"idle: {a: b}":                  "c.yaml:1: idle: must be a plain value",
		"idle: [1h]":                    "c.yaml:1: idle: must be a plain value",
		"trusted-proxies: {a: b}":       "must be a plain value or a list of them",
		"idle: 1h\n---\nidle: 2h":       "c.yaml:2: a second document begins here",
		"idle: 1h\n---\n: : hunter2":    "is not valid YAML",
		"# none\n---\n---\nidle: 2h":    "a second document begins here",
		keyA + ": 1h":                   `unknown key "[redacted]"`,
		"x://u:hunter2@h: 1h":           `unknown key "x://u:redacted@h"`,
		"trusted-proxies: [[a]]":        "plain values without commas",
		"trusted-proxies: []":           "the list is empty",
		"admin-key: [\"a,b\"]":          "plain values without commas",
		"- a":                           "c.yaml:1: the file must be a list of KEY: VALUE lines",
		"admin-key: \"hunter2":          "is not valid YAML",
		"admin-key: hunter2: hunter2":   "is not valid YAML",
		"config: other.yaml":            `unknown key "config"`,
		"a: &x 1\nidle: *x":             "must be a plain value",
		"? [a]\n: b":                    "unknown key",
		"LISTEN: 127.0.0.1:1":           "did you mean listen?",
		"public_url: https://a.test":    "did you mean public-url?",
		"idle: !!binary aGVsbG8=\nx: 1": `unknown key "x"`,
	} {
		_, problems := parseConfig("c.yaml", text, knownKeys())
		all := strings.Join(problems, "\n")
		if !strings.Contains(all, want) || strings.Contains(all, "hunter2") {
			t.Errorf("problems of %q are %q, want %q", text, all, want)
		}
	}
	for _, empty := range []string{"", "# nothing\n", "---\n", "null\n"} {
		if values, problems := parseConfig("c.yaml", empty, knownKeys()); len(values)+len(problems) > 0 {
			t.Errorf("%q gives %v, %v", empty, values, problems)
		}
	}
}

func TestReadConfigFile(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, bytes.Repeat([]byte("#"), maxConfigFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{big: "larger than 1024 KiB", dir: "is not a regular file", filepath.Join(dir, "none"): "no such file"} {
		if _, problems := readConfig(path, knownKeys()); len(problems) != 1 || !strings.Contains(problems[0], want) {
			t.Errorf("%s: %v, want %q", path, problems, want)
		}
	}
}

// A run with everything wrong names each problem once, shows no secret and makes nothing.
func TestEveryProblemAtOnce(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	var out, errs bytes.Buffer
	status := run(t.Context(), []string{"serve", "--bogus=" + keyA, "--listen", "nowhere", "--idle", "soon", "--store", "mongo://u:hunter2@h/db", "--limit", "-1",
		"--admin-key", "ops:hunter2", "--public-url", "https://u:hunter2@a.test", "--prefix", "auth/", "--tls-cert", "c.pem", "--preset", "aal9", "--keys", strings.Repeat("A", 43), "extra"},
		strings.NewReader(""), &out, &errs, env("LATCHKEY_PRIVACY", "some", "LATCHKEY_RETENTION", "1s"))
	if status != exitUsage || out.Len() > 0 {
		t.Errorf("status %d, output %q", status, out.String())
	}
	text := errs.String()
	for _, want := range []string{`unknown flag "--bogus"`, "--listen:", "--idle:", "--store: is not a store URL", "--limit:", "--admin-key:",
		"--public-url:", "--prefix:", "--tls-cert:", "--preset:", "--keys:", "unexpected argument;", "LATCHKEY_PRIVACY:", "LATCHKEY_RETENTION:"} {
		if n := strings.Count(text, want); n != 1 {
			t.Errorf("%q is told %d times in\n%s", want, n, text)
		}
	}
	if strings.Contains(text, "hunter2") || strings.Contains(text, keyA) || strings.Contains(text, "AAAA") {
		t.Errorf("a secret is shown in\n%s", text)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("there is %v, %v", entries, err)
	}
}

// Whatever stands in the file, the answer is values for known keys or problems of
// one line each.
func FuzzParseConfig(f *testing.F) {
	for _, seed := range []string{"idle: 1h\n", "trusted-proxies: [a, b]", "a: &a [*a]", "? x", "- 1", "idle: !!int 3", "\x00", "idle: |\n  x\n  y", strings.Repeat("[", 500)} {
		f.Add(seed)
	}
	known := knownKeys()
	f.Fuzz(func(t *testing.T, text string) {
		values, problems := parseConfig("c.yaml", text, known)
		for key, g := range values {
			if !slices.Contains(known, key) || len(g.values) != 1 {
				t.Errorf("%q gives %q: %v", text, key, g)
			}
		}
		for _, p := range problems {
			if p == "" || strings.ContainsAny(p, "\n\r\x1b") || len(p) > 2000 {
				t.Errorf("%q gives problem %q", text, p)
			}
		}
		s := &settings{}
		src := sources{env: env(), file: values}
		_, problems = src.load(s.options())
		_ = fmt.Sprint(problems)
	})
}
