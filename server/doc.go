// Package server puts a [latchkey.Manager] behind HTTP: the JSON API of package
// api, health checks, metrics, the OpenAPI document, and the pages that it is
// given. It assembles handlers and opens no port.
//
// # A request's journey
//
// Each request passes, in this order: recovery from panics, the access log and
// metrics (observe.go); security headers and, in demo mode, the guard against
// DNS rebinding (guard.go); the router (server.go); and the wrapper of its route
// (package api), or the page's own handler behind the check against cross-site
// requests.
//
// What no route stands for is answered 404 not_found as a problem. So is a method
// that a path does not have, with an Allow header: 405 has no code of its own.
// Paths are matched as they are written: //v1/me is no route, and nothing is
// redirected to a tidier spelling.
package server
