package py

import (
	"encoding/base64"
	"errors"
)

// ErrBase64 is what text that is no base64 is refused with.
var ErrBase64 = errors.New("not base64")

// RawURL is URL-safe base64 without padding whose unused bits must be zero.
var RawURL = base64.RawURLEncoding.Strict()

// IsAlphabet reports whether s has only characters of URL-safe base64. The readers
// of encoding/base64 skip line breaks, which would give a value several spellings.
func IsAlphabet(s string) bool {
	for i := 0; i < len(s); i++ {
		if urlSafe[s[i]] > 63 {
			return false
		}
	}
	return true
}

const none = 0xff

var urlSafe = table('-', '_')

func table(c62, c63 byte) (t [256]byte) {
	for i := range t {
		t[i] = none
	}
	for i := range byte(26) {
		t['A'+i], t['a'+i] = i, 26+i
	}
	for i := range byte(10) {
		t['0'+i] = 52 + i
	}
	t[c62], t[c63] = 62, 63
	return t
}

var either = func() [256]byte {
	t := table('+', '/')
	t['-'], t['_'] = 62, 63
	return t
}()

// LenientBase64 reads s as binascii.a2b_base64 does: characters outside the alphabet
// are dropped, what follows the padding is ignored, unused bits are ignored. Both
// alphabets are read, as urlsafe_b64decode does.
func LenientBase64(s string) ([]byte, error) {
	out := make([]byte, 0, len(s)/4*3+3)
	quad, pads := 0, 0
	var left byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x80 {
			return nil, ErrBase64
		}
		if c == '=' {
			if quad >= 2 {
				if pads++; quad+pads >= 4 {
					return out, nil
				}
			}
			continue
		}
		v := either[c]
		if v == none {
			continue
		}
		pads = 0
		switch quad {
		case 0:
			left = v
		case 1:
			out, left = append(out, left<<2|v>>4), v&15
		case 2:
			out, left = append(out, left<<4|v>>2), v&3
		case 3:
			out = append(out, left<<6|v)
		}
		quad = (quad + 1) % 4
	}
	if quad != 0 {
		return nil, ErrBase64
	}
	return out, nil
}

// Pad fills s up to a multiple of four characters, as pycrossauth does before it decodes.
func Pad(s string) string { return s + "==="[:(4-len(s)%4)%4] }
