package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	keyA = "0123456789abcdef0123456789abcdef"
	keyB = "fedcba9876543210fedcba9876543210"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	good := map[string]time.Duration{
		"0": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "90d": 90 * day, "1d12h": 36 * time.Hour, "0d": 0,
		"106751d": 106751 * day, "1d0s": day, "1.5h": 90 * time.Minute,
	}
	for text, want := range good {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "90", "d", "-1h", "-1d", "1d-1h", "1d+1h", "1.5d", "1h1d", "106752d", "106751d999h", "9999999999d", "1 d", "1dd", "1w", "NaN", "1d "} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", text, got)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", time.Second: "1s", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m",
		24 * time.Hour: "24h", 36 * time.Hour: "36h", 48 * time.Hour: "2d", 90 * 24 * time.Hour: "90d", 10 * time.Minute: "10m", 20 * time.Hour: "20h", 1500 * time.Millisecond: "1.5s"} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestParseAdminKeys(t *testing.T) {
	for text, want := range map[string][]string{
		keyA:                                    {"admin"},
		"ops:" + keyA:                           {"ops"},
		"ops:" + keyA + ",ci:" + keyB:           {"ops", "ci"},
		"ops:" + keyA + "\nci@b:" + keyB + "\n": {"ops", "ci@b"},
		"a.b_c-1:" + keyA + ":with:colons":      {"a.b_c-1"},
		" ops:" + keyA + " , " + keyB:           {"ops", "admin"},
	} {
		keys, errs := parseAdminKeys(text)
		var names []string
		for _, k := range keys {
			names = append(names, k.name)
		}
		if len(errs) > 0 || !slices.Equal(names, want) {
			t.Errorf("names of %q = %v, %v; want %v", text, names, errs, want)
		}
	}
	for _, text := range []string{"", ",", "ops:", ":" + keyA, "ops:short", "a b:" + keyA, keyA[:31], "ops:" + keyA + ",ci:" + keyA, "ops:" + keyA + ",ops:" + keyB, keyA + "," + keyB,
		"ops:" + keyA + "\x00", "ops:" + strings.Repeat("k", maxAdminKey+1), "ops:" + keyA[:31] + "é", strings.Repeat("n", 65) + ":" + keyA} {
		if keys, errs := parseAdminKeys(text); len(errs) == 0 {
			t.Errorf("parseAdminKeys(%q) gave %d keys, want an error", text, len(keys))
		}
	}
}

func TestAdminKeyIsNeverPrinted(t *testing.T) {
	keys, errs := parseAdminKeys("ops:" + keyA + ",ci:" + keyB + ",bad name:" + keyA + "x,ci:" + keyB)
	printed := fmt.Sprintf("%v %+v %#v %s %q %x %d %v", keys, keys, keys, keys[0], keys[0], keys[0], keys[0], errs)
	for _, secret := range []string{keyA, keyB} {
		if strings.Contains(printed, secret) || strings.Contains(printed, fmt.Sprintf("%x", secret)) {
			t.Errorf("a key is in %s", printed)
		}
	}
	if len(errs) != 2 {
		t.Errorf("%d errors, want 2: %v", len(errs), errs)
	}
}

func TestParseNetworks(t *testing.T) {
	got, errs := parseNetworks("10.0.0.0/8, fd00::/8,127.0.0.1,::1")
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}
	if len(errs) > 0 || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, errs, want)
	}
	for _, text := range []string{"", "10.0.0.1/8", "10.0.0.0/33", "x", "10.0.0.0/8,", "fe80::1%eth0", "10.0.0.0/8 192.168.0.0/16"} {
		if _, errs := parseNetworks(text); len(errs) == 0 {
			t.Errorf("parseNetworks(%q) was accepted", text)
		}
	}
}

func TestRedact(t *testing.T) {
	for _, secret := range []string{
		"postgres://user:hunter2@host/db", "postgres://hunter2@host/db", "postgres://host/db?password=hunter2&sslmode=require",
		"redis://:hunter2@host:6379/0", "redis://host?auth_token=hunter2", "postgres://user:hun%zzhunter2@host/db", "user:hunter2@tcp(host)/db",
		"postgres:user:hunter2@host", "https://host/#hunter2", "lk_hunter2", "cookie=lk_hunter2", "my scheme://user:hunter2@host",
	} {
		for name, text := range map[string]string{"redact": redact(secret), "shown": shown(secret)} {
			if strings.Contains(text, "hunter2") {
				t.Errorf("%s(%q) = %q shows the secret", name, secret, text)
			}
		}
	}
	for _, plain := range []string{"sqlite:latchkey.db", "sqlite:/home/a@b/latchkey.db", "127.0.0.1:8420", "https://auth.example.com", "memory:", ""} {
		if got := redact(plain); got != plain {
			t.Errorf("redact(%q) = %q", plain, got)
		}
	}
	if got := redact("postgres://user:pw@host:5432/db?sslmode=require"); got != "postgres://user:redacted@host:5432/db?sslmode=require" {
		t.Errorf("a URL became %q", got)
	}
}

