package redis

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

func TestParseURL(t *testing.T) {
	for _, c := range []struct {
		url  string
		want Config
	}{
		{"redis://localhost", Config{Addrs: []string{"localhost:6379"}}},
		{"redis://[::1]:7000/3", Config{Addrs: []string{"[::1]:7000"}, DB: 3}},
		{"redis://[::1]", Config{Addrs: []string{"[::1]:6379"}}},
		{"REDIS://h:1/", Config{Addrs: []string{"h:1"}}},
		{"redis://ann:p%40ss%2Fw@h:1", Config{Addrs: []string{"h:1"}, Username: "ann", Password: "p@ss/w"}},
		{"redis://:p:w@h:1", Config{Addrs: []string{"h:1"}, Password: "p:w"}},
		{"redis://h?prefix=app:&retention=48h&timeout=2s&allow-eviction=1",
			Config{Addrs: []string{"h:6379"}, Prefix: "app:", Retention: 48 * time.Hour, Timeout: 2 * time.Second, DangerouslyAllowEviction: true}},
		{"redis+sentinel://:pw@a,b:7/main/2?sentinel-password=sp&sentinel-user=su&wait=2&lease=500ms",
			Config{Mode: Sentinel, Addrs: []string{"a:26379", "b:7"}, Master: "main", DB: 2, Password: "pw", SentinelUsername: "su",
				SentinelPassword: "sp", Wait: 2, Lease: 500 * time.Millisecond}},
		{"redis+cluster://a?wait=0", Config{Mode: Cluster, Addrs: []string{"a:6379"}, DangerouslyNoWait: true}},
		{"redis+cluster://a,b:7,c", Config{Mode: Cluster, Addrs: []string{"a:6379", "b:7", "c:6379"}}},
	} {
		got, err := ParseURL(c.url)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.url, got, err, c.want)
		}
	}
	cfg, err := ParseURL("rediss://h?server-name=db.example")
	if err != nil || cfg.TLS == nil || cfg.TLS.ServerName != "db.example" {
		t.Errorf("with TLS: %+v, %v", cfg.TLS, err)
	}
}

func TestParseURLRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"postgres://h":                     "begins with none of",
		"redis://":                         "not host:port",
		"redis://h:70000":                  "not host:port",
		"redis://h:x":                      "not host:port",
		"redis://a,b":                      "2 addresses",
		"redis://h/x":                      "number of a database",
		"redis://h/-1":                     "no database",
		"redis://h?wait=x":                 "number of replicas",
		"redis://h?wait=-1":                "number of replicas",
		"redis://h?timeout=soon":           "length of time",
		"redis://h?timeout=1h":             "between",
		"redis://h?prefix=a%7Bb":           "letters, digits",
		"redis://h?prefix=a--b:":           "two hyphens",
		"redis://h?colour=red":             "no option",
		"redis://h?wait=1&wait=2":          "2 times",
		"redis://h?ca=x":                   "rediss",
		"rediss://h?ca=" + empty:           "no certificate",
		"rediss://h?ca=/nowhere.pem":       "cannot be read",
		"rediss://h?cert=" + empty:         "together",
		"redis://user%zz:s3cret@h":         "%25",
		"redis://h#frag":                   "%23",
		"redis://user@h":                   "Password",
		"redis+sentinel://h":               "names no primary",
		"redis+cluster://h/1":              "number 0 only",
		"redis://h?sentinel-password=x":    "for sentinels only",
		"redis://h?allow-eviction=yes":     "neither 1 nor 0",
		"redis://:s3cret@h?timeout=s3cret": "length of time",
		"redis://:s3cret@h:1:2/s3":         "not host:port",
	} {
		_, err := ParseURL(url)
		if latchkey.CodeOf(err) != latchkey.CodeInvalidRequest || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to tell of %q", url, err, want)
		}
		if err != nil && strings.Contains(fmt.Sprintf("%v %+v", err, err), "s3cret") {
			t.Errorf("%s: the error repeats the password: %v", url, err)
		}
	}
}

// All problems come at once.
func TestConfigReportsEverything(t *testing.T) {
	cfg := Config{Mode: Sentinel, Username: "u", DB: -1, Prefix: "{", Wait: -1, Lease: 1, Retention: 1, Timeout: 1}
	err := cfg.check()
	for _, field := range []string{"Addrs", "Master", "Password", "DB", "Prefix", "Wait", "Lease", "Retention", "Timeout"} {
		if err == nil || !strings.Contains(err.Error(), field+": ") {
			t.Errorf("%s is not reported: %v", field, err)
		}
	}
}
