package reflow

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/latchkey-go/latchkey/compat/itsdangerous"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// Tx is an OAuth transaction between the redirect to the provider and its callback.
type Tx struct {
	State    string // compared with the callback's
	Nonce    string // compared with the ID token's
	Verifier string // PKCE (RFC 7636)
	NextPath string // where to go afterwards
	Provider string // whose callback may finish it
}

// NewTx returns a transaction with fresh random values; next goes through SafeNext.
func (c *Codec) NewTx(provider, next string) (Tx, error) {
	b := make([]byte, 128)
	if _, err := io.ReadFull(c.config.Random, b); err != nil {
		return Tx{}, fmt.Errorf("reflow: randomness: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString
	return Tx{State: text(b[:32]), Nonce: text(b[32:64]), Verifier: text(b[64:]), NextPath: SafeNext(next, "/"), Provider: provider}, nil
}

// EncodeTx returns the transaction cookie of tx, signed now.
func (c *Codec) EncodeTx(tx *Tx) (string, error) {
	return c.tx.Dumps(pyjson.Object{{Name: "state", Value: tx.State}, {Name: "nonce", Value: tx.Nonce},
		{Name: "verifier", Value: tx.Verifier}, {Name: "next_path", Value: tx.NextPath}, {Name: "provider_id", Value: tx.Provider}})
}

// DecodeTx returns the transaction of a cookie signed no longer than TxMaxAge ago,
// whose five members must be there and strings. The error is ErrInvalid. The cookie
// is not single-use by itself: see [Codec.FinishTx].
func (c *Codec) DecodeTx(cookie string) (Tx, error) {
	o, err := c.DecodeTxWithin(cookie, TxMaxAge)
	if err != nil {
		return Tx{}, err
	}
	tx, missing := Tx{}, false
	for name, into := range map[string]*string{"state": &tx.State, "nonce": &tx.Nonce, "verifier": &tx.Verifier,
		"next_path": &tx.NextPath, "provider_id": &tx.Provider} {
		s, ok := o.Text(name)
		*into, missing = s, missing || !ok
	}
	if missing {
		return Tx{}, ErrInvalid
	}
	return tx, nil
}

// DecodeTxWithin returns the object in a transaction cookie, whatever its members,
// with a maximum age of its own. The error is ErrInvalid.
func (c *Codec) DecodeTxWithin(cookie string, maxAge time.Duration) (pyjson.Object, error) {
	payload, _, err := c.tx.Loads(cookie, maxAge)
	o, ok := payload.(pyjson.Object)
	if err != nil || !ok {
		return nil, ErrInvalid
	}
	return o, nil
}

// PKCES256 returns the S256 challenge of a verifier (RFC 7636, 4.2).
func PKCES256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Spend notes that a key was used and reports whether that was the first time. The
// key may be forgotten after until. An error is an outage.
type Spend func(ctx context.Context, key [32]byte, until time.Time) (first bool, err error)

// FinishTx is what the original's callback checks before it redeems a code: the
// transaction cookie, that it was begun with this provider, and that state is its own,
// compared in constant time. Beyond the original, spend makes it single-use; it is
// asked last, and without one nothing is finished. Errors are ErrTxMissing, ErrTxExpired, ErrTxInvalid, ErrTxUsed and
// ErrUnavailable; answer with the cookie cleared, whatever comes out.
//
// Verify the ID token's nonce against Tx.Nonce, and refuse one without.
func (c *Codec) FinishTx(ctx context.Context, cookie, provider, state string, spend Spend) (Tx, error) {
	if cookie == "" {
		return Tx{}, ErrTxMissing
	}
	tx, err := c.DecodeTx(cookie)
	if err != nil {
		if c.txExpired(cookie) {
			return Tx{}, ErrTxExpired
		}
		return Tx{}, ErrTxInvalid
	}
	same := subtle.ConstantTimeCompare([]byte(tx.State), []byte(state)) & subtle.ConstantTimeCompare([]byte(tx.Provider), []byte(provider))
	if same != 1 || state == "" {
		return Tx{}, ErrTxInvalid
	}
	if spend == nil {
		return Tx{}, ErrUnavailable
	}
	key := sha256.Sum256([]byte(TxSalt + "|" + tx.State))
	first, err := spend(ctx, key, c.config.Now().Add(TxMaxAge+time.Minute))
	switch {
	case err != nil:
		return Tx{}, ErrUnavailable
	case !first:
		return Tx{}, ErrTxUsed
	}
	return tx, nil
}

// txExpired reports whether a cookie was a transaction once.
func (c *Codec) txExpired(cookie string) bool {
	_, _, err := c.tx.Loads(cookie, TxMaxAge)
	return errors.Is(err, itsdangerous.ErrSignatureExpired)
}
