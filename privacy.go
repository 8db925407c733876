package latchkey

import (
	"net/netip"
	"strings"
)

// address keeps as much of a client's address as the setting allows.
func (p Privacy) address(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil || p == PrivacyOff {
		return ""
	}
	addr = addr.Unmap().WithZone("")
	if p == PrivacyFull {
		return addr.String()
	}
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.String()
}

const maxUserAgent = 512

// agent keeps as much of a user agent as the setting allows.
func (p Privacy) agent(ua string) string {
	switch p {
	case PrivacyOff:
		return ""
	case PrivacyFull:
		return printable(ua, maxUserAgent)
	}
	return Device(ua)
}

// printable returns s as valid UTF-8 without control characters, at most so many bytes.
func printable(s string, most int) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// Device names the browser and system in a user agent, without versions: enough
// for people to tell their devices apart, not enough to tell people apart. It is
// "" when neither is known.
func Device(ua string) string {
	// Order matters, since most browsers name several others in their user agent.
	browsers := [...][2]string{{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser", "Samsung Internet"}, {"Firefox/", "Firefox"},
		{"FxiOS", "Firefox"}, {"CriOS", "Chrome"}, {"Chrome/", "Chrome"}, {"Chromium", "Chromium"}, {"Safari/", "Safari"},
		{"curl/", "curl"}, {"Wget/", "Wget"}, {"python-requests", "Python"}, {"Python", "Python"}, {"Go-http-client", "Go"},
		{"okhttp", "OkHttp"}, {"PostmanRuntime", "Postman"}}
	systems := [...][2]string{{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"},
		{"Mac OS X", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"}}
	pick := func(table [][2]string) string {
		for _, row := range table {
			if strings.Contains(ua, row[0]) {
				return row[1]
			}
		}
		return ""
	}
	browser, system := pick(browsers[:]), pick(systems[:])
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser != "":
		return browser
	}
	return system
}
