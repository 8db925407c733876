package respguard

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/redis/rueidis"
)

// Guard puts a guard on every connection that a client made with option will open.
func Guard(option *rueidis.ClientOption, limits Limits) {
	dial := option.DialCtxFn         // set for unix sockets
	switch plain := option.DialFn; { // the older way to set one
	case dial != nil:
	case plain != nil:
		dial = func(_ context.Context, address string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
			return plain(address, d, t)
		}
	default:
		dial = dialTCP
	}
	option.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, address, d, t)
		if err != nil {
			return nil, err
		}
		return Wrap(conn, limits), nil
	}
}

// NewClient is rueidis.NewClient with a guard on each connection. The library connects
// at once.
func NewClient(option rueidis.ClientOption, limits Limits) (client rueidis.Client, err error) {
	defer Caught(&err)
	Guard(&option, limits)
	return rueidis.NewClient(option)
}

func dialTCP(ctx context.Context, address string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
	if t != nil {
		return (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", address)
	}
	return d.DialContext(ctx, "tcp", address)
}

// Caught, deferred, makes ErrProtocol of a panic in the client library, which trusts
// the types of what a server tells of itself when a connection is made. That happens
// in the goroutine that asks.
func Caught(err *error) {
	if v := recover(); v != nil {
		*err = ErrProtocol
	}
}
