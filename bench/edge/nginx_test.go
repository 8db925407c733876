package edge

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/internal/needs"
)

// startNginx runs one nginx, of one process, with a site for each checker, and
// returns the sites' addresses.
func startNginx(b *testing.B, checkers []checker) (addresses []string) {
	b.Helper()
	bin := needs.Program(b, "nginx")
	dir := b.TempDir()
	var conf strings.Builder
	fmt.Fprintf(&conf, "daemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr warn;\nevents { worker_connections 1024; }\nhttp {\naccess_log off;\nkeepalive_requests 1000000000;\n", dir)
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&conf, "%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	for _, c := range checkers {
		var set strings.Builder
		for _, header := range c.headers {
			name := strings.ReplaceAll(header, "-", "_")
			fmt.Fprintf(&set, "        auth_request_set $of_%s $upstream_http_%s;\n", name, name)
		}
		address := freeAddress(b)
		addresses = append(addresses, address)
		fmt.Fprintf(&conf, site, c.name, c.address, address, set.String(), c.name, c.path)
	}
	conf.WriteString("}\n")
	path := filepath.Join(dir, "nginx.conf")
	must(b, os.WriteFile(path, []byte(conf.String()), 0o600))
	background(b, exec.Command(bin, "-p", dir, "-c", path, "-e", "stderr"))
	for _, address := range addresses {
		waitFor(b, address)
	}
	return addresses
}

// site is a site of docs/edge/nginx.md in which nginx itself is the service. Peers
// get the same, so that only what is asked differs.
const site = `
upstream %s { server %s; keepalive 64; }
server {
    listen %s;
    location / {
        auth_request     /_auth;
%s        empty_gif;
    }
    location = /_auth {
        internal;
        proxy_pass              http://%s%s;
        proxy_http_version      1.1;
        proxy_set_header        Connection        "";
        proxy_set_header        X-Original-URL    https://$host$request_uri;
        proxy_set_header        X-Original-Method $request_method;
        proxy_pass_request_body off;
        proxy_set_header        Content-Length    "";
        proxy_buffer_size       32k;
        proxy_buffers           4 32k;
    }
}
`

// client is a connection that asks for a page as soon as it has the last one.
type client struct {
	conn net.Conn
	in   *bufio.Reader
}

// connect opens the load generator's connections to a site.
func connect(b *testing.B, address string) []client {
	b.Helper()
	all := make([]client, connections)
	for i := range all {
		conn, err := net.Dial("tcp", address)
		must(b, err)
		b.Cleanup(func() { _ = conn.Close() })
		all[i] = client{conn, bufio.NewReaderSize(conn, 4096)}
	}
	return all
}

// requests asks for a page of a host, once for each cookie.
func requests(host string, cookies []string) [][]byte {
	out := make([][]byte, len(cookies))
	for i, cookie := range cookies {
		out[i] = []byte("GET /page HTTP/1.1\r\nHost: " + host + "\r\nAccept: */*\r\nCookie: " + cookie + "\r\n\r\n")
	}
	return out
}

// ask sends a request and reads the page.
func (c *client) ask(request []byte) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	return readPage(c.in)
}

var errNotServed = errors.New("the page is not served")

// readPage reads an answer of nginx's: 200 with the gif.
func readPage(in *bufio.Reader) error {
	length := 0
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")):
			return fmt.Errorf("%w: %s", errNotServed, line)
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			for _, digit := range bytes.TrimSpace(line[len("Content-Length: "):]) {
				length = length*10 + int(digit-'0')
			}
		case len(line) == 2:
			_, err := in.Discard(length)
			return err
		}
	}
}
