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

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/compat/itsdangerous"
	"github.com/latchkey-go/latchkey/compat/pyjson"
	"github.com/latchkey-go/latchkey/transaction"
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
	tx, ok := parseTx(o)
	if !ok {
		return Tx{}, ErrInvalid
	}
	return tx, nil
}

func parseTx(o pyjson.Object) (tx Tx, ok bool) {
	ok = true
	for name, into := range map[string]*string{"state": &tx.State, "nonce": &tx.Nonce, "verifier": &tx.Verifier,
		"next_path": &tx.NextPath, "provider_id": &tx.Provider} {
		s, there := o.Text(name)
		*into, ok = s, ok && there
	}
	return tx, ok
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
func PKCES256(verifier string) string { return transaction.Challenge(verifier) }

// txMargin is how long beyond TxMaxAge a transaction stays noted as used: the store
// forgets by its own clock.
const txMargin = time.Hour

// FinishTx is what the original's callback checks before it redeems a code: the
// transaction cookie, that it was begun with this provider, and that state is its own,
// compared in constant time. Beyond the original it is single-use: used notes it, asked
// last. Errors are ErrTxMissing, ErrTxExpired, ErrTxInvalid, ErrTxMalformed,
// ErrTxProvider, ErrTxState, ErrTxUsed and ErrUnavailable. Answer with the cookie
// cleared, unless it is the last: then the same callback may come again.
//
// Verify the ID token's nonce against Tx.Nonce, and refuse one without.
func (c *Codec) FinishTx(ctx context.Context, cookie, provider, state string, used latchkey.Spender) (Tx, error) {
	if cookie == "" {
		return Tx{}, ErrTxMissing
	}
	payload, _, err := c.tx.Loads(cookie, TxMaxAge)
	switch {
	case errors.Is(err, itsdangerous.ErrSignatureExpired):
		return Tx{}, ErrTxExpired
	case err != nil:
		return Tx{}, ErrTxInvalid
	}
	o, _ := payload.(pyjson.Object)
	tx, ok := parseTx(o)
	switch {
	case !ok || tx.State == "":
		return Tx{}, ErrTxMalformed
	case tx.Provider != provider:
		return Tx{}, ErrTxProvider
	case subtle.ConstantTimeCompare([]byte(tx.State), []byte(state)) != 1:
		return Tx{}, ErrTxState
	case used == nil:
		return Tx{}, ErrUnavailable
	}
	key := sha256.Sum256([]byte(TxSalt + "\x00" + tx.State))
	switch latchkey.CodeOf(used.Spend(ctx, key, c.config.Now().Add(TxMaxAge+txMargin))) {
	case "":
		return tx, nil
	case latchkey.CodeConflict:
		return Tx{}, ErrTxUsed
	}
	return Tx{}, ErrUnavailable
}