// A wrong value is repeated when it is plainly no key, and never in full when it is long.
func TestShown(t *testing.T) {
	for text, want := range map[string]string{
		"1x": `"1x"`, "": `""`, keyA: `"[redacted]"`, "x " + keyA: `"[redacted]"`, "ops:" + keyA: `"[redacted]"`, "canary-admin-key-canary": `"canary-admin-key-canary"`,
		"canary.admin.key+0123456789": `"[redacted]"`, "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl/x": `"[redacted]"`, "https://auth.example.com/x": `"https://auth.example.com/x"`,
		"https://h/" + keyA: `"[redacted]"`, "auth.internal.example.com:x": `"auth.internal.example.com:x"`, "2001:db8:aaaa:bbbb::/129,10.0.0.1/8": `"2001:db8:aaaa:bbbb::/129,10.0.0.…"`,
		"u:hunter2@h": `"u:[redacted]"`, "https://u:hunter2@h": `"https://u:redacted@h"`, "x/u:hunter2@h://": `"[redacted]"`, "https://a/u:hunter2@h": `"https://[redacted]"`,
		"sqlite:u:hunter2@h": `"sqlite:[redacted]"`, "a\x1bb": `"a\x1bb"`, "lk_x": `"[redacted]"`,
	} {
		if got := shown(text); got != want {
			t.Errorf("shown(%q) = %s, want %s", text, got, want)
		}
	}
	long := "/var/lib/latchkey/a-long-name-of-a-folder-of-somebody/latchkey.db"
	for text, want := range map[string]string{long: strconv.Quote(long), "latchkey.keys": `"latchkey.keys"`, keyA: `"[redacted]"`, "AbCd/" + keyA: `"[redacted]"`,
		"/u:hunter2@h": `"[redacted]"`, "https://u:hunter2@h/k.pem": `"https://u:redacted@h/k.pem"`, "eyJhbGciOiJI.eyJ": `"[redacted]"`} {
		if got := shownPath(text); got != want {
			t.Errorf("shownPath(%q) = %s, want %s", text, got, want)
		}
	}
}

func TestInUnits(t *testing.T) {
	for text, want := range map[string]string{"12000h0m0s is above the absolute limit of 24h0m0s": "500d is above the absolute limit of 24h",
		"2h0m0s is not between 10ms and 1m0s": "2h is not between 10ms and 1m", "1h30m0.5s": "1h30m0.5s", "nothing 3s": "nothing 3s"} {
		if got := inUnits(text); got != want {
			t.Errorf("inUnits(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestOneLine(t *testing.T) {
	got := oneLine("a\x1b[31mred\nb\tc\u202ed\x7f\xff")
	if want := "a\uFFFD[31mred b c\uFFFDd\uFFFD\uFFFD"; got != want {
		t.Errorf("oneLine gave %q, want %q", got, want)
	}
}

func TestDistanceOf(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "now", 400 * time.Millisecond: "now", 59 * time.Second: "in 59s", -90 * time.Second: "90s ago",
		-2 * time.Minute: "2m ago", 119 * time.Minute: "in 119m", 2 * time.Hour: "in 2h", 47 * time.Hour: "in 47h", -48 * time.Hour: "2d ago"} {
		if got := distanceOf(d); got != want {
			t.Errorf("distanceOf(%v) = %q, want %q", d, got, want)
		}
	}
}

// What parses keeps its value when written and parsed again; what does not is refused without being repeated whole.
func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"90d", "1d12h", "30m", "-1h", "106751d23h47m16.854775807s", "1.5d", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDuration(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 6*maxShown+100 {
				t.Errorf("error %q", err)
			}
			return
		}
		if again, err := parseDuration(formatDuration(d)); d < 0 || err != nil || again != d {
			t.Errorf("%q is %v, written %q, read again %v, %v", text, d, formatDuration(d), again, err)
		}
	})
}

// Keys that parse are long enough, clean and distinct, and give themselves back.
// No error repeats a long part of the text.
func FuzzParseAdminKeys(f *testing.F) {
	for _, seed := range []string{keyA, "ops:" + keyA + ",ci:" + keyB, "ops:" + keyA + "\n", "a:b:c", ",,", "ops:\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, errs := parseAdminKeys(text)
		seen := make(map[string]bool)
		var list []string
		for _, k := range keys {
			if len(k.key) < minAdminKey || len(k.key) > maxAdminKey || !isAdminName(k.name) || seen[k.key] || strings.ContainsAny(k.key, " ,\n\x00") {
				t.Fatalf("accepted %q:%q", k.name, k.key)
			}
			seen[k.key] = true
			list = append(list, k.name+":"+k.key)
		}
		if again, bad := parseAdminKeys(strings.Join(list, ",")); len(keys) > 0 && (len(bad) > 0 || !slices.Equal(again, keys)) {
			t.Fatalf("%q is not stable: %v", text, bad)
		}
		for _, err := range errs {
			for i := 0; i+minAdminKey <= len(text); i++ {
				if strings.Contains(err.Error(), text[i:i+minAdminKey]) && !strings.Contains("0 to 64 letters, digits and ._-@`openssl rand -hex 32` makes one", text[i:i+minAdminKey]) {
					t.Fatalf("error %q repeats %q", err, text[i:i+minAdminKey])
				}
			}
		}
	})
}
