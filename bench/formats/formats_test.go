// Package formats measures the check of tokens that Python's itsdangerous has made:
// Latchkey's readers beside the original, the same tokens, in one run.
package formats

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/bench/internal/paired"
	"github.com/latchkey-go/latchkey/bench/internal/python"
	"github.com/latchkey-go/latchkey/compat/itsdangerous"
	"github.com/latchkey-go/latchkey/compat/reflow"
)

const (
	secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	tokens = 1024 // that are read in turn
)

// BenchmarkSessionID is the token of a stored session (cb): the ID as text, uncompressed.
func BenchmarkSessionID(b *testing.B) {
	py := python.Start(b)
	ids := make([]string, tokens)
	for i := range ids {
		raw := make([]byte, 32)
		for k := range raw { // not to be compressed
			binary.NativeEndian.PutUint64(raw[k/8*8:], uint64(i*4+k/8+1)*0x9e3779b97f4a7c15)
		}
		ids[i] = base64.RawURLEncoding.EncodeToString(raw)
	}
	var made []string
	py.Ask(&made, "tokens", "loads", secret, "session", ids)
	s, err := itsdangerous.NewTimed(itsdangerous.Config{Secrets: []string{secret}, Salt: "session"})
	if err != nil {
		b.Fatal(err)
	}
	paired.Compare(b, paired.Plan{},
		paired.Compute("latchkey", func(i int) error {
			id, _, err := s.LoadsString(made[i%tokens], time.Hour)
			if err != nil || id != ids[i%tokens] {
				return fmt.Errorf("%q is read as %q: %w", made[i%tokens], id, err)
			}
			return nil
		}),
		paired.Compute("latchkey_any", func(i int) error { // as any value, not as the text that it is
			_, _, err := s.Loads(made[i%tokens], time.Hour)
			return err
		}),
		py.Compute("python", "loads"))
}

// identity is the cookie of reflow's sign-in as its model writes it.
type identity struct {
	Subject  string  `json:"sub"`
	Email    *string `json:"email"`
	Name     *string `json:"name"`
	Provider string  `json:"provider_id"`
	Issued   string  `json:"issued_at"`
	Expires  string  `json:"expires_at"`
}

// BenchmarkIdentity is reflow's cookie, compressed, of people who sign in by password
// (about 150 bytes of JSON) and by OIDC (about 220): the whole decoder, which makes an
// identity with its dates; and the format's reader alone, which makes a value of the
// JSON, as loads makes a dict.
func BenchmarkIdentity(b *testing.B) {
	const layout = "2006-01-02T15:04:05.000000Z"
	now := time.Now().UTC()
	password, oidc := make([]identity, tokens), make([]identity, tokens)
	for i := range tokens {
		password[i] = identity{Subject: fmt.Sprintf("alice%d", i), Provider: "basic", Issued: now.Format(layout), Expires: now.Add(8 * time.Hour).Format(layout)}
		oidc[i] = password[i]
		email, name := fmt.Sprintf("alice.%d@example.com", i), "Alice Liddell"
		oidc[i].Subject, oidc[i].Email, oidc[i].Name, oidc[i].Provider = fmt.Sprintf("auth0|6553f1f77bcf86cd79%06x", i), &email, &name, "google"
	}
	b.Run("password", func(b *testing.B) { identities(b, password) })
	b.Run("oidc", func(b *testing.B) { identities(b, oidc) })
}

func identities(b *testing.B, list []identity) {
	py := python.Start(b)
	var made []string
	py.Ask(&made, "tokens", "loads", secret, reflow.SessionSalt, list)
	py.Ask(nil, "identities", "decode", secret, reflow.SessionSalt, made)
	if made[0][0] != '.' {
		b.Fatalf("the identity is not compressed: %s", made[0])
	}
	codec, err := reflow.New(reflow.Config{Secrets: []string{secret}})
	if err != nil {
		b.Fatal(err)
	}
	s, err := itsdangerous.NewTimed(itsdangerous.Config{Secrets: []string{secret}, Salt: reflow.SessionSalt})
	if err != nil {
		b.Fatal(err)
	}
	paired.Compare(b, paired.Plan{},
		paired.Compute("latchkey", func(i int) error {
			id, err := codec.Decode(made[i%tokens])
			if err != nil || id.Subject != list[i%tokens].Subject {
				return fmt.Errorf("%s is read as %+v: %w", made[i%tokens], id, err)
			}
			return nil
		}),
		py.Compute("python", "decode"),
		py.Compute("python_loads", "loads"))
	dst := make([]byte, 0, 512)
	paired.Compare(b, paired.Plan{},
		paired.Compute("latchkey_loads", func(i int) error {
			_, _, err := s.Loads(made[i%tokens], time.Hour)
			return err
		}),
		paired.Compute("latchkey_json", func(i int) error { // the text as it is, checked to be JSON
			_, _, err := s.LoadsJSON(dst, made[i%tokens], time.Hour)
			return err
		}),
		py.Compute("python_dict", "loads"))
}
