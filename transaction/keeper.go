package transaction

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
)

// Bounds and defaults of Config.
const (
	DefaultLifetime = 10 * time.Minute
	MinLifetime     = time.Minute
	MaxLifetime     = time.Hour

	DefaultMaxAttempts = 5
	LargestMaxAttempts = 16
)

// maxSkew is how far in the future an attempt may have begun: nodes' clocks differ.
const maxSkew = time.Minute

// spentMargin is how long beyond its lifetime an attempt stays noted as finished. The
// store forgets by its own clock, which may be ahead of this node's.
const spentMargin = time.Hour

// Config says how sign-ins are kept. Keys and Spender are required; the zero value of
// everything else is safe.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Keys seal the cookies, under a key derived for [Purpose]; it may be the keyring
	// of the sessions. New cookies are sealed under the active key and opened under
	// every acceptable one. One key should seal fewer than 2^32 attempts.
	Keys *keyring.Ring
	// Spender remembers what was finished. Nodes that can be sent each other's
	// callbacks share one: the session store implements it.
	Spender latchkey.Spender
	// Clock judges the age of attempts; unset, it is the system's. Nodes' clocks may be
	// a minute apart, and the store's clock an hour ahead of them.
	//
	// Where the Spender is a [latchkey.Timekeeper], as session stores on a server are,
	// its time counts instead and nodes' clocks do not matter: what revocations are
	// compared with goes by that time too. Give both the same Clock then.
	Clock latchkey.Clock
	// Lifetime is how long a sign-in may take, from MinLifetime to MaxLifetime in
	// whole seconds; 0 is DefaultLifetime. A logout overtakes a sign-in that is under way
	// for [latchkey.RevocationMark] only: one that takes longer may miss it.
	Lifetime time.Duration
	// MaxAttempts is how many sign-ins one browser may have under way, at most
	// LargestMaxAttempts; 0 is DefaultMaxAttempts. One more drops the oldest. Fewer
	// fit when their cookies exceed 4,096 bytes together, the new one included.
	MaxAttempts int
	// AllowedHosts are the other hosts that sign-ins may return to; see [ReturnTo].
	AllowedHosts []string

	// CookieName is what the cookies' names begin with, before a dash and the id of
	// the attempt. Unset, it is __Host-signin; with a Path it is __Secure-signin, with
	// DangerouslyInsecure it is signin.
	CookieName string
	// Path restricts the cookies to the callbacks, such as "/callback/"; unset, it is
	// "/", which __Host- demands.
	Path string
	// DangerouslyInsecure leaves Secure out, for plain HTTP on loopback. Anybody on the
	// network path can then take over the sign-in.
	DangerouslyInsecure bool
}

// Keeper begins and finishes sign-ins. Make one with New; it is safe for concurrent use.
type Keeper struct {
	keys    *keyring.Ring
	spender latchkey.Spender
	clock   latchkey.Clock
	keeper  latchkey.Timekeeper // nil: the node's own clock
	life    time.Duration
	most    int
	hosts   []string
	cookie  cookie
}

// New checks cfg. The error is of code CodeInvalidRequest and lists every problem.
func New(cfg Config) (*Keeper, error) {
	k := &Keeper{keys: cfg.Keys, spender: cfg.Spender, clock: cfg.Clock, life: cfg.Lifetime, most: cfg.MaxAttempts,
		hosts: slices.Clone(cfg.AllowedHosts), cookie: newCookie(&cfg)}
	k.keeper, _ = cfg.Spender.(latchkey.Timekeeper)
	var problems []latchkey.FieldError
	add := func(field, detail string) {
		problems = append(problems, latchkey.FieldError{Field: field, Detail: detail})
	}
	if cfg.Keys == nil {
		add("Keys", "required: keyring.Open reads them")
	}
	if cfg.Spender == nil {
		add("Spender", "required: the session store is one")
	}
	if k.clock == nil {
		k.clock = latchkey.SystemClock()
	}
	if k.life == 0 {
		k.life = DefaultLifetime
	}
	if k.life < MinLifetime || k.life > MaxLifetime || k.life%time.Second != 0 {
		add("Lifetime", fmt.Sprintf("whole seconds from %v to %v, or 0 for %v", MinLifetime, MaxLifetime, DefaultLifetime))
	}
	if k.most == 0 {
		k.most = DefaultMaxAttempts
	}
	if k.most < 1 || k.most > LargestMaxAttempts {
		add("MaxAttempts", "from 1 to "+strconv.Itoa(LargestMaxAttempts))
	}
	for i, host := range k.hosts {
		if !validHost(host) {
			add(fmt.Sprintf("AllowedHosts[%d]", i), fmt.Sprintf("%q is no host as browsers write it, such as app.example.com or app.example.com:8443", host))
		}
	}
	problems = append(problems, k.cookie.check()...)
	if len(problems) > 0 {
		return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "transaction: configuration", Fields: problems}
	}
	return k, nil
}

