package py

import (
	"time"
)

// FormatISO is datetime.isoformat of an aware time in UTC:
// YYYY-MM-DDTHH:MM:SS[.ffffff]+00:00, the fraction left out when it is zero. It is
// cut to microseconds.
func FormatISO(t time.Time) string {
	t = t.UTC()
	if t.Nanosecond()/1000 == 0 {
		return t.Format("2006-01-02T15:04:05+00:00")
	}
	return t.Format("2006-01-02T15:04:05.000000+00:00")
}

// ParseISO reads what datetime.fromisoformat of Python 3.11 and later reads of ISO
// 8601: basic and extended dates, week dates, any ASCII character between date and
// time. It refuses what that function takes and ISO 8601 does not have, such as a
// fraction of an hour read as one of a second. naive tells that the text has no
// offset; t is then in UTC.
func ParseISO(s string) (t time.Time, naive, ok bool) {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return t, false, false
		}
	}
	p := isoReader{s: s}
	day, ok := p.date()
	if !ok {
		return t, false, false
	}
	if p.s == "" {
		return day, true, true
	}
	if p.s = p.s[1:]; p.s == "" { // the separator
		return t, false, false
	}
	clock, zone := p.s, ""
	for i := range len(p.s) {
		if c := p.s[i]; c == '+' || c == '-' || c == 'Z' {
			clock, zone = p.s[:i], p.s[i:]
			break
		}
	}
	of, ok := isoClock(clock)
	if !ok || of >= 24*time.Hour {
		return t, false, false
	}
	t = day.Add(of)
	if zone == "" {
		return t, true, true
	}
	offset := time.Duration(0)
	if zone != "Z" {
		if offset, ok = isoClock(zone[1:]); !ok || zone[0] == 'Z' || offset >= 24*time.Hour {
			return t, false, false
		}
		if zone[0] == '-' {
			offset = -offset
		}
	}
	return t.Add(-offset), false, true
}

type isoReader struct{ s string }

// number takes n digits.
func (p *isoReader) number(n int) (v int, ok bool) {
	if len(p.s) < n {
		return 0, false
	}
	for i := range n {
		if !digit(p.s[i]) {
			return 0, false
		}
		v = v*10 + int(p.s[i]-'0')
	}
	p.s = p.s[n:]
	return v, true
}

func (p *isoReader) skip(c byte) bool {
	if p.s == "" || p.s[0] != c {
		return false
	}
	p.s = p.s[1:]
	return true
}

func (p *isoReader) date() (time.Time, bool) {
	year, ok := p.number(4)
	if !ok || year == 0 {
		return time.Time{}, false
	}
	extended := p.skip('-')
	if p.skip('W') {
		return p.weekDate(year, extended)
	}
	month, ok1 := p.number(2)
	if extended && !p.skip('-') {
		return time.Time{}, false
	}
	day, ok2 := p.number(2)
	t := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	return t, ok1 && ok2 && t.Year() == year && int(t.Month()) == month && t.Day() == day
}

// weekDate reads what follows the W: week and, unless it is Monday, day of week.
func (p *isoReader) weekDate(year int, extended bool) (time.Time, bool) {
	week, ok := p.number(2)
	day := 1
	if ok && p.s != "" && (!extended && digit(p.s[0]) || extended && p.s[0] == '-') {
		if extended {
			p.skip('-')
		}
		day, ok = p.number(1)
	}
	if !ok || week < 1 || day < 1 || day > 7 {
		return time.Time{}, false
	}
	// 4 January is always in week 1.
	fourth := time.Date(year, 1, 4, 0, 0, 0, 0, time.UTC)
	monday := fourth.AddDate(0, 0, -int(fourth.Weekday()+6)%7)
	t := monday.AddDate(0, 0, (week-1)*7+day-1)
	y, w := t.ISOWeek()
	return t, y == year && w == week && t.Year() >= 1 && t.Year() <= 9999
}

// isoClock reads HH[:MM[:SS[.f…]]] or HH[MM[SS[.f…]]]; a comma may stand for the
// point, digits past the sixth are ignored.
func isoClock(s string) (d time.Duration, ok bool) {
	p := isoReader{s}
	hour, ok := p.number(2)
	if !ok || hour > 23 {
		return 0, false
	}
	d = time.Duration(hour) * time.Hour
	extended := p.s != "" && p.s[0] == ':'
	for _, unit := range []time.Duration{time.Minute, time.Second} {
		if p.s == "" {
			return d, true
		}
		if extended && !p.skip(':') {
			return 0, false
		}
		v, ok := p.number(2)
		if !ok || v > 59 {
			return 0, false
		}
		d += time.Duration(v) * unit
	}
	if p.s == "" {
		return d, true
	}
	if !p.skip('.') && !p.skip(',') || p.s == "" {
		return 0, false
	}
	unit := time.Second
	for i := range len(p.s) {
		if !digit(p.s[i]) {
			return 0, false
		}
		unit /= 10
		if unit >= time.Microsecond {
			d += time.Duration(p.s[i]-'0') * unit
		}
	}
	return d, true
}
