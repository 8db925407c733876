package edge_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// startNginx runs Debian's nginx with the configuration of its page. pairs are further
// changes to that.
func startNginx(t *testing.T, pairs ...string) *front {
	bin := program(t, "nginx")
	f := newFront(t)
	dir := t.TempDir()
	cert, key := f.certificate(dir)
	port := freePort(t)
	f.addr = "127.0.0.1:" + port
	site := replaced(t, fence(t, "nginx.md", "nginx", 0), append(pairs,
		"server 127.0.0.1:8420;", "server "+f.b.web.Listener.Addr().String()+";",
		"http://127.0.0.1:3000;", f.echo.URL+";",
		"listen 443 ssl;", "listen "+f.addr+" ssl http2;",
		"/etc/ssl/app.example.com.pem", cert, "/etc/ssl/app.example.com.key", key,
		"/etc/ssl/auth.example.com.pem", cert, "/etc/ssl/auth.example.com.key", key)...)
	config := "daemon off;\nmaster_process off;\npid " + dir + "/pid;\nerror_log stderr warn;\nevents { worker_connections 512; }\nhttp {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		config += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	path := filepath.Join(dir, "nginx.conf")
	must(t, os.WriteFile(path, []byte(config+site+"}\n"), 0o600))
	f.run(bin, "-p", dir, "-c", path, "-e", "stderr")
	return f
}

func TestNginx(t *testing.T) {
	f := startNginx(t)
	everyProxy(t, f)
	t.Run("renewed-cookie", func(t *testing.T) { f.in(t).renewedCookie(true) })
	t.Run("absent", func(t *testing.T) { f.in(t).absentHeaders("") })
	t.Run("streams", func(t *testing.T) {
		t.Parallel()
		f := startNginx(t, "        proxy_set_header Cookie            $auth_cookies;\n", "")
		f.liven()
		everyStream(t, f)
	})
	t.Run("bounded-silence", func(t *testing.T) {
		t.Parallel()
		f := startNginx(t, "        proxy_set_header Upgrade ", "        proxy_read_timeout 2s;\n        proxy_set_header Upgrade ")
		f.liven()
		f.bounded(true, false) // the events come at all times
	})
	if strings.Contains(f.log(), "[emerg]") {
		t.Error(f.log())
	}
}