// Bounds of what an attempt holds, in bytes. Together they fit a cookie.
const (
	MaxProvider = 255 // the provider's id
	MaxExtra    = 512 // Extra, names and values together
	maxPairs    = 8
)

// Params say what sign-in begins.
type Params struct {
	// Provider is the id of the provider that the visitor is sent to: 1 to MaxProvider
	// bytes. Finish must be told the same.
	Provider string
	// ReturnTo is where the visitor asked to go, as the request has it. What [ReturnTo]
	// refuses is left out, and is no error.
	ReturnTo string
	// Extra is kept for the callback as it is: at most 8 pairs with names of 1 to 64
	// bytes, MaxExtra bytes together. It is sealed, so that neither the visitor nor
	// anybody else reads or changes it.
	Extra map[string]string
}

// Transaction is one attempt to sign in. State, Nonce and Verifier are secrets until
// it is finished; printing a Transaction shows none of them.
type Transaction struct {
	// Provider is the id that Begin was given.
	Provider string
	// State goes into the authorization request and comes back with the callback
	// (RFC 6749, 4.1.1). 43 characters, like Nonce and Verifier.
	State string
	// Nonce goes into the authorization request and must stand in the ID token (OpenID
	// Connect Core, 3.1.2.1): compare it in constant time.
	Nonce string
	// Verifier goes into the token request (RFC 7636, 4.5).
	Verifier string
	// ReturnTo is a path of this host or an address of an allowed one, in printable
	// ASCII; "" when the visitor asked for none that is good.
	ReturnTo string
	// Began is when Begin was called, to the microsecond, in UTC, by the store's clock
	// where that is known (see Config.Clock). It belongs into
	// [latchkey.SignIn.Began], so that a logout at the provider overtakes.
	Began time.Time
	// Extra is what Begin was given.
	Extra map[string]string
}

// Challenge is what goes into the authorization request as code_challenge, with
// code_challenge_method=S256.
func (t Transaction) Challenge() string { return Challenge(t.Verifier) }

// Challenge returns the S256 challenge of a PKCE verifier (RFC 7636, 4.2).
func Challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// String names the provider and when it began.
func (t Transaction) String() string {
	return fmt.Sprintf("sign-in by %q, begun %s", t.Provider, t.Began.Format(time.RFC3339))
}

// Format writes [Transaction.String] for every verb and flag.
func (t Transaction) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue is [Transaction.String], for log/slog.
func (t Transaction) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalJSON returns [Transaction.String] as a JSON string.
func (t Transaction) MarshalJSON() ([]byte, error) { return strconv.AppendQuote(nil, t.String()), nil }

