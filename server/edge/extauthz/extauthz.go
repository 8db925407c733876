// Package extauthz answers Envoy, and what speaks as it does (Istio, Cilium, the
// Gateway API), over gRPC: the service envoy.service.auth.v3.Authorization. It is the
// fifth dialect of package edge, kept apart because it brings gRPC with it.
package extauthz

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/edge"
)

// Config configures a Server. Edge is required.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Edge decides; its trusted proxies are this service's.
	Edge *edge.Edge
	// TLS, when set, is spoken; otherwise HTTP/2 in the clear.
	TLS *tls.Config
	// Logger hears of panics. Unset, nothing is logged.
	Logger *slog.Logger
}

// Bounds of the service: a question holds headers, and no body.
const (
	maxMessage     = 256 << 10
	maxHeaders     = 16 << 10
	maxStreams     = 1024 // at once, on a connection
	connectTimeout = 10 * time.Second
	idleTimeout    = 10 * time.Minute
)

// Server is the gRPC service. It is safe for concurrent use.
type Server struct {
	authv3.UnimplementedAuthorizationServer
	edge *edge.Edge
	log  *slog.Logger
	grpc *grpc.Server
}

// New checks cfg and makes the service. Its owner calls Serve, and Stop.
func New(cfg Config) (*Server, error) {
	if cfg.Edge == nil {
		return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "extauthz: configuration", Fields: []latchkey.FieldError{{Field: "Edge", Detail: "is required"}}}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{edge: cfg.Edge, log: cfg.Logger}
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxHeaderListSize(maxHeaders), grpc.MaxConcurrentStreams(maxStreams), grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(s.recover),
	}
	if cfg.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(cfg.TLS)))
	}
	s.grpc = grpc.NewServer(options...)
	authv3.RegisterAuthorizationServer(s.grpc, s)
	return s, nil
}

// Serve answers on l until Stop, and closes it. It returns nil after Stop.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(l) }

// Stop lets questions finish until ctx ends, and then cuts them off.
func (s *Server) Stop(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop() // which ends GracefulStop too
		<-done
	}
}

// recover makes a panic a failed call, which Envoy takes for no grant. Its value may
// hold anything and is not logged.
func (s *Server) recover(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (answer any, err error) {
	defer func() {
		if value := recover(); value != nil {
			s.log.ErrorContext(ctx, "the edge panicked", "type", fmt.Sprintf("%T", value), "stack", stack())
			answer, err = nil, grpcstatus.Error(codes.Internal, "internal error")
		}
	}()
	return next(ctx, req)
}

// stack names the functions on the stack with file and line, without their arguments.
func stack() string {
	pcs := make([]uintptr, 48)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var b strings.Builder
	for {
		f, more := frames.Next()
		fmt.Fprintf(&b, "%s\n\t%s:%d\n", f.Function, f.File, f.Line)
		if !more {
			return b.String()
		}
	}
}

// Check implements the service. It has no error of its own: a question that cannot be
// read is denied.
func (s *Server) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	address := ""
	if p, ok := peer.FromContext(ctx); ok {
		address = p.Addr.String()
	}
	asked := in.GetAttributes().GetRequest().GetHttp()
	q := edge.Question{Method: asked.GetMethod(), Scheme: asked.GetScheme(), Host: asked.GetHost(), Target: asked.GetPath()}
	a := s.edge.Check(ctx, address, q, headerOf(asked))
	if a.Verdict == edge.Grant {
		return granted(a.Header), nil
	}
	return denied(a), nil
}

// headerOf is the headers of the request asked about. Envoy sends them by name, or
// one by one where it is told to keep them as they came.
func headerOf(asked *authv3.AttributeContext_HttpRequest) http.Header {
	h := make(http.Header)
	for name, value := range asked.GetHeaders() {
		h.Add(name, value)
	}
	for _, one := range asked.GetHeaderMap().GetHeaders() {
		value := one.GetValue()
		if value == "" {
			value = string(one.GetRawValue())
		}
		h.Add(one.GetKey(), value)
	}
	return h
}

// granted lets a request through. A header that is empty is removed from it: Envoy
// leaves one alone that it is told to set to nothing, and a client's own would pass.
func granted(h http.Header) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{}
	for name, values := range h {
		switch name {
		case "X-Envoy-Auth-Headers-To-Remove":
			ok.HeadersToRemove = append(ok.HeadersToRemove, strings.Split(values[0], ",")...)
		case "Set-Cookie":
			add := set(name, values[0]) // beside the service's own
			add.AppendAction = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
			ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, add)
		case "Cache-Control", "Content-Length":
		default:
			if values[0] == "" {
				ok.HeadersToRemove = append(ok.HeadersToRemove, strings.ToLower(name))
			} else {
				ok.Headers = append(ok.Headers, set(name, values[0]))
			}
		}
	}
	return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.OK)}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}}
}

// denied tells the client what the other dialects tell it.
func denied(a edge.Answer) *authv3.CheckResponse {
	code := codes.PermissionDenied
	switch a.Verdict {
	case edge.SignIn:
		code = codes.Unauthenticated
	case edge.Unavailable:
		code = codes.Unavailable
	}
	out := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(a.Status)}}
	for name, values := range a.Header {
		out.Headers = append(out.Headers, set(name, values[0]))
	}
	return &authv3.CheckResponse{Status: &status.Status{Code: int32(code)}, HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: out}}
}

// set is a header that replaces what is there.
func set(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: strings.ToLower(name), Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}
}
