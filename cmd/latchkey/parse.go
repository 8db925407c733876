package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parseDuration reads a Go duration that may begin with days: 90d, 1d12h, 30m.
// A day is 24 hours. Negative durations are refused.
func parseDuration(s string) (time.Duration, error) {
	bad := func() (time.Duration, error) {
		return 0, fmt.Errorf("%s is not a duration such as 90s, 30m, 24h or 90d", shown(s))
	}
	if strings.HasPrefix(s, "-") {
		return 0, fmt.Errorf("%s is negative", shown(s))
	}
	text, total := s, time.Duration(0)
	if days, rest, ok := strings.Cut(s, "d"); ok {
		const most = int64(1<<63-1) / int64(24*time.Hour)
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || int64(n) > most {
			return bad()
		}
		if total, text = time.Duration(n)*24*time.Hour, rest; rest == "" {
			return total, nil
		}
		if rest[0] < '0' || rest[0] > '9' {
			return bad()
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || total+d < total {
		return bad()
	}
	return total + d, nil
}

// formatDuration writes a duration as people would: 90d, 24h, 1h30m.
func formatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// adminKey is one key of the admin routes. It has no String method on purpose:
// nothing prints it.
type adminKey struct {
	name string // the audit actor
	key  string // a secret
}

// GoString keeps the key out of %#v, and with Format out of every other verb.
func (k adminKey) GoString() string { return "admin key " + k.name }

// Format writes the key's name only.
func (k adminKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.GoString()) }

// Bounds of admin keys.
const (
	minAdminKey  = 32
	maxAdminKey  = 512
	maxAdminName = 64
	maxAdminFile = 64 << 10
)

// parseAdminKeys reads NAME:KEY pairs separated by commas or line ends. A bare key has
// the name admin. Errors never repeat a key, nor anything that could be one.
func parseAdminKeys(s string) ([]adminKey, []error) {
	var keys []adminKey
	var errs []error
	items := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' })
	for i, item := range items {
		where := fmt.Sprintf("key %d of %d", i+1, len(items))
		if len(items) == 1 {
			where = "the key"
		}
		k, err := parseAdminKey(strings.TrimSpace(item))
		switch {
		case err != nil:
		case slices.ContainsFunc(keys, func(o adminKey) bool { return o.key == k.key }):
			err = errors.New("is given twice")
		case slices.ContainsFunc(keys, func(o adminKey) bool { return o.name == k.name }):
			err = fmt.Errorf("has the name %s, which another key has", shown(k.name))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %w", where, err))
			continue
		}
		keys = append(keys, k)
	}
	if len(items) == 0 {
		errs = append(errs, errors.New("holds no key; give NAME:KEY or a bare key"))
	}
	return keys, errs
}

func parseAdminKey(item string) (adminKey, error) {
	k := adminKey{name: "admin", key: item}
	if name, key, ok := strings.Cut(item, ":"); ok {
		k = adminKey{name: name, key: key}
	}
	switch {
	case !isAdminName(k.name):
		return k, fmt.Errorf("has a name that is not 1 to %d letters, digits and ._-@", maxAdminName)
	case len(k.key) < minAdminKey:
		return k, fmt.Errorf("has %d characters and needs %d or more; `openssl rand -hex 32` makes one", len(k.key), minAdminKey)
	case len(k.key) > maxAdminKey:
		return k, fmt.Errorf("is longer than %d characters", maxAdminKey)
	}
	for i := range len(k.key) {
		if k.key[i] <= ' ' || k.key[i] > '~' {
			return k, errors.New("has a character that is not printable ASCII, or a space")
		}
	}
	return k, nil
}

func isAdminName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("._-@", rune(c)) {
			return false
		}
	}
	return s != "" && len(s) <= maxAdminName
}

// readAdminKeys reads --admin-key, from a file where it says so.
func readAdminKeys(s string) ([]adminKey, []error) {
	path, isFile := strings.CutPrefix(s, "file:")
	if !isFile {
		return parseAdminKeys(s)
	}
	text, err := readSmall(path, maxAdminFile)
	if err != nil {
		return nil, []error{fmt.Errorf("file %s: %w", shownPath(path), err)}
	}
	return parseAdminKeys(text)
}

// readSmall reads a regular file of at most so many bytes.
func readSmall(path string, most int64) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", pathCause(err)
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", pathCause(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return "", pathCause(err)
	}
	if int64(len(b)) > most {
		return "", fmt.Errorf("is larger than %d KiB", most>>10)
	}
	return string(b), nil
}

// pathCause strips operation and path from an error: the message names the path itself.
func pathCause(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}

// parseNetworks reads comma-separated networks; a bare address is a network of one.
func parseNetworks(s string) (list []netip.Prefix, errs []error) {
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if addr, err := netip.ParseAddr(item); err == nil && addr.Zone() == "" {
			addr = addr.Unmap()
			list = append(list, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(item)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s is not a network such as 10.0.0.0/8 or fd00::/8", shown(item)))
		case p != p.Masked():
			errs = append(errs, fmt.Errorf("%s has address bits behind its mask; the network is %s", shown(item), p.Masked()))
		default:
			list = append(list, p)
		}
	}
	return list, errs
}