// Begin starts an attempt: it adds its cookie to w's header, and deletes those of
// attempts that are over or too many. The answer is marked Cache-Control: no-store.
// Nothing may have been written yet. It asks no store.
//
// The error is of code CodeInvalidRequest and lists what is wrong with p, or of
// CodeInternal when there is no key; no cookie is set then.
func (k *Keeper) Begin(w http.ResponseWriter, r *http.Request, p Params) (Transaction, error) {
	if err := p.check(); err != nil {
		return Transaction{}, err
	}
	var random [3 * secretSize]byte
	if _, err := rand.Read(random[:]); err != nil {
		return Transaction{}, latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	text := func(i int) string {
		return base64.RawURLEncoding.EncodeToString(random[i*secretSize : (i+1)*secretSize])
	}
	at := k.clock.Now()
	now := k.timeAt(at)
	t := Transaction{Provider: p.Provider, State: text(0), Nonce: text(1), Verifier: text(2), Extra: maps.Clone(p.Extra),
		ReturnTo: ReturnTo(p.ReturnTo, k.hosts), Began: now.Truncate(time.Microsecond)}
	name := k.cookie.nameOf(t.State)
	key, ok := k.keys.Active(at.Time())
	var value string
	if ok {
		value, ok = seal(k.keys, key, name, &t, nil)
	}
	if !ok {
		return Transaction{}, latchkey.NewError(latchkey.CodeInternal, "transaction: the keyring has no key to seal with", nil)
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	for _, old := range k.superseded(r.Header, now, len(name)+len(value)) {
		h.Add("Set-Cookie", k.cookie.line(old, "", 0))
	}
	h.Add("Set-Cookie", k.cookie.line(name, value, k.life))
	return t, nil
}

// timeAt is a reading of the clock as the time that attempts go by.
func (k *Keeper) timeAt(at latchkey.Moment) time.Time {
	if k.keeper != nil {
		return time.UnixMicro(k.keeper.StoreTime(at)).UTC()
	}
	return at.Time()
}

// check lists what is wrong with p.
func (p *Params) check() error {
	var problems []latchkey.FieldError
	if p.Provider == "" || len(p.Provider) > MaxProvider {
		problems = append(problems, latchkey.FieldError{Field: "Provider", Detail: fmt.Sprintf("is required, with at most %d bytes", MaxProvider)})
	}
	total, badName := 0, len(p.Extra) > maxPairs
	for name, value := range p.Extra {
		total += len(name) + len(value)
		badName = badName || name == "" || len(name) > maxExtraName
	}
	if badName || total > MaxExtra {
		problems = append(problems, latchkey.FieldError{Field: "Extra",
			Detail: fmt.Sprintf("at most %d pairs with names of 1 to %d bytes, and %d bytes together", maxPairs, maxExtraName, MaxExtra)})
	}
	if len(problems) == 0 {
		return nil
	}
	return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "transaction: sign-in", Fields: problems}
}

// Finish ends the attempt whose state came back to provider's callback, and returns
// it. Of any number of calls for one attempt, on any number of nodes, one gets it. It
// deletes the attempt's cookie and marks the answer Cache-Control: no-store. Nothing
// may have been written yet.
//
// The error is of code CodeDenied with a [Reason] as its cause when the attempt is
// not this browser's, is not at this provider, is over or was finished; the cookie, if
// there is one, is deleted then too. It is of CodeStoreUnavailable when the Spender
// did not answer: then nothing is deleted, and unless the Spender noted the attempt
// although its answer was lost, the same request can be made again.
//
// A callback that brings an error instead of a code goes to Abandon.
func (k *Keeper) Finish(ctx context.Context, w http.ResponseWriter, r *http.Request, provider, state string) (Transaction, error) {
	t, name, err := k.find(r, provider, state)
	if err == nil {
		// The attempt is spent by its state, which is random: what stands in the store
		// tells nothing, and cannot be there by chance.
		err = k.spender.Spend(ctx, digest(spentLabel, t.State), t.Began.Add(k.life+spentMargin))
		switch latchkey.CodeOf(err) {
		case "":
		case latchkey.CodeConflict:
			err = refuse(Replayed)
		case latchkey.CodeStoreUnavailable:
			return Transaction{}, err
		default:
			return Transaction{}, latchkey.NewError(latchkey.CodeStoreUnavailable, "the store of finished sign-ins gave no answer", err)
		}
	}
	k.drop(w, name)
	if err != nil {
		return Transaction{}, err
	}
	return t, nil
}

// Abandon ends an attempt that the provider answered with an error (RFC 6749,
// 4.1.2.1), and returns it: it tells that the answer belongs to a sign-in of this
// browser, and where that should have led. It deletes the cookie as Finish does, and
// asks no store. The error is that of Finish, of code CodeDenied.
func (k *Keeper) Abandon(w http.ResponseWriter, r *http.Request, provider, state string) (Transaction, error) {
	t, name, err := k.find(r, provider, state)
	k.drop(w, name)
	return t, err
}

// find opens the cookie of the attempt with the given state, and judges it by all but
// whether it was finished. name is that of the cookie, "" when there is none.
func (k *Keeper) find(r *http.Request, provider, state string) (t Transaction, name string, err error) {
	if _, ok := decodeSecret(state); !ok {
		return Transaction{}, "", refuse(Malformed)
	}
	name = k.cookie.nameOf(state)
	value, found := "", 0
	eachCookie(r.Header, func(n, v string) {
		if n == name {
			value = v
			found++
		}
	})
	switch {
	case found == 0:
		return Transaction{}, "", refuse(Missing)
	case found > 1:
		return Transaction{}, name, refuse(Duplicate)
	}
	t, why := open(k.keys, name, provider, value)
	switch age := k.timeAt(k.clock.Now()).Sub(t.Began); {
	case why != 0:
	case subtle.ConstantTimeCompare([]byte(t.State), []byte(state)) != 1:
		why = Mismatch
	case age >= k.life || age < -maxSkew:
		why = Expired
	}
	if why != 0 {
		return Transaction{}, name, refuse(why)
	}
	// The hosts may have changed since.
	t.ReturnTo = ReturnTo(t.ReturnTo, k.hosts)
	return t, name, nil
}

// drop deletes a cookie; "" is none.
func (k *Keeper) drop(w http.ResponseWriter, name string) {
	w.Header().Set("Cache-Control", "no-store")
	if name != "" {
		w.Header().Add("Set-Cookie", k.cookie.line(name, "", 0))
	}
}

// ReasonOf returns why an attempt could not be finished, or 0 when err is no such error.
func ReasonOf(err error) Reason {
	var why Reason
	errors.As(err, &why)
	return why
}
