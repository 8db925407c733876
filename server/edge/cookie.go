package edge

import (
	"net/http"
	"strings"

	"github.com/latchkey-go/latchkey"
)

// cookieName asks the Manager for its cookie's name, so that there is one setting.
func cookieName(m *latchkey.Manager) string {
	probe := &recorded{header: make(http.Header)}
	m.ClearCookie(probe)
	name, _, _ := strings.Cut(probe.header.Get("Set-Cookie"), "=")
	return name
}

// appendCookiesWithout joins the lines of a Cookie header, without the cookies of a
// name, behind what is in b. A pair is compared by the name in front of its first
// equals sign, as servers do, and is kept as it stands otherwise.
func appendCookiesWithout(b []byte, lines []string, name string) []byte {
	start := len(b)
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			key, _, _ := strings.Cut(pair, "=")
			if pair == "" || strings.EqualFold(strings.Trim(key, " \t\""), name) {
				continue
			}
			if len(b) > start {
				b = append(b, "; "...)
			}
			b = append(b, pair...)
		}
	}
	return b
}
