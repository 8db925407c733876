package itsdangerous_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/compat/internal/vectortest"
	"github.com/latchkey-go/latchkey/compat/itsdangerous"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// FuzzLoads reads any text as a token, as it comes and with a valid signature put
// behind it: then its payload and timestamp are reached.
func FuzzLoads(f *testing.F) {
	for _, c := range vectortest.Load(f, "../runner", "itsdangerous") {
		if c.Op == "loads" {
			token := c.Text(f, "token")
			f.Add(token)
			if i := strings.LastIndexByte(token, '.'); i > 0 {
				f.Add(token[:i])
			}
		}
	}
	c := config(signed)
	c.MaxExpanded = 4096
	s := timed(f, c)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 8192 {
			text = text[:8192]
		}
		for _, token := range []string{text, itsdangerous.SignForTest(t, c, text)} {
			v, when, err := s.Loads(token, itsdangerous.Unchecked)
			s.DangerouslyLoadsUnverified(token, itsdangerous.Unchecked)
			doc, _, docErr := s.LoadsJSON(nil, token, itsdangerous.Unchecked)
			if err != nil {
				var e *itsdangerous.Error
				if !errors.As(err, &e) || !errors.Is(err, itsdangerous.ErrBadData) {
					t.Fatalf("an error outside the closed set: %v", err)
				}
				continue
			}
			if docErr != nil || when.Unix() < 0 || len(doc) > 8192 {
				t.Fatalf("LoadsJSON: %d bytes, %v", len(doc), docErr)
			}
			if _, err := pyjson.Marshal(pyjson.Compact, v); err != nil && !errors.Is(err, pyjson.ErrUnwritable) {
				t.Fatal(err)
			}
		}
	})
}
