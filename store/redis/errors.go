package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/respguard"
)

// Causes of failures.
var (
	errClosed      = errors.New("the store is closed")
	errGone        = errors.New("the server does not hold this store any more: it was emptied, or another store was made there; restart the program to use what is there now")
	errUnconfirmed = errors.New("too few replicas confirmed it; check that they are connected, or ask for fewer (wait)")
	errNoBeat      = errors.New("the primary has not confirmed for a while that it still is one")
	errMoved       = errors.New("there is another primary now")
	errSlow        = errors.New("the follower did not take an invalidation in time")
	errReplica     = errors.New("the server is a replica, which is read-only; give the address of the primary")
	errAnswer      = errors.New("the server's answer is none that Latchkey's scripts give")
)

const noAnswer = "the session store gave no answer"

// unavailable is the answer to a call whose outcome is not known.
func unavailable(cause error) error {
	var known *latchkey.Error
	if errors.As(cause, &known) {
		return cause
	}
	return latchkey.NewError(latchkey.CodeStoreUnavailable, noAnswer, explained(cause))
}

// explained adds what to do to the server's own words, or to the driver's.
func explained(err error) error {
	if what := advice(err); what != "" {
		return fmt.Errorf("%s: %w", what, trimmed(err))
	}
	return trimmed(err)
}

// advice tells an operator what a failure means and what to do about it, or "".
func advice(err error) string {
	var opErr *net.OpError
	reply, replied := replyOf(err)
	raw, isRaw := errors.AsType[errReply](err)
	switch {
	case replied:
		return replyAdvice(reply.Error())
	case isRaw:
		return replyAdvice(string(raw))
	case errors.Is(err, respguard.ErrProtocol), errors.Is(err, errProtocol), rueidis.IsParseErr(err):
		return "what answers there is no Redis; check the address, and whether TLS is wanted (rediss://)"
	case errors.As(err, &opErr) && opErr.Op == "dial":
		return "the server cannot be reached; check the address and that it runs"
	case errors.Is(err, context.DeadlineExceeded):
		return "the server did not answer in time; check that it runs and is not overloaded"
	}
	return ""
}

func replyAdvice(text string) string {
	code, _, _ := strings.Cut(text, " ")
	switch code {
	case "READONLY":
		return errReplica.Error()
	case "OOM":
		return "the server's memory is full (maxmemory); give it more, or purge what has ended"
	case "MISCONF":
		return "the server cannot save to its disk and refuses changes; check its log"
	case "WRONGPASS", "NOAUTH":
		return "the server refuses the user name or password; check the URL"
	case "NOPERM":
		return "the server's user may not do this; see docs/redis.md for what it needs"
	case "LOADING":
		return "the server is still loading its data; wait for it"
	case "MASTERDOWN", "CLUSTERDOWN":
		return "the servers are choosing a primary; wait for it"
	case "ASK", "TRYAGAIN":
		return "the cluster is moving the session to another server; wait for it"
	case "MOVED":
		return errMoved.Error()
	case "NOREPLICAS":
		return "the server has too few replicas to take changes (min-replicas-to-write)"
	case "LKGONE":
		return errGone.Error()
	case "WRONGTYPE", "LKFOREIGN":
		return errForeign.Error()
	}
	if strings.Contains(text, "LKFOREIGN") {
		return errForeign.Error()
	}
	if strings.Contains(text, "unknown command") || strings.Contains(text, "unsupported command") {
		return "the server lacks a command; Redis 7.0 or Valkey 7.2 is needed"
	}
	return ""
}

// trimmed takes out of a server's error what it repeats of our arguments, which may be
// a password.
func trimmed(err error) error {
	reply, replied := replyOf(err)
	if !replied {
		return err
	}
	text := reply.Error()
	if short := withoutArgs(text); short != text {
		return errors.New(short)
	}
	return err
}

func withoutArgs(text string) string {
	text, _, _ = strings.Cut(text, ", with args")
	return text[:min(len(text), 200)]
}

func noSuchSession() error {
	return latchkey.NewError(latchkey.CodeNoSuchSession, "no such session", nil)
}

// refused is an error of opening a store: one line that names the server.
func refused(where string, err error) error {
	var known *latchkey.Error
	if errors.As(err, &known) {
		return err
	}
	short := trimmed(err)
	what := advice(err)
	if what == "" {
		what, _, _ = strings.Cut(short.Error(), "\n")
	}
	return latchkey.NewError(latchkey.CodeStoreUnavailable, fmt.Sprintf("redis store %s: %s", where, what), short)
}

// caught makes an error of a panic in the client library, which trusts the types of
// what a server tells of itself.
func caught(err *error) {
	if v := recover(); v != nil {
		*err = errAnswer
	}
}

// brokenOff is the answer to a call whose context has ended.
func brokenOff(ctx context.Context) error { return unavailable(context.Cause(ctx)) }

// replyOf finds the error that a server has answered.
func replyOf(err error) (*rueidis.RedisError, bool) {
	reply, ok := errors.AsType[*rueidis.RedisError](err)
	return reply, ok && reply != rueidis.Nil
}

// moved reports whether a server has refused because it does not have the keys any more.
func moved(err error) bool {
	reply, ok := replyOf(err)
	if !ok {
		return false
	}
	_, gone := reply.IsMoved()
	return gone
}
