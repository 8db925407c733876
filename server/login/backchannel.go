package login

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/login/oidc"
	"github.com/latchkey-go/latchkey/server/page"
)

const (
	// maxLogout bounds the body of a back-channel logout, in bytes.
	maxLogout = 128 << 10
	// logoutTries is how often a logout token whose work failed may come again.
	logoutTries = 8
	// logoutMargin is how long beyond its end a logout token is remembered: the store
	// forgets by its own clock.
	logoutMargin = 30 * time.Minute
)

// backChannel is POST /backchannel-logout/{provider} (OpenID Connect Back-Channel Logout
// 1.0, 2.5 to 2.8). It looks at no cookie. It answers 200 once the sessions are ended
// for good, or when there were none; 400 to what is no good logout token; and 503 when
// that is not known, so that the provider may send it again.
func (l *Login) backChannel(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	p := l.provider(r)
	if p == nil {
		latchkey.WriteProblem(w, r, page.ErrNoPage)
		return
	}
	if wait, ok := l.limits.take(badLogouts, r, 0); !ok {
		l.tally.limit(badLogouts)
		setWait(w, wait)
		latchkey.WriteProblem(w, r, errRate)
		return
	}
	ended, err := l.logout(w, r, p)
	switch code := latchkey.CodeOf(err); code {
	case "":
		outcome := Ended
		if ended == 0 {
			outcome = NoSession
		}
		l.tally.logout(p.ID(), outcome, "")
		l.log.LogAttrs(r.Context(), slog.LevelInfo, "back-channel logout", slog.String("provider", p.ID()), slog.Int("sessions", ended))
		w.WriteHeader(http.StatusOK)
	case latchkey.CodeStoreUnavailable, latchkey.CodeInternal:
		l.tally.logout(p.ID(), Unavailable, "")
		l.log.LogAttrs(r.Context(), slog.LevelWarn, "back-channel logout not done", slog.String("provider", p.ID()), slog.Any("cause", errors.Unwrap(err)))
		latchkey.WriteProblem(w, r, err)
	default:
		l.limits.take(badLogouts, r, 1) // there was one
		reason := oidc.ReasonOf(err)
		why := string(reason)
		switch reason {
		case oidc.Replayed:
			l.tally.logout(p.ID(), Replay, "")
		case "":
			why = "the request is not a form with one logout_token"
			l.tally.logout(p.ID(), Refused, "no_form")
		default:
			l.tally.logout(p.ID(), Refused, why)
		}
		l.log.LogAttrs(r.Context(), slog.LevelWarn, "back-channel logout refused", slog.String("provider", p.ID()), slog.String("why", why))
		h.Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_request", "error_description": why}) // the client may be gone
	}
}

// errForm is the answer to a body that is not a form with exactly one logout token.
var errForm = latchkey.NewError(latchkey.CodeMalformed, "send logout_token as application/x-www-form-urlencoded", nil)

// logout does what a logout token says, and returns how many sessions were live.
func (l *Login) logout(w http.ResponseWriter, r *http.Request, p *oidc.Provider) (int, error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		return 0, errForm
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLogout)
	if err := r.ParseForm(); err != nil || len(r.PostForm["logout_token"]) != 1 {
		return 0, errForm
	}
	ctx := r.Context()
	out, err := p.CheckLogout(ctx, r.PostForm.Get("logout_token"))
	if err != nil {
		return 0, err
	}
	try, err := l.claim(ctx, out)
	if err != nil {
		return 0, err
	}
	revocation := latchkey.Revocation{Provider: p.ID(), By: "provider:" + p.ID(), Reason: "back-channel logout"}
	if out.SID != "" {
		revocation.SID = out.SID
	} else {
		revocation.Subject = out.Subject // all of the user's sessions
	}
	ended, err := l.m.Revoke(ctx, revocation)
	if err != nil {
		return 0, err
	}
	// That it is done is noted for whoever sends the token again. If that fails the
	// sessions have ended all the same, and a repetition would end those made since.
	_ = l.spender.Spend(ctx, logoutKey(out, "done", try), until(out))
	return ended, nil
}

var errReplayed = latchkey.NewError(latchkey.CodeDenied, "this logout token was used before", oidc.Replayed)

// claim makes sure that a token does its work once, and that a token whose work failed
// may come again: a store that was away for a moment must not make a logout be lost.
//
// A [latchkey.Spender] cannot be asked without noting, so each try notes a key of its
// own, and the one after it, and no other, asks for the note that it was done.
func (l *Login) claim(ctx context.Context, out oidc.Logout) (try int, err error) {
	for try = range logoutTries {
		switch err := l.spender.Spend(ctx, logoutKey(out, "try", try), until(out)); latchkey.CodeOf(err) {
		case "":
			if try == 0 {
				return 0, nil
			}
			switch err := l.spender.Spend(ctx, logoutKey(out, "done", try-1), until(out)); latchkey.CodeOf(err) {
			case "":
				return try, nil // the one before failed, or is under way
			case latchkey.CodeConflict:
				if err := l.spender.Spend(ctx, logoutKey(out, "done", try), until(out)); err != nil {
					return 0, unavailable(err)
				}
				return 0, errReplayed
			default:
				return 0, unavailable(err)
			}
		case latchkey.CodeConflict:
		default:
			return 0, unavailable(err)
		}
	}
	return 0, errReplayed
}

func until(out oidc.Logout) time.Time { return out.Expires.Add(logoutMargin) }

func logoutKey(out oidc.Logout, what string, try int) [32]byte {
	return sha256.Sum256([]byte(string(out.Key[:]) + what + strconv.Itoa(try)))
}

// unavailable makes a failure of the Spender one of the store.
func unavailable(err error) error {
	if latchkey.CodeOf(err) == latchkey.CodeStoreUnavailable {
		return err
	}
	return latchkey.NewError(latchkey.CodeStoreUnavailable, "the store of used logout tokens gave no answer", err)
}
